#include "worker/vulkan.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/base.h"
#include "ipc/cleanup.h"
#include "worker/device.h"

#define LOADER "libvulkan.so.1"
#define MAX_DEVICES 16
#define MAX_DRIVERS 16

static const struct driver {
    VkDriverId id;
    const char *policy;
    const char *other_policy; /* of the same driver on another kernel driver; NULL: none */
    bool make_device; /* a throw-away device opens files that the sealed process must not open */
    /* Neither reads driconf nor looks at VkApplicationInfo otherwise. The others change what they
     * do for applications that they know by name. */
    bool any_application;
    bool command_heap; /* allocates for each command that is recorded */
    bool const_code;   /* writes to no code of its own or of a library, once that is loaded */
} drivers[] = {
    { .id = VK_DRIVER_ID_MESA_LLVMPIPE,
      .policy = "lavapipe",
      .make_device = true,
      .any_application = true,
      .command_heap = true,
      .const_code = true },
    { .id = VK_DRIVER_ID_MESA_RADV, .policy = "radv", .make_device = true },
    { .id = VK_DRIVER_ID_INTEL_OPEN_SOURCE_MESA,
      .policy = "anv-i915",
      .other_policy = "anv-xe",
      .make_device = true },
    { .id = VK_DRIVER_ID_MESA_NVK, .policy = "nvk", .make_device = true },
    { .id = VK_DRIVER_ID_MESA_TURNIP, .policy = "turnip", .make_device = true },
    { .id = VK_DRIVER_ID_MESA_PANVK, .policy = "panvk", .make_device = true },
    /* A device costs half a second each time and opens nothing that is not opened again later. */
    { .id = VK_DRIVER_ID_NVIDIA_PROPRIETARY, .policy = "nvidia" },
};

static const struct driver *driver_find(VkDriverId id)
{
    for (size_t i = 0; i < ARRAY_SIZE(drivers); i++) {
        if (drivers[i].id == id) {
            return &drivers[i];
        }
    }
    return NULL;
}

const char *vulkan_policy(VkDriverId id)
{
    const struct driver *driver = driver_find(id);

    return driver ? driver->policy : "";
}

/* May a driver run under this policy? */
static bool policy_fits(const char *policy, VkDriverId id)
{
    const struct driver *driver = driver_find(id);

    return driver && (strcmp(driver->policy, policy) == 0 ||
                      (driver->other_policy && strcmp(driver->other_policy, policy) == 0));
}

/* What a person reads when it does not work. */
struct why {
    char *text;
    size_t size;
};

static int PRINTF(3, 4) fail(const struct why *why, int error, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(why->text, why->size, fmt, args);
    va_end(args);
    return error;
}

/* dlsym gives an object pointer; POSIX promises that it holds a function's. */
static PFN_vkVoidFunction symbol(void *library, const char *name)
{
    void *p = dlsym(library, name);
    PFN_vkVoidFunction fn;

    memcpy(&fn, &p, sizeof(fn));
    return fn;
}

/* Code that a driver's compiler makes at run time may call these, and finds them only in the
 * process's global scope. Most programs link them; the worker does not need them itself. */
static const char *const global_libraries[] = { "libm.so.6", "libgcc_s.so.1" };

static int open_loader(struct vulkan *v, const struct why *why)
{
    for (size_t i = 0; i < ARRAY_SIZE(global_libraries); i++) {
        /* Never closed: nobody can tell when compiled code calls them for the last time. */
        (void)dlopen(global_libraries[i], RTLD_NOW | RTLD_GLOBAL);
    }
    v->loader = dlopen(LOADER, RTLD_NOW | RTLD_LOCAL);
    if (!v->loader) {
        return fail(why, -ENOENT, "%s; install the Vulkan loader (Debian: libvulkan1)", dlerror());
    }
    v->get_instance_proc_addr =
        (PFN_vkGetInstanceProcAddr)symbol(v->loader, "vkGetInstanceProcAddr");
    if (!v->get_instance_proc_addr) {
        return fail(why, -ENOENT, "%s has no vkGetInstanceProcAddr", LOADER);
    }
    v->create_instance = (PFN_vkCreateInstance)v->get_instance_proc_addr(NULL, "vkCreateInstance");
    v->enumerate_instance_version =
        (PFN_vkEnumerateInstanceVersion)v->get_instance_proc_addr(NULL,
                                                                  "vkEnumerateInstanceVersion");
    if (!v->create_instance || !v->enumerate_instance_version ||
        v->enumerate_instance_version(&v->loader_version) != VK_SUCCESS ||
        v->loader_version < VK_API_VERSION_1_1) {
        return fail(why, -ENOTSUP, "%s knows only Vulkan 1.0, 1.1 is needed", LOADER);
    }
    return 0;
}

