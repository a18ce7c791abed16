/*
 * The virtio-gpu device: contexts that are workers, resources, and the commands of its two queues.
 *
 * A command that can be answered is answered before the next is looked at. One that has to wait
 * (for the render server, a worker, the front end, a fence) is kept, and others overtake it, as
 * virtio-gpu allows; but the commands of one context, and those on its resources, keep their order
 * in the context's lane. Nothing here waits.
 */
#ifndef CORDON_SERVER_VHOST_USER_GPU_H
#define CORDON_SERVER_VHOST_USER_GPU_H

#include <stdbool.h>
#include <stdint.h>

#include "cordon/cordon.h"
#include "ipc/guest_memory.h"
#include "ipc/list.h"
#include "ipc/log.h"
#include "ipc/virtio_gpu_wire.h"
#include "server/vhost_user/display.h"
#include "server/vhost_user/queue.h"
#include "server/vhost_user/window.h"

struct keeper;
struct loop;
struct loop_source;
struct starter;

#define GPU_QUEUE_CONTROL 0
#define GPU_QUEUE_CURSOR 1
#define GPU_QUEUES 2

/* Bounds on what a guest can make us hold. A guest has a context per process that uses Vulkan. */
#define GPU_CONTEXTS_MAX 256
#define GPU_RESOURCES_MAX 16384
#define GPU_ATTACHMENTS_MAX 65536
#define GPU_ENTRIES_MAX (1u << 20)    /* of guest memory, all resources together */
#define GPU_PIXELS_MAX (512ull << 20) /* bytes of 2D resources */
#define GPU_HELD_MAX (16u << 20)      /* bytes of commands that wait */
#define GPU_COMMAND_MAX ((4u << 20) + 4096)
#define GPU_BUCKETS 1024

/* Writable pieces of a buffer: an answer is at most 1056 bytes. */
#define COMMAND_IN_MAX 16

struct command {
    struct list link;    /* a lane, a context's fences, gpu::waiters or gpu::held */
    struct list op_link; /* gpu::ops */
    struct gpu *gpu;
    struct queue *queue; /* NULL: nobody wants the answer any more */
    uint64_t serial;
    uint16_t head;
    bool held;            /* its bytes count in gpu::held_bytes */
    bool ran;             /* the answer is there; a fence is still to be asked for */
    uint32_t seqno;       /* of that fence */
    uint32_t resource_id; /* what the front end or a worker is asked for */
    uint32_t n_in;
    struct virtqueue_segment in[COMMAND_IN_MAX];

    /* The request, header and all: checked to be as long as its type is. */
    struct virtio_gpu_header header;
    uint8_t *bytes;
    size_t size, room;

    size_t answer_size;
    union {
        struct virtio_gpu_header header;
        struct virtio_gpu_display_info display_info;
        struct virtio_gpu_capset_info capset_info;
        struct virtio_gpu_capset capset;
        struct virtio_gpu_edid edid;
        struct virtio_gpu_uuid uuid;
        struct virtio_gpu_map_info map_info;
    } answer;
};

enum context_state {
    CONTEXT_STARTING, /* a worker is on its way */
    CONTEXT_ALIVE,
    CONTEXT_LOST, /* refused, or its worker is gone */
    CONTEXT_BARE, /* has no worker: not of the Venus capset */
};

struct context {
    struct list link; /* gpu::contexts */
    struct gpu *gpu;
    uint32_t id;
    enum context_state state;
    char name[64];
    uint64_t ticket; /* what the starter knows it by */
    struct cordon_context *cordon;
    struct loop_source *source, *fence_source;
    uint32_t events;
    struct list lane;     /* commands that wait, oldest first */
    struct command *blob; /* RESOURCE_CREATE_BLOB that has been asked for */
    uint64_t deadline_ms; /* of that, or of the worker taking what is sent; 0: none */
    struct list fences[CORDON_RING_COUNT];
    struct list attachments; /* struct attachment */
    /* Resources to be taken from the worker before anything else is sent. */
    uint32_t *doomed;
    uint32_t n_doomed, doomed_room;
};

