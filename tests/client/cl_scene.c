/*
 * A small lit scene: textured shapes with shadows over a mirroring checkered floor.
 *
 * Exercises what a typical renderer does: staging uploads, mipmaps by blit, a shadow pass, a
 * multisampled main pass with resolve, per-frame uniform buffers, push constants, descriptor sets
 * and two frames in flight. The last frame is copied to the host, hashed and written as PNG.
 */
#include "vkapp.h"

#include <math.h>
#include <png.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "scene_frag.h"
#include "scene_shadow_vert.h"
#include "scene_sky_frag.h"
#include "scene_sky_vert.h"
#include "scene_vert.h"

#define FRAMES_IN_FLIGHT 2
#define SHADOW_SIZE 1024
#define TEXTURE_SIZE 256
#define COLOR_FORMAT VK_FORMAT_R8G8B8A8_SRGB
#define PI 3.14159265358979f

struct vec3 {
    float x, y, z;
};

struct mat4 {
    float m[16]; /* column major */
};

struct vertex {
    float position[3];
    float normal[3];
    float uv[2];
};

struct frame_data {
    struct mat4 view_projection;
    struct mat4 light_view_projection;
    float eye[4];
    float light[4];
    float lamp[4];
    float fog[4];
};

struct object_push {
    struct mat4 model;
    float tint[4];
    float material[4];
};

enum mesh_id { MESH_FLOOR, MESH_CUBE, MESH_SPHERE, MESH_TORUS, MESH_KNOT, N_MESHES };
enum texture_id { TEXTURE_CHECKER, TEXTURE_MARBLE, TEXTURE_BRICK, TEXTURE_STRIPES, N_TEXTURES };

struct mesh {
    uint32_t first_index;
    uint32_t n_indices;
    int32_t first_vertex;
};

struct mesh_builder {
    struct vertex *vertices;
    uint32_t n_vertices, max_vertices;
    uint32_t *indices;
    uint32_t n_indices, max_indices;
    struct mesh meshes[N_MESHES];
};

struct object {
    enum mesh_id mesh;
    enum texture_id texture;
    struct object_push push;
};

struct scene {
    struct app app;

    bool dynamic;
    bool hold;
    int n_frames;
    int width;
    int height;
    int samples;
    const char *out_path;
    const char *raw_path;
    const char *compare_path;

    VkFormat depth_format;
    VkSampleCountFlagBits sample_count;
    struct mesh meshes[N_MESHES];
    struct buffer vertices;
    struct buffer indices;
    struct image textures[N_TEXTURES];
    struct image color; /* multisampled, if sample_count > 1 */
    struct image depth;
    struct image target;
    struct image shadow;
    struct buffer pixels;
    struct buffer uniforms[FRAMES_IN_FLIGHT];

    VkSampler sampler;
    VkSampler shadow_sampler;
    VkDescriptorSetLayout frame_set_layout;
    VkDescriptorSetLayout texture_set_layout;
    VkDescriptorPool pool;
    VkDescriptorSet frame_sets[FRAMES_IN_FLIGHT];
    VkDescriptorSet texture_sets[N_TEXTURES];
    VkPipelineLayout layout;
    VkRenderPass pass;
    VkRenderPass shadow_pass;
    VkFramebuffer framebuffer;
    VkFramebuffer shadow_framebuffer;
    VkPipeline pipeline;
    VkPipeline floor_pipeline;
    VkPipeline sky_pipeline;
    VkPipeline shadow_pipeline;
    VkCommandBuffer commands[FRAMES_IN_FLIGHT];
    VkFence fences[FRAMES_IN_FLIGHT];

    struct object objects[16];
    uint32_t n_objects;
};

/* Vectors and matrices. */

static struct vec3 sub(struct vec3 a, struct vec3 b)
{
    return (struct vec3){ a.x - b.x, a.y - b.y, a.z - b.z };
}

static float dot(struct vec3 a, struct vec3 b)
{
    return a.x * b.x + a.y * b.y + a.z * b.z;
}

static struct vec3 cross(struct vec3 a, struct vec3 b)
{
    return (struct vec3){ a.y * b.z - a.z * b.y, a.z * b.x - a.x * b.z, a.x * b.y - a.y * b.x };
}

static struct vec3 normalize(struct vec3 a)
{
    float n = sqrtf(dot(a, a));

    return (struct vec3){ a.x / n, a.y / n, a.z / n };
}

static struct mat4 multiply(struct mat4 a, struct mat4 b)
{
    struct mat4 r;

    for (int c = 0; c < 4; c++) {
        for (int row = 0; row < 4; row++) {
            float sum = 0.0f;

            for (int k = 0; k < 4; k++) {
                sum += a.m[k * 4 + row] * b.m[c * 4 + k];
            }
            r.m[c * 4 + row] = sum;
        }
    }
    return r;
}

static struct mat4 look_at(struct vec3 eye, struct vec3 at)
{
    struct vec3 f = normalize(sub(at, eye));
    struct vec3 s = normalize(cross(f, (struct vec3){ 0.0f, 1.0f, 0.0f }));
    struct vec3 u = cross(s, f);

    return (struct mat4){ { s.x, u.x, -f.x, 0.0f, s.y, u.y, -f.y, 0.0f, s.z, u.z, -f.z, 0.0f,
                            -dot(s, eye), -dot(u, eye), dot(f, eye), 1.0f } };
}

/* Vulkan's clip space: y down, depth 0 to 1. */
static struct mat4 perspective(float fov_y, float aspect, float near, float far)
{
    float f = 1.0f / tanf(fov_y * 0.5f);

    return (struct mat4){ { f / aspect, 0, 0, 0, 0, -f, 0, 0, 0, 0, far / (near - far), -1.0f, 0, 0,
                            near * far / (near - far), 0 } };
}

static struct mat4 orthographic(float half, float near, float far)
{
    return (struct mat4){ { 1.0f / half, 0, 0, 0, 0, -1.0f / half, 0, 0, 0, 0, 1.0f / (near - far),
                            0, 0, 0, near / (near - far), 1.0f } };
}

/* Rotation about y then x, a uniform scale, a position. */
static struct mat4 place(float x, float y, float z, float scale, float turn, float tilt)
{
    float cy = cosf(turn), sy = sinf(turn), cx = cosf(tilt), sx = sinf(tilt);
    float s = scale;

    return (struct mat4){ { s * cy, 0.0f, -s * sy, 0.0f, s * sy * sx, s * cx, s * cy * sx, 0.0f,
                            s * sy * cx, -s * sx, s * cy * cx, 0.0f, x, y, z, 1.0f } };
}

/* Meshes. */

static void add_vertex(struct mesh_builder *b, struct vec3 p, struct vec3 n, float u, float v)
{
    if (b->n_vertices == b->max_vertices) {
        fatal("mesh too large");
    }
    b->vertices[b->n_vertices++] =
        (struct vertex){ { p.x, p.y, p.z }, { n.x, n.y, n.z }, { u, v } };
}

static void add_index(struct mesh_builder *b, uint32_t index)
{
    if (b->n_indices == b->max_indices) {
        fatal("mesh too large");
    }
    b->indices[b->n_indices++] = index;
}

