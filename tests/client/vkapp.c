#include "vkapp.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_TIMEOUT_S 120

#define X(name) PFN_##name name;
VKFUNCS_LOADER
VKFUNCS_INSTANCE
VKFUNCS_DEVICE
#undef X

static PFN_vkGetInstanceProcAddr get_instance_proc;

/* The result line is built as the program runs, so that a fatal error can still print it. */
static struct {
    pthread_mutex_t lock;
    const char *program;
    char device[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char driver[VK_MAX_DRIVER_NAME_SIZE];
    uint32_t api;
    uint32_t n_failed;
    char *checks;
    char *values;
    char *extras;
} result = { .lock = PTHREAD_MUTEX_INITIALIZER };

static int timeout_s = DEFAULT_TIMEOUT_S;

void *must_alloc(size_t count, size_t size)
{
    void *p = calloc(count ? count : 1, size ? size : 1);

    if (!p) {
        fatal("out of memory: %zu times %zu bytes", count, size);
    }
    return p;
}

static void json_escape(char *out, size_t size, const char *text)
{
    size_t n = 0;

    for (; *text && n + 7 < size; text++) {
        unsigned char c = (unsigned char)*text;

        if (c == '"' || c == '\\') {
            out[n++] = '\\';
            out[n++] = (char)c;
        } else if (c < 0x20) {
            n += (size_t)snprintf(out + n, size - n, "\\u%04x", c);
        } else {
            out[n++] = (char)c;
        }
    }
    out[n] = '\0';
}

static void append(char **list, const char *name, const char *json)
{
    char *joined = NULL;

    pthread_mutex_lock(&result.lock);
    if (asprintf(&joined, "%s%s\"%s\":%s", *list ? *list : "", *list ? "," : "", name, json) < 0) {
        abort();
    }
    free(*list);
    *list = joined;
    pthread_mutex_unlock(&result.lock);
}

static void append_text(char **list, const char *name, const char *text)
{
    char escaped[1024];
    char quoted[1032];

    json_escape(escaped, sizeof(escaped), text);
    snprintf(quoted, sizeof(quoted), "\"%s\"", escaped);
    append(list, name, quoted);
}

void check(bool ok, const char *name, const char *format, ...)
{
    char text[512];
    char line[640];
    va_list args;

    if (ok) {
        append_text(&result.checks, name, "ok");
        return;
    }
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    snprintf(line, sizeof(line), "fail: %s", text);
    fprintf(stderr, "%s: check %s failed: %s\n", result.program, name, text);
    append_text(&result.checks, name, line);
    pthread_mutex_lock(&result.lock);
    result.n_failed++;
    pthread_mutex_unlock(&result.lock);
}

void skip(const char *name, const char *why)
{
    char line[320];

    snprintf(line, sizeof(line), "skip: %s", why);
    append_text(&result.checks, name, line);
}

void value(const char *name, uint64_t number)
{
    char text[32];

    snprintf(text, sizeof(text), "%016llx", (unsigned long long)number);
    append_text(&result.values, name, text);
}

void extra(const char *name, const char *json)
{
    append(&result.extras, name, json);
}

static void print_result(const char *fatal_text)
{
    char device[2 * VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
    char driver[2 * VK_MAX_DRIVER_NAME_SIZE];
    char text[1024];

    json_escape(device, sizeof(device), result.device);
    json_escape(driver, sizeof(driver), result.driver);
    printf("{\"program\":\"%s\",\"device\":\"%s\",\"driver\":\"%s\",\"api\":\"%u.%u.%u\","
           "\"checks\":{%s},\"values\":{%s}",
           result.program, device, driver, VK_API_VERSION_MAJOR(result.api),
           VK_API_VERSION_MINOR(result.api), VK_API_VERSION_PATCH(result.api),
           result.checks ? result.checks : "", result.values ? result.values : "");
    if (result.extras) {
        printf(",%s", result.extras);
    }
    if (fatal_text) {
        json_escape(text, sizeof(text), fatal_text);
        printf(",\"fatal\":\"%s\"", text);
    }
    printf(",\"ok\":%s}\n", fatal_text || result.n_failed ? "false" : "true");
    fflush(stdout);
}

void fatal(const char *format, ...)
{
    char text[512];
    va_list args;

    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    fprintf(stderr, "%s: %s\n", result.program ? result.program : "client", text);
    print_result(text);
    _exit(1);
}

void must(VkResult r, const char *what)
{
    if (r < 0) {
        fatal("VkResult %d from %.200s", r, what);
    }
}

uint64_t fnv1a(const void *data, size_t size)
{
    const uint8_t *bytes = data;
    uint64_t hash = 0xcbf29ce484222325ull;

    for (size_t i = 0; i < size; i++) {
        hash = (hash ^ bytes[i]) * 0x100000001b3ull;
    }
    return hash;
}

uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

void sleep_ns(uint64_t ns)
{
    struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000ull),
                           .tv_nsec = (long)(ns % 1000000000ull) };

    while (nanosleep(&ts, &ts) < 0 && errno == EINTR) {
    }
}

