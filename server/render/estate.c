#include "server/render/estate.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/checked.h"
#include "ipc/cleanup.h"

/* Protocol: VkRingStatusFlagsMESA. */
#define RING_STATUS_FATAL 2u
#define RING_STATUS_ALIVE 4u

/* The VMM takes a fence as done when (uint32_t)(word - seqno) is below this. */
#define FENCE_WINDOW 0x7fffffffu
/* How far a dead context's words jump: past anything pending, well inside the window. */
#define FENCE_JUMP 0x40000000u

#define WORDS_MAX 64

struct estate_ring {
    struct list link; /* estate::rings */
    uint32_t number;
    int fd;
    uint64_t status_offset;
};

/* Shared memory of the kernel's own kind, whose reads and writes never block. */
static bool is_memfd_of(int fd, uint64_t size)
{
    struct stat st;

    return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && fcntl(fd, F_GET_SEALS) >= 0 &&
           st.st_size >= 0 && (uint64_t)st.st_size >= size;
}

static bool is_eventfd(int fd)
{
    static const char name[] = "anon_inode:[eventfd]";
    char path[32], target[64];
    ssize_t n;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    n = readlink(path, target, sizeof(target));
    return n == (ssize_t)strlen(name) && memcmp(target, name, strlen(name)) == 0;
}

/* For a jail without pread and pwrite. The position is the VMM's too, who maps these files and never
 * uses it; were it moved in between, another word of the dead context's own memory would be hit. */
static bool seek_instead(int fd, ssize_t n, uint64_t offset)
{
    return n < 0 && errno == ENOSYS && lseek(fd, (off_t)offset, SEEK_SET) >= 0;
}

static int load_word(int fd, uint64_t offset, uint32_t *ret)
{
    ssize_t n = pread(fd, ret, sizeof(*ret), (off_t)offset);

    if (seek_instead(fd, n, offset)) {
        n = read(fd, ret, sizeof(*ret));
    }
    return n == (ssize_t)sizeof(*ret) ? 0 : n < 0 ? -errno : -EIO;
}

/* One aligned 32-bit copy in the kernel. The worker, the only other writer of these words, is
 * dead; what a reader could see half-done would still mean the same (see the callers). */
static int store_word(int fd, uint64_t offset, uint32_t word)
{
    ssize_t n = pwrite(fd, &word, sizeof(word), (off_t)offset);

    if (seek_instead(fd, n, offset)) {
        n = write(fd, &word, sizeof(word));
    }
    return n == (ssize_t)sizeof(word) ? 0 : n < 0 ? -errno : -EIO;
}

void estate_init(struct estate *e)
{
    *e = (struct estate){ .words_fd = -1, .event_fd = -1 };
    list_init(&e->rings);
}

static void drop_ring(struct estate *e, struct estate_ring *ring)
{
    list_remove(&ring->link);
    e->n_rings--;
    close_fd(&ring->fd);
    free(ring);
}

void estate_fini(struct estate *e)
{
    list_for_each_safe (pos, &e->rings) {
        drop_ring(e, list_entry(pos, struct estate_ring, link));
    }
    close_fd(&e->words_fd);
    close_fd(&e->event_fd);
}

int estate_set_words(struct estate *e, int own_words_fd, int own_event_fd, uint32_t n_words)
{
    AUTO_CLOSE int words_fd = own_words_fd;
    AUTO_CLOSE int event_fd = own_event_fd;

    if (e->words_fd >= 0) {
        return -EEXIST;
    }
    if (n_words == 0 || n_words > WORDS_MAX || !is_memfd_of(words_fd, n_words * sizeof(uint32_t)) ||
        (event_fd >= 0 && !is_eventfd(event_fd))) {
        return -EPROTO;
    }
    e->words_fd = take_fd(&words_fd);
    e->event_fd = take_fd(&event_fd);
    e->n_words = n_words;
    return 0;
}

static struct estate_ring *find_ring(struct estate *e, uint32_t number)
{
    list_for_each (pos, &e->rings) {
        struct estate_ring *ring = list_entry(pos, struct estate_ring, link);

        if (ring->number == number) {
            return ring;
        }
    }
    return NULL;
}