static void mesh_start(struct mesh_builder *b, enum mesh_id id)
{
    b->meshes[id] =
        (struct mesh){ .first_index = b->n_indices, .first_vertex = (int32_t)b->n_vertices };
}

static void mesh_end(struct mesh_builder *b, enum mesh_id id)
{
    b->meshes[id].n_indices = b->n_indices - b->meshes[id].first_index;
}

typedef struct vec3 (*surface_fn)(float u, float v);

/* A surface over (u, v) in [0, 1]^2; normals from central differences: the v direction cross the u
 * direction points outwards. */
static void add_surface(struct mesh_builder *b, enum mesh_id id, surface_fn surface, uint32_t nu,
                        uint32_t nv, float repeat_u, float repeat_v)
{
    const float e = 1e-3f;

    mesh_start(b, id);
    for (uint32_t j = 0; j <= nv; j++) {
        for (uint32_t i = 0; i <= nu; i++) {
            float u = (float)i / (float)nu, v = (float)j / (float)nv;
            struct vec3 du = sub(surface(u + e, v), surface(u - e, v));
            struct vec3 dv = sub(surface(u, v + e), surface(u, v - e));

            add_vertex(b, surface(u, v), normalize(cross(dv, du)), u * repeat_u, v * repeat_v);
        }
    }
    for (uint32_t j = 0; j < nv; j++) {
        for (uint32_t i = 0; i < nu; i++) {
            uint32_t a = j * (nu + 1) + i, c = a + nu + 1;

            add_index(b, a);
            add_index(b, c);
            add_index(b, a + 1);
            add_index(b, a + 1);
            add_index(b, c);
            add_index(b, c + 1);
        }
    }
    mesh_end(b, id);
}

static struct vec3 sphere_at(float u, float v)
{
    float a = u * 2.0f * PI, h = (0.001f + 0.998f * v) * PI;

    return (struct vec3){ sinf(h) * cosf(a), cosf(h), -sinf(h) * sinf(a) };
}

static struct vec3 torus_at(float u, float v)
{
    float a = u * 2.0f * PI, h = v * 2.0f * PI;
    float r = 1.0f + 0.38f * cosf(h);

    return (struct vec3){ r * cosf(a), 0.38f * sinf(h), r * sinf(a) };
}

static struct vec3 knot_center(float t)
{
    float a = t * 2.0f * PI;
    float r = 0.72f + 0.28f * cosf(3.0f * a);

    return (struct vec3){ r * cosf(2.0f * a), 0.42f * sinf(3.0f * a), r * sinf(2.0f * a) };
}

static struct vec3 knot_at(float u, float v)
{
    const float e = 1e-3f, radius = 0.17f;
    struct vec3 c = knot_center(u);
    struct vec3 t = normalize(sub(knot_center(u + e), knot_center(u - e)));
    struct vec3 out = normalize((struct vec3){ c.x, 0.15f, c.z });
    struct vec3 s = normalize(cross(t, out));
    struct vec3 n = cross(s, t);
    float x = radius * cosf(v * 2.0f * PI), y = radius * sinf(v * 2.0f * PI);

    return (struct vec3){ c.x + n.x * x + s.x * y, c.y + n.y * x + s.y * y,
                          c.z + n.z * x + s.z * y };
}

static void add_quad(struct mesh_builder *b, uint32_t first, struct vec3 center, struct vec3 right,
                     struct vec3 up, struct vec3 normal, float repeat)
{
    static const float corners[4][2] = { { -1, -1 }, { 1, -1 }, { 1, 1 }, { -1, 1 } };
    static const uint32_t order[] = { 0, 1, 2, 0, 2, 3 };
    uint32_t base = b->n_vertices - first;

    for (int i = 0; i < 4; i++) {
        float x = corners[i][0], y = corners[i][1];
        struct vec3 p = { center.x + right.x * x + up.x * y, center.y + right.y * x + up.y * y,
                          center.z + right.z * x + up.z * y };

        add_vertex(b, p, normal, (x * 0.5f + 0.5f) * repeat, (0.5f - y * 0.5f) * repeat);
    }
    for (size_t i = 0; i < ARRAY_SIZE(order); i++) {
        add_index(b, base + order[i]);
    }
}

static void add_cube(struct mesh_builder *b)
{
    static const struct vec3 normals[] = { { 1, 0, 0 },  { -1, 0, 0 }, { 0, 1, 0 },
                                           { 0, -1, 0 }, { 0, 0, 1 },  { 0, 0, -1 } };

    mesh_start(b, MESH_CUBE);
    for (size_t i = 0; i < ARRAY_SIZE(normals); i++) {
        struct vec3 n = normals[i];
        struct vec3 up = n.y != 0.0f ? (struct vec3){ 0, 0, -n.y } : (struct vec3){ 0, 1, 0 };

        add_quad(b, (uint32_t)b->meshes[MESH_CUBE].first_vertex, n, cross(up, n), up, n, 1.0f);
    }
    mesh_end(b, MESH_CUBE);
}

static void build_meshes(struct mesh_builder *b)
{
    b->max_vertices = 40000;
    b->max_indices = 200000;
    b->vertices = must_alloc(b->max_vertices, sizeof(*b->vertices));
    b->indices = must_alloc(b->max_indices, sizeof(*b->indices));
    mesh_start(b, MESH_FLOOR);
    add_quad(b, 0, (struct vec3){ 0, 0, 0 }, (struct vec3){ 100, 0, 0 },
             (struct vec3){ 0, 0, -100 }, (struct vec3){ 0, 1, 0 }, 1.0f);
    mesh_end(b, MESH_FLOOR);
    add_cube(b);
    add_surface(b, MESH_SPHERE, sphere_at, 96, 48, 2.0f, 1.0f);
    add_surface(b, MESH_TORUS, torus_at, 128, 48, 6.0f, 2.0f);
    add_surface(b, MESH_KNOT, knot_at, 384, 32, 24.0f, 2.0f);
}

/* Uploads and textures. */

static struct buffer upload_buffer(struct app *app, const void *data, VkDeviceSize size,
                                   VkBufferUsageFlags usage)
{
    struct buffer staging = buffer_create(app, size, VK_BUFFER_USAGE_TRANSFER_SRC_BIT, HOST_MEMORY);
    struct buffer b =
        buffer_create(app, size, usage | VK_BUFFER_USAGE_TRANSFER_DST_BIT, DEVICE_MEMORY);
    const VkBufferCopy region = { .size = size };
    VkCommandBuffer commands = commands_begin(app);

    memcpy(staging.map, data, size);
    vkCmdCopyBuffer(commands, staging.buffer, b.buffer, 1, &region);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_VERTEX_INPUT_BIT,
                   VK_ACCESS_VERTEX_ATTRIBUTE_READ_BIT | VK_ACCESS_INDEX_READ_BIT);
    commands_run(app, commands);
    buffer_destroy(app, &staging);
    return b;
}

static float lattice(int x, int y, int period)
{
    uint32_t state = (uint32_t)(((y % period + period) % period) * 7919 +
                                ((x % period + period) % period) * 104729 + 1);

    random_u32(&state);
    random_u32(&state);
    return (float)(random_u32(&state) & 0xffff) / 65535.0f;
}

