#version 450

layout(local_size_x_id = 0) in;
layout(constant_id = 1) const uint ROUNDS = 1;
layout(constant_id = 2) const bool SWAP = false;

layout(set = 0, binding = 0, std430) readonly buffer Source { uint source[]; };
layout(set = 0, binding = 1, std430) buffer Result { uint result[]; };
layout(push_constant) uniform Push { uint count; uint seed; } push;

void main()
{
    uint i = gl_GlobalInvocationID.x;

    if (i >= push.count) {
        return;
    }
    uint x = source[i] ^ push.seed;
    for (uint r = 0; r < ROUNDS; r++) {
        x = (x * 1664525u + 1013904223u) ^ (x >> 13);
    }
    if (SWAP) {
        x = (x << 16) | (x >> 16);
    }
    result[i] = x;
}