void vulkan_chain_driver(const struct vulkan *v, VkInstanceCreateInfo *info,
                         struct vulkan_direct *storage)
{
    if (!v->driver) {
        return;
    }
    storage->info = (VkDirectDriverLoadingInfoLUNARG){
        .sType = VK_STRUCTURE_TYPE_DIRECT_DRIVER_LOADING_INFO_LUNARG,
        .pfnGetInstanceProcAddr = v->driver_get_instance_proc_addr,
    };
    storage->list = (VkDirectDriverLoadingListLUNARG){
        .sType = VK_STRUCTURE_TYPE_DIRECT_DRIVER_LOADING_LIST_LUNARG,
        .pNext = info->pNext,
        .mode = VK_DIRECT_DRIVER_LOADING_MODE_EXCLUSIVE_LUNARG,
        .driverCount = 1,
        .pDrivers = &storage->info,
    };
    info->pNext = &storage->list;
}

static VkResult make_instance(const struct vulkan *v, VkInstance *ret_instance)
{
    static const char *const direct[] = { VK_LUNARG_DIRECT_DRIVER_LOADING_EXTENSION_NAME };
    static const char *const layers[] = { VULKAN_VALIDATION_LAYER };
    const VkApplicationInfo app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "cordon-worker",
        .apiVersion = VK_MAKE_API_VERSION(0, 1, DEVICE_API_MINOR, 0),
    };
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &app,
        /* Loaded now, for guests: code cannot be loaded once the process is sealed. */
        .enabledLayerCount = v->validate ? ARRAY_SIZE(layers) : 0,
        .ppEnabledLayerNames = layers,
        .enabledExtensionCount = v->driver ? ARRAY_SIZE(direct) : 0,
        .ppEnabledExtensionNames = direct,
    };
    struct vulkan_direct storage;

    vulkan_chain_driver(v, &info, &storage);
    return v->create_instance(&info, NULL, ret_instance);
}

#define INSTANCE_PROC(v, instance, name) \
    ((PFN_##name)(v)->get_instance_proc_addr((instance), #name))

static void destroy_instance(const struct vulkan *v, VkInstance instance)
{
    if (instance) {
        INSTANCE_PROC(v, instance, vkDestroyInstance)(instance, NULL);
    }
}

struct chosen {
    VkPhysicalDevice device;
    VkDriverId driver_id;
    char name[VK_MAX_PHYSICAL_DEVICE_NAME_SIZE];
};

/* A real GPU before a processor that plays one. */
static int device_rank(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
        return 4;
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return 3;
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return 2;
    default:
        return 1;
    }
}

/* The best device of those whose driver fits v->policy ("": any). */
static int choose_device(const struct vulkan *v, VkInstance instance, const struct why *why,
                         struct chosen *ret_chosen)
{
    PFN_vkGetPhysicalDeviceProperties2 get_properties2 =
        INSTANCE_PROC(v, instance, vkGetPhysicalDeviceProperties2);
    PFN_vkGetPhysicalDeviceProperties get_properties =
        INSTANCE_PROC(v, instance, vkGetPhysicalDeviceProperties);
    VkPhysicalDevice devices[MAX_DEVICES];
    uint32_t n = MAX_DEVICES;
    VkResult result;
    int best = 0;

    result = INSTANCE_PROC(v, instance, vkEnumeratePhysicalDevices)(instance, &n, devices);
    if (result < 0) {
        return fail(why, -ENODEV, "vkEnumeratePhysicalDevices: %d", result);
    }
    for (uint32_t i = 0; i < n; i++) {
        VkPhysicalDeviceDriverProperties driver = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_DRIVER_PROPERTIES,
        };
        VkPhysicalDeviceProperties2 properties = {
            .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2,
            .pNext = &driver,
        };

        get_properties(devices[i], &properties.properties);
        if (properties.properties.apiVersion < VK_API_VERSION_1_1) {
            continue;
        }
        get_properties2(devices[i], &properties);
        if (v->policy[0] && !policy_fits(v->policy, driver.driverID)) {
            continue;
        }
        if (device_rank(properties.properties.deviceType) > best) {
            best = device_rank(properties.properties.deviceType);
            ret_chosen->device = devices[i];
            ret_chosen->driver_id = driver.driverID;
            memcpy(ret_chosen->name, properties.properties.deviceName, sizeof(ret_chosen->name));
        }
    }
    if (best == 0 && v->policy[0]) {
        return fail(why, -ENODEV,
                    "the sandbox is made for %s, and no device of that driver with Vulkan 1.1 is "
                    "among the %u found; vulkaninfo --summary lists the host's, --driver and "
                    "--device choose",
                    v->policy, n);
    }
    if (best == 0) {
        return fail(why, -ENODEV,
                    "no driver on this host offers a device with Vulkan 1.1; vulkaninfo --summary "
                    "lists what there is (Debian's drivers: mesa-vulkan-drivers)");
    }
    return 0;
}