/* Value noise that repeats after `period` cells. */
static float noise(float x, float y, int period)
{
    int ix = (int)floorf(x), iy = (int)floorf(y);
    float fx = x - (float)ix, fy = y - (float)iy;

    fx = fx * fx * (3.0f - 2.0f * fx);
    fy = fy * fy * (3.0f - 2.0f * fy);
    return (lattice(ix, iy, period) * (1 - fx) + lattice(ix + 1, iy, period) * fx) * (1 - fy) +
           (lattice(ix, iy + 1, period) * (1 - fx) + lattice(ix + 1, iy + 1, period) * fx) * fy;
}

static float turbulence(float u, float v)
{
    float sum = 0.0f, weight = 0.5f;

    for (int period = 4; period <= 64; period *= 2) {
        sum += weight * noise(u * (float)period, v * (float)period, period);
        weight *= 0.5f;
    }
    return sum;
}

static void texel(enum texture_id id, float u, float v, float rgb[3])
{
    float t = turbulence(u, v), k, x, y;
    bool odd;

    switch (id) {
    case TEXTURE_CHECKER:
        odd = (u < 0.5f) != (v < 0.5f);
        k = (odd ? 0.80f : 0.16f) + 0.14f * (t - 0.5f);
        rgb[0] = k;
        rgb[1] = k * (odd ? 0.99f : 1.03f);
        rgb[2] = k * (odd ? 0.95f : 1.12f);
        return;
    case TEXTURE_MARBLE:
        k = powf(fabsf(sinf((u + v) * 2.0f * PI + 9.0f * t)), 0.45f);
        rgb[0] = 0.35f + 0.62f * k;
        rgb[1] = 0.33f + 0.62f * k;
        rgb[2] = 0.40f + 0.55f * k;
        return;
    case TEXTURE_BRICK:
        y = v * 8.0f;
        x = u * 4.0f + ((int)y & 1 ? 0.5f : 0.0f);
        odd = x - floorf(x) < 0.06f || y - floorf(y) < 0.10f;
        k = 0.75f + 0.5f * (t - 0.5f) + 0.2f * lattice((int)floorf(x) & 3, (int)y, 8);
        rgb[0] = odd ? 0.72f : 0.80f * k;
        rgb[1] = odd ? 0.70f : 0.40f * k;
        rgb[2] = odd ? 0.66f : 0.27f * k;
        return;
    default:
        k = 0.5f + 0.5f * sinf((u + v) * 8.0f * PI);
        k = k < 0.42f ? 0.0f : k > 0.58f ? 1.0f : (k - 0.42f) / 0.16f;
        rgb[0] = 0.98f - 0.06f * k;
        rgb[1] = 0.86f - 0.45f * k;
        rgb[2] = 0.62f - 0.45f * k;
        return;
    }
}

static void generate_mipmaps(VkCommandBuffer commands, const struct image *im)
{
    VkImageMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_TRANSFER_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT,
        .oldLayout = VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
        .newLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
        .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .image = im->image,
        .subresourceRange = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 1, 0, 1 },
    };

    for (uint32_t level = 0; level < im->levels; level++) {
        int32_t size = TEXTURE_SIZE >> level;
        const VkImageBlit blit = {
            .srcSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, level, 0, 1 },
            .srcOffsets = { { 0, 0, 0 }, { size, size, 1 } },
            .dstSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, level + 1, 0, 1 },
            .dstOffsets = { { 0, 0, 0 }, { size / 2, size / 2, 1 } },
        };

        barrier.subresourceRange.baseMipLevel = level;
        vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_TRANSFER_BIT,
                             VK_PIPELINE_STAGE_TRANSFER_BIT, 0, 0, NULL, 0, NULL, 1, &barrier);
        if (level + 1 < im->levels) {
            vkCmdBlitImage(commands, im->image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, im->image,
                           VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL, 1, &blit, VK_FILTER_LINEAR);
        }
    }
}

static struct image create_texture(struct app *app, enum texture_id id)
{
    const VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = VK_FORMAT_R8G8B8A8_SRGB,
        .extent = { TEXTURE_SIZE, TEXTURE_SIZE, 1 },
        .mipLevels = 9,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_OPTIMAL,
        .usage = VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT |
                 VK_IMAGE_USAGE_TRANSFER_DST_BIT,
    };
    struct image im = image_create(app, &info, VK_IMAGE_ASPECT_COLOR_BIT);
    struct buffer staging = buffer_create(app, 4 * TEXTURE_SIZE * TEXTURE_SIZE,
                                          VK_BUFFER_USAGE_TRANSFER_SRC_BIT, HOST_MEMORY);
    const VkBufferImageCopy region = {
        .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 },
        .imageExtent = info.extent,
    };
    uint8_t *out = staging.map;
    VkCommandBuffer commands;

    for (int y = 0; y < TEXTURE_SIZE; y++) {
        for (int x = 0; x < TEXTURE_SIZE; x++) {
            float rgb[3];

            texel(id, ((float)x + 0.5f) / TEXTURE_SIZE, ((float)y + 0.5f) / TEXTURE_SIZE, rgb);
            for (int c = 0; c < 3; c++) {
                *out++ = (uint8_t)(255.0f * fminf(fmaxf(rgb[c], 0.0f), 1.0f) + 0.5f);
            }
            *out++ = 255;
        }
    }
    commands = commands_begin(app);
    barrier_image(commands, &im, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_UNDEFINED,
                  VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL);
    vkCmdCopyBufferToImage(commands, staging.buffer, im.image, VK_IMAGE_LAYOUT_TRANSFER_DST_OPTIMAL,
                           1, &region);
    generate_mipmaps(commands, &im);
    barrier_image(commands, &im, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                  VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL);
    commands_run(app, commands);
    buffer_destroy(app, &staging);
    return im;
}

/* Attachments. */

