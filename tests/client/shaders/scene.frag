#version 450
#extension GL_GOOGLE_include_directive : require
#include "scene.glsl"

layout(set = 0, binding = 1) uniform sampler2DShadow shadow_map;
layout(set = 1, binding = 0) uniform sampler2D surface;

layout(location = 0) in vec3 in_position;
layout(location = 1) in vec3 in_normal;
layout(location = 2) in vec2 in_uv;

layout(location = 0) out vec4 out_color;

float lit_part(vec3 position, vec3 normal)
{
    vec4 p = frame.light_view_projection * vec4(position + normal * 0.03, 1.0);
    vec3 at = vec3(p.xy * 0.5 + 0.5, p.z);
    vec2 texel = 1.0 / vec2(textureSize(shadow_map, 0));
    float sum = 0.0;

    for (int y = -1; y <= 1; y++) {
        for (int x = -1; x <= 1; x++) {
            sum += texture(shadow_map, vec3(at.xy + 1.2 * vec2(x, y) * texel, at.z));
        }
    }
    return sum / 9.0;
}

vec3 shine(vec3 normal, vec3 to_eye, vec3 to_light, vec3 albedo, vec3 color)
{
    vec3 middle = normalize(to_light + to_eye);
    float diffuse = max(dot(normal, to_light), 0.0);
    float specular = pow(max(dot(normal, middle), 0.0), object.material.y) * object.material.z;

    return color * (albedo * diffuse + vec3(specular) * step(1e-4, diffuse));
}

void main()
{
    vec3 normal = normalize(in_normal);
    vec3 to_eye = normalize(frame.eye.xyz - in_position);
    vec3 albedo = texture(surface, in_uv).rgb * object.tint.rgb;
    vec3 sky = mix(vec3(0.16, 0.12, 0.10), vec3(0.30, 0.42, 0.62), normal.y * 0.5 + 0.5);
    vec3 to_lamp = frame.lamp.xyz - in_position;
    float lamp_distance = length(to_lamp);
    vec3 color = albedo * sky * 0.42;

    /* A reflected object lies below the floor, seen from above it: nothing of it above. */
    if (object.material.w > 0.5 && in_position.y < 0.0) {
        discard;
    }
    color += shine(normal, to_eye, frame.light.xyz, albedo, vec3(1.75, 1.50, 1.15)) *
             lit_part(in_position, normal);
    color += shine(normal, to_eye, to_lamp / lamp_distance, albedo, vec3(0.35, 0.75, 1.6)) *
             frame.lamp.w / (1.0 + lamp_distance * lamp_distance);

    /* A rim of sky light, stronger at grazing angles. */
    float rim = pow(1.0 - max(dot(normal, to_eye), 0.0), 4.0);
    color += sky * rim * object.material.z * 0.8;

    float distance_to_eye = length(frame.eye.xyz - in_position);
    float fog = 1.0 - exp(-pow(distance_to_eye * frame.fog.w, 2.0));
    color = mix(color, frame.fog.rgb, fog);

    /* Filmic curve; the attachment does the sRGB encoding. */
    color = clamp(color * (2.51 * color + 0.03) / (color * (2.43 * color + 0.59) + 0.14), 0.0, 1.0);
    out_color = vec4(color, mix(object.tint.a, 1.0, fog));
}
