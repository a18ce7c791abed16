#version 450
#extension GL_GOOGLE_include_directive : require
#include "scene.glsl"

layout(location = 0) in vec2 in_at;
layout(location = 0) out vec4 out_color;

void main()
{
    float height = clamp((0.155 - in_at.y) / 0.17, 0.0, 1.0);
    vec3 top = vec3(0.05, 0.09, 0.20);
    vec3 color = mix(frame.fog.rgb, top, pow(height, 0.75));
    vec2 sun = (in_at - vec2(0.78, 0.13)) * vec2(1.778, 1.0);

    color += vec3(1.0, 0.75, 0.45) * (0.35 * exp(-dot(sun, sun) * 14.0));
    color = clamp(color * (2.51 * color + 0.03) / (color * (2.43 * color + 0.59) + 0.14), 0.0, 1.0);
    out_color = vec4(color, 1.0);
}
