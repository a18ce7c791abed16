/*
 * The Vulkan functions that the clients call, as pointers of the same names: the loader may be
 * older than the headers. A function of a version or extension that is not there is NULL.
 */
#pragma once

#include <vulkan/vulkan.h>

/* clang-format off */
#define VKFUNCS_LOADER \
    X(vkCreateInstance) \
    X(vkEnumerateInstanceLayerProperties)

#define VKFUNCS_INSTANCE \
    X(vkCreateDebugUtilsMessengerEXT) \
    X(vkCreateDevice) \
    X(vkDestroyDebugUtilsMessengerEXT) \
    X(vkDestroyInstance) \
    X(vkEnumerateDeviceExtensionProperties) \
    X(vkEnumeratePhysicalDevices) \
    X(vkGetDeviceProcAddr) \
    X(vkGetPhysicalDeviceExternalFenceProperties) \
    X(vkGetPhysicalDeviceExternalSemaphoreProperties) \
    X(vkGetPhysicalDeviceFeatures2) \
    X(vkGetPhysicalDeviceFormatProperties) \
    X(vkGetPhysicalDeviceMemoryProperties) \
    X(vkGetPhysicalDeviceProperties) \
    X(vkGetPhysicalDeviceProperties2) \
    X(vkGetPhysicalDeviceQueueFamilyProperties)

