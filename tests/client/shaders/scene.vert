#version 450
#extension GL_GOOGLE_include_directive : require
#include "scene.glsl"

layout(location = 0) in vec3 in_position;
layout(location = 1) in vec3 in_normal;
layout(location = 2) in vec2 in_uv;

layout(location = 0) out vec3 out_position;
layout(location = 1) out vec3 out_normal;
layout(location = 2) out vec2 out_uv;

void main()
{
    vec4 world = object.model * vec4(in_position, 1.0);
    vec4 drawn = world;

    out_position = world.xyz;
    out_normal = mat3(object.model) * in_normal;
    out_uv = in_uv * object.material.x;
    if (object.material.w > 0.5) {
        drawn.y = -drawn.y;
    }
    gl_Position = frame.view_projection * drawn;
}