enum resource_kind {
    RESOURCE_2D,
    RESOURCE_GUEST,  /* a blob of guest memory */
    RESOURCE_HOST3D, /* a blob of a worker, with or without guest memory */
};

struct resource {
    struct list link; /* gpu::resources */
    uint32_t id;
    enum resource_kind kind;
    bool ready;     /* false: the worker has yet to make it */
    uint32_t owner; /* the context that made it; 0: none */
    uint32_t flags;
    uint64_t size;
    struct cordon_blob blob; /* RESOURCE_HOST3D */
    dev_t dev;               /* what its fd is */
    ino_t ino;
    struct window_area area;
    struct command *mapping; /* MAP_BLOB that waits for the front end */
    struct virtio_gpu_mem_entry *entries;
    uint32_t n_entries;
    struct surface surface;  /* RESOURCE_2D */
    struct list attachments; /* struct attachment */
};

struct attachment {
    struct list of_resource, of_context;
    struct resource *resource;
    struct context *context;
};

struct gpu {
    /* Set at creation, then const. */
    struct loop *loop;
    struct starter *starter;
    struct guest_memory *memory;
    struct window *window;
    uint8_t uuid[16]; /* a resource's is this with its id */

    struct queue queues[GPU_QUEUES];
    struct display display;
    struct list contexts, resources[GPU_BUCKETS];
    uint32_t n_contexts, n_resources, n_attachments, n_entries;
    uint64_t pixel_bytes, held_bytes;
    uint64_t next_serial, next_ticket;

    struct list ops;     /* commands that wait for something else than a fence, oldest first */
    struct list waiters; /* fences of the device's own timeline, oldest first */
    struct list redo;    /* commands whose lane has gone */
    struct list held;    /* answers for a queue that stands still */
    bool full;           /* held_bytes keeps us from taking more */
    struct command *spare;
    struct virtqueue_chain chain;
    struct loop_source *again, *tick;
    struct log_limit limit;
};

MUST_USE int gpu_init(struct gpu *g, struct loop *loop, struct keeper *keeper,
                      struct guest_memory *memory, struct window *window,
                      const struct display_mode *mode);
void gpu_fini(struct gpu *g);

uint64_t gpu_features(const struct gpu *g);
void gpu_config(const struct gpu *g, struct virtio_gpu_config *ret_config);

/* Takes and runs what is in a queue. */
void gpu_run(struct gpu *g, struct queue *q);
/* Queues may have started again: hands over what waited. */
void gpu_resume(struct gpu *g);
/* The guest's driver is new, or the guest gone: contexts, resources and mappings go. */
void gpu_reset(struct gpu *g);

/* Is this fd that of a blob which is in the window? The front end then shows it to us as memory. */
bool gpu_has_mapped(const struct gpu *g, int fd);

/* ---- between the files of the device --------------------------------------------------------- */

/* Returns an answer's type; 0: the command is kept and will be finished later; -EAGAIN: to be run
 * again when the context's socket is writable; -EBUSY: when any context has got on. */
typedef int (*command_fn)(struct gpu *g, struct command *c);

/* An empty one; NULL: out of memory. */
struct command *command_new(struct gpu *g);
/* NULL is fine. */
void command_free(struct command *c);
/* The answer is there, but for its type: asks for a fence if there is one, or hands it over. */
void command_finish(struct gpu *g, struct command *c, uint32_t type);
/* Keeps a command that waits for something else than a fence; its bytes may go. */
void command_keep(struct gpu *g, struct command *c);
/* Runs a command, or puts it into its lane. */
void command_dispatch(struct gpu *g, struct command *c);
/* The same, for one that has been in its lane. */
void command_run_lane(struct gpu *g, struct command *c, struct context *x);
/* Forgets a command without an answer. */
void command_drop(struct gpu *g, struct command *c);
/* Hands the answer over now, fence or not. */
void command_answer(struct gpu *g, struct command *c);