#define VKFUNCS_DEVICE \
    X(vkAllocateCommandBuffers) \
    X(vkAllocateDescriptorSets) \
    X(vkAllocateMemory) \
    X(vkBeginCommandBuffer) \
    X(vkBindBufferMemory) \
    X(vkBindBufferMemory2) \
    X(vkBindImageMemory) \
    X(vkCmdBeginConditionalRenderingEXT) \
    X(vkCmdBeginQuery) \
    X(vkCmdBeginRenderPass) \
    X(vkCmdBeginRenderPass2) \
    X(vkCmdBeginRendering) \
    X(vkCmdBeginTransformFeedbackEXT) \
    X(vkCmdBindDescriptorSets) \
    X(vkCmdBindDescriptorSets2KHR) \
    X(vkCmdBindIndexBuffer) \
    X(vkCmdBindPipeline) \
    X(vkCmdBindTransformFeedbackBuffersEXT) \
    X(vkCmdBindVertexBuffers) \
    X(vkCmdBlitImage) \
    X(vkCmdBuildAccelerationStructuresKHR) \
    X(vkCmdClearAttachments) \
    X(vkCmdClearColorImage) \
    X(vkCmdCopyAccelerationStructureKHR) \
    X(vkCmdCopyBuffer) \
    X(vkCmdCopyBufferToImage) \
    X(vkCmdCopyImage) \
    X(vkCmdCopyImageToBuffer) \
    X(vkCmdCopyImageToBuffer2) \
    X(vkCmdCopyQueryPoolResults) \
    X(vkCmdDispatch) \
    X(vkCmdDispatchBase) \
    X(vkCmdDispatchIndirect) \
    X(vkCmdDraw) \
    X(vkCmdDrawIndexed) \
    X(vkCmdDrawIndexedIndirect) \
    X(vkCmdDrawIndirect) \
    X(vkCmdDrawIndirectCount) \
    X(vkCmdDrawMeshTasksEXT) \
    X(vkCmdDrawMultiEXT) \
    X(vkCmdEndConditionalRenderingEXT) \
    X(vkCmdEndQuery) \
    X(vkCmdEndRenderPass) \
    X(vkCmdEndRenderPass2) \
    X(vkCmdEndRendering) \
    X(vkCmdEndTransformFeedbackEXT) \
    X(vkCmdExecuteCommands) \
    X(vkCmdFillBuffer) \
    X(vkCmdPipelineBarrier) \
    X(vkCmdPipelineBarrier2) \
    X(vkCmdPushConstants) \
    X(vkCmdPushConstants2KHR) \
    X(vkCmdPushDescriptorSet2KHR) \
    X(vkCmdPushDescriptorSetKHR) \
    X(vkCmdPushDescriptorSetWithTemplateKHR) \
    X(vkCmdResetEvent) \
    X(vkCmdResetQueryPool) \
    X(vkCmdResolveImage) \
    X(vkCmdSetBlendConstants) \
    X(vkCmdSetCullMode) \
    X(vkCmdSetDepthTestEnable) \
    X(vkCmdSetEvent) \
    X(vkCmdSetFrontFace) \
    X(vkCmdSetPrimitiveTopology) \
    X(vkCmdSetRasterizerDiscardEnable) \
    X(vkCmdSetScissor) \
    X(vkCmdSetViewport) \
    X(vkCmdTraceRaysKHR) \
    X(vkCmdUpdateBuffer) \
    X(vkCmdWaitEvents) \
    X(vkCmdWriteAccelerationStructuresPropertiesKHR) \
    X(vkCmdWriteTimestamp) \
    X(vkCmdWriteTimestamp2) \
    X(vkCopyImageToImageEXT) \
    X(vkCopyImageToMemoryEXT) \
    X(vkCopyMemoryToImageEXT) \
    X(vkCreateAccelerationStructureKHR) \
    X(vkCreateBuffer) \
    X(vkCreateBufferView) \
    X(vkCreateCommandPool) \
    X(vkCreateComputePipelines) \
    X(vkCreateDescriptorPool) \
    X(vkCreateDescriptorSetLayout) \
    X(vkCreateDescriptorUpdateTemplate) \
    X(vkCreateEvent) \
    X(vkCreateFence) \
    X(vkCreateFramebuffer) \
    X(vkCreateGraphicsPipelines) \
    X(vkCreateImage) \
    X(vkCreateImageView) \
    X(vkCreatePipelineCache) \
    X(vkCreatePipelineLayout) \
    X(vkCreatePrivateDataSlot) \
    X(vkCreateQueryPool) \
    X(vkCreateRayTracingPipelinesKHR) \
    X(vkCreateRenderPass) \
    X(vkCreateRenderPass2) \
    X(vkCreateSampler) \
    X(vkCreateSamplerYcbcrConversion) \
    X(vkCreateSemaphore) \
    X(vkCreateShaderModule) \
    X(vkDestroyAccelerationStructureKHR) \
    X(vkDestroyBuffer) \
    X(vkDestroyBufferView) \
    X(vkDestroyCommandPool) \
    X(vkDestroyDescriptorPool) \
    X(vkDestroyDescriptorSetLayout) \
    X(vkDestroyDescriptorUpdateTemplate) \
    X(vkDestroyDevice) \
    X(vkDestroyEvent) \
    X(vkDestroyFence) \
    X(vkDestroyFramebuffer) \
    X(vkDestroyImage) \
    X(vkDestroyImageView) \
    X(vkDestroyPipeline) \
    X(vkDestroyPipelineCache) \
    X(vkDestroyPipelineLayout) \
    X(vkDestroyPrivateDataSlot) \
    X(vkDestroyQueryPool) \
    X(vkDestroyRenderPass) \
    X(vkDestroySampler) \
    X(vkDestroySamplerYcbcrConversion) \
    X(vkDestroySemaphore) \
    X(vkDestroyShaderModule) \
    X(vkDeviceWaitIdle) \
    X(vkEndCommandBuffer) \
    X(vkFlushMappedMemoryRanges) \
    X(vkFreeCommandBuffers) \
    X(vkFreeDescriptorSets) \
    X(vkFreeMemory) \
    X(vkGetAccelerationStructureBuildSizesKHR) \
    X(vkGetAccelerationStructureDeviceAddressKHR) \
    X(vkGetBufferDeviceAddress) \
    X(vkGetBufferMemoryRequirements) \
    X(vkGetDescriptorSetLayoutSupport) \
    X(vkGetDeviceImageSubresourceLayoutKHR) \
    X(vkGetDeviceQueue) \
    X(vkGetEventStatus) \
    X(vkGetFenceFdKHR) \
    X(vkGetFenceStatus) \
    X(vkGetImageMemoryRequirements) \
    X(vkGetImageSubresourceLayout) \
    X(vkGetImageSubresourceLayout2KHR) \
    X(vkGetPipelineCacheData) \
    X(vkGetPrivateData) \
    X(vkGetQueryPoolResults) \
    X(vkGetRayTracingShaderGroupHandlesKHR) \
    X(vkGetSemaphoreCounterValue) \
    X(vkGetSemaphoreFdKHR) \
    X(vkImportFenceFdKHR) \
    X(vkImportSemaphoreFdKHR) \
    X(vkInvalidateMappedMemoryRanges) \
    X(vkMapMemory) \
    X(vkMergePipelineCaches) \
    X(vkQueueSubmit) \
    X(vkQueueSubmit2) \
    X(vkQueueWaitIdle) \
    X(vkResetCommandPool) \
    X(vkResetDescriptorPool) \
    X(vkResetEvent) \
    X(vkResetFences) \
    X(vkResetQueryPool) \
    X(vkSetEvent) \
    X(vkSetPrivateData) \
    X(vkSignalSemaphore) \
    X(vkTransitionImageLayoutEXT) \
    X(vkUnmapMemory) \
    X(vkUpdateDescriptorSetWithTemplate) \
    X(vkUpdateDescriptorSets) \
    X(vkWaitForFences) \
    X(vkWaitSemaphores)

#define X(name) extern PFN_##name name;
VKFUNCS_LOADER
VKFUNCS_INSTANCE
VKFUNCS_DEVICE
#undef X
