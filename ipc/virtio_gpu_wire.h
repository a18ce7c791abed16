/*
 * virtio-gpu: commands and answers as they lie in a buffer, little-endian (as is every machine
 * that we run on). Virtio 1.2, section 5.7, and Linux include/uapi/linux/virtio_gpu.h for what came
 * later. Everything is naturally aligned: the asserts prove that no padding moved anything.
 */
#ifndef CORDON_IPC_VIRTIO_GPU_WIRE_H
#define CORDON_IPC_VIRTIO_GPU_WIRE_H

#include <assert.h>
#include <stddef.h>
#include <stdint.h>

static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "structures are used as they lie");

#define VIRTIO_GPU_DEVICE_ID 16

enum virtio_gpu_feature {
    VIRTIO_GPU_F_VIRGL = 0, /* contexts and 3D commands */
    VIRTIO_GPU_F_EDID = 1,
    VIRTIO_GPU_F_RESOURCE_UUID = 2,
    VIRTIO_GPU_F_RESOURCE_BLOB = 3,
    VIRTIO_GPU_F_CONTEXT_INIT = 4,
};

enum virtio_gpu_command {
    VIRTIO_GPU_GET_DISPLAY_INFO = 0x0100,
    VIRTIO_GPU_RESOURCE_CREATE_2D = 0x0101,
    VIRTIO_GPU_RESOURCE_UNREF = 0x0102,
    VIRTIO_GPU_SET_SCANOUT = 0x0103,
    VIRTIO_GPU_RESOURCE_FLUSH = 0x0104,
    VIRTIO_GPU_TRANSFER_TO_HOST_2D = 0x0105,
    VIRTIO_GPU_RESOURCE_ATTACH_BACKING = 0x0106,
    VIRTIO_GPU_RESOURCE_DETACH_BACKING = 0x0107,
    VIRTIO_GPU_GET_CAPSET_INFO = 0x0108,
    VIRTIO_GPU_GET_CAPSET = 0x0109,
    VIRTIO_GPU_GET_EDID = 0x010a,
    VIRTIO_GPU_RESOURCE_ASSIGN_UUID = 0x010b,
    VIRTIO_GPU_RESOURCE_CREATE_BLOB = 0x010c,
    VIRTIO_GPU_SET_SCANOUT_BLOB = 0x010d,

    VIRTIO_GPU_CTX_CREATE = 0x0200,
    VIRTIO_GPU_CTX_DESTROY = 0x0201,
    VIRTIO_GPU_CTX_ATTACH_RESOURCE = 0x0202,
    VIRTIO_GPU_CTX_DETACH_RESOURCE = 0x0203,
    VIRTIO_GPU_RESOURCE_CREATE_3D = 0x0204,
    VIRTIO_GPU_TRANSFER_TO_HOST_3D = 0x0205,
    VIRTIO_GPU_TRANSFER_FROM_HOST_3D = 0x0206,
    VIRTIO_GPU_SUBMIT_3D = 0x0207,
    VIRTIO_GPU_RESOURCE_MAP_BLOB = 0x0208,
    VIRTIO_GPU_RESOURCE_UNMAP_BLOB = 0x0209,

    VIRTIO_GPU_UPDATE_CURSOR = 0x0300,
    VIRTIO_GPU_MOVE_CURSOR = 0x0301,
};

enum virtio_gpu_answer {
    VIRTIO_GPU_OK_NODATA = 0x1100,
    VIRTIO_GPU_OK_DISPLAY_INFO = 0x1101,
    VIRTIO_GPU_OK_CAPSET_INFO = 0x1102,
    VIRTIO_GPU_OK_CAPSET = 0x1103,
    VIRTIO_GPU_OK_EDID = 0x1104,
    VIRTIO_GPU_OK_RESOURCE_UUID = 0x1105,
    VIRTIO_GPU_OK_MAP_INFO = 0x1106,

    VIRTIO_GPU_ERR_UNSPEC = 0x1200,
    VIRTIO_GPU_ERR_OUT_OF_MEMORY = 0x1201,
    VIRTIO_GPU_ERR_INVALID_SCANOUT_ID = 0x1202,
    VIRTIO_GPU_ERR_INVALID_RESOURCE_ID = 0x1203,
    VIRTIO_GPU_ERR_INVALID_CONTEXT_ID = 0x1204,
    VIRTIO_GPU_ERR_INVALID_PARAMETER = 0x1205,
};

