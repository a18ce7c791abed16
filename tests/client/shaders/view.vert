#version 450
#extension GL_EXT_multiview : require

layout(location = 0) flat out vec4 out_color;

void main()
{
    vec2 corner = vec2((gl_VertexIndex << 1) & 2, gl_VertexIndex & 2);

    out_color = vec4(gl_ViewIndex == 0, gl_ViewIndex == 1, 0, 1);
    gl_Position = vec4(corner * 2.0 - 1.0, 0.0, 1.0);
}
