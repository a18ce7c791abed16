#version 450

/* One descriptor of each kind that the other shaders do not use. */
layout(local_size_x = 8, local_size_y = 8) in;
layout(set = 0, binding = 0, std430) buffer Result { uint result[]; };
layout(set = 0, binding = 1, std140) uniform Offset { uint base; } offset;
layout(set = 0, binding = 2) uniform usamplerBuffer texels;
layout(set = 0, binding = 3, r32ui) uniform uimageBuffer words;
layout(set = 0, binding = 4, rgba8) uniform image2D canvas;
layout(set = 1, binding = 0) uniform texture2D picture;
layout(set = 1, binding = 1) uniform sampler sampling;

void main()
{
    ivec2 at = ivec2(gl_LocalInvocationID.xy);
    int i = at.y * 8 + at.x;
    vec4 seen = texture(sampler2D(picture, sampling), (vec2(at) + 0.5) / 8.0);

    result[i] = offset.base + texelFetch(texels, i).x * 3u + uint(seen.r * 255.0 + 0.5) * 65536u;
    imageAtomicAdd(words, i % 4, 1u);
    imageStore(canvas, at, vec4(at, 128, 255) / 255.0);
}