uint32_t random_u32(uint32_t *state)
{
    uint32_t x = *state ? *state : 0x9e3779b9u;

    x ^= x << 13;
    x ^= x >> 17;
    x ^= x << 5;
    return *state = x;
}

/* Command line. */

static void usage(const struct option_rule *options)
{
    fprintf(stderr,
            "usage: %s [options]\n"
            "  --validate      load the Khronos validation layer; its errors fail the run\n"
            "  --timeout S     end after S seconds (default %d, 0: never)\n",
            result.program, DEFAULT_TIMEOUT_S);
    for (; options && options->name; options++) {
        fprintf(stderr, "  %-14s  %s\n", options->name, options->help);
    }
    exit(2);
}

static void option_set(const struct option_rule *rule, const char *text,
                       const struct option_rule *options)
{
    char *end = NULL;
    long number;

    if (rule->kind == OPTION_STRING) {
        *(const char **)rule->value = text;
        return;
    }
    errno = 0;
    number = strtol(text, &end, 0);
    if (errno || !*text || *end || number < 0 || number > INT32_MAX) {
        fprintf(stderr, "%s: %s: not a number: %s\n", result.program, rule->name, text);
        usage(options);
    }
    *(int *)rule->value = (int)number;
}

void app_parse(struct app *app, const char *program, int argc, char **argv,
               const struct option_rule *options)
{
    const struct option_rule common[] = {
        { "--validate", OPTION_FLAG, &app->validating, "" },
        { "--timeout", OPTION_INT, &timeout_s, "" },
        { NULL },
    };
    const struct option_rule *lists[] = { common, options };

    *app = (struct app){ .program = program };
    result.program = program;
    for (int i = 1; i < argc; i++) {
        const struct option_rule *found = NULL;

        for (size_t l = 0; l < ARRAY_SIZE(lists) && !found; l++) {
            for (const struct option_rule *o = lists[l]; o && o->name; o++) {
                if (strcmp(o->name, argv[i]) == 0) {
                    found = o;
                    break;
                }
            }
        }
        if (!found) {
            usage(options);
        } else if (found->kind == OPTION_FLAG) {
            *(bool *)found->value = true;
        } else if (i + 1 < argc) {
            option_set(found, argv[++i], options);
        } else {
            usage(options);
        }
    }
    alarm((unsigned)timeout_s);
}

/* Instance and device. */

static VKAPI_ATTR VkBool32 VKAPI_CALL on_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                                 VkDebugUtilsMessageTypeFlagsEXT types,
                                                 const VkDebugUtilsMessengerCallbackDataEXT *data,
                                                 void *user)
{
    struct app *app = user;

    (void)types;
    if (severity >= VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT) {
        __atomic_fetch_add(&app->n_validation_errors, 1, __ATOMIC_RELAXED);
    }
    fprintf(stderr, "validation: %s\n", data->pMessage);
    return VK_FALSE;
}

static bool layer_present(const char *name)
{
    VkLayerProperties layers[64];
    uint32_t n = ARRAY_SIZE(layers);

    must(vkEnumerateInstanceLayerProperties(&n, layers), "vkEnumerateInstanceLayerProperties");
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(layers[i].layerName, name) == 0) {
            return true;
        }
    }
    return false;
}

static void skip_process(const char *why)
{
    fprintf(stderr, "SKIP %s: %s\n", result.program, why);
    exit(77);
}

void app_create_instance(struct app *app)
{
    static const char layer[] = "VK_LAYER_KHRONOS_validation";
    const char *layers[] = { layer };
    const char *extensions[] = { VK_EXT_DEBUG_UTILS_EXTENSION_NAME };
    void *loader = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);

    /* What lavapipe compiles calls functions of this, and looks in the global scope alone. */
    (void)dlopen("libm.so.6", RTLD_NOW | RTLD_GLOBAL);

    if (!loader) {
        skip_process("no libvulkan.so.1");
    }
    *(void **)&get_instance_proc = dlsym(loader, "vkGetInstanceProcAddr");
    if (!get_instance_proc) {
        fatal("libvulkan.so.1 has no vkGetInstanceProcAddr");
    }
#define X(name) name = (PFN_##name)get_instance_proc(NULL, #name);
    VKFUNCS_LOADER
#undef X
    if (app->validating && !layer_present(layer)) {
        skip_process("no Khronos validation layer");
    }

    const VkDebugUtilsMessengerCreateInfoEXT messenger = {
        .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
        .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT |
                           VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT,
        .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT,
        .pfnUserCallback = on_message,
        .pUserData = app,
    };
    const VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = app->program,
        .applicationVersion = 1,
        .pEngineName = "vkapp",
        .engineVersion = 1,
        .apiVersion = VK_API_VERSION_1_3,
    };
    const VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = app->validating ? &messenger : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = app->validating ? 1 : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = app->validating ? 1 : 0,
        .ppEnabledExtensionNames = extensions,
    };
    VkResult r = vkCreateInstance(&info, NULL, &app->instance);

    if (r == VK_ERROR_INCOMPATIBLE_DRIVER) {
        skip_process("no Vulkan driver");
    }
    must(r, "vkCreateInstance");
