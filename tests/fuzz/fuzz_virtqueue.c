/*
 * The virtqueue on memory that is all the guest's: byte 0 chooses the queue's size and features,
 * bytes 1 to 4 where descriptors and available ring lie; the rest is memory. Each chain that comes
 * out is read, answered and given back, between changes to the memory that the input asks for.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/map.h"
#include "ipc/virtqueue.h"
#include "tests/vhost_user/fake_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define HEAD 6
#define ROUNDS 64

static struct fake_guest guest;
static struct virtqueue_chain chain;
static uint8_t buffer[4096];

static void setup(const uint8_t *head)
{
    static bool ready;

    if (!ready) {
        assert(fake_guest_init(&guest, 8) == 0);
        ready = true;
    }
    memset(guest.bytes, 0, FAKE_SIZE);
    guest.queue.num = 1u << (head[0] & 7);
    guest.queue.event_idx = (head[0] & 8) != 0;
    guest.queue.desc_user = FAKE_USER + head[1] * 64u;
    guest.queue.avail_user = FAKE_USER + head[2] * 64u;
    guest.queue.used_user = FAKE_USER + head[3] * 64u;
}

static void look(const struct virtqueue_chain *c)
{
    uint64_t out = 0, in = 0;

    assert(c->n_out + c->n_in <= VIRTQUEUE_SEGMENTS_MAX);
    for (uint32_t i = 0; i < c->n_out + c->n_in; i++) {
        assert(c->segments[i].len > 0);
        assert(guest_memory_has(&guest.memory, c->segments[i].addr, c->segments[i].len));
        out += i < c->n_out ? c->segments[i].len : 0;
        in += i < c->n_out ? 0 : c->segments[i].len;
    }
    assert(out == c->out_size && in == c->in_size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < HEAD) {
        return 0;
    }
    setup(data);
    memcpy(guest.bytes, data + HEAD, size - HEAD < FAKE_SIZE ? size - HEAD : FAKE_SIZE);
    if (virtqueue_resolve(&guest.queue, &guest.memory) < 0) {
        return 0;
    }
    virtqueue_start(&guest.queue, data[4]);
    for (int i = 0; i < ROUNDS; i++) {
        int r = virtqueue_pop(&guest.queue, &guest.memory, &chain);

        if (r == -EPROTO || (r == 0 && !virtqueue_arm(&guest.queue))) {
            break;
        }
        if (r == 0) {
            continue;
        }
        assert(chain.head < guest.queue.num);
        if (r == 1) {
            size_t n = chain.out_size < sizeof(buffer) ? chain.out_size : sizeof(buffer);

            look(&chain);
            assert(virtqueue_read(&chain, &guest.memory, chain.out_size - n, buffer, n) == 0);
            assert(virtqueue_write(chain.segments + chain.n_out, chain.n_in, &guest.memory, buffer,
                                   sizeof(buffer)) <= (int64_t)sizeof(buffer));
        }
        /* Some stay in flight. */
        if ((data[5] & 1) == 0 || i % 2 == 0) {
            virtqueue_push(&guest.queue, chain.head, 1);
            (void)virtqueue_notify(&guest.queue);
        }
    }
    return 0;
}
