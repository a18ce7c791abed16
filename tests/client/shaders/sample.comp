#version 450

/* Samples an 8 by 8 grid over [-0.25, 1.25]^2, so that the edges of the image are seen too. */
layout(local_size_x = 8, local_size_y = 8) in;
layout(set = 0, binding = 0, std430) buffer Result { uint result[]; };
layout(set = 0, binding = 1) uniform sampler2D picture;

void main()
{
    uvec2 at = gl_LocalInvocationID.xy;
    vec2 uv = (vec2(at) + 0.5) / 8.0 * 1.5 - 0.25;

    result[at.y * 8 + at.x] = packUnorm4x8(textureLod(picture, uv, 0.0));
}