#define X(name) name = (PFN_##name)get_instance_proc(app->instance, #name);
    VKFUNCS_INSTANCE
#undef X
    if (app->validating) {
        MUST(vkCreateDebugUtilsMessengerEXT(app->instance, &messenger, NULL, &app->messenger));
    }
}

void app_destroy_instance(struct app *app)
{
    if (app->messenger) {
        vkDestroyDebugUtilsMessengerEXT(app->instance, app->messenger, NULL);
    }
    vkDestroyInstance(app->instance, NULL);
    app->instance = NULL;
    app->messenger = VK_NULL_HANDLE;
}

static void choose_family(struct app *app)
{
    VkQueueFamilyProperties families[16];
    uint32_t n = ARRAY_SIZE(families);
    const VkQueueFlags needed = VK_QUEUE_GRAPHICS_BIT | VK_QUEUE_COMPUTE_BIT;

    vkGetPhysicalDeviceQueueFamilyProperties(app->physical, &n, families);
    for (uint32_t i = 0; i < n; i++) {
        if ((families[i].queueFlags & needed) == needed) {
            app->family = i;
            app->family_properties = families[i];
            return;
        }
    }
    fatal("no queue family with graphics and compute");
}

bool app_has(const struct app *app, const char *extension)
{
    for (uint32_t i = 0; i < app->n_extensions; i++) {
        if (strcmp(app->extensions[i], extension) == 0) {
            return true;
        }
    }
    return false;
}

static void choose_extensions(struct app *app, const struct want *wants, uint32_t n_wants)
{
    VkExtensionProperties *all;
    uint32_t n = 0;

    MUST(vkEnumerateDeviceExtensionProperties(app->physical, NULL, &n, NULL));
    all = must_alloc(n, sizeof(*all));
    MUST(vkEnumerateDeviceExtensionProperties(app->physical, NULL, &n, all));
    app->n_extensions = 0;
    for (uint32_t w = 0; w < n_wants && app->n_extensions < ARRAY_SIZE(app->extensions); w++) {
        for (uint32_t i = 0; i < n; i++) {
            if (strcmp(all[i].extensionName, wants[w].extension) == 0) {
                app->extensions[app->n_extensions++] = wants[w].extension;
                break;
            }
        }
    }
    free(all);
}

static void identify(struct app *app)
{
    VkPhysicalDeviceDriverProperties driver = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
    };
    VkPhysicalDeviceProperties2 properties = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
    };

    vkGetPhysicalDeviceProperties(app->physical, &app->properties);
    app->api = app->properties.apiVersion;
    if (app->api > VK_API_VERSION_1_3) {
        app->api = VK_API_VERSION_1_3;
    }
    if (app->api >= VK_API_VERSION_1_2) {
        properties.pNext = &driver;
    }
    vkGetPhysicalDeviceProperties2(app->physical, &properties);
    snprintf(app->driver_name, sizeof(app->driver_name), "%s", driver.driverName);
    snprintf(result.device, sizeof(result.device), "%s", app->properties.deviceName);
    snprintf(result.driver, sizeof(result.driver), "%s", driver.driverName);
    result.api = app->properties.apiVersion;
    vkGetPhysicalDeviceMemoryProperties(app->physical, &app->memory);
}

void app_create_device(struct app *app, struct want *wants, uint32_t n_wants)
{
    VkPhysicalDevice devices[16];
    uint32_t n = ARRAY_SIZE(devices);
    const float priority = 1.0f;
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
    };
    VkBaseOutStructure *last = (VkBaseOutStructure *)&features;
    VkResult r = vkEnumeratePhysicalDevices(app->instance, &n, devices);

    if (r == VK_ERROR_INITIALIZATION_FAILED || n == 0) {
        skip_process("no Vulkan device");
    }
    must(r, "vkEnumeratePhysicalDevices");
    app->physical = devices[0];
    identify(app);
    choose_family(app);
    choose_extensions(app, wants, n_wants);

    app->features11 = (VkPhysicalDeviceVulkan11Features){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
    };
    app->features12 = (VkPhysicalDeviceVulkan12Features){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
    };
    app->features13 = (VkPhysicalDeviceVulkan13Features){
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_3_FEATURES,
    };
    if (app->api >= VK_API_VERSION_1_2) {
        last = last->pNext = (VkBaseOutStructure *)&app->features11;
        last = last->pNext = (VkBaseOutStructure *)&app->features12;
    }
    if (app->api >= VK_API_VERSION_1_3) {
        last = last->pNext = (VkBaseOutStructure *)&app->features13;
    }
    for (uint32_t w = 0; w < n_wants; w++) {
        if (wants[w].features && app_has(app, wants[w].extension)) {
            last = last->pNext = wants[w].features;
        }
    }
    vkGetPhysicalDeviceFeatures2(app->physical, &features);
    /* Costs speed on every access and is nothing that a valid program needs. */
    features.features.robustBufferAccess = VK_FALSE;
    app->features13.robustImageAccess = VK_FALSE;
    app->features = features.features;

    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = app->family,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
        .enabledExtensionCount = app->n_extensions,
        .ppEnabledExtensionNames = app->extensions,
    };
    MUST(vkCreateDevice(app->physical, &info, NULL, &app->device));
