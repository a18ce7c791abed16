/* What the scene's shaders agree on; matches struct frame_data and struct object_push. */
layout(set = 0, binding = 0, std140) uniform Frame {
    mat4 view_projection;
    mat4 light_view_projection;
    vec4 eye;        /* xyz */
    vec4 light;      /* xyz: towards the light */
    vec4 lamp;       /* xyz: position, w: strength */
    vec4 fog;        /* rgb, w: density */
} frame;

layout(push_constant) uniform Object {
    mat4 model;
    vec4 tint;       /* rgb, w: opacity */
    vec4 material;   /* x: texture repeats, y: shininess, z: specular strength, w: 1 if mirrored */
} object;
