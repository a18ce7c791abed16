#version 450

/* Work that needs no memory outside of the group. */
layout(local_size_x = 64) in;
layout(push_constant) uniform Push { uint rounds; } push;

shared uint words[64];

void main()
{
    uint i = gl_LocalInvocationIndex;

    words[i] = i;
    for (uint r = 0; r < push.rounds; r++) {
        barrier();
        words[i] += words[(i + 1) % 64];
        barrier();
    }
}
