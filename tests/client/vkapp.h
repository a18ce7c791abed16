/*
 * What every client program shares: instance and device with everything the driver offers turned
 * on, memory and object helpers, and one result line.
 *
 * A client is an ordinary, valid Vulkan program. It runs once on the host driver and once through
 * the renderer; tests/client/run.py compares the two result lines. So results are deterministic:
 * no time, address, pointer or handle is ever printed (the benchmark excepted).
 *
 * Clients are single-purpose processes: whatever goes wrong ends the process with a message and a
 * result line that says so, hence the absence of error returns.
 */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <vulkan/vulkan.h>

#include "vkfuncs.h"

#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* Command line: each program adds its own options to the common ones (--validate, --timeout). */
enum option_kind { OPTION_FLAG, OPTION_INT, OPTION_STRING };

struct option_rule {
    const char *name; /* with the dashes; NULL ends the list */
    enum option_kind kind;
    void *value; /* bool *, int * or const char ** */
    const char *help;
};

/* A device extension that the program uses if it is there, with its feature struct or NULL. */
struct want {
    const char *extension;
    void *features; /* any feature struct; filled with what is supported, all of it enabled */
};

struct app {
    const char *program;
    bool validating;
    uint32_t n_validation_errors;

    VkInstance instance;
    VkPhysicalDevice physical;
    VkPhysicalDeviceProperties properties;
    VkPhysicalDeviceMemoryProperties memory;
    uint32_t api; /* what both the program and the device know; at most 1.3 */
    VkPhysicalDeviceFeatures features;
    VkPhysicalDeviceVulkan11Features features11;
    VkPhysicalDeviceVulkan12Features features12;
    VkPhysicalDeviceVulkan13Features features13;
    char driver_name[VK_MAX_DRIVER_NAME_SIZE];

    VkDevice device;
    uint32_t family;
    VkQueueFamilyProperties family_properties;
    VkQueue queue;
    VkCommandPool pool;
    VkPipelineCache pipeline_cache;
    const char *extensions[64];
    uint32_t n_extensions;

    VkDebugUtilsMessengerEXT messenger;
};

/* Parses the command line, arms alarm(), creates everything in struct app. Ends the process with
 * status 77 and a reason if there is no Vulkan device. `wants` may be NULL. */
void app_open(struct app *app, const char *program, int argc, char **argv,
              const struct option_rule *options, struct want *wants, uint32_t n_wants);
bool app_has(const struct app *app, const char *extension);
/* Destroys everything, prints the result line and returns the exit status for main(). */
int app_close(struct app *app);
/* The same without destroying or waiting for anything. */
int app_leave(void);

/* The parts of app_open() for the program that measures them. */
void app_parse(struct app *app, const char *program, int argc, char **argv,
               const struct option_rule *options);
void app_create_instance(struct app *app);
void app_create_device(struct app *app, struct want *wants, uint32_t n_wants);
void app_destroy_device(struct app *app);
void app_destroy_instance(struct app *app);

