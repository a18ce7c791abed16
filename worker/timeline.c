#include "worker/timeline.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "ipc/cleanup.h"
#include "worker/context.h"
#include "worker/queue.h"

int timelines_init(struct timelines *t)
{
    *t = (struct timelines){ .event_fd = -1 };
    pthread_mutex_init(&t->publish, NULL);
    pthread_mutex_init(&t->lock, NULL);
    return 0;
}

void timelines_fini(struct timelines *t)
{
    if (t->words) {
        munmap((void *)t->words, t->n_words * sizeof(uint32_t));
    }
    close_fd(&t->event_fd);
    pthread_mutex_destroy(&t->publish);
    pthread_mutex_destroy(&t->lock);
    *t = (struct timelines){ .event_fd = -1 };
}

int timelines_open(struct timelines *t, int own_words_fd, uint64_t size, int own_event_fd)
{
    AUTO_CLOSE int words_fd = own_words_fd;
    AUTO_CLOSE int event_fd = own_event_fd;
    uint32_t n_words = (uint32_t)MIN(size / sizeof(uint32_t), TIMELINE_COUNT);
    struct stat st;
    void *map;
    int seals;

    if (t->words) {
        return -EALREADY;
    }
    if (n_words == 0 || fstat(words_fd, &st) < 0 || st.st_size < 0 || size > (uint64_t)st.st_size) {
        return -EINVAL;
    }
    seals = fcntl(words_fd, F_GET_SEALS);
    if (seals < 0 || !(seals & F_SEAL_SHRINK)) {
        return -EPERM;
    }
    map = mmap(NULL, n_words * sizeof(uint32_t), PROT_READ | PROT_WRITE, MAP_SHARED, words_fd, 0);
    if (map == MAP_FAILED) {
        return -errno;
    }
    t->words = map;
    t->n_words = n_words;
    t->event_fd = take_fd(&event_fd);
    for (uint32_t i = 0; i < n_words; i++) {
        atomic_store_explicit(&t->words[i], 0, memory_order_release);
    }
    return 0;
}

void timeline_retire(struct timelines *t, uint32_t ring_idx, uint32_t seqno)
{
    const uint64_t one = 1;

    if (ring_idx >= t->n_words) {
        return;
    }
    {
        LOCK_SCOPE(&t->publish);

        if ((int32_t)(seqno - t->last[ring_idx]) <= 0) {
            return;
        }
        t->last[ring_idx] = seqno;
        /* The VMM drains the eventfd, then loads the words: store first. */
        atomic_store_explicit(&t->words[ring_idx], seqno, memory_order_release);
    }
    if (t->event_fd >= 0) {
        /* EAGAIN: the counter is full, so it is readable already. */
        (void)!write(t->event_fd, &one, sizeof(one));
    }
}

int timeline_bind(struct timelines *t, uint32_t ring_idx, struct queue *q)
{
    LOCK_SCOPE(&t->lock);

    if (ring_idx == 0 || ring_idx >= TIMELINE_COUNT) {
        return -ERANGE;
    }
    if (t->bound[ring_idx]) {
        return -EBUSY;
    }
    t->bound[ring_idx] = q;
    return 0;
}

void timeline_unbind(struct timelines *t, struct queue *q)
{
    LOCK_SCOPE(&t->lock);

    for (uint32_t i = 0; i < TIMELINE_COUNT; i++) {
        if (t->bound[i] == q) {
            t->bound[i] = NULL;
        }
    }
}

int timeline_submit_fence(struct context *ctx, uint32_t ring_idx, uint32_t seqno)
{
    struct timelines *t = &ctx->timelines;
    LOCK_SCOPE(&t->lock);

    if (ring_idx >= t->n_words) {
        return -ERANGE;
    }
    if (!t->bound[ring_idx]) {
        timeline_retire(t, ring_idx, seqno);
        return 0;
    }
    return queue_submit_fence(t->bound[ring_idx], ring_idx, seqno);
}