#define VIRTIO_GPU_FLAG_FENCE 1u
#define VIRTIO_GPU_FLAG_INFO_RING_IDX 2u

#define VIRTIO_GPU_CAPSET_VENUS 4
#define VIRTIO_GPU_CAPSET_VENUS_SIZE 160
#define VIRTIO_GPU_CONTEXT_INIT_CAPSET_MASK 0xffu

#define VIRTIO_GPU_MAX_SCANOUTS 16
#define VIRTIO_GPU_SHM_ID_HOST_VISIBLE 1

enum virtio_gpu_blob_mem {
    VIRTIO_GPU_BLOB_GUEST = 1,
    VIRTIO_GPU_BLOB_HOST3D = 2,
    VIRTIO_GPU_BLOB_HOST3D_GUEST = 3,
};

#define VIRTIO_GPU_BLOB_FLAGS 7u /* mappable, shareable, cross-device */
#define VIRTIO_GPU_BLOB_MAPPABLE 1u

/* Formats are named by their bytes in memory, lowest first. */
enum virtio_gpu_format {
    VIRTIO_GPU_B8G8R8A8 = 1,
    VIRTIO_GPU_B8G8R8X8 = 2,
    VIRTIO_GPU_A8R8G8B8 = 3,
    VIRTIO_GPU_X8R8G8B8 = 4,
    VIRTIO_GPU_R8G8B8A8 = 67,
    VIRTIO_GPU_X8B8G8R8 = 68,
    VIRTIO_GPU_A8B8G8R8 = 121,
    VIRTIO_GPU_R8G8B8X8 = 134,
};

struct virtio_gpu_config {
    uint32_t events_read;
    uint32_t events_clear;
    uint32_t num_scanouts;
    uint32_t num_capsets;
};
static_assert(sizeof(struct virtio_gpu_config) == 16, "5.7.4");

struct virtio_gpu_header {
    uint32_t type;
    uint32_t flags;
    uint64_t fence_id;
    uint32_t ctx_id;
    uint8_t ring_idx;
    uint8_t pad[3];
};
static_assert(sizeof(struct virtio_gpu_header) == 24, "5.7.6.7");

struct virtio_gpu_rect {
    uint32_t x, y, width, height;
};
static_assert(sizeof(struct virtio_gpu_rect) == 16, "5.7.6.8");

struct virtio_gpu_display_info {
    struct virtio_gpu_header header;
    struct {
        struct virtio_gpu_rect rect;
        uint32_t enabled, flags;
    } scanouts[VIRTIO_GPU_MAX_SCANOUTS];
};
static_assert(sizeof(struct virtio_gpu_display_info) == 408, "5.7.6.8");

struct virtio_gpu_create_2d {
    struct virtio_gpu_header header;
    uint32_t resource_id, format, width, height;
};
static_assert(sizeof(struct virtio_gpu_create_2d) == 40, "5.7.6.8");

/* RESOURCE_UNREF, DETACH_BACKING, CTX_ATTACH/DETACH_RESOURCE, UNMAP_BLOB, ASSIGN_UUID */
struct virtio_gpu_resource {
    struct virtio_gpu_header header;
    uint32_t resource_id, pad;
};
static_assert(sizeof(struct virtio_gpu_resource) == 32, "5.7.6.8");

struct virtio_gpu_set_scanout {
    struct virtio_gpu_header header;
    struct virtio_gpu_rect rect;
    uint32_t scanout_id, resource_id;
};
static_assert(sizeof(struct virtio_gpu_set_scanout) == 48, "5.7.6.8");

struct virtio_gpu_flush {
    struct virtio_gpu_header header;
    struct virtio_gpu_rect rect;
    uint32_t resource_id, pad;
};
static_assert(sizeof(struct virtio_gpu_flush) == 48, "5.7.6.8");

struct virtio_gpu_transfer_2d {
    struct virtio_gpu_header header;
    struct virtio_gpu_rect rect;
    uint64_t offset;
    uint32_t resource_id, pad;
};
static_assert(sizeof(struct virtio_gpu_transfer_2d) == 56, "5.7.6.8");

