#version 450

/* words[i] = words[i] * factor + i + base, for i below count. */
layout(local_size_x = 64) in;
layout(set = 0, binding = 0, std430) buffer Words { uint words[]; };
layout(push_constant) uniform Push { uint count; uint factor; uint base; } push;

void main()
{
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;

    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        words[i] = words[i] * push.factor + i + push.base;
    }
}
