#version 450

/* What GLSL has and processors have not: a driver's compiler calls the C library for some of it. */

layout(local_size_x = 64) in;

layout(set = 0, binding = 0, std430) readonly buffer Source { uint source[]; };
layout(set = 0, binding = 1, std430) buffer Result { uint result[]; };
layout(push_constant) uniform Push { uint count; uint seed; } push;

void main()
{
    uint i = gl_GlobalInvocationID.x;

    if (i >= push.count) {
        return;
    }
    float a = float(source[i] >> 8) / 16777216.0 * 4.0 + 0.25;
    float b = float(source[(i + push.seed) % push.count] >> 8) / 16777216.0 * 3.0 - 1.5;
    int exponent;
    float sum = pow(a, b) + exp(b) + log(a) + exp2(b) + log2(a);

    sum += sin(a) + cos(b) + tan(b) + asin(b / 2.0) + acos(b / 2.0) + atan(a, b) + atan(b);
    sum += sinh(b) + cosh(b) + tanh(b) + asinh(b) + acosh(a + 1.0) + atanh(b / 2.0);
    sum += mod(a, 0.75) + fract(a) + round(b) + roundEven(a) + trunc(b) + floor(b) + ceil(b);
    sum += sqrt(a) + inversesqrt(a) + fma(a, b, sum) + ldexp(a, int(b * 8.0));
    sum += frexp(a, exponent) + smoothstep(0.0, a, b) + length(vec3(a, b, sum));
    result[i] = floatBitsToUint(sum) ^ uint(exponent) ^ packHalf2x16(vec2(a, b)) ^
                packUnorm4x8(vec4(a, b, a - b, a * b));
}
