#version 450

layout(xfb_buffer = 0, xfb_offset = 0, xfb_stride = 16, location = 0) out vec4 captured;

void main()
{
    captured = vec4(gl_VertexIndex, gl_VertexIndex * gl_VertexIndex, gl_InstanceIndex, 1.0);
    gl_Position = vec4(0.0, 0.0, 0.0, 1.0);
    gl_PointSize = 1.0;
}
