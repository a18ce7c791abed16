#include "ipc/virtqueue.h"

#include <assert.h>
#include <errno.h>
#include <stdatomic.h>
#include <string.h>

#include "ipc/checked.h"

#define DESC_SIZE 16
#define DESC_NEXT 1u
#define DESC_WRITE 2u
#define DESC_INDIRECT 4u
#define AVAIL_NO_INTERRUPT 1u

/* Of either ring: flags, index, entries, event index. */
#define RING_FLAGS 0
#define RING_IDX 2
#define RING_ENTRIES 4
#define USED_ENTRY 8

struct desc {
    uint64_t addr;
    uint32_t len;
    uint16_t flags;
    uint16_t next;
};
_Static_assert(sizeof(struct desc) == DESC_SIZE, "virtio 2.7.5");

static uint16_t load16(const uint8_t *p)
{
    return *(const volatile uint16_t *)(const void *)p;
}

static void store16(uint8_t *p, uint16_t v)
{
    *(volatile uint16_t *)(void *)p = v;
}

int virtqueue_set_num(struct virtqueue *q, uint32_t num)
{
    if (!is_power_of_two(num) || num > VIRTQUEUE_NUM_MAX) {
        return -EINVAL;
    }
    q->num = num;
    return 0;
}

static bool aligned(const void *p, uintptr_t to)
{
    return ((uintptr_t)p & (to - 1)) == 0;
}

int virtqueue_resolve(struct virtqueue *q, const struct guest_memory *m)
{
    uint64_t num = q->num;
    uint8_t *desc = guest_memory_user(m, q->desc_user, num * DESC_SIZE);
    uint8_t *avail = guest_memory_user(m, q->avail_user, RING_ENTRIES + num * 2 + 2);
    uint8_t *used = guest_memory_user(m, q->used_user, RING_ENTRIES + num * USED_ENTRY + 2);

    q->desc = q->avail = q->used = NULL;
    if (num == 0) {
        return -EINVAL;
    }
    if (!desc || !avail || !used) {
        return -EFAULT;
    }
    if (!aligned(desc, 16) || !aligned(avail, 2) || !aligned(used, 4)) {
        return -EINVAL;
    }
    q->desc = desc;
    q->avail = avail;
    q->used = used;
    return 0;
}

void virtqueue_start(struct virtqueue *q, uint16_t next)
{
    q->next_avail = next;
    q->in_flight = 0;
    q->used_idx = virtqueue_ready(q) ? load16(q->used + RING_IDX) : next;
    q->told = q->used_idx;
}

bool virtqueue_same_used(const struct virtqueue *q)
{
    return load16(q->used + RING_IDX) == q->used_idx;
}

/* ---- chains -------------------------------------------------------------------------------- */

static int add_segment(struct virtqueue_chain *c, const struct desc *d,
                       const struct guest_memory *m)
{
    uint32_t n = c->n_out + c->n_in;
    bool in = (d->flags & DESC_WRITE) != 0;

    if (n >= VIRTQUEUE_SEGMENTS_MAX || d->len == 0 || (!in && c->n_in > 0) ||
        !guest_memory_has(m, d->addr, d->len)) {
        return -EBADMSG;
    }
    c->segments[n] = (struct virtqueue_segment){ .addr = d->addr, .len = d->len };
    c->n_in += in;
    c->n_out += !in;
    c->in_size += in ? d->len : 0;
    c->out_size += in ? 0 : d->len;
    return 0;
}

/* A table of its own in guest memory. No room for a copy of the whole is needed: each descriptor
 * is copied when its turn comes, once. */
static int walk_indirect(struct virtqueue_chain *c, const struct desc *table,
                         const struct guest_memory *m)
{
    uint32_t n = table->len / DESC_SIZE, i = 0;

    if (table->len % DESC_SIZE != 0 || n == 0 || (table->flags & (DESC_NEXT | DESC_WRITE)) != 0 ||
        !guest_memory_has(m, table->addr, table->len)) {
        return -EBADMSG;
    }
    for (uint32_t seen = 0; seen < n; seen++) {
        struct desc d;

        if (guest_memory_read(m, table->addr + (uint64_t)i * DESC_SIZE, &d, sizeof(d)) < 0 ||
            (d.flags & DESC_INDIRECT) != 0 || add_segment(c, &d, m) < 0) {
            return -EBADMSG;
        }
        if ((d.flags & DESC_NEXT) == 0) {
            return 0;
        }
        i = d.next;
        if (i >= n) {
            return -EBADMSG;
        }
    }
    return -EBADMSG; /* more steps than descriptors: a loop */
}

static struct desc load_desc(const struct virtqueue *q, uint32_t i)
{
    struct desc d;

    memcpy(&d, q->desc + (size_t)i * DESC_SIZE, sizeof(d));
    __asm__ volatile("" ::: "memory"); /* as in guest_memory_read */
    return d;
}