struct context *context_find(const struct gpu *g, uint32_t id);
/* Runs what waits in the lane of this context, if it can be run. */
void context_pump(struct gpu *g, uint32_t id);
void context_pump_all(struct gpu *g);
bool context_busy(const struct context *x);
/* Puts a command into the lane; at the front if it has been there. */
void context_wait(struct context *x, struct command *c, bool front);
/* Watches for the worker to take more, or to answer. */
void context_want_write(struct context *x);
void context_want_read(struct context *x);
/* Its worker is gone or of no use: everything that waits for it is answered. */
void context_lose(struct context *x, const char *why);
/* Takes the resource away from the worker. */
void context_doom(struct context *x, uint32_t resource_id);
/* 0, -EAGAIN or -EPIPE. */
MUST_USE int context_flush(struct context *x);
/* Does all that belongs to the end of a context; its lane goes to gpu::redo. */
void context_remove(struct context *x);
/* struct starter_events */
void context_started(void *arg, uint64_t ticket, int error, struct cordon_context *own_context);
void context_server_lost(void *arg);
void context_server_failed(void *arg, int error);
void context_tick(void *arg);

/* The context that will make this resource once its lane gets there; NULL: none. */
struct context *context_making(const struct gpu *g, uint32_t resource_id);

struct resource *resource_find(const struct gpu *g, uint32_t id);
/* NULL: out of memory, or too many. */
struct resource *resource_new(struct gpu *g, uint32_t id, enum resource_kind kind);
void resource_remove(struct gpu *g, struct resource *r);
/* Copies the n entries that lie at `offset` of a command. 0 or an answer's type. */
int resource_take_entries(struct gpu *g, struct resource *r, const struct command *c, size_t offset,
                          uint32_t n);
void resource_forget_entries(struct gpu *g, struct resource *r);

/* Where a reader of a resource's guest memory is: entry `entry` begins at `offset`. */
struct place {
    uint32_t entry;
    uint64_t offset;
};

/* Copies from the guest memory of a resource; `place` is zero at first, and makes reading on cost
 * nothing. 0 or -EFAULT. */
MUST_USE int resource_read_guest(const struct gpu *g, const struct resource *r, struct place *place,
                                 uint64_t offset, void *buf, size_t size);
void attachment_add(struct gpu *g, struct attachment *own, struct context *x, struct resource *r);
void attachment_remove(struct gpu *g, struct attachment *a);

/* The handlers. */
int context_create(struct gpu *g, struct command *c);
int context_destroy(struct gpu *g, struct command *c);
int context_attach(struct gpu *g, struct command *c);
int context_detach(struct gpu *g, struct command *c);
int context_submit(struct gpu *g, struct command *c);
int resource_create_blob(struct gpu *g, struct command *c);
/* Ends the context's RESOURCE_CREATE_BLOB: takes own_blob if error is 0. */
void resource_blob_done(struct gpu *g, struct context *x, int error, struct cordon_blob *own_blob);
int resource_map(struct gpu *g, struct command *c);
int resource_unmap(struct gpu *g, struct command *c);
int resource_unref(struct gpu *g, struct command *c);
int resource_uuid(struct gpu *g, struct command *c);
int resource_create_2d(struct gpu *g, struct command *c);
int resource_attach_backing(struct gpu *g, struct command *c);
int resource_detach_backing(struct gpu *g, struct command *c);
int resource_transfer_2d(struct gpu *g, struct command *c);
int resource_flush(struct gpu *g, struct command *c);
int capset_get_info(struct gpu *g, struct command *c);
int capset_get(struct gpu *g, struct command *c);
int display_get_info(struct gpu *g, struct command *c);
int display_get_edid(struct gpu *g, struct command *c);
int scanout_set(struct gpu *g, struct command *c);
int scanout_set_blob(struct gpu *g, struct command *c);
int cursor_update(struct gpu *g, struct command *c);

#endif