#define X(name) name = (PFN_##name)vkGetDeviceProcAddr(app->device, #name);
    VKFUNCS_DEVICE
#undef X
    vkGetDeviceQueue(app->device, app->family, 0, &app->queue);

    const VkCommandPoolCreateInfo pool = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_POOL_CREATE_INFO,
        .flags = VK_COMMAND_POOL_CREATE_RESET_COMMAND_BUFFER_BIT,
        .queueFamilyIndex = app->family,
    };
    MUST(vkCreateCommandPool(app->device, &pool, NULL, &app->pool));
}

void app_destroy_device(struct app *app)
{
    vkDestroyCommandPool(app->device, app->pool, NULL);
    vkDestroyDevice(app->device, NULL);
    app->device = NULL;
}

void app_open(struct app *app, const char *program, int argc, char **argv,
              const struct option_rule *options, struct want *wants, uint32_t n_wants)
{
    app_parse(app, program, argc, argv, options);
    app_create_instance(app);
    app_create_device(app, wants, n_wants);
}

int app_close(struct app *app)
{
    MUST(vkDeviceWaitIdle(app->device));
    app_destroy_device(app);
    app_destroy_instance(app);
    if (app->validating) {
        check(app->n_validation_errors == 0, "validation", "%u errors", app->n_validation_errors);
    }
    print_result(NULL);
    free(result.checks);
    free(result.values);
    free(result.extras);
    return result.n_failed ? 1 : 0;
}

int app_leave(void)
{
    print_result(NULL);
    return result.n_failed ? 1 : 0;
}

/* Memory, buffers, images. */

uint32_t memory_type(const struct app *app, uint32_t bits, VkMemoryPropertyFlags wanted)
{
    for (uint32_t i = 0; i < app->memory.memoryTypeCount; i++) {
        if ((bits & (1u << i)) && (app->memory.memoryTypes[i].propertyFlags & wanted) == wanted) {
            return i;
        }
    }
    return UINT32_MAX;
}

VkDeviceMemory memory_allocate(struct app *app, const VkMemoryRequirements *requirements,
                               VkMemoryPropertyFlags wanted, VkMemoryAllocateFlags flags)
{
    const VkMemoryAllocateFlagsInfo flags_info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = flags,
    };
    const VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = flags ? &flags_info : NULL,
        .allocationSize = requirements->size,
        .memoryTypeIndex = memory_type(app, requirements->memoryTypeBits, wanted),
    };
    VkDeviceMemory memory;

    if (info.memoryTypeIndex == UINT32_MAX) {
        fatal("no memory type in 0x%x with properties 0x%x", requirements->memoryTypeBits, wanted);
    }
    MUST(vkAllocateMemory(app->device, &info, NULL, &memory));
    return memory;
}

struct buffer buffer_create(struct app *app, VkDeviceSize size, VkBufferUsageFlags usage,
                            VkMemoryPropertyFlags wanted)
{
    struct buffer b = { .size = size };
    const VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .size = size,
        .usage = usage,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    VkMemoryRequirements requirements;

    MUST(vkCreateBuffer(app->device, &info, NULL, &b.buffer));
    vkGetBufferMemoryRequirements(app->device, b.buffer, &requirements);
    b.memory = memory_allocate(app, &requirements, wanted,
                               usage & VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT
                                   ? VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT
                                   : 0);
    MUST(vkBindBufferMemory(app->device, b.buffer, b.memory, 0));
    if (wanted & VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT) {
        MUST(vkMapMemory(app->device, b.memory, 0, VK_WHOLE_SIZE, 0, &b.map));
    }
    return b;
}

void buffer_destroy(struct app *app, struct buffer *b)
{
    vkDestroyBuffer(app->device, b->buffer, NULL);
    vkFreeMemory(app->device, b->memory, NULL);
    *b = (struct buffer){ 0 };
}

static bool usage_has_view(VkImageUsageFlags usage)
{
    return usage &
           (VK_IMAGE_USAGE_SAMPLED_BIT | VK_IMAGE_USAGE_STORAGE_BIT |
            VK_IMAGE_USAGE_COLOR_ATTACHMENT_BIT | VK_IMAGE_USAGE_DEPTH_STENCIL_ATTACHMENT_BIT |
            VK_IMAGE_USAGE_INPUT_ATTACHMENT_BIT);
}

static VkImageViewType view_type(const VkImageCreateInfo *info)
{
    switch (info->imageType) {
    case VK_IMAGE_TYPE_1D:
        return info->arrayLayers > 1 ? VK_IMAGE_VIEW_TYPE_1D_ARRAY : VK_IMAGE_VIEW_TYPE_1D;
    case VK_IMAGE_TYPE_3D:
        return VK_IMAGE_VIEW_TYPE_3D;
    default:
        return info->arrayLayers > 1 ? VK_IMAGE_VIEW_TYPE_2D_ARRAY : VK_IMAGE_VIEW_TYPE_2D;
    }
}

