#version 450
#extension GL_EXT_buffer_reference : require

layout(local_size_x = 64) in;
layout(buffer_reference, std430) buffer Words { uint words[]; };
layout(push_constant) uniform Push { Words source; Words result; uint count; } push;

void main()
{
    uint i = gl_GlobalInvocationID.x;

    if (i < push.count) {
        push.result.words[i] = push.source.words[push.count - 1 - i] + 1;
    }
}
