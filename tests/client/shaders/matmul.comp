#version 450

/* c = a * b for square row-major matrices, a block of 4 by 4 per invocation, as inference engines do
 * it. Without shared memory and its barriers, for which drivers of processors are no measure. */
layout(local_size_x = 8, local_size_y = 8) in;
layout(set = 0, binding = 0, std430) readonly buffer A { vec4 a[]; };
layout(set = 0, binding = 1, std430) readonly buffer B { vec4 b[]; };
layout(set = 0, binding = 2, std430) writeonly buffer C { vec4 c[]; };
layout(push_constant) uniform Push { uint size; } push;

void main()
{
    uint column = gl_GlobalInvocationID.x, row = gl_GlobalInvocationID.y * 4, width = push.size / 4;
    vec4 sum[4] = vec4[4](vec4(0), vec4(0), vec4(0), vec4(0));

    for (uint k = 0; k < width; k++) {
        vec4 below[4] = vec4[4](b[(k * 4 + 0) * width + column], b[(k * 4 + 1) * width + column],
                                b[(k * 4 + 2) * width + column], b[(k * 4 + 3) * width + column]);

        for (uint i = 0; i < 4; i++) {
            vec4 left = a[(row + i) * width + k];

            sum[i] += left.x * below[0] + left.y * below[1] + left.z * below[2] + left.w * below[3];
        }
    }
    for (uint i = 0; i < 4; i++) {
        c[(row + i) * width + column] = sum[i];
    }
}