struct image image_create(struct app *app, const VkImageCreateInfo *info, VkImageAspectFlags aspect)
{
    struct image im = {
        .format = info->format,
        .extent = info->extent,
        .levels = info->mipLevels,
        .layers = info->arrayLayers,
    };
    VkMemoryRequirements requirements;

    MUST(vkCreateImage(app->device, info, NULL, &im.image));
    vkGetImageMemoryRequirements(app->device, im.image, &requirements);
    im.memory = memory_allocate(app, &requirements, 0, 0);
    MUST(vkBindImageMemory(app->device, im.image, im.memory, 0));
    if (usage_has_view(info->usage)) {
        const VkImageViewCreateInfo view = {
            .sType = VK_STRUCTURE_TYPE_IMAGE_VIEW_CREATE_INFO,
            .image = im.image,
            .viewType = view_type(info),
            .format = info->format,
            .subresourceRange = { aspect, 0, info->mipLevels, 0, info->arrayLayers },
        };
        MUST(vkCreateImageView(app->device, &view, NULL, &im.view));
    }
    return im;
}

struct image image_create_2d(struct app *app, VkFormat format, uint32_t width, uint32_t height,
                             VkImageUsageFlags usage)
{
    const VkImageCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_CREATE_INFO,
        .imageType = VK_IMAGE_TYPE_2D,
        .format = format,
        .extent = { width, height, 1 },
        .mipLevels = 1,
        .arrayLayers = 1,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .tiling = VK_IMAGE_TILING_OPTIMAL,
        .usage = usage,
    };

    return image_create(app, &info, VK_IMAGE_ASPECT_COLOR_BIT);
}

void image_destroy(struct app *app, struct image *im)
{
    vkDestroyImageView(app->device, im->view, NULL);
    vkDestroyImage(app->device, im->image, NULL);
    vkFreeMemory(app->device, im->memory, NULL);
    *im = (struct image){ 0 };
}

/* Commands. */

VkCommandBuffer commands_begin(struct app *app)
{
    const VkCommandBufferAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_ALLOCATE_INFO,
        .commandPool = app->pool,
        .level = VK_COMMAND_BUFFER_LEVEL_PRIMARY,
        .commandBufferCount = 1,
    };
    const VkCommandBufferBeginInfo begin = {
        .sType = VK_STRUCTURE_TYPE_COMMAND_BUFFER_BEGIN_INFO,
        .flags = VK_COMMAND_BUFFER_USAGE_ONE_TIME_SUBMIT_BIT,
    };
    VkCommandBuffer commands;

    MUST(vkAllocateCommandBuffers(app->device, &info, &commands));
    MUST(vkBeginCommandBuffer(commands, &begin));
    return commands;
}

void commands_run(struct app *app, VkCommandBuffer commands)
{
    const VkFenceCreateInfo fence_info = { .sType = VK_STRUCTURE_TYPE_FENCE_CREATE_INFO };
    const VkSubmitInfo submit = {
        .sType = VK_STRUCTURE_TYPE_SUBMIT_INFO,
        .commandBufferCount = 1,
        .pCommandBuffers = &commands,
    };
    VkFence fence;

    MUST(vkEndCommandBuffer(commands));
    MUST(vkCreateFence(app->device, &fence_info, NULL, &fence));
    MUST(vkQueueSubmit(app->queue, 1, &submit, fence));
    MUST(vkWaitForFences(app->device, 1, &fence, VK_TRUE, UINT64_MAX));
    vkDestroyFence(app->device, fence, NULL);
    vkFreeCommandBuffers(app->device, app->pool, 1, &commands);
}

void barrier_memory(VkCommandBuffer commands, VkPipelineStageFlags from, VkAccessFlags from_access,
                    VkPipelineStageFlags to, VkAccessFlags to_access)
{
    const VkMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_BARRIER,
        .srcAccessMask = from_access,
        .dstAccessMask = to_access,
    };

    vkCmdPipelineBarrier(commands, from, to, 0, 1, &barrier, 0, NULL, 0, NULL);
}

void barrier_image(VkCommandBuffer commands, const struct image *im, VkImageAspectFlags aspect,
                   VkImageLayout from, VkImageLayout to)
{
    const VkImageMemoryBarrier barrier = {
        .sType = VK_STRUCTURE_TYPE_IMAGE_MEMORY_BARRIER,
        .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
        .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT,
        .oldLayout = from,
        .newLayout = to,
        .srcQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .dstQueueFamilyIndex = VK_QUEUE_FAMILY_IGNORED,
        .image = im->image,
        .subresourceRange = { aspect, 0, VK_REMAINING_MIP_LEVELS, 0, VK_REMAINING_ARRAY_LAYERS },
    };

    vkCmdPipelineBarrier(commands, VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
                         VK_PIPELINE_STAGE_ALL_COMMANDS_BIT, 0, 0, NULL, 0, NULL, 1, &barrier);
}

