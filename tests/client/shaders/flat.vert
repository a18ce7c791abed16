#version 450

/* A rectangle without vertex buffers: x, y, width and height in clip space. */
layout(push_constant) uniform Push { vec4 rect; vec4 color; float depth; } push;

void main()
{
    const vec2 corners[6] = vec2[](vec2(0, 0), vec2(1, 0), vec2(1, 1), vec2(0, 0), vec2(1, 1),
                                   vec2(0, 1));

    gl_Position = vec4(push.rect.xy + push.rect.zw * corners[gl_VertexIndex % 6], push.depth, 1.0);
}