static void create_attachments(struct scene *s)
{
    struct app *app = &s->app;
    VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = COLOR_FORMAT,
        .extent = { (uint32_t)s->width, (uint32_t)s->height, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_OPTIMAL,
        .usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSFER_SRC_BIT,
    };

    s->target = image_create(app, &info, VK_IMAGE_ASPECT_COLOR_BIT);
    info.samples = s->sample_count;
    if (s->sample_count > VK_SAMPLE_COUNT_1_BIT) {
        info.usage = VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_TRANSIENT_ATTACHMENT_BIT;
        s->color = image_create(app, &info, VK_IMAGE_ASPECT_COLOR_BIT);
    }
    info.format = s->depth_format;
    info.usage = VK_IMAGE_USAGE_DEPTH_STENCIL_ATTACHMENT_BIT;
    s->depth = image_create(app, &info, VK_IMAGE_ASPECT_DEPTH_BIT);
    info.samples = VK_SAMPLE_COUNT_1_BIT;
    info.extent = (VkExtent3D){ SHADOW_SIZE, SHADOW_SIZE, 1 };
    info.usage = VK_IMAGE_USAGE_DEPTH_STENCIL_ATTACHMENT_BIT | VK_IMAGE_USAGE_SAMPLED_BIT;
    s->shadow = image_create(app, &info, VK_IMAGE_ASPECT_DEPTH_BIT);
    s->pixels = buffer_create(app, 4ull * (uint32_t)s->width * (uint32_t)s->height,
                              VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
}

static const VkSubpassDependency shadow_dependencies[] = {
    {
        .srcSubpass = VK_SUBPASS_EXTERNAL,
        .dstSubpass = 0,
        .srcStageMask = VK_PIPELINE_STAGE_FRAGMENT_SHADER_BIT,
        .dstStageMask = VK_PIPELINE_STAGE_EARLY_FRAGMENT_TESTS_BIT,
        .srcAccessMask = VK_ACCESS_SHADER_READ_BIT,
        .dstAccessMask = VK_ACCESS_DEPTH_STENCIL_ATTACHMENT_READ_BIT |
                         VK_ACCESS_DEPTH_STENCIL_ATTACHMENT_WRITE_BIT,
    },
    {
        .srcSubpass = 0,
        .dstSubpass = VK_SUBPASS_EXTERNAL,
        .srcStageMask = VK_PIPELINE_STAGE_LATE_FRAGMENT_TESTS_BIT,
        .dstStageMask = VK_PIPELINE_STAGE_FRAGMENT_SHADER_BIT,
        .srcAccessMask = VK_ACCESS_DEPTH_STENCIL_ATTACHMENT_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_SHADER_READ_BIT,
    },
};

static void create_shadow_pass(struct scene *s)
{
    const VkAttachmentDescription attachment = {
        .format = s->depth_format,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
        .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
        .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
        .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
        .initialLayout = VK_IMAGE_LAYOUT_UNDEFINED,
        .finalLayout = VK_IMAGE_LAYOUT_DEPTH_STENCIL_READ_ONLY_OPTIMAL,
    };
    const VkAttachmentReference depth = { 0, VK_IMAGE_LAYOUT_DEPTH_STENCIL_ATTACHMENT_OPTIMAL };
    const VkSubpassDescription subpass = {
        .pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS,
        .pDepthStencilAttachment = &depth,
    };
    const VkRenderPassCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &attachment,
        .subpassCount = 1,
        .pSubpasses = &subpass,
        .dependencyCount = ARRAY_SIZE(shadow_dependencies),
        .pDependencies = shadow_dependencies,
    };

    MUST(vkCreateRenderPass(s->app.device, &info, NULL, &s->shadow_pass));
    s->shadow_framebuffer =
        framebuffer_create(&s->app, s->shadow_pass, &s->shadow.view, 1, SHADOW_SIZE, SHADOW_SIZE);
}

/* Attachments: target, depth, and, if multisampled, the image that is resolved to the target. */
static void create_main_pass(struct scene *s)
{
    bool multi = s->sample_count > VK_SAMPLE_COUNT_1_BIT;
    const VkAttachmentDescription attachments[] = {
        {
            .format = COLOR_FORMAT,
            .samples = VK_SAMPLE_COUNT_1_BIT,
            .loadOp = multi ? VK_ATTACHMENT_LOAD_OP_DONT_CARE : VK_ATTACHMENT_LOAD_OP_CLEAR,
            .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
            .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
            .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
            .finalLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
        },
        {
            .format = s->depth_format,
            .samples = s->sample_count,
            .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
            .storeOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
            .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
            .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
            .finalLayout = VK_IMAGE_LAYOUT_DEPTH_STENCIL_ATTACHMENT_OPTIMAL,
        },
        {
            .format = COLOR_FORMAT,
            .samples = s->sample_count,
            .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
            .storeOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
            .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
            .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
            .finalLayout = VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL,
        },
    };
    const VkAttachmentReference color = { multi ? 2 : 0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL };
    const VkAttachmentReference resolve = { 0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL };
    const VkAttachmentReference depth = { 1, VK_IMAGE_LAYOUT_DEPTH_STENCIL_ATTACHMENT_OPTIMAL };
    const VkSubpassDescription subpass = {
        .pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS,
        .colorAttachmentCount = 1,
        .pColorAttachments = &color,
        .pResolveAttachments = multi ? &resolve : NULL,
        .pDepthStencilAttachment = &depth,
    };
    const VkSubpassDependency dependencies[] = {
        {
            .srcSubpass = VK_SUBPASS_EXTERNAL,
            .dstSubpass = 0,
            .srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT |
                            VK_PIPELINE_STAGE_LATE_FRAGMENT_TESTS_BIT |
                            VK_PIPELINE_STAGE_TRANSFER_BIT,
            .dstStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT |
                            VK_PIPELINE_STAGE_EARLY_FRAGMENT_TESTS_BIT,
            .srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT |
                             VK_ACCESS_DEPTH_STENCIL_ATTACHMENT_WRITE_BIT |
                             VK_ACCESS_TRANSFER_READ_BIT,
            .dstAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT |
                             VK_ACCESS_DEPTH_STENCIL_ATTACHMENT_READ_BIT |
                             VK_ACCESS_DEPTH_STENCIL_ATTACHMENT_WRITE_BIT,
        },
        {
            .srcSubpass = 0,
            .dstSubpass = VK_SUBPASS_EXTERNAL,
            .srcStageMask = VK_PIPELINE_STAGE_COLOR_ATTACHMENT_OUTPUT_BIT,
            .dstStageMask = VK_PIPELINE_STAGE_TRANSFER_BIT,
            .srcAccessMask = VK_ACCESS_COLOR_ATTACHMENT_WRITE_BIT,
            .dstAccessMask = VK_ACCESS_TRANSFER_READ_BIT,
        },
    };
    const VkRenderPassCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
        .attachmentCount = multi ? 3 : 2,
        .pAttachments = attachments,
        .subpassCount = 1,
        .pSubpasses = &subpass,
        .dependencyCount = ARRAY_SIZE(dependencies),
        .pDependencies = dependencies,
    };
    const VkImageView views[] = { s->target.view, s->depth.view, s->color.view };

    MUST(vkCreateRenderPass(s->app.device, &info, NULL, &s->pass));
    s->framebuffer = framebuffer_create(&s->app, s->pass, views, info.attachmentCount,
                                        (uint32_t)s->width, (uint32_t)s->height);
}

/* Descriptors and pipelines. */

static void create_samplers(struct scene *s)
{
    const bool anisotropy = s->app.features.samplerAnisotropy;
    const VkSamplerCreateInfo texture = {
        .sType = VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO,
        .magFilter = VK_FILTER_LINEAR,
        .minFilter = VK_FILTER_LINEAR,
        .mipmapMode = VK_SAMPLER_MIPMAP_MODE_LINEAR,
        .anisotropyEnable = anisotropy,
        .maxAnisotropy = anisotropy ? 8.0f : 1.0f,
        .maxLod = VK_LOD_CLAMP_NONE,
    };
    const VkSamplerCreateInfo shadow = {
        .sType = VK_STRUCTURE_TYPE_SAMPLER_CREATE_INFO,
        .magFilter = VK_FILTER_LINEAR,
        .minFilter = VK_FILTER_LINEAR,
        .mipmapMode = VK_SAMPLER_MIPMAP_MODE_NEAREST,
        .addressModeU = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_BORDER,
        .addressModeV = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_BORDER,
        .addressModeW = VK_SAMPLER_ADDRESS_MODE_CLAMP_TO_BORDER,
        .compareEnable = VK_TRUE,
        .compareOp = VK_COMPARE_OP_LESS_OR_EQUAL,
        .borderColor = VK_BORDER_COLOR_FLOAT_OPAQUE_WHITE,
    };

    MUST(vkCreateSampler(s->app.device, &texture, NULL, &s->sampler));
    MUST(vkCreateSampler(s->app.device, &shadow, NULL, &s->shadow_sampler));
}