struct buffer image_read(struct app *app, const struct image *im)
{
    struct buffer b = buffer_create(app, 4ull * im->extent.width * im->extent.height,
                                    VK_BUFFER_USAGE_TRANSFER_DST_BIT, HOST_MEMORY);
    const VkBufferImageCopy region = {
        .imageSubresource = { VK_IMAGE_ASPECT_COLOR_BIT, 0, 0, 1 },
        .imageExtent = { im->extent.width, im->extent.height, 1 },
    };
    VkCommandBuffer commands = commands_begin(app);

    vkCmdCopyImageToBuffer(commands, im->image, VK_IMAGE_LAYOUT_TRANSFER_SRC_OPTIMAL, b.buffer, 1,
                           &region);
    barrier_memory(commands, VK_PIPELINE_STAGE_TRANSFER_BIT, VK_ACCESS_TRANSFER_WRITE_BIT,
                   VK_PIPELINE_STAGE_HOST_BIT, VK_ACCESS_HOST_READ_BIT);
    commands_run(app, commands);
    return b;
}

/* Shaders, descriptors, pipelines. */

VkShaderModule shader_create(struct app *app, struct spirv code)
{
    const VkShaderModuleCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO,
        .codeSize = code.size,
        .pCode = code.words,
    };
    VkShaderModule module;

    MUST(vkCreateShaderModule(app->device, &info, NULL, &module));
    return module;
}

VkDescriptorSetLayout set_layout_create(struct app *app,
                                        const VkDescriptorSetLayoutBinding *bindings,
                                        uint32_t n_bindings)
{
    const VkDescriptorSetLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_LAYOUT_CREATE_INFO,
        .bindingCount = n_bindings,
        .pBindings = bindings,
    };
    VkDescriptorSetLayout layout;

    MUST(vkCreateDescriptorSetLayout(app->device, &info, NULL, &layout));
    return layout;
}

VkPipelineLayout pipeline_layout_create(struct app *app, const VkDescriptorSetLayout *sets,
                                        uint32_t n_sets, VkShaderStageFlags push_stages,
                                        uint32_t push_size)
{
    const VkPushConstantRange range = { push_stages, 0, push_size };
    const VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .setLayoutCount = n_sets,
        .pSetLayouts = sets,
        .pushConstantRangeCount = push_size ? 1 : 0,
        .pPushConstantRanges = &range,
    };
    VkPipelineLayout layout;

    MUST(vkCreatePipelineLayout(app->device, &info, NULL, &layout));
    return layout;
}

VkPipeline compute_pipeline_create(struct app *app, struct spirv code, VkPipelineLayout layout,
                                   const VkSpecializationInfo *constants)
{
    const VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .stage = {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_COMPUTE_BIT,
            .module = shader_create(app, code),
            .pName = "main",
            .pSpecializationInfo = constants,
        },
        .layout = layout,
    };
    VkPipeline pipeline;

    MUST(vkCreateComputePipelines(app->device, app->pipeline_cache, 1, &info, NULL, &pipeline));
    vkDestroyShaderModule(app->device, info.stage.module, NULL);
    return pipeline;
}

VkDescriptorPool descriptor_pool_create(struct app *app, uint32_t n_sets, uint32_t n_each,
                                        VkDescriptorPoolCreateFlags flags)
{
    const VkDescriptorPoolSize sizes[] = {
        { VK_DESCRIPTOR_TYPE_UNIFORM_BUFFER, n_each },
        { VK_DESCRIPTOR_TYPE_STORAGE_BUFFER, n_each },
        { VK_DESCRIPTOR_TYPE_COMBINED_IMAGE_SAMPLER, n_each },
        { VK_DESCRIPTOR_TYPE_STORAGE_IMAGE, n_each },
    };
    const VkDescriptorPoolCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_POOL_CREATE_INFO,
        .flags = flags,
        .maxSets = n_sets,
        .poolSizeCount = ARRAY_SIZE(sizes),
        .pPoolSizes = sizes,
    };
    VkDescriptorPool pool;

    MUST(vkCreateDescriptorPool(app->device, &info, NULL, &pool));
    return pool;
}

VkDescriptorSet descriptor_set_allocate(struct app *app, VkDescriptorPool pool,
                                        VkDescriptorSetLayout layout)
{
    const VkDescriptorSetAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DESCRIPTOR_SET_ALLOCATE_INFO,
        .descriptorPool = pool,
        .descriptorSetCount = 1,
        .pSetLayouts = &layout,
    };
    VkDescriptorSet set;

    MUST(vkAllocateDescriptorSets(app->device, &info, &set));
    return set;
}

