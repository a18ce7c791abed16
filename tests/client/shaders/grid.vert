#version 450

/* Cell number gl_InstanceIndex of a 16 by 16 grid, coloured by its number. */
layout(location = 0) flat out vec4 out_color;

void main()
{
    const vec2 corners[6] = vec2[](vec2(0, 0), vec2(1, 0), vec2(1, 1), vec2(0, 0), vec2(1, 1),
                                   vec2(0, 1));
    int cell = gl_InstanceIndex & 255;
    vec2 at = vec2(cell % 16, cell / 16) + corners[gl_VertexIndex % 6];

    out_color = vec4(cell, 255 - cell, gl_VertexIndex / 6 * 10, 255) / 255.0;
    gl_Position = vec4(at / 8.0 - 1.0, 0.0, 1.0);
}