/* ---- the driver by pointer ---------------------------------------------------------------- */

static bool has_direct_loading(const struct vulkan *v)
{
    PFN_vkEnumerateInstanceExtensionProperties enumerate =
        INSTANCE_PROC(v, NULL, vkEnumerateInstanceExtensionProperties);
    AUTO_FREE VkExtensionProperties *list = NULL;
    uint32_t n = 0;

    if (enumerate(NULL, &n, NULL) != VK_SUCCESS || !(list = calloc(n, sizeof(*list))) ||
        enumerate(NULL, &n, list) < 0) {
        return false;
    }
    for (uint32_t i = 0; i < n; i++) {
        if (strcmp(list[i].extensionName, VK_LUNARG_DIRECT_DRIVER_LOADING_EXTENSION_NAME) == 0) {
            return true;
        }
    }
    return false;
}

struct loaded {
    void *libraries[MAX_DRIVERS];
    uint32_t count;
};

/* dl_iterate_phdr: keeps a handle of each library that is a Vulkan driver. */
static int collect_driver(struct dl_phdr_info *info, size_t size, void *arg)
{
    struct loaded *loaded = arg;
    void *library;

    (void)size;
    if (!info->dlpi_name || !info->dlpi_name[0] || loaded->count == MAX_DRIVERS) {
        return 0;
    }
    library = dlopen(info->dlpi_name, RTLD_NOW | RTLD_NOLOAD);
    if (library && dlsym(library, "vk_icdGetInstanceProcAddr") &&
        dlsym(library, "vk_icdNegotiateLoaderICDInterfaceVersion")) {
        loaded->libraries[loaded->count++] = library;
    } else if (library) {
        dlclose(library);
    }
    return 0;
}

/* An instance of this driver alone; true if it is the one that was chosen. */
static bool try_driver(struct vulkan *v, void *library, VkDriverId wanted)
{
    struct chosen chosen = { 0 };
    char text[128];
    const struct why why = { text, sizeof(text) };
    VkInstance instance = NULL;

    v->driver = library;
    v->driver_get_instance_proc_addr =
        (PFN_vkGetInstanceProcAddrLUNARG)symbol(library, "vk_icdGetInstanceProcAddr");
    if (make_instance(v, &instance) == VK_SUCCESS &&
        choose_device(v, instance, &why, &chosen) == 0 && chosen.driver_id == wanted) {
        v->warm_instance = instance;
        return true;
    }
    destroy_instance(v, instance);
    v->driver = NULL;
    v->driver_get_instance_proc_addr = NULL;
    return false;
}

/* The instance that is kept. The loader has found the driver by its manifest, which it cannot do
 * again once files are out of reach: from here on it gets the driver by pointer, if it knows how to.
 * The first instance ends before: with it the driver has written down what it compiled. */
static VkResult renew_instance(struct vulkan *v, bool direct, VkDriverId wanted)
{
    struct loaded loaded = { .count = 0 };

    /* Held, so that it is not loaded twice. */
    (void)dl_iterate_phdr(collect_driver, &loaded);
    destroy_instance(v, v->warm_instance);
    v->warm_instance = NULL;
    if (!direct) {
        return make_instance(v, &v->warm_instance);
    }
    for (uint32_t i = 0; i < loaded.count; i++) {
        if (v->driver || !try_driver(v, loaded.libraries[i], wanted)) {
            dlclose(loaded.libraries[i]);
        }
    }
    return v->driver ? VK_SUCCESS : make_instance(v, &v->warm_instance);
}