static void write_image(struct scene *s, VkDescriptorSet set, uint32_t binding, VkSampler sampler,
                        VkImageView view, VkImageLayout layout)
{
    const VkDescriptorImageInfo image = { sampler, view, layout };
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = set,
        .dstBinding = binding,
        .descriptorCount = 1,
        .descriptorType = VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER,
        .pImageInfo = &image,
    };

    vkUpdateDescriptorSets(s->app.device, 1, &write, 0, NULL);
}

static void create_descriptors(struct scene *s)
{
    struct app *app = &s->app;
    const VkDescriptorSetLayoutBinding frame[] = {
        { 0, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, 1,
          VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, NULL },
        { 1, VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 1, VK_SHADER_STAGE_FRAGMENT_BIT, NULL },
    };
    const VkDescriptorSetLayoutBinding texture = { 0, VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, 1,
                                                   VK_SHADER_STAGE_FRAGMENT_BIT, &s->sampler };

    s->frame_set_layout = set_layout_create(app, frame, ARRAY_SIZE(frame));
    s->texture_set_layout = set_layout_create(app, &texture, 1);
    s->layout = pipeline_layout_create(
        app, (VkDescriptorSetLayout[]){ s->frame_set_layout, s->texture_set_layout }, 2,
        VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, sizeof(struct object_push));
    s->pool = descriptor_pool_create(app, FRAMES_IN_FLIGHT + N_TEXTURES, 16, 0);
    for (int i = 0; i < FRAMES_IN_FLIGHT; i++) {
        s->uniforms[i] = buffer_create(app, sizeof(struct frame_data),
                                       VK_BUFFER_USAGE_UNIFORM_BUFFER_BIT, HOST_MEMORY);
        s->frame_sets[i] = descriptor_set_allocate(app, s->pool, s->frame_set_layout);
        descriptor_write_buffer(app, s->frame_sets[i], 0, VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER,
                                &s->uniforms[i]);
        write_image(s, s->frame_sets[i], 1, s->shadow_sampler, s->shadow.view,
                    VK_IMAGE_LAYOUT_DEPTH_STENCIL_READ_ONLY_OPTIMAL);
    }
    for (int i = 0; i < N_TEXTURES; i++) {
        s->texture_sets[i] = descriptor_set_allocate(app, s->pool, s->texture_set_layout);
        write_image(s, s->texture_sets[i], 0, VK_NULL_HANDLE, s->textures[i].view,
                    VK_IMAGE_LAYOUT_SHADER_READ_ONLY_OPTIMAL);
    }
}

static void create_pipelines(struct scene *s)
{
    static const VkVertexInputBindingDescription binding = { 0, sizeof(struct vertex),
                                                             VK_VERTEX_INPUT_RATE_VERTEX };
    static const VkVertexInputAttributeDescription attributes[] = {
        { 0, 0, VK_FORMAT_R32G32B32_SFLOAT, offsetof(struct vertex, position) },
        { 1, 0, VK_FORMAT_R32G32B32_SFLOAT, offsetof(struct vertex, normal) },
        { 2, 0, VK_FORMAT_R32G32_SFLOAT, offsetof(struct vertex, uv) },
    };
    struct graphics_info info = {
        .vertex = SPIRV(scene_vert),
        .fragment = SPIRV(scene_frag),
        .layout = s->layout,
        .pass = s->pass,
        .color = COLOR_FORMAT,
        .depth = s->depth_format,
        .samples = s->sample_count,
        .binding = &binding,
        .attributes = attributes,
        .n_attributes = ARRAY_SIZE(attributes),
        .depth_test = true,
        .depth_write = true,
    };

    s->pipeline = graphics_pipeline_create(&s->app, &info);
    info.blend = true;
    s->floor_pipeline = graphics_pipeline_create(&s->app, &info);
    info.blend = false;
    info.vertex = SPIRV(scene_sky_vert);
    info.fragment = SPIRV(scene_sky_frag);
    info.binding = NULL;
    info.n_attributes = 0;
    info.depth_write = false;
    s->sky_pipeline = graphics_pipeline_create(&s->app, &info);

    const struct graphics_info shadow = {
        .vertex = SPIRV(scene_shadow_vert),
        .layout = s->layout,
        .pass = s->shadow_pass,
        .depth = s->depth_format,
        .binding = &binding,
        .attributes = attributes,
        .n_attributes = 1,
        .depth_test = true,
        .depth_write = true,
        .depth_bias = 1.5f,
    };
    s->shadow_pipeline = graphics_pipeline_create(&s->app, &shadow);
}

/* The scene, as a function of the frame number alone. */

static void add_object(struct scene *s, enum mesh_id mesh, enum texture_id texture,
                       struct mat4 model, const float tint[3], float repeats, float shininess,
                       float specular)
{
    s->objects[s->n_objects++] = (struct object){
        .mesh = mesh,
        .texture = texture,
        .push = {
            .model = model,
            .tint = { tint[0], tint[1], tint[2], 1.0f },
            .material = { repeats, shininess, specular, 0.0f },
        },
    };
}

static void arrange(struct scene *s, int frame)
{
    static const float white[] = { 1.0f, 1.0f, 1.0f };
    static const float gold[] = { 1.0f, 0.72f, 0.30f };
    static const float teal[] = { 0.25f, 0.85f, 0.80f };
    static const float rose[] = { 0.95f, 0.38f, 0.42f };
    static const float blue[] = { 0.42f, 0.58f, 1.00f };
    float t = 0.6f + 0.05f * (float)frame;

    s->n_objects = 0;
    add_object(s, MESH_KNOT, TEXTURE_MARBLE, place(0.0f, 1.62f, 0.0f, 1.25f, t, 0.45f), gold, 1.0f,
               70.0f, 1.1f);
    add_object(s, MESH_TORUS, TEXTURE_STRIPES,
               place(-2.75f, 1.12f, 0.5f, 0.80f, -0.8f * t, 1.15f + 0.2f * sinf(t)), white, 1.0f,
               40.0f, 0.6f);
    add_object(s, MESH_SPHERE, TEXTURE_MARBLE, place(2.45f, 0.85f, 0.75f, 0.85f, 0.7f * t, 0.3f),
               teal, 1.0f, 120.0f, 1.3f);
    add_object(s, MESH_CUBE, TEXTURE_BRICK,
               place(-1.45f, 0.46f, 2.35f, 0.46f, 0.5f + 0.4f * t, 0.0f), white, 1.0f, 16.0f,
               0.15f);
    add_object(s, MESH_CUBE, TEXTURE_MARBLE,
               place(3.95f, 0.75f, -1.6f, 0.75f, 0.3f - 0.3f * t, 0.0f), blue, 1.0f, 60.0f, 0.7f);
    add_object(s, MESH_CUBE, TEXTURE_STRIPES,
               place(3.95f, 1.86f, -1.6f, 0.36f, 1.0f + 0.6f * t, 0.0f), rose, 1.0f, 60.0f, 0.7f);
    add_object(s, MESH_SPHERE, TEXTURE_STRIPES, place(0.95f, 0.42f, 2.75f, 0.42f, 1.3f * t, 0.5f),
               rose, 1.0f, 90.0f, 1.0f);
    add_object(s, MESH_TORUS, TEXTURE_MARBLE, place(-4.3f, 0.95f, -2.4f, 0.95f, 0.6f * t, 1.57f),
               rose, 1.0f, 60.0f, 0.8f);
}