int estate_add_ring(struct estate *e, uint32_t number, int own_fd, uint64_t status_offset)
{
    AUTO_CLOSE int fd = own_fd;
    struct estate_ring *ring;
    uint64_t end;

    if (!checked_add(status_offset, sizeof(uint32_t), &end) || status_offset % 4 != 0 ||
        end > INT64_MAX || !is_memfd_of(fd, end)) {
        return -EPROTO;
    }
    if (find_ring(e, number)) {
        return -EEXIST;
    }
    if (e->n_rings == ESTATE_MAX_RINGS) {
        return -ENOSPC;
    }
    ring = malloc(sizeof(*ring));
    if (!ring) {
        return -ENOMEM;
    }
    *ring = (struct estate_ring){
        .number = number,
        .fd = take_fd(&fd),
        .status_offset = status_offset,
    };
    list_append(&e->rings, &ring->link);
    e->n_rings++;
    return 0;
}

void estate_remove_ring(struct estate *e, uint32_t number)
{
    struct estate_ring *ring = find_ring(e, number);

    if (ring) {
        drop_ring(e, ring);
    }
}

/* The guest may clear ALIVE between our load and store, which is what we do as well. */
static bool mark_fatal(const struct estate_ring *ring)
{
    uint32_t status;

    return load_word(ring->fd, ring->status_offset, &status) == 0 &&
           store_word(ring->fd, ring->status_offset,
                      (status & ~RING_STATUS_ALIVE) | RING_STATUS_FATAL) == 0;
}

static void signal_event(struct estate *e)
{
    struct pollfd p = { .fd = e->event_fd, .events = POLLOUT };
    const uint64_t one = 1;

    /* A full counter has woken the VMM already; and the worker may have made it blocking. */
    if (e->event_fd >= 0 && poll(&p, 1, 0) == 1 && (p.revents & POLLOUT)) {
        (void)!write(e->event_fd, &one, sizeof(one));
    }
}

/* Nobody but the worker knew which fences are pending. Their numbers rise by one from the word
 * on, so a word far enough ahead covers all of them, and words may jump. */
static void jump_words(struct estate *e)
{
    for (uint32_t i = 0; i < e->n_words; i++) {
        uint32_t word;

        if (load_word(e->words_fd, i * sizeof(word), &word) == 0) {
            (void)store_word(e->words_fd, i * sizeof(word), word + FENCE_JUMP);
        }
    }
    signal_event(e);
}

uint32_t estate_settle(struct estate *e)
{
    uint32_t marked = 0;

    list_for_each_safe (pos, &e->rings) {
        struct estate_ring *ring = list_entry(pos, struct estate_ring, link);

        marked += mark_fatal(ring);
        drop_ring(e, ring);
    }
    if (e->words_fd >= 0) {
        jump_words(e);
    }
    return marked;
}

void estate_move(struct estate *from, struct estate *ret)
{
    assert(list_empty(&from->rings));
    *ret = (struct estate){
        .words_fd = take_fd(&from->words_fd),
        .event_fd = take_fd(&from->event_fd),
        .n_words = from->n_words,
    };
    list_init(&ret->rings);
}

int estate_cover(struct estate *e, uint32_t ring_idx, uint32_t seqno)
{
    uint32_t word;
    int r;

    if (e->words_fd < 0) {
        return -ENODATA;
    }
    if (ring_idx >= e->n_words) {
        return -EPROTO;
    }
    r = load_word(e->words_fd, ring_idx * sizeof(word), &word);
    if (r < 0) {
        return r;
    }
    /* The jump covers it already, but libvirglrenderer looks at its list only when the word has
     * moved since it last looked. */
    word++;
    if (word - seqno >= FENCE_WINDOW) {
        word = seqno;
    }
    r = store_word(e->words_fd, ring_idx * sizeof(word), word);
    if (r < 0) {
        return r;
    }
    signal_event(e);
    return 0;
}