/* Results. A name is used once. Thread-safe. */
void check(bool ok, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void skip(const char *name, const char *why);
/* A number that must be the same on the host and through the renderer. */
void value(const char *name, uint64_t number);
/* Raw JSON for the result line, appended as "name":json. */
void extra(const char *name, const char *json);

/* Ends the process with a result line that holds the message. */
void fatal(const char *format, ...) __attribute__((format(printf, 1, 2), noreturn));
void must(VkResult result, const char *what);
#define MUST(call) must((call), #call)
void *must_alloc(size_t count, size_t size);

uint64_t fnv1a(const void *data, size_t size);
uint64_t now_ns(void);
void sleep_ns(uint64_t ns);
/* A small generator, the same on every machine. */
uint32_t random_u32(uint32_t *state);

struct buffer {
    VkBuffer buffer;
    VkDeviceMemory memory;
    VkDeviceSize size;
    void *map; /* if host memory */
};

struct image {
    VkImage image;
    VkDeviceMemory memory;
    VkImageView view;
    VkFormat format;
    VkExtent3D extent;
    uint32_t levels;
    uint32_t layers;
};

#define HOST_MEMORY (VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT)
#define DEVICE_MEMORY VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT

/* First type in `bits` that has `wanted`; UINT32_MAX if none. */
uint32_t memory_type(const struct app *app, uint32_t bits, VkMemoryPropertyFlags wanted);
VkDeviceMemory memory_allocate(struct app *app, const VkMemoryRequirements *requirements,
                               VkMemoryPropertyFlags wanted, VkMemoryAllocateFlags flags);

struct buffer buffer_create(struct app *app, VkDeviceSize size, VkBufferUsageFlags usage,
                            VkMemoryPropertyFlags wanted);
void buffer_destroy(struct app *app, struct buffer *buffer);

/* The image, its memory and a view of all of it (no view if the usage allows none). */
struct image image_create(struct app *app, const VkImageCreateInfo *info,
                          VkImageAspectFlags aspect);
struct image image_create_2d(struct app *app, VkFormat format, uint32_t width, uint32_t height,
                             VkImageUsageFlags usage);
void image_destroy(struct app *app, struct image *image);

/* One-time commands on app->queue: begin, record, then submit and wait. */
VkCommandBuffer commands_begin(struct app *app);
void commands_run(struct app *app, VkCommandBuffer commands);

void barrier_memory(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags from_access,
                    VkPipelineStageFlags to, VkAccessFlags to_access);
/* All levels and layers, with ALL_COMMANDS and full access on both sides. */
void barrier_image(VkCommandBuffer commands, const struct image *image, VkImageAspectFlags aspect,
                   VkImageLayout from, VkImageLayout to);
/* Copies level 0, layer 0 of a colour image of 4-byte texels in TRANSFER_SRC layout to a new host
 * buffer and makes it visible to the host. */
struct buffer image_read(struct app *app, const struct image *image);

struct spirv {
    const uint32_t *words;
    size_t size;
};
#define SPIRV(array) ((struct spirv){ (array), sizeof(array) })

VkShaderModule shader_create(struct app *app, struct spirv code);
VkDescriptorSetLayout set_layout_create(struct app *app,
                                        const VkDescriptorSetLayoutBinding *bindings,
                                        uint32_t n_bindings);
VkPipelineLayout pipeline_layout_create(struct app *app, const VkDescriptorSetLayout *sets,
                                        uint32_t n_sets, VkShaderStageFlags push_stages,
                                        uint32_t push_size);
VkPipeline compute_pipeline_create(struct app *app, struct spirv code, VkPipelineLayout layout,
                                   const VkSpecializationInfo *constants);
/* A pool for `n_sets` sets with up to `n_each` descriptors of each common type. */
VkDescriptorPool descriptor_pool_create(struct app *app, uint32_t n_sets, uint32_t n_each,
                                        VkDescriptorPoolCreateFlags flags);
VkDescriptorSet descriptor_set_allocate(struct app *app, VkDescriptorPool pool,
                                        VkDescriptorSetLayout layout);
void descriptor_write_buffer(struct app *app, VkDescriptorSet set, uint32_t binding,
                             VkDescriptorType type, const struct buffer *buffer);

/* A graphics pipeline in a page; zero means the usual. */
struct graphics_info {
    struct spirv vertex;
    struct spirv fragment; /* words NULL: none */
    VkPipelineLayout layout;
    VkRenderPass pass; /* null: dynamic rendering with the formats below */
    uint32_t subpass;
    VkFormat color;
    VkFormat depth;
    VkSampleCountFlagBits samples;
    const VkVertexInputBindingDescription *binding;
    const VkVertexInputAttributeDescription *attributes;
    uint32_t n_attributes;
    VkPrimitiveTopology topology;
    bool topology_set; /* otherwise a triangle list */
    VkCullModeFlags cull;
    bool depth_test;
    bool depth_write;
    VkCompareOp depth_compare; /* 0: less or equal */
    bool blend;
    float depth_bias;
    const VkDynamicState *dynamic; /* besides viewport and scissor */
    uint32_t n_dynamic;
    const void *next; /* extra chain */
    VkPipelineCache cache;
};

VkPipeline graphics_pipeline_create(struct app *app, const struct graphics_info *info);
/* One colour attachment: cleared, stored, ends in `final_layout`. */
VkRenderPass render_pass_create(struct app *app, VkFormat color, VkImageLayout final_layout);
VkFramebuffer framebuffer_create(struct app *app, VkRenderPass pass, const VkImageView *views,
                                 uint32_t n_views, uint32_t width, uint32_t height);
void set_viewport(VkCommandBuffer commands, uint32_t width, uint32_t height);
/* Begins a render pass whose first attachment is cleared to `color`. */
void render_pass_begin(VkCommandBuffer commands, VkRenderPass pass, VkFramebuffer framebuffer,
                       uint32_t width, uint32_t height, const float color[4],
                       VkSubpassContents contents);
