/* Output blobs whose size the driver is not told: checked against what it will write. */
#include "ipc/checked.h"
#include "wire/commands.h"
#include "wire/mesa.h"
#include "worker/decoder.h"
#include "worker/device.h"

static bool handles_fit(struct decoder *d, const char *command, uint64_t groups,
                        VkDeviceSize handle_size, uint64_t size)
{
    uint64_t need;

    if (handle_size != 0 && checked_mul(groups, handle_size, &need) && need <= size) {
        return true;
    }
    decoder_fail(d, "%s: %llu handles of %llu bytes do not fit in %llu", command,
                 (unsigned long long)groups, (unsigned long long)handle_size,
                 (unsigned long long)size);
    return false;
}

bool prepare_vkGetRayTracingShaderGroupHandlesKHR(
    struct decoder *d, struct wire_vkGetRayTracingShaderGroupHandlesKHR *c)
{
    const struct device *dev = c->device_obj->data;

    return handles_fit(d, "vkGetRayTracingShaderGroupHandlesKHR", c->groupCount,
                       dev->group_handle_size, c->dataSize);
}

bool prepare_vkGetRayTracingCaptureReplayShaderGroupHandlesKHR(
    struct decoder *d, struct wire_vkGetRayTracingCaptureReplayShaderGroupHandlesKHR *c)
{
    const struct device *dev = c->device_obj->data;

    return handles_fit(d, "vkGetRayTracingCaptureReplayShaderGroupHandlesKHR", c->groupCount,
                       dev->group_capture_size, c->dataSize);
}

void cmd_vkWriteSamplerDescriptorMESA(struct decoder *d,
                                      struct wire_vkWriteSamplerDescriptorMESA *c)
{
    const struct device *dev = c->device_obj->data;
    const VkHostAddressRangeEXT range = { .address = c->pData, .size = c->dataSize };

    if (!dev->procs.WriteSamplerDescriptorsEXT) {
        decoder_fail(d, "vkWriteSamplerDescriptorMESA: the host driver has no descriptor heaps");
        return;
    }
    if (handles_fit(d, "vkWriteSamplerDescriptorMESA", 1, dev->sampler_descriptor_size,
                    c->dataSize)) {
        c->ret = dev->procs.WriteSamplerDescriptorsEXT(c->device, 1, c->pSampler, &range);
    }
}

void cmd_vkWriteResourceDescriptorMESA(struct decoder *d,
                                       struct wire_vkWriteResourceDescriptorMESA *c)
{
    const struct device *dev = c->device_obj->data;
    const struct wire_procs *vk = dev->physical->vk;
    const VkHostAddressRangeEXT range = { .address = c->pData, .size = c->dataSize };

    if (!dev->procs.WriteResourceDescriptorsEXT || !vk->GetPhysicalDeviceDescriptorSizeEXT) {
        decoder_fail(d, "vkWriteResourceDescriptorMESA: the host driver has no descriptor heaps");
        return;
    }
    if (handles_fit(d, "vkWriteResourceDescriptorMESA", 1,
                    vk->GetPhysicalDeviceDescriptorSizeEXT(dev->physical->handle,
                                                           c->pResource->type),
                    c->dataSize)) {
        c->ret = dev->procs.WriteResourceDescriptorsEXT(c->device, 1, c->pResource, &range);
    }
}

bool prepare_vkGetImageOpaqueCaptureDataEXT(struct decoder *d,
                                            struct wire_vkGetImageOpaqueCaptureDataEXT *c)
{
    const struct device *dev = c->device_obj->data;

    for (uint32_t i = 0; i < c->imageCount; i++) {
        if (!handles_fit(d, "vkGetImageOpaqueCaptureDataEXT", 1, dev->capture_data_size,
                         c->pDatas[i].size)) {
            return false;
        }
    }
    return true;
}