void descriptor_write_buffer(struct app *app, VkDescriptorSet set, uint32_t binding,
                             VkDescriptorType type, const struct buffer *b)
{
    const VkDescriptorBufferInfo buffer = { b->buffer, 0, VK_WHOLE_SIZE };
    const VkWriteDescriptorSet write = {
        .sType = VK_STRUCTURE_TYPE_WRITE_DESCRIPTOR_SET,
        .dstSet = set,
        .dstBinding = binding,
        .descriptorCount = 1,
        .descriptorType = type,
        .pBufferInfo = &buffer,
    };

    vkUpdateDescriptorSets(app->device, 1, &write, 0, NULL);
}

VkPipeline graphics_pipeline_create(struct app *app, const struct graphics_info *g)
{
    VkPipelineShaderStageCreateInfo stages[2] = {
        {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_VERTEX_BIT,
            .module = shader_create(app, g->vertex),
            .pName = "main",
        },
        {
            .sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
            .stage = VK_SHADER_STAGE_FRAGMENT_BIT,
            .module = g->fragment.words ? shader_create(app, g->fragment) : VK_NULL_HANDLE,
            .pName = "main",
        },
    };
    const VkPipelineVertexInputStateCreateInfo vertex_input = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VERTEX_INPUT_STATE_CREATE_INFO,
        .vertexBindingDescriptionCount = g->binding ? 1 : 0,
        .pVertexBindingDescriptions = g->binding,
        .vertexAttributeDescriptionCount = g->n_attributes,
        .pVertexAttributeDescriptions = g->attributes,
    };
    const VkPipelineInputAssemblyStateCreateInfo assembly = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_INPUT_ASSEMBLY_STATE_CREATE_INFO,
        .topology = g->topology_set ? g->topology : VK_PRIMITIVE_TOPOLOGY_TRIANGLE_LIST,
    };
    const VkPipelineViewportStateCreateInfo viewport = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_VIEWPORT_STATE_CREATE_INFO,
        .viewportCount = 1,
        .scissorCount = 1,
    };
    const VkPipelineRasterizationStateCreateInfo raster = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_RASTERIZATION_STATE_CREATE_INFO,
        .polygonMode = VK_POLYGON_MODE_FILL,
        .cullMode = g->cull,
        .frontFace = VK_FRONT_FACE_COUNTER_CLOCKWISE,
        .depthBiasEnable = g->depth_bias != 0.0f,
        .depthBiasConstantFactor = g->depth_bias,
        .depthBiasSlopeFactor = g->depth_bias,
        .lineWidth = 1.0f,
    };
    const VkPipelineMultisampleStateCreateInfo multisample = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_MULTISAMPLE_STATE_CREATE_INFO,
        .rasterizationSamples = g->samples ? g->samples : VK_SAMPLE_COUNT_1_BIT,
    };
    const VkPipelineDepthStencilStateCreateInfo depth = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_DEPTH_STENCIL_STATE_CREATE_INFO,
        .depthTestEnable = g->depth_test,
        .depthWriteEnable = g->depth_write,
        .depthCompareOp = g->depth_compare ? g->depth_compare : VK_COMPARE_OP_LESS_OR_EQUAL,
    };
    const VkPipelineColorBlendAttachmentState attachment = {
        .blendEnable = g->blend,
        .srcColorBlendFactor = VK_BLEND_FACTOR_SRC_ALPHA,
        .dstColorBlendFactor = VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA,
        .colorBlendOp = VK_BLEND_OP_ADD,
        .srcAlphaBlendFactor = VK_BLEND_FACTOR_ONE,
        .dstAlphaBlendFactor = VK_BLEND_FACTOR_ONE_MINUS_SRC_ALPHA,
        .alphaBlendOp = VK_BLEND_OP_ADD,
        .colorWriteMask = VK_COLOR_COMPONENT_R_BIT | VK_COLOR_COMPONENT_G_BIT |
                          VK_COLOR_COMPONENT_B_BIT | VK_COLOR_COMPONENT_A_BIT,
    };
    const VkPipelineColorBlendStateCreateInfo blend = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_COLOR_BLEND_STATE_CREATE_INFO,
        .attachmentCount = g->fragment.words ? 1 : 0,
        .pAttachments = &attachment,
    };
    VkDynamicState states[16] = { VK_DYNAMIC_STATE_VIEWPORT, VK_DYNAMIC_STATE_SCISSOR };
    VkPipelineDynamicStateCreateInfo dynamic = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_DYNAMIC_STATE_CREATE_INFO,
        .dynamicStateCount = 2,
        .pDynamicStates = states,
    };
    const VkPipelineRenderingCreateInfo rendering = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_RENDERING_CREATE_INFO,
        .pNext = g->next,
        .colorAttachmentCount = g->color ? 1 : 0,
        .pColorAttachmentFormats = &g->color,
        .depthAttachmentFormat = g->depth,
    };
    const VkGraphicsPipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_GRAPHICS_PIPELINE_CREATE_INFO,
        .pNext = g->pass ? g->next : &rendering,
        .stageCount = g->fragment.words ? 2 : 1,
        .pStages = stages,
        .pVertexInputState = &vertex_input,
        .pInputAssemblyState = &assembly,
        .pViewportState = &viewport,
        .pRasterizationState = &raster,
        .pMultisampleState = &multisample,
        .pDepthStencilState = &depth,
        .pColorBlendState = &blend,
        .pDynamicState = &dynamic,
        .layout = g->layout,
        .renderPass = g->pass,
        .subpass = g->subpass,
    };
    VkPipeline pipeline;

    for (uint32_t i = 0; i < g->n_dynamic; i++) {
        states[dynamic.dynamicStateCount++] = g->dynamic[i];
    }
    MUST(vkCreateGraphicsPipelines(app->device, g->cache, 1, &info, NULL, &pipeline));
    vkDestroyShaderModule(app->device, stages[0].module, NULL);
    vkDestroyShaderModule(app->device, stages[1].module, NULL);
    return pipeline;
}

