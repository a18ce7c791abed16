#version 450
layout(local_size_x = 64) in;
layout(set = 0, binding = 0) buffer Data { uint v[]; } data;

void main()
{
    uint i = gl_GlobalInvocationID.x;

    /* Enough for the compiler to do: a loop and a branch. */
    uint x = data.v[i];
    for (uint n = 0; n < 8; n++) {
        x = (x & 1u) == 0u ? x / 2u : 3u * x + 1u;
    }
    data.v[i] = x;
}