static struct mat4 light_view(struct vec3 light)
{
    struct vec3 eye = { light.x * 14.0f, light.y * 14.0f, light.z * 14.0f };

    return multiply(orthographic(7.5f, 2.0f, 28.0f), look_at(eye, (struct vec3){ 0, 0.5f, 0 }));
}

static void fill_frame(const struct scene *s, int frame, struct frame_data *out)
{
    float t = 0.35f + 0.012f * (float)frame;
    struct vec3 eye = { 8.1f * sinf(t) - 1.2f, 3.15f, 8.1f * cosf(t) };
    struct vec3 light = normalize((struct vec3){ 0.75f, 1.0f, 0.25f });
    float aspect = (float)s->width / (float)s->height;
    const struct frame_data data = {
        .view_projection = multiply(perspective(0.72f, aspect, 0.3f, 160.0f),
                                    look_at(eye, (struct vec3){ 0.05f, 0.95f, 0.0f })),
        .light_view_projection = light_view(light),
        .eye = { eye.x, eye.y, eye.z, 1.0f },
        .light = { light.x, light.y, light.z, 0.0f },
        .lamp = { -3.4f, 2.6f, 2.9f, 3.2f },
        .fog = { 0.46f, 0.40f, 0.42f, 0.040f },
    };

    *out = data;
}

/* Recording. */

static void draw_object(struct scene *s, VkCommandBuffer commands, const struct object *o)
{
    const struct mesh *m = &s->meshes[o->mesh];

    vkCmdPushConstants(commands, s->layout,
                       VK_SHADER_STAGE_VERTEX_BIT | VK_SHADER_STAGE_FRAGMENT_BIT, 0,
                       sizeof(o->push), &o->push);
    vkCmdDrawIndexed(commands, m->n_indices, 1, m->first_index, m->first_vertex, 0);
}

static void draw_shadows(struct scene *s, VkCommandBuffer commands)
{
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, s->shadow_pipeline);
    set_viewport(commands, SHADOW_SIZE, SHADOW_SIZE);
    for (uint32_t i = 0; i < s->n_objects; i++) {
        draw_object(s, commands, &s->objects[i]);
    }
}

static void draw_textured(struct scene *s, VkCommandBuffer commands, const struct object *o)
{
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, s->layout, 1, 1,
                            &s->texture_sets[o->texture], 0, NULL);
    draw_object(s, commands, o);
}

static void draw_scene(struct scene *s, VkCommandBuffer commands)
{
    const struct object floor = {
        .mesh = MESH_FLOOR,
        .texture = TEXTURE_CHECKER,
        .push = {
            .model = place(0, 0, 0, 1.0f, 0, 0),
            .tint = { 0.92f, 0.94f, 1.0f, 0.80f },
            .material = { 100.0f, 90.0f, 0.35f, 0.0f },
        },
    };

    set_viewport(commands, (uint32_t)s->width, (uint32_t)s->height);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, s->sky_pipeline);
    vkCmdDraw(commands, 3, 1, 0, 0);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, s->pipeline);
    for (uint32_t i = 0; i < s->n_objects; i++) {
        struct object mirrored = s->objects[i];

        mirrored.push.material[3] = 1.0f;
        draw_textured(s, commands, &mirrored);
    }
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, s->floor_pipeline);
    draw_textured(s, commands, &floor);
    vkCmdBindPipeline(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, s->pipeline);
    for (uint32_t i = 0; i < s->n_objects; i++) {
        draw_textured(s, commands, &s->objects[i]);
    }
}

static void record_classic(struct scene *s, VkCommandBuffer commands)
{
    const VkClearValue depth_clear = { .depthStencil = { 1.0f, 0 } };
    const VkClearValue clears[] = { { .color = { { 0, 0, 0, 1 } } },
                                    { .depthStencil = { 1.0f, 0 } },
                                    { .color = { { 0, 0, 0, 1 } } } };
    VkRenderPassBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
        .renderPass = s->shadow_pass,
        .framebuffer = s->shadow_framebuffer,
        .renderArea = { { 0, 0 }, { SHADOW_SIZE, SHADOW_SIZE } },
        .clearValueCount = 1,
        .pClearValues = &depth_clear,
    };
    const VkBufferImageCopy region = {
        .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 },
        .imageExtent = s->target.extent,
    };

    vkCmdBeginRenderPass(commands, &begin, VK_SUBPASS_CONTENTS_INLINE);
    draw_shadows(s, commands);
    vkCmdEndRenderPass(commands);

    begin.renderPass = s->pass;
    begin.framebuffer = s->framebuffer;
    begin.renderArea.extent = (VkExtent2D){ (uint32_t)s->width, (uint32_t)s->height };
    begin.clearValueCount = s->sample_count > VK_SAMPLE_COUNT_1_BIT ? 3 : 2;
    begin.pClearValues = clears;
    vkCmdBeginRenderPass(commands, &begin, VK_SUBPASS_CONTENTS_INLINE);
    draw_scene(s, commands);
    vkCmdEndRenderPass(commands);

    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT);
    vkCmdCopyImageToBuffer(commands, s->target.image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
                           s->pixels.buffer, 1, &region);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
}

static VkImageMemoryBarrier2 transition(const struct image *im, VkImageAspectFlags aspect,
                                        VkImageLayout from, VkImageLayout to)
{
    return (VkImageMemoryBarrier2){
        .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER_2,
        .srcStageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
        .srcAccessMask = VK_ACCESS_2_MEMORY_WRITE_BIT,
        .dstStageMask = VK_PIPELINE_STAGE_2_ALL_COMMANDS_BIT,
        .dstAccessMask = VK_ACCESS_2_MEMORY_READ_BIT | VK_ACCESS_2_MEMORY_WRITE_BIT,
        .oldLayout = from,
        .newLayout = to,
        .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .image = im->image,
        .subresourceRange = { aspect, 0, 1, 0, 1 },
    };
}

static void barriers2(VkCommandBuffer commands, const VkImageMemoryBarrier2 *barriers, uint32_t n,
                      const VkMemoryBarrier2 *memory)
{
    const VkDependencyInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEPENDENCY_INFO,
        .memoryBarrierCount = memory ? 1 : 0,
        .pMemoryBarriers = memory,
        .imageMemoryBarrierCount = n,
        .pImageMemoryBarriers = barriers,
    };

    vkCmdPipelineBarrier2(commands, &info);
}

