/*
 * libcordon: the VMM's side of Cordon.
 *
 * A server process is started (or a socket to one adopted); each guest context is served by a
 * confined worker process of its own. Nothing here runs guest bytes or touches a GPU.
 *
 * Errors: functions return 0 or a negative errno, and leave ret_ parameters alone on failure.
 *   -ETIMEDOUT  the other side did not take or answer a message in time; the call had no effect
 *               that lasts (a late answer is thrown away)
 *   -EPIPE      the server or the context is gone, or was given up after half a message
 *   -EPROTO     the other side answered what the protocol does not allow
 *   -EREMOTEIO  the other side said no (its log says why)
 * Ownership: fds in are borrowed unless named own_; fds out belong to the caller and are
 * close-on-exec. x_destroy and x_close accept NULL and return NULL.
 * Threads: a server may be used from any thread. A context is for one thread at a time, except
 * cordon_context_fence_done, _fence_fd and _fd, which any thread may call while the context
 * exists. No call waits longer than the server's timeout. No call raises SIGPIPE.
 */
#ifndef CORDON_CORDON_H
#define CORDON_CORDON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif
#pragma GCC visibility push(default)

#define CORDON_RING_COUNT 64 /* ring_idx 0..63 */
#define CORDON_TIMEOUT_DEFAULT_MS 10000

enum cordon_fd_type {
    CORDON_FD_DMABUF = 0,
    CORDON_FD_OPAQUE = 1, /* Vulkan opaque fd: not mappable without Vulkan */
    CORDON_FD_SHM = 2,    /* memfd */
};

/* virtio-gpu's VIRTIO_GPU_MAP_CACHE_* */
enum cordon_map_info {
    CORDON_MAP_NONE = 0,
    CORDON_MAP_CACHED = 1,
    CORDON_MAP_UNCACHED = 2,
    CORDON_MAP_WC = 3,
};

#define CORDON_BLOB_MAPPABLE (1u << 0)
#define CORDON_BLOB_SHAREABLE (1u << 1)
#define CORDON_BLOB_CROSS_DEVICE (1u << 2)

struct cordon_server;
struct cordon_context;

/* ---- server -------------------------------------------------------------------------------- */

/* Starts `path` with `--socket-fd N` and extra_args (NULL, or ended by NULL). The child gets
 * stdin, stdout, stderr, the socket, and no other fd; the environment; default signals; a process
 * group of its own. */
int cordon_server_spawn(const char *path, const char *const *extra_args,
                        struct cordon_server **ret_server);

/* Talks to a server over a connected SEQPACKET socket that somebody else made. Takes own_socket,
 * success or not. */
int cordon_server_adopt(int own_socket, struct cordon_server **ret_server);

/* The longest that a later call may wait for the other side; > 0. */
void cordon_server_set_timeout(struct cordon_server *server, int timeout_ms);

/* Ends every context on the server's side and the connection. A server that was spawned gets the
 * timeout to exit by itself, then SIGKILL; *ret_status (may be NULL) is its wait status, or -1
 * when unknown. Contexts that are left are of no use, and are to be destroyed all the same. */
struct cordon_server *cordon_server_close(struct cordon_server *server, int *ret_status);

/* Borrowed. Readable or hung up without a call in progress: the server is gone. */
int cordon_server_fd(const struct cordon_server *server);
/* 0 when adopted. */
int cordon_server_pid(const struct cordon_server *server);

/* ---- context ------------------------------------------------------------------------------- */

/* ctx_id: chosen by the caller, not 0, not of a live context. name: for logs and per-application
 * driver settings; cut at 31 bytes. -EREMOTEIO: the server refuses. */
int cordon_context_create(struct cordon_server *server, uint32_t ctx_id, const char *name,
                          struct cordon_context **ret_context);
/* Ends it at once; fences pending are dropped. */
struct cordon_context *cordon_context_destroy(struct cordon_context *context);

/* Borrowed. Hung up: the context is lost and every later call gives -EPIPE. */
int cordon_context_fd(const struct cordon_context *context);

