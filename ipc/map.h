/* memfds and mappings. The size of a thing always comes from the kernel, never from a message. */
#ifndef CORDON_IPC_MAP_H
#define CORDON_IPC_MAP_H

#include <stddef.h>
#include <stdint.h>

/* A zeroed memfd of exactly `size` bytes: close-on-exec, sealable and not yet sealed against
 * resizing, never executable where the kernel can promise that. size > 0. The name shows in
 * /proc only. 0, -EINVAL, or another negative errno. */
int memfd_create_sized(const char *name, uint64_t size, int *ret_fd);

/* Bytes behind a memfd, regular file or dma-buf. 0 or a negative errno (-ESPIPE: has no size). */
int fd_size(int fd, uint64_t *ret_size);

/* F_SEAL_* bits of a memfd. -EINVAL: not sealable at all. */
int fd_seals(int fd, unsigned *ret_seals);
int fd_seal(int fd, unsigned seals);
/* 0 if all these seals are set; -EPERM if not; or another negative errno. */
int fd_require_seals(int fd, unsigned seals);

/* Maps [0, size) shared, readable and writable. -EINVAL: size is 0 or more than the fd holds.
 * Whether the fd may shrink later is the caller's question: fd_require_seals(F_SEAL_SHRINK). */
int map_shared(int fd, uint64_t size, void **ret_ptr);
/* NULL is fine. */
void unmap(void *ptr, uint64_t size);

#endif