static int walk(const struct virtqueue *q, const struct guest_memory *m, struct virtqueue_chain *c)
{
    uint32_t i = c->head;

    for (uint32_t seen = 0; seen < q->num; seen++) {
        struct desc d = load_desc(q, i);

        if ((d.flags & DESC_INDIRECT) != 0) {
            return walk_indirect(c, &d, m);
        }
        if (add_segment(c, &d, m) < 0) {
            return -EBADMSG;
        }
        if ((d.flags & DESC_NEXT) == 0) {
            return 0;
        }
        i = d.next;
        if (i >= q->num) {
            return -EBADMSG;
        }
    }
    return -EBADMSG;
}

int virtqueue_take(struct virtqueue *q, const struct guest_memory *m, uint16_t head,
                   struct virtqueue_chain *ret_chain)
{
    int r;

    /* A driver that hands out a chain which it has not got back puts more in than there are. */
    if (head >= q->num || q->in_flight >= q->num) {
        return -EPROTO;
    }
    q->in_flight++;
    ret_chain->head = head;
    ret_chain->n_out = ret_chain->n_in = 0;
    ret_chain->out_size = ret_chain->in_size = 0;
    r = walk(q, m, ret_chain);
    return r < 0 ? r : 1;
}

int virtqueue_pop(struct virtqueue *q, const struct guest_memory *m,
                  struct virtqueue_chain *ret_chain)
{
    uint16_t waiting, head;
    int r;

    waiting = (uint16_t)(load16(q->avail + RING_IDX) - q->next_avail);
    /* Pairs with the driver's barrier before it moves the index: the entries are there. */
    atomic_thread_fence(memory_order_acquire);
    if (waiting == 0) {
        return 0;
    }
    if (waiting > q->num) {
        return -EPROTO;
    }
    head = load16(q->avail + RING_ENTRIES + (q->next_avail & (q->num - 1)) * 2);
    r = virtqueue_take(q, m, head, ret_chain);
    q->next_avail += r != -EPROTO;
    return r;
}

int virtqueue_read(const struct virtqueue_chain *chain, const struct guest_memory *m,
                   uint64_t offset, void *buf, size_t size)
{
    uint8_t *to = buf;

    if (!range_in(offset, size, chain->out_size)) {
        return -EFAULT;
    }
    for (uint32_t i = 0; i < chain->n_out && size > 0; i++) {
        const struct virtqueue_segment *s = &chain->segments[i];
        size_t n;

        if (offset >= s->len) {
            offset -= s->len;
            continue;
        }
        n = MIN(size, s->len - offset);
        if (guest_memory_read(m, s->addr + offset, to, n) < 0) {
            return -EFAULT;
        }
        offset = 0;
        to += n;
        size -= n;
    }
    return 0;
}

int64_t virtqueue_write(const struct virtqueue_segment *in, uint32_t n_in,
                        const struct guest_memory *m, const void *buf, size_t size)
{
    const uint8_t *from = buf;
    size_t done = 0;

    for (uint32_t i = 0; i < n_in && done < size; i++) {
        size_t n = MIN(size - done, in[i].len);

        if (guest_memory_write(m, in[i].addr, from + done, n) < 0) {
            return -EFAULT;
        }
        done += n;
    }
    return (int64_t)done;
}

/* ---- giving back --------------------------------------------------------------------------- */

void virtqueue_push(struct virtqueue *q, uint16_t head, uint32_t len)
{
    uint8_t *entry = q->used + RING_ENTRIES + (q->used_idx & (q->num - 1)) * USED_ENTRY;
    const uint32_t words[2] = { head, len };

    assert(q->in_flight > 0);
    q->in_flight--;
    memcpy(entry, words, sizeof(words));
    q->used_idx++;
    /* Pairs with the driver's barrier after it reads the index: it finds the entry and the
     * answer. */
    atomic_thread_fence(memory_order_release);
    store16(q->used + RING_IDX, q->used_idx);
}

bool virtqueue_notify(struct virtqueue *q)
{
    uint16_t event, old = q->told;

    if (q->used_idx == old) {
        return false;
    }
    /* Pairs with the driver's barrier between asking for an interrupt and looking once more. */
    atomic_thread_fence(memory_order_seq_cst);
    if (!q->event_idx) {
        q->told = q->used_idx;
        return (load16(q->avail + RING_FLAGS) & AVAIL_NO_INTERRUPT) == 0;
    }
    event = load16(q->avail + RING_ENTRIES + (size_t)q->num * 2);
    q->told = q->used_idx;
    return (uint16_t)(q->used_idx - event - 1) < (uint16_t)(q->used_idx - old);
}

bool virtqueue_arm(struct virtqueue *q)
{
    if (q->event_idx) {
        store16(q->used + RING_ENTRIES + (size_t)q->num * USED_ENTRY, q->next_avail);
    }
    /* Pairs with the driver's barrier between moving its index and asking whether to ring. */
    atomic_thread_fence(memory_order_seq_cst);
    return load16(q->avail + RING_IDX) != q->next_avail;
}
