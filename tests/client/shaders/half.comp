#version 450
#extension GL_EXT_shader_explicit_arithmetic_types_float16 : require

/* In half precision there is more that drivers leave to the C library than in math.comp. */

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
    float16_t a = float16_t(float(source[i] >> 8) / 16777216.0 + 0.25);
    float16_t b = float16_t(float(source[(i + push.seed) % push.count] >> 8) / 16777216.0);
    float16_t sum = pow(a, b) + exp(b) + log(a) + exp2(b) + log2(a);

    sum += sin(a) + cos(b) + tan(b) + asin(b) + acos(b) + atan(a, b) + atan(b);
    sum += mod(a, float16_t(0.75)) + fract(a) + round(b) + trunc(b) + floor(b) + ceil(b);
    sum += sqrt(a) + inversesqrt(a) + fma(a, b, sum) + length(f16vec3(a, b, sum));
    result[i] = floatBitsToUint(float(sum));
}
