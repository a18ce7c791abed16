#version 450

layout(local_size_x = 128) in;
layout(set = 0, binding = 0, std430) readonly buffer Source { uint source[]; };
layout(set = 0, binding = 1, std430) buffer Result { uint result[]; };
layout(push_constant) uniform Push { uint count; uint seed; } push;

shared uint part[128];

void main()
{
    uint at = gl_LocalInvocationIndex;
    uint sum = 0;

    for (uint i = gl_GlobalInvocationID.x; i < push.count;
         i += gl_NumWorkGroups.x * gl_WorkGroupSize.x) {
        sum += source[i];
    }
    part[at] = sum;
    barrier();
    for (uint step = 64; step > 0; step >>= 1) {
        if (at < step) {
            part[at] += part[at + step];
        }
        barrier();
    }
    if (at == 0) {
        atomicAdd(result[0], part[0]);
    }
}