VkRenderPass render_pass_create(struct app *app, VkFormat color, VkImageLayout final_layout)
{
    const VkAttachmentDescription attachment = {
        .format = color,
        .samples = VK_SAMPLE_COUNT_1_BIT,
        .loadOp = VK_ATTACHMENT_LOAD_OP_CLEAR,
        .storeOp = VK_ATTACHMENT_STORE_OP_STORE,
        .stencilLoadOp = VK_ATTACHMENT_LOAD_OP_DONT_CARE,
        .stencilStoreOp = VK_ATTACHMENT_STORE_OP_DONT_CARE,
        .initialLayout = VK_IMAGE_LAYOUT_UNDEFINED,
        .finalLayout = final_layout,
    };
    const VkAttachmentReference reference = { 0, VK_IMAGE_LAYOUT_COLOR_ATTACHMENT_OPTIMAL };
    const VkSubpassDescription subpass = {
        .pipelineBindPoint = VK_PIPELINE_BIND_POINT_GRAPHICS,
        .colorAttachmentCount = 1,
        .pColorAttachments = &reference,
    };
    const VkSubpassDependency dependencies[] = {
        {
            .srcSubpass = VK_SUBPASS_EXTERNAL,
            .dstSubpass = 0,
            .srcStageMask = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
            .dstStageMask = VK_PIPELINE_STAGE_ALL_GRAPHICS_BIT,
            .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
            .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT,
        },
        {
            .srcSubpass = 0,
            .dstSubpass = VK_SUBPASS_EXTERNAL,
            .srcStageMask = VK_PIPELINE_STAGE_ALL_GRAPHICS_BIT,
            .dstStageMask = VK_PIPELINE_STAGE_ALL_COMMANDS_BIT,
            .srcAccessMask = VK_ACCESS_MEMORY_WRITE_BIT,
            .dstAccessMask = VK_ACCESS_MEMORY_READ_BIT | VK_ACCESS_MEMORY_WRITE_BIT,
        },
    };
    const VkRenderPassCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_CREATE_INFO,
        .attachmentCount = 1,
        .pAttachments = &attachment,
        .subpassCount = 1,
        .pSubpasses = &subpass,
        .dependencyCount = ARRAY_SIZE(dependencies),
        .pDependencies = dependencies,
    };
    VkRenderPass pass;

    MUST(vkCreateRenderPass(app->device, &info, NULL, &pass));
    return pass;
}

VkFramebuffer framebuffer_create(struct app *app, VkRenderPass pass, const VkImageView *views,
                                 uint32_t n_views, uint32_t width, uint32_t height)
{
    const VkFramebufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_FRAMEBUFFER_CREATE_INFO,
        .renderPass = pass,
        .attachmentCount = n_views,
        .pAttachments = views,
        .width = width,
        .height = height,
        .layers = 1,
    };
    VkFramebuffer framebuffer;

    MUST(vkCreateFramebuffer(app->device, &info, NULL, &framebuffer));
    return framebuffer;
}

void set_viewport(VkCommandBuffer commands, uint32_t width, uint32_t height)
{
    const VkViewport viewport = { 0.0f, 0.0f, (float)width, (float)height, 0.0f, 1.0f };
    const VkRect2D scissor = { { 0, 0 }, { width, height } };

    vkCmdSetViewport(commands, 0, 1, &viewport);
    vkCmdSetScissor(commands, 0, 1, &scissor);
}

void render_pass_begin(VkCommandBuffer commands, VkRenderPass pass, VkFramebuffer framebuffer,
                       uint32_t width, uint32_t height, const float color[4],
                       VkSubpassContents contents)
{
    const VkClearValue clear = { .color = { { color[0], color[1], color[2], color[3] } } };
    const VkRenderPassBeginInfo info = {
        .sType = VK_STRUCTURE_TYPE_RENDER_PASS_BEGIN_INFO,
        .renderPass = pass,
        .framebuffer = framebuffer,
        .renderArea = { { 0, 0 }, { width, height } },
        .clearValueCount = 1,
        .pClearValues = &clear,
    };

    vkCmdBeginRenderPass(commands, &info, contents);
}

/* Asked by the leak checker of sanitizer builds. lavapipe sometimes forgets a semaphore's point at
 * the end; what our own code forgets is told all the same. */
__attribute__((visibility("default"))) const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return "leak:libvulkan_lvp.so\n";
}
