#include "worker/instance.h"

#include <stdlib.h>
#include <string.h>

#include "ipc/log.h"
#include "worker/chain.h"
#include "worker/device.h"
#include "worker/vulkan.h"

/* Oldest version that the protocol can stand on. */
#define OLDEST_API VK_API_VERSION_1_1

/* ---- the validation layer ----------------------------------------------------------------- */

/* Older layers put the identifier and the handles before the text. */
static const char *validation_text(const VkDebugUtilsMessengerCallbackDataEXT *data)
{
    static const char before[] = " | MessageID = ", end[] = " | ";
    const char *text = data->pMessage ? data->pMessage : "?";
    const char *found = strstr(text, before);

    found = found ? strstr(found + strlen(before), end) : NULL;
    return found ? found + strlen(end) : text;
}

static VKAPI_ATTR VkBool32 VKAPI_CALL validation_said(
    VkDebugUtilsMessageSeverityFlagBitsEXT severity, VkDebugUtilsMessageTypeFlagsEXT types,
    const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)types;
    (void)user;
    log_line(severity & VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT ? LOG_LEVEL_ERROR
                                                                      : LOG_LEVEL_WARN,
             0, "validation: %s: %s", data->pMessageIdName ? data->pMessageIdName : "?",
             validation_text(data));
    return VK_FALSE;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
    .messageSeverity = VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT |
                       VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT |
                   VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
    .pfnUserCallback = validation_said,
};

/* A layer that gives out handles of its own passes them on unchanged in commands that are newer
 * than it, and the driver takes them for its own. */
static const VkValidationFeatureDisableEXT validation_disabled[] = {
    VK_VALIDATION_FEATURE_DISABLE_UNIQUE_HANDLES_EXT,
};

static const VkValidationFeaturesEXT validation_features = {
    .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
    .disabledValidationFeatureCount = ARRAY_SIZE(validation_disabled),
    .pDisabledValidationFeatures = validation_disabled,
};

static void start_messenger(const struct vulkan *vulkan, struct instance *inst)
{
    PFN_vkCreateDebugUtilsMessengerEXT create =
        (PFN_vkCreateDebugUtilsMessengerEXT)vulkan->get_instance_proc_addr(
            inst->procs.instance, "vkCreateDebugUtilsMessengerEXT");

    if (!create ||
        create(inst->procs.instance, &messenger_info, NULL, &inst->messenger) != VK_SUCCESS) {
        log_warn("no validation messages: the layer gives no messenger");
    }
}

static void stop_messenger(const struct vulkan *vulkan, const struct instance *inst)
{
    PFN_vkDestroyDebugUtilsMessengerEXT destroy;

    if (!inst->messenger) {
        return;
    }
    destroy = (PFN_vkDestroyDebugUtilsMessengerEXT)vulkan->get_instance_proc_addr(
        inst->procs.instance, "vkDestroyDebugUtilsMessengerEXT");
    if (destroy) {
        destroy(inst->procs.instance, inst->messenger, NULL);
    }
}

/* ---- host instances ----------------------------------------------------------------------- */

/* The host's instance: the guest's application as it says it is, nothing else of the guest's. */
static VkResult create_host_instance(const struct vulkan *vulkan, const VkApplicationInfo *app,
                                     uint32_t api_version, VkInstance *ret)
{
    struct vulkan_direct direct;
    VkDebugUtilsMessengerCreateInfoEXT messenger = messenger_info;
    VkValidationFeaturesEXT features = validation_features;
    const VkApplicationInfo host_app = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = app ? app->pApplicationName : NULL,
        .applicationVersion = app ? app->applicationVersion : 0,
        .pEngineName = app ? app->pEngineName : NULL,
        .engineVersion = app ? app->engineVersion : 0,
        .apiVersion = api_version,
    };
    const char *extensions[2], *layers[1];
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pApplicationInfo = &host_app,
        .ppEnabledLayerNames = layers,
        .ppEnabledExtensionNames = extensions,
    };

    if (vulkan->driver) {
        extensions[info.enabledExtensionCount++] = VK_LUNARG_DIRECT_DRIVER_LOADING_EXTENSION_NAME;
        vulkan_chain_driver(vulkan, &info, &direct);
    }
    if (vulkan->validate) {
        extensions[info.enabledExtensionCount++] = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
        layers[info.enabledLayerCount++] = VULKAN_VALIDATION_LAYER;
        chain_push(&info, &messenger);
        chain_push(&info, &features);
    }
    return vulkan->create_instance(&info, NULL, ret);
}

/* What is to be known of a host instance. On failure the handle is still the caller's. */
static VkResult describe(const struct vulkan *vulkan, VkInstance handle, struct instance **ret)
{
    struct instance *inst = calloc(1, sizeof(*inst));
    VkResult result;

    if (!inst) {
        return VK_ERROR_OUT_OF_HOST_MEMORY;
    }
    pthread_mutex_init(&inst->lock, NULL);
    wire_procs_load_instance(&inst->procs, vulkan->get_instance_proc_addr, handle);
    result = instance_read_physicals(inst);
    if (result != VK_SUCCESS) {
        instance_free(inst);
        return result;
    }
    *ret = inst;
    return VK_SUCCESS;
}

static VkResult create_fresh(const struct vulkan *vulkan, const VkApplicationInfo *app,
                             uint32_t api_version, struct instance **ret)
{
    PFN_vkDestroyInstance destroy;
    VkInstance handle;
    VkResult result = create_host_instance(vulkan, app, api_version, &handle);

    if (result != VK_SUCCESS) {
        return result;
    }
    result = describe(vulkan, handle, ret);
    if (result != VK_SUCCESS) {
        destroy =
            (PFN_vkDestroyInstance)vulkan->get_instance_proc_addr(handle, "vkDestroyInstance");
        destroy(handle, NULL);
        return result;
    }
    if (vulkan->validate) {
        start_messenger(vulkan, *ret);
    }
    return VK_SUCCESS;
}

void instance_prepare(struct vulkan *vulkan)
{
    struct instance *inst;

    if (vulkan->any_application && !vulkan->validate &&
        describe(vulkan, vulkan->warm_instance, &inst) == VK_SUCCESS) {
        atomic_store(&vulkan->ready, inst);
    }
}

void instance_unprepare(struct vulkan *vulkan)
{
    instance_free(atomic_exchange(&vulkan->ready, NULL));
}

VkResult instance_create(struct vulkan *vulkan, const VkApplicationInfo *app, struct instance **ret)
{
    const uint32_t version = api_version_cap(MAX(app ? app->apiVersion : 0, OLDEST_API));
    struct instance *inst;
    VkResult result;

    if (vulkan->loader_version < OLDEST_API) {
        return VK_ERROR_INITIALIZATION_FAILED;
    }
    inst = atomic_exchange(&vulkan->ready, NULL);
    if (!inst) {
        result = create_fresh(vulkan, app, version, &inst);
        if (result != VK_SUCCESS) {
            return result;
        }
    }
    inst->api_version = version;
    *ret = inst;
    return VK_SUCCESS;
}

void instance_end(struct vulkan *vulkan, struct instance *inst)
{
    if (inst->procs.instance == vulkan->warm_instance) {
        instance_prepare(vulkan);
        return;
    }
    stop_messenger(vulkan, inst);
    inst->procs.DestroyInstance(inst->procs.instance, NULL);
}
