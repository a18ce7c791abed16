/* Scope cleanup: what a variable owns ends with its scope unless it is taken. */
#ifndef CORDON_IPC_CLEANUP_H
#define CORDON_IPC_CLEANUP_H

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

/* Moves an fd out of its owner; the owner is left with -1. */
static inline int take_fd(int *fd)
{
    int taken = *fd;

    *fd = -1;
    return taken;
}

/* Moves a pointer out of its owner; the owner is left with NULL. */
#define take_ptr(owner)                       \
    ({                                        \
        __typeof__(owner) *owner_ = &(owner); \
        __typeof__(owner) taken_ = *owner_;   \
        *owner_ = NULL;                       \
        taken_;                               \
    })

/* Closes *fd if it is owned, keeps errno, leaves -1. */
static inline void close_fd(int *fd)
{
    if (*fd >= 0) {
        int saved = errno;

        close(*fd);
        errno = saved;
        *fd = -1;
    }
}

static inline void cleanup_free_(void *p)
{
    free(*(void **)p);
}

static inline void cleanup_unlock_(pthread_mutex_t **m)
{
    if (*m) {
        pthread_mutex_unlock(*m);
    }
}

static inline pthread_mutex_t *lock_now_(pthread_mutex_t *m)
{
    pthread_mutex_lock(m);
    return m;
}

#define AUTO_CLOSE __attribute__((cleanup(close_fd)))
#define AUTO_FREE __attribute__((cleanup(cleanup_free_)))

#define LOCK_NAME_2_(line) lock_guard_##line
#define LOCK_NAME_(line) LOCK_NAME_2_(line)
/* Holds the mutex until the end of the enclosing block, on every way out. */
#define LOCK_SCOPE(mutex)                                                                     \
    __attribute__((cleanup(cleanup_unlock_), unused)) pthread_mutex_t *LOCK_NAME_(__LINE__) = \
        lock_now_(mutex)

#endif
