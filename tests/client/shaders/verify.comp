#version 450

/* Counts the words that are not what the host wrote (a hash of index and seed), then inverts. */
layout(local_size_x = 64) in;
layout(set = 0, binding = 0, std430) buffer Words { uint words[]; };
layout(set = 0, binding = 1, std430) buffer Count { uint n_wrong; };
layout(push_constant) uniform Push { uint count; uint seed; } push;

void main()
{
    uint stride = gl_NumWorkGroups.x * gl_WorkGroupSize.x;

    for (uint i = gl_GlobalInvocationID.x; i < push.count; i += stride) {
        uint word = words[i];

        if (word != (i * 2654435761u ^ push.seed)) {
            atomicAdd(n_wrong, 1);
        }
        words[i] = ~word;
    }
}