struct virtio_gpu_mem_entry {
    uint64_t addr;
    uint32_t length, pad;
};
static_assert(sizeof(struct virtio_gpu_mem_entry) == 16, "5.7.6.8");

struct virtio_gpu_attach_backing { /* then the entries */
    struct virtio_gpu_header header;
    uint32_t resource_id, n_entries;
};
static_assert(sizeof(struct virtio_gpu_attach_backing) == 32, "5.7.6.8");

struct virtio_gpu_get_capset_info {
    struct virtio_gpu_header header;
    uint32_t index, pad;
};
static_assert(sizeof(struct virtio_gpu_get_capset_info) == 32, "5.7.6.8");

struct virtio_gpu_capset_info {
    struct virtio_gpu_header header;
    uint32_t capset_id, max_version, max_size, pad;
};
static_assert(sizeof(struct virtio_gpu_capset_info) == 40, "5.7.6.8");

struct virtio_gpu_get_capset {
    struct virtio_gpu_header header;
    uint32_t capset_id, version;
};
static_assert(sizeof(struct virtio_gpu_get_capset) == 32, "5.7.6.8");

struct virtio_gpu_capset {
    struct virtio_gpu_header header;
    uint32_t words[VIRTIO_GPU_CAPSET_VENUS_SIZE / 4];
};
static_assert(sizeof(struct virtio_gpu_capset) == 184, "5.7.6.8");

struct virtio_gpu_get_edid {
    struct virtio_gpu_header header;
    uint32_t scanout, pad;
};
static_assert(sizeof(struct virtio_gpu_get_edid) == 32, "5.7.6.8");

struct virtio_gpu_edid {
    struct virtio_gpu_header header;
    uint32_t size, pad;
    uint8_t edid[1024];
};
static_assert(sizeof(struct virtio_gpu_edid) == 1056, "5.7.6.8");

struct virtio_gpu_uuid {
    struct virtio_gpu_header header;
    uint8_t uuid[16];
};
static_assert(sizeof(struct virtio_gpu_uuid) == 40, "5.7.6.8");

struct virtio_gpu_create_blob { /* then the entries */
    struct virtio_gpu_header header;
    uint32_t resource_id, blob_mem, blob_flags, n_entries;
    uint64_t blob_id, size;
};
static_assert(sizeof(struct virtio_gpu_create_blob) == 56, "5.7.6.8");

struct virtio_gpu_set_scanout_blob {
    struct virtio_gpu_header header;
    struct virtio_gpu_rect rect;
    uint32_t scanout_id, resource_id, width, height, format, pad;
    uint32_t strides[4], offsets[4];
};
static_assert(sizeof(struct virtio_gpu_set_scanout_blob) == 96, "5.7.6.8");

struct virtio_gpu_ctx_create {
    struct virtio_gpu_header header;
    uint32_t name_length, context_init;
    char name[64];
};
static_assert(sizeof(struct virtio_gpu_ctx_create) == 96, "5.7.6.8");

struct virtio_gpu_submit_3d { /* then the commands */
    struct virtio_gpu_header header;
    uint32_t size, pad;
};
static_assert(sizeof(struct virtio_gpu_submit_3d) == 32, "5.7.6.8");

struct virtio_gpu_map_blob {
    struct virtio_gpu_header header;
    uint32_t resource_id, pad;
    uint64_t offset;
};
static_assert(sizeof(struct virtio_gpu_map_blob) == 40, "5.7.6.8");

struct virtio_gpu_map_info {
    struct virtio_gpu_header header;
    uint32_t map_info, pad;
};
static_assert(sizeof(struct virtio_gpu_map_info) == 32, "5.7.6.8");

struct virtio_gpu_cursor {
    struct virtio_gpu_header header;
    struct {
        uint32_t scanout_id, x, y, pad;
    } position;
    uint32_t resource_id, hot_x, hot_y, pad;
};
static_assert(sizeof(struct virtio_gpu_cursor) == 56, "5.7.6.10");

/* The longest answer. */
#define VIRTIO_GPU_ANSWER_MAX sizeof(struct virtio_gpu_edid)

#endif