static void render_dynamic(struct scene *s, VkCommandBuffer commands)
{
    bool multi = s->sample_count > VK_SAMPLE_COUNT_1_BIT;
    VkRenderingAttachmentInfo depth = {
        .sType = VK_STRUCTURE_TYPE_RENDERING_ATTACHMENT_INFO,
        .imageView = s->shadow.view,
        .imageLayout = VK_IMAGE_LAYOUT_DEPTH_STENCIL_ATTACHMENT_OPTIMAL,
        .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
        .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
        .clearValue = { .depthStencil = { 1.0f, 0 } },
    };
    const VkRenderingAttachmentInfo color = {
        .sType = VK_STRUCTURE_TYPE_RENDERING_ATTACHMENT_INFO,
        .imageView = multi ? s->color.view : s->target.view,
        .imageLayout = VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL,
        .resolveMode = multi ? VK_RESOLVE_MODE_AVERAGE_BIT : VK_RESOLVE_MODE_NONE,
        .resolveImageView = multi ? s->target.view : VK_NULL_HANDLE,
        .resolveImageLayout = VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL,
        .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
        .storeOp = multi ? VK_ATTACHMENT_STORE_OP_DONT_CARE : VK_ATTACHMENT_STORE_OP_STORE,
        .clearValue = { .color = { { 0, 0, 0, 1 } } },
    };
    VkRenderingInfo info = {
        .sType = VK_STRUCTURE_TYPE_RENDERING_INFO,
        .renderArea = { { 0, 0 }, { SHADOW_SIZE, SHADOW_SIZE } },
        .layerCount = 1,
        .pDepthAttachment = &depth,
    };
    const VkImageMemoryBarrier2 shadow_done =
        transition(&s->shadow, VK_IMAGE_ASPECT_DEPTH_BIT,
                   VK_IMAGE_LAYOUT_DEPTH_STENCIL_ATTACHMENT_OPTIMAL,
                   VK_IMAGE_LAYOUT_DEPTH_STENCIL_READ_ONLY_OPTIMAL);

    vkCmdBeginRendering(commands, &info);
    draw_shadows(s, commands);
    vkCmdEndRendering(commands);
    barriers2(commands, &shadow_done, 1, NULL);

    depth.imageView = s->depth.view;
    depth.storeOp = VK_ATTACHMENT_STORE_OP_DONT_CARE;
    info.renderArea.extent = (VkExtent2D){ (uint32_t)s->width, (uint32_t)s->height };
    info.colorAttachmentCount = 1;
    info.pColorAttachments = &color;
    vkCmdBeginRendering(commands, &info);
    draw_scene(s, commands);
    vkCmdEndRendering(commands);
}

static void record_dynamic(struct scene *s, VkCommandBuffer commands)
{
    VkImageMemoryBarrier2 start[4] = {
        transition(&s->shadow, VK_IMAGE_ASPECT_DEPTH_BIT, VK_IMAGE_LAYOUT_UNDEFINED,
                   VK_IMAGE_LAYOUT_DEPTH_STENCIL_ATTACHMENT_OPTIMAL),
        transition(&s->depth, VK_IMAGE_ASPECT_DEPTH_BIT, VK_IMAGE_LAYOUT_UNDEFINED,
                   VK_IMAGE_LAYOUT_DEPTH_STENCIL_ATTACHMENT_OPTIMAL),
        transition(&s->target, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_UNDEFINED,
                   VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL),
        transition(&s->color, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_UNDEFINED,
                   VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL),
    };
    const VkImageMemoryBarrier2 done =
        transition(&s->target, VK_IMAGE_ASPECT_COLOR_BIT, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL,
                   VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL);
    const VkMemoryBarrier2 to_host = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER_2,
        .srcStageMask = VK_PIPELINE_STAGE_2_COPY_BIT,
        .srcAccessMask = VK_ACCESS_2_TRANSFER_WRITE_BIT,
        .dstStageMask = VK_PIPELINE_STAGE_2_HOST_BIT,
        .dstAccessMask = VK_ACCESS_2_HOST_READ_BIT,
    };
    const VkBufferImageCopy2 region = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_IMAGE_COPY_2,
        .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 },
        .imageExtent = s->target.extent,
    };
    const VkCopyImageToBufferInfo2 copy = {
        .sType = VK_STRUCTURE_TYPE_COPY_IMAGE_TO_BUFFER_INFO_2,
        .srcImage = s->target.image,
        .srcImageLayout = VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL,
        .dstBuffer = s->pixels.buffer,
        .regionCount = 1,
        .pRegions = &region,
    };

    barriers2(commands, start, s->sample_count > VK_SAMPLE_COUNT_1_BIT ? 4 : 3, NULL);
    render_dynamic(s, commands);
    barriers2(commands, &done, 1, NULL);
    vkCmdCopyImageToBuffer2(commands, &copy);
    barriers2(commands, NULL, 0, &to_host);
}

static void submit(struct scene *s, VkCommandBuffer commands, VkFence fence)
{
    const VkCommandBufferSubmitInfo buffer2 = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_SUBMIT_INFO,
        .commandBuffer = commands,
    };
    const VkSubmitInfo2 submit2 = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO_2,
        .commandBufferInfoCount = 1,
        .pCommandBufferInfos = &buffer2,
    };
    const VkSubmitInfo submit1 = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
    };

    if (s->dynamic) {
        MUST(vkQueueSubmit2(s->app.queue, 1, &submit2, fence));
    } else {
        MUST(vkQueueSubmit(s->app.queue, 1, &submit1, fence));
    }
}

static void render_frame(struct scene *s, int frame)
{
    int slot = frame % FRAMES_IN_FLIGHT;
    VkCommandBuffer commands = s->commands[slot];
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };

    MUST(vkWaitForFences(s->app.device, 1, &s->fences[slot], VK_TRUE, UINT64_MAX));
    MUST(vkResetFences(s->app.device, 1, &s->fences[slot]));
    fill_frame(s, frame, s->uniforms[slot].map);
    arrange(s, frame);

    MUST(vkBeginCommandBuffer(commands, &begin));
    vkCmdBindVertexBuffers(commands, 0, 1, &s->vertices.buffer, &(VkDeviceSize){ 0 });
    vkCmdBindIndexBuffer(commands, s->indices.buffer, 0, VK_INDEX_TYPE_UINT32);
    vkCmdBindDescriptorSets(commands, VK_PIPELINE_BIND_POINT_GRAPHICS, s->layout, 0, 1,
                            &s->frame_sets[slot], 0, NULL);
    if (s->dynamic) {
        record_dynamic(s, commands);
    } else {
        record_classic(s, commands);
    }
    MUST(vkEndCommandBuffer(commands));
    submit(s, commands, s->fences[slot]);
}

/* Output. */

static void write_png(const struct scene *s)
{
    png_image image = {
        .version = PNG_IMAGE_VERSION,
        .width = (png_uint_32)s->width,
        .height = (png_uint_32)s->height,
        .format = PNG_FORMAT_RGBA,
    };

    if (!png_image_write_to_file(&image, s->out_path, 0, s->pixels.map, 4 * s->width, NULL)) {
        fatal("%s: %s", s->out_path, image.message);
    }
}

static void write_raw(const struct scene *s, size_t size)
{
    FILE *file = fopen(s->raw_path, "wb");

    if (!file || fwrite(s->pixels.map, 1, size, file) != size || fclose(file) != 0) {
        fatal("cannot write %s", s->raw_path);
    }
}