/* ---- warm-up ------------------------------------------------------------------------------ */

static int make_device(const struct vulkan *v, VkPhysicalDevice physical, const struct why *why)
{
    const float priority = 1.0f;
    const VkDeviceQueueCreateInfo queue = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueCount = 1,
        .pQueuePriorities = &priority,
    };
    const VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queue,
    };
    VkDevice device;
    VkResult result;

    result = INSTANCE_PROC(v, v->warm_instance, vkCreateDevice)(physical, &info, NULL, &device);
    if (result != VK_SUCCESS) {
        return fail(why, -ENODEV, "vkCreateDevice: %d", result);
    }
    INSTANCE_PROC(v, v->warm_instance, vkDestroyDevice)(device, NULL);
    return 0;
}

static int instance_failed(const struct why *why, VkResult result)
{
    const char *files = getenv("VK_DRIVER_FILES");

    if (result == VK_ERROR_INCOMPATIBLE_DRIVER) {
        return fail(why, -ENODEV,
                    "vkCreateInstance: %d, so no driver was found that works in here; manifests: "
                    "%.128s. Does it work with --sandbox=off? Then it needs a file that workers do "
                    "not see",
                    result, files ? files : "those in /usr/share/vulkan/icd.d, /etc/vulkan/icd.d");
    }
    return fail(why, -ENODEV, "vkCreateInstance: %d%s", result,
                result == VK_ERROR_LAYER_NOT_PRESENT
                    ? ", so the loader did not find " VULKAN_VALIDATION_LAYER
                    : "");
}

/* The best device of the warm instance, and one VkDevice of it made and destroyed. */
static int use_device(struct vulkan *v, bool make, const struct why *why, struct chosen *ret_chosen)
{
    const struct driver *driver;
    int r;

    *ret_chosen = (struct chosen){ 0 };
    r = choose_device(v, v->warm_instance, why, ret_chosen);
    if (r < 0) {
        return r;
    }
    driver = driver_find(ret_chosen->driver_id);
    return make && driver && driver->make_device ? make_device(v, ret_chosen->device, why) : 0;
}

/* Twice where the driver is to be given by pointer, or where no earlier worker has left its cache:
 * what the first instance has compiled, the second one and guests find in the worker's own
 * (policy/jail.h). */
static int warm_up(struct vulkan *v, const struct why *why)
{
    const struct driver *driver;
    struct chosen chosen;
    VkResult result;
    bool direct;
    int r;

    r = open_loader(v, why);
    if (r < 0) {
        return r;
    }
    result = make_instance(v, &v->warm_instance);
    if (result != VK_SUCCESS) {
        return instance_failed(why, result);
    }
    direct = has_direct_loading(v);
    r = use_device(v, !direct || !v->cached, why, &chosen);
    if (r < 0) {
        return r;
    }
    if (direct || !v->cached) {
        result = renew_instance(v, direct, chosen.driver_id);
        if (result != VK_SUCCESS) {
            return instance_failed(why, result);
        }
        r = use_device(v, true, why, &chosen);
        if (r < 0) {
            return r;
        }
    }
    driver = driver_find(chosen.driver_id);
    v->driver_id = chosen.driver_id;
    v->any_application = driver && driver->any_application;
    v->command_heap = driver && driver->command_heap;
    v->const_code = driver && driver->const_code;
    memcpy(v->device_name, chosen.name, sizeof(v->device_name));
    if (!v->policy[0]) {
        snprintf(v->policy, sizeof(v->policy), "%s", vulkan_policy(chosen.driver_id));
    }
    return 0;
}

int vulkan_open(struct vulkan *v, const char *policy, char *why, size_t why_size)
{
    const struct why reason = { why, why_size };

    snprintf(v->policy, sizeof(v->policy), "%s", policy ? policy : "");
    return warm_up(v, &reason);
}

void vulkan_close(struct vulkan *v)
{
    destroy_instance(v, v->warm_instance);
    if (v->driver) {
        dlclose(v->driver);
    }
    if (v->loader) {
        dlclose(v->loader);
    }
    *v = (struct vulkan){ 0 };
}
