#version 450

layout(local_size_x = 16) in;
layout(set = 0, binding = 0, std430) buffer Result { uint result[]; };
layout(set = 0, binding = 1, std140) uniform Block { uvec4 rows[16]; } block;

void main()
{
    uvec4 row = block.rows[gl_LocalInvocationIndex];

    result[gl_LocalInvocationIndex] = row.x + 3u * row.y + 5u * row.z + 7u * row.w;
}
