#version 450
#extension GL_EXT_nonuniform_qualifier : require

layout(local_size_x = 64) in;
layout(set = 0, binding = 0, std430) buffer Result { uint result[]; };
layout(set = 0, binding = 1, std430) readonly buffer Cell { uint word; } cells[];
layout(push_constant) uniform Push { uint count; } push;

void main()
{
    uint i = gl_GlobalInvocationID.x;

    if (i < push.count) {
        result[i] = cells[nonuniformEXT((i * 7u) % push.count)].word;
    }
}
