/*
 * Every cap on what a guest may make its worker hold, with the reason for the number. What a
 * guest can exceed ends its context with a line that names the limit; the host is protected by
 * the worker's cgroup and rlimits in any case, these make the failure early and clear.
 */
#ifndef CORDON_WORKER_LIMITS_H
#define CORDON_WORKER_LIMITS_H

#include <stdint.h>

/* Decoded form of one command, and its output blobs: a mip chain of a 8192 x 8192 RGBA8 image
 * read back by vkCopyImageToMemoryMESA still fits. */
#define LIMIT_COMMAND_MEMORY (512ull << 20)

/* First chunk of a decoder's arena: ordinary commands need a few hundred bytes, a big pipeline
 * some ten thousand. */
#define LIMIT_ARENA_FIRST (64u << 10)

/* Live objects of a context. The biggest games hold some 100,000 (mostly descriptor sets). */
#define LIMIT_OBJECTS (1u << 20)

/* Resources of a context: one per exported allocation, of which a guest is promised 8192
 * (cmd_instance.c), and per shared pool and imported buffer. Each may hold two descriptors;
 * RLIMIT_NOFILE of a worker is 32768. */
#define LIMIT_RESOURCES 9216u

/* Shared memory for rings, streams and replies. The client's pools are 1 to 8 MiB each; uploads
 * of whole textures through a stream are possible. */
#define LIMIT_SHM_BYTES (2ull << 30)

/* One ring, so one thread, per guest thread that calls Vulkan: a compiler thread for each processor
 * of a large machine. RLIMIT_NPROC of a worker is 640. */
#define LIMIT_RINGS 512u

/* Protocol: bufferSize of a ring. */
#define LIMIT_RING_BUFFER (16u << 20)

/* A command stream run by vkExecuteCommandStreamsMESA is copied whole before it is decoded. The
 * client's stream pools are 8 MiB, a single huge command may have a pool of its own. */
#define LIMIT_STREAM_BYTES (256ull << 20)
/* Streams of one vkExecuteCommandStreamsMESA. The client sends one per command buffer. */
#define LIMIT_STREAMS 4096u
/* A stream buffer bigger than this is given back when it has not been needed for a while. */
#define LIMIT_STREAM_KEEP (1u << 20)

/* A command stream by message. The VMM's library can send no more than its socket buffer, some
 * 200 or 400 KiB; QEMU lets the guest ask for 4 MiB. */
#define LIMIT_SUBMIT_BYTES (8u << 20)

/* Requests read from the socket and not yet run: the context thread may wait for a ring while
 * the VMM goes on sending. Each is a frame's worth of fences at most. */
#define LIMIT_QUEUED_REQUESTS 65536u
#define LIMIT_QUEUED_BYTES (64ull << 20)

/* The monitor ticks no faster than this, whatever period was asked. */
#define LIMIT_MONITOR_MIN_US 1000u

/*
 * Those that an operator may set, told by the server in CORDON_LIMITS ("memory=1073741824"). Const
 * once the worker has started.
 */
struct limits {
    uint64_t memory; /* bytes of device memory; 0: as much as the device has */
    uint64_t shm;    /* bytes of shared memory that is no device memory */
    uint32_t objects;
    uint32_t blobs; /* resources */
    uint32_t rings;
    uint32_t lost; /* lost devices, after which the context gets no more; 0: any */
};

extern struct limits limits_from_server;

/* NULL is fine. -EINVAL for what the server would not write. */
int limits_parse(const char *text);

#endif
