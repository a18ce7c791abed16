#version 460
#extension GL_EXT_ray_query : require

/* A ray straight down per texel: 0, or 1 + 16 * the instance's index + the triangle's. */
layout(local_size_x = 8, local_size_y = 8) in;
layout(set = 0, binding = 0) uniform accelerationStructureEXT scene;
layout(set = 0, binding = 1, std430) buffer Hits { uint hits[]; };

void main()
{
    const uvec2 size = gl_NumWorkGroups.xy * gl_WorkGroupSize.xy;
    const vec2 at = (vec2(gl_GlobalInvocationID.xy) + 0.5) / vec2(size);
    rayQueryEXT query;
    uint hit = 0;

    rayQueryInitializeEXT(query, scene, gl_RayFlagsOpaqueEXT, 0xff, vec3(at, 1), 0.0,
                          vec3(0, 0, -1), 10.0);
    while (rayQueryProceedEXT(query)) {
    }
    if (rayQueryGetIntersectionTypeEXT(query, true) ==
        gl_RayQueryCommittedIntersectionTriangleEXT) {
        hit = 1 + 16 * rayQueryGetIntersectionInstanceCustomIndexEXT(query, true) +
              rayQueryGetIntersectionPrimitiveIndexEXT(query, true);
    }
    hits[gl_GlobalInvocationID.y * size.x + gl_GlobalInvocationID.x] = hit;
}