/* ---- resources ----------------------------------------------------------------------------- */

struct cordon_blob {
    int fd;            /* the caller's */
    uint32_t fd_type;  /* enum cordon_fd_type */
    uint32_t map_info; /* enum cordon_map_info */
    /* Opaque fds only: what an import into Vulkan needs. */
    uint8_t device_uuid[16];
    uint8_t driver_uuid[16];
    uint64_t allocation_size;
    uint32_t memory_type_index;
};

/* Makes resource res_id out of something of this context and attaches it: blob_id 0 with flags
 * MAPPABLE is new shared memory; else the guest's id of a VkDeviceMemory. A memfd that comes back
 * is sealed against resizing and holds exactly `size` bytes. Waits for the answer.
 * -EREMOTEIO: the worker refuses; the context lives on. */
int cordon_blob_create(struct cordon_context *context, uint32_t res_id, uint64_t blob_id,
                       uint64_t size, uint32_t flags, struct cordon_blob *ret_blob);

/* Attaches a resource that another context or the VMM made. The worker gets a duplicate of fd.
 * Not answered: if it fails there, the guest's use of res_id fails. */
int cordon_resource_import(struct cordon_context *context, uint32_t res_id,
                           enum cordon_fd_type fd_type, int fd, uint64_t size);
/* Detaches and forgets res_id, which may be used again at once. Unknown ids are ignored. */
int cordon_resource_destroy(struct cordon_context *context, uint32_t res_id);

/* ---- commands and fences ------------------------------------------------------------------- */

/* Hands a command stream to the worker, which copies it. size: a multiple of 4, not 0 (-EINVAL),
 * at most cordon_submit_max (-EMSGSIZE, nothing sent). Not answered. */
int cordon_submit(struct cordon_context *context, const void *commands, size_t size);
size_t cordon_submit_max(const struct cordon_context *context);

/* Asks for a fence on ring_idx behind everything submitted so far; *ret_seqno names it. Numbers
 * rise by 1 per ring, and a fence covers all earlier ones of its ring. */
int cordon_fence(struct cordon_context *context, uint32_t ring_idx, uint32_t *ret_seqno);

/* Any thread; one atomic load. False for a ring_idx out of range. */
bool cordon_context_fence_done(const struct cordon_context *context, uint32_t ring_idx,
                               uint32_t seqno);
/* Borrowed eventfd, readable when any fence may have moved. Drain it first, look second. */
int cordon_context_fence_fd(const struct cordon_context *context);
void cordon_context_fence_drain(struct cordon_context *context);
/* For simple callers: drains and waits until the fence is done. -ETIMEDOUT after timeout_ms (-1:
 * the server's timeout); -EPIPE: the context is gone and the fence never came. */
int cordon_fence_wait(struct cordon_context *context, uint32_t ring_idx, uint32_t seqno,
                      int timeout_ms);

/* ---- for event loops ----------------------------------------------------------------------- */

/* With wait off, no call on this context but cordon_blob_create and cordon_fence_wait waits for
 * the worker: it gives -EAGAIN, and nothing was sent. Try again when cordon_context_fd is
 * writable. A submission that was taken may be kept in part; the next call sends the rest first,
 * and so does cordon_context_flush. */
void cordon_context_set_wait(struct cordon_context *context, bool wait);
/* 0: nothing is kept; -EAGAIN; -EPIPE. */
int cordon_context_flush(struct cordon_context *context);

/* cordon_blob_create in two steps, for one blob at a time (-EBUSY). begin sends the request;
 * finish takes the answer: -EAGAIN until there is one, which makes cordon_context_fd readable. */
int cordon_blob_begin(struct cordon_context *context, uint32_t res_id, uint64_t blob_id,
                      uint64_t size, uint32_t flags);
int cordon_blob_finish(struct cordon_context *context, struct cordon_blob *ret_blob);

#pragma GCC visibility pop
#ifdef __cplusplus
}
#endif

#endif