static void compare_raw(const struct scene *s, size_t size)
{
    FILE *file = fopen(s->compare_path, "rb");
    const uint8_t *ours = s->pixels.map;
    uint8_t *theirs = must_alloc(size, 1);
    size_t n_different = 0, first = 0;

    if (!file || fread(theirs, 1, size, file) != size) {
        fatal("cannot read %zu bytes from %s", size, s->compare_path);
    }
    fclose(file);
    for (size_t i = 0; i < size; i++) {
        if (ours[i] != theirs[i]) {
            first = n_different++ ? first : i;
        }
    }
    check(n_different == 0, "identical", "%zu bytes differ, first at x=%zu y=%zu", n_different,
          first / 4 % (size_t)s->width, first / 4 / (size_t)s->width);
    free(theirs);
}

static void check_pixels(const struct scene *s, size_t size)
{
    const uint8_t *p = s->pixels.map;
    uint32_t lowest = 255, highest = 0;

    for (size_t i = 0; i < size; i += 4) {
        lowest = p[i + 1] < lowest ? p[i + 1] : lowest;
        highest = p[i + 1] > highest ? p[i + 1] : highest;
    }
    check(highest - lowest > 100, "contrast", "green only from %u to %u", lowest, highest);
    value("pixels", fnv1a(p, size));
}

/* Life. */

static void scene_create(struct scene *s)
{
    struct app *app = &s->app;
    struct mesh_builder builder = { 0 };
    const VkFenceCreateInfo fence = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO,
                                      .flags = VK_FENCE_CREATE_SIGNALED_BIT };
    const VkCommandBufferAllocateInfo commands = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = app->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = FRAMES_IN_FLIGHT,
    };

    /* Always supported as attachment and for sampling with comparison. */
    s->depth_format = VK_FORMAT_D16_UNORM;
    s->sample_count = s->samples == 4 ? VK_SAMPLE_COUNT_4_BIT : VK_SAMPLE_COUNT_1_BIT;
    build_meshes(&builder);
    memcpy(s->meshes, builder.meshes, sizeof(s->meshes));
    s->vertices = upload_buffer(app, builder.vertices, builder.n_vertices * sizeof(struct vertex),
                                VK_BUFFER_USAGE_VERTEX_BUFFER_BIT);
    s->indices = upload_buffer(app, builder.indices, builder.n_indices * sizeof(uint32_t),
                               VK_BUFFER_USAGE_INDEX_BUFFER_BIT);
    free(builder.vertices);
    free(builder.indices);
    for (int i = 0; i < N_TEXTURES; i++) {
        s->textures[i] = create_texture(app, (enum texture_id)i);
    }
    create_attachments(s);
    create_samplers(s);
    create_descriptors(s);
    if (!s->dynamic) {
        create_shadow_pass(s);
        create_main_pass(s);
    }
    create_pipelines(s);
    MUST(vkAllocateCommandBuffers(app->device, &commands, s->commands));
    for (int i = 0; i < FRAMES_IN_FLIGHT; i++) {
        MUST(vkCreateFence(app->device, &fence, NULL, &s->fences[i]));
    }
}

static void scene_destroy(struct scene *s)
{
    struct app *app = &s->app;

    for (int i = 0; i < FRAMES_IN_FLIGHT; i++) {
        vkDestroyFence(app->device, s->fences[i], NULL);
        buffer_destroy(app, &s->uniforms[i]);
    }
    vkDestroyPipeline(app->device, s->pipeline, NULL);
    vkDestroyPipeline(app->device, s->floor_pipeline, NULL);
    vkDestroyPipeline(app->device, s->sky_pipeline, NULL);
    vkDestroyPipeline(app->device, s->shadow_pipeline, NULL);
    vkDestroyFramebuffer(app->device, s->framebuffer, NULL);
    vkDestroyFramebuffer(app->device, s->shadow_framebuffer, NULL);
    vkDestroyRenderPass(app->device, s->pass, NULL);
    vkDestroyRenderPass(app->device, s->shadow_pass, NULL);
    vkDestroyPipelineLayout(app->device, s->layout, NULL);
    vkDestroyDescriptorPool(app->device, s->pool, NULL);
    vkDestroyDescriptorSetLayout(app->device, s->frame_set_layout, NULL);
    vkDestroyDescriptorSetLayout(app->device, s->texture_set_layout, NULL);
    vkDestroySampler(app->device, s->sampler, NULL);
    vkDestroySampler(app->device, s->shadow_sampler, NULL);
    for (int i = 0; i < N_TEXTURES; i++) {
        image_destroy(app, &s->textures[i]);
    }
    image_destroy(app, &s->color);
    image_destroy(app, &s->depth);
    image_destroy(app, &s->target);
    image_destroy(app, &s->shadow);
    buffer_destroy(app, &s->pixels);
    buffer_destroy(app, &s->vertices);
    buffer_destroy(app, &s->indices);
}

int main(int argc, char **argv)
{
    static struct scene s;
    const struct option_rule options[] = {
        { "--out", OPTION_STRING, &s.out_path, "write the last frame as PNG" },
        { "--raw", OPTION_STRING, &s.raw_path, "write the last frame as raw RGBA" },
        { "--compare", OPTION_STRING, &s.compare_path, "compare the last frame with a raw file" },
        { "--frames", OPTION_INT, &s.n_frames, "frames to draw (default 1)" },
        { "--width", OPTION_INT, &s.width, "default 960" },
        { "--height", OPTION_INT, &s.height, "default 540" },
        { "--samples", OPTION_INT, &s.samples, "1 or 4 (default 4)" },
        { "--dynamic", OPTION_FLAG, &s.dynamic, "dynamic rendering and synchronization2" },
        { "--hold", OPTION_FLAG, &s.hold, "go on until killed; a line on stderr per frame" },
        { NULL },
    };
    size_t size;
    int last;

    s.n_frames = 1;
    s.width = 960;
    s.height = 540;
    s.samples = 4;
    app_open(&s.app, "cl_scene", argc, argv, options, NULL, 0);
    if (s.n_frames < 1 || s.width < 16 || s.width > 4096 || s.height < 16 || s.height > 4096 ||
        (s.samples != 1 && s.samples != 4)) {
        fatal("an option is out of range");
    }
    if (s.dynamic && !(s.app.features13.dynamicRendering && s.app.features13.synchronization2)) {
        skip("dynamic", "no dynamic rendering or synchronization2");
        return app_close(&s.app);
    }
    scene_create(&s);
    for (int frame = 0; s.hold || frame < s.n_frames; frame++) {
        render_frame(&s, frame % 100000);
        if (s.hold) {
            fprintf(stderr, "frame %d\n", frame);
        }
    }
    last = (s.n_frames - 1) % FRAMES_IN_FLIGHT;
    MUST(vkWaitForFences(s.app.device, 1, &s.fences[last], VK_TRUE, UINT64_MAX));
    MUST(vkQueueWaitIdle(s.app.queue));

    size = 4 * (size_t)s.width * (size_t)s.height;
    check_pixels(&s, size);
    if (s.out_path) {
        write_png(&s);
    }
    if (s.raw_path) {
        write_raw(&s, size);
    }
    if (s.compare_path) {
        compare_raw(&s, size);
    }
    scene_destroy(&s);
    return app_close(&s.app);
}
