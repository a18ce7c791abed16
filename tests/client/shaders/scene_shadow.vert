#version 450
#extension GL_GOOGLE_include_directive : require
#include "scene.glsl"

layout(location = 0) in vec3 in_position;

void main()
{
    gl_Position = frame.light_view_projection * object.model * vec4(in_position, 1.0);
}
