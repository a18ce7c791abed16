#include "server/vtest/commands.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "cordon/cordon.h"
#include "ipc/cleanup.h"
#include "ipc/loop.h"
#include "server/front/capset.h"
#include "server/vtest/client.h"
#include "server/vtest/front.h"
#include "server/vtest/session.h"

/* The newest version that a Venus client needs; 4 adds commands that it never sends. */
#define PROTOCOL_VERSION 3

static int refuse(const char **ret_why, const char *why)
{
    *ret_why = why;
    return -EPROTO;
}

static int failed(const char **ret_why, int error, const char *why)
{
    *ret_why = error == -EAGAIN ? NULL : why;
    return error;
}

/* The payload's words. It is aligned: malloc made it. */
static const uint32_t *words(const struct client *c)
{
    return (const uint32_t *)(const void *)c->payload;
}

static void answer(struct client *c, const uint32_t *payload, uint32_t n_words)
{
    vtest_reply_header(c->request.command, n_words, c->reply);
    if (n_words > 0) {
        memcpy(c->reply + 2, payload, n_words * sizeof(uint32_t));
    }
    c->reply_size = (2 + n_words) * sizeof(uint32_t);
}

/* ---- before the context ------------------------------------------------------------------- */

static int create_renderer(struct client *c, const char **ret_why)
{
    size_t most = MIN(c->request.size, sizeof(c->name) - 1), n;

    if (c->named) {
        return refuse(ret_why, "sent twice");
    }
    for (n = 0; n < most && c->payload[n]; n++) {
        c->name[n] = c->payload[n] >= ' ' && c->payload[n] <= '~' ? (char)c->payload[n] : '?';
    }
    c->name[n] = '\0';
    c->named = true;
    return 0;
}

static int ping_protocol_version(struct client *c, const char **ret_why)
{
    (void)ret_why;
    answer(c, NULL, 0);
    return 0;
}

static int protocol_version(struct client *c, const char **ret_why)
{
    uint32_t version = MIN(words(c)[0], PROTOCOL_VERSION);

    (void)ret_why;
    /* There never was a version 1 on this wire. */
    version = version == 1 ? 0 : version;
    answer(c, &version, 1);
    return 0;
}

static int get_param(struct client *c, const char **ret_why)
{
    bool known = words(c)[0] == VTEST_PARAM_MAX_TIMELINE_COUNT;
    const uint32_t reply[] = { known, known ? VTEST_TIMELINES : 0 };

    (void)ret_why;
    answer(c, reply, ARRAY_SIZE(reply));
    return 0;
}

static int get_capset(struct client *c, const char **ret_why)
{
    uint32_t reply[1 + CAPSET_WORDS] = { 0 };

    (void)ret_why;
    if (words(c)[0] != CAPSET_VENUS || words(c)[1] != 0) {
        answer(c, reply, 1);
        return 0;
    }
    reply[0] = 1;
    capset_fill(reply + 1);
    answer(c, reply, ARRAY_SIZE(reply));
    return 0;
}

static int context_init(struct client *c, const char **ret_why)
{
    int r;

    if (words(c)[0] != CAPSET_VENUS) {
        return refuse(ret_why, "another capset than Venus (4)");
    }
    if (c->context) {
        return 0;
    }
    r = session_open(c);
    return r < 0 ? failed(ret_why, r, "the render server refused the context; its log says why")
                 : 0;
}

static int resource_busy_wait(struct client *c, const char **ret_why)
{
    const uint32_t idle = 0;

    if (words(c)[0] != 0 && !c->context) {
        return refuse(ret_why, "a resource before CONTEXT_INIT");
    }
    answer(c, &idle, 1);
    return 0;
}

/* ---- resources ---------------------------------------------------------------------------- */

static int begin_blob(struct client *c, const char **ret_why)
{
    const uint32_t *w = words(c);
    int r;

    if (w[0] != VTEST_BLOB_HOST3D) {
        return refuse(ret_why, "a blob of guest memory, which Venus has no use for");
    }
    if (c->progress.res_id == 0) {
        c->progress.res_id = ids_take(&c->resources);
        if (c->progress.res_id == 0) {
            return refuse(ret_why, "too many resources");
        }
    }
    r = cordon_blob_begin(c->context, c->progress.res_id, vtest_u64(w + 4), vtest_u64(w + 2), w[1]);
    if (r < 0) {
        return failed(ret_why, r, r == -EINVAL ? "a blob of no size" : "the worker is gone");
    }
    c->progress.begun = true;
    return 0;
}

static int resource_create_blob(struct client *c, const char **ret_why)
{
    struct cordon_blob blob;
    int r;

    if (!c->progress.begun) {
        r = begin_blob(c, ret_why);
        return r < 0 ? r : -EAGAIN; /* session_watch says when it is answered */
    }
    r = cordon_blob_finish(c->context, &blob);
    if (r < 0) {
        return failed(ret_why, r, "the worker cannot make this blob; its log says why");
    }
    if (blob.fd_type == CORDON_FD_OPAQUE) {
        close_fd(&blob.fd);
        return refuse(ret_why, "the host driver exports this memory in no form that can be mapped");
    }
    answer(c, &c->progress.res_id, 1);
    c->reply_fd = blob.fd;
    return 0;
}

static int resource_unref(struct client *c, const char **ret_why)
{
    uint32_t id = words(c)[0];
    int r;

    if (!ids_live(&c->resources, id)) {
        return 0;
    }
    r = cordon_resource_destroy(c->context, id);
    if (r < 0) {
        return failed(ret_why, r, "the worker is gone");
    }
    ids_give(&c->resources, id);
    return 0;
}

/* ---- syncs -------------------------------------------------------------------------------- */

static int sync_create(struct client *c, const char **ret_why)
{
    uint32_t id;
    int r = syncs_create(&c->syncs, vtest_u64(words(c)), &id);

    if (r < 0) {
        return failed(ret_why, r, "too many syncs");
    }
    answer(c, &id, 1);
    return 0;
}

static int sync_unref(struct client *c, const char **ret_why)
{
    (void)ret_why;
    syncs_unref(&c->syncs, words(c)[0]);
    return 0;
}

static int sync_read(struct client *c, const char **ret_why)
{
    uint64_t value;
    uint32_t reply[2];

    if (syncs_read(&c->syncs, words(c)[0], &value) < 0) {
        return refuse(ret_why, "no such sync");
    }
    reply[0] = (uint32_t)value;
    reply[1] = (uint32_t)(value >> 32);
    answer(c, reply, ARRAY_SIZE(reply));
    return 0;
}

static int sync_write(struct client *c, const char **ret_why)
{
    const uint32_t *w = words(c);

    return syncs_write(&c->syncs, w[0], vtest_u64(w + 1)) < 0 ? refuse(ret_why, "no such sync") : 0;
}

static int sync_wait(struct client *c, const char **ret_why)
{
    struct vtest_wait wait;
    uint64_t deadline;
    int r;

    if (vtest_wait_parse(words(c), c->request.size / sizeof(uint32_t), &wait) < 0) {
        return refuse(ret_why, "a list that does not parse");
    }
    deadline = wait.timeout_ms == 0          ? 0
               : wait.timeout_ms > INT32_MAX ? UINT64_MAX
                                             : loop_now_ms() + wait.timeout_ms;
    r = syncs_wait(&c->syncs, wait.flags & VTEST_WAIT_ANY, deadline, wait.syncs, wait.n_syncs,
                   &c->reply_fd);
    if (r < 0) {
        return failed(ret_why, r, r == -ENOENT ? "no such sync" : "too many waits");
    }
    session_arm_timer(c, deadline);
    answer(c, NULL, 0);
    return 0;
}

/* ---- submissions -------------------------------------------------------------------------- */

static int submit_commands(struct client *c, const struct vtest_batch *b, const char **ret_why)
{
    int r;

    if (c->progress.submitted || b->cmd_words == 0) {
        return 0;
    }
    r = cordon_submit(c->context, b->cmd, (size_t)b->cmd_words * sizeof(uint32_t));
    if (r < 0) {
        return failed(ret_why, r,
                      r == -EMSGSIZE ? "commands too long for the worker's socket; raise "
                                       "net.core.wmem_max"
                                     : "the worker is gone");
    }
    c->progress.submitted = true;
    return 0;
}

/* The syncs wait for a fence on the batch's ring: they are set when it is done, after those of
 * all earlier batches of that ring. */
static int submit_fence(struct client *c, const struct vtest_batch *b, const char **ret_why)
{
    struct client_fence *fence = malloc(sizeof(*fence));
    int r;

    if (!fence) {
        return failed(ret_why, -ENOMEM, "out of memory");
    }
    r = cordon_fence(c->context, b->ring_idx, &fence->seqno);
    if (r < 0) {
        free(fence);
        return failed(ret_why, r, "the worker is gone");
    }
    fence->update = take_ptr(c->progress.update);
    list_append(&c->fences[b->ring_idx], &fence->link);
    return 0;
}

static int submit_syncs(struct client *c, const struct vtest_batch *b, const char **ret_why)
{
    int r;

    if (b->n_syncs == 0) {
        return 0;
    }
    if (!c->progress.update) {
        r = syncs_hold(&c->syncs, b->syncs, b->n_syncs, &c->progress.update);
        if (r < 0) {
            return failed(ret_why, r, r == -ENOENT ? "no such sync" : "too many pending syncs");
        }
    }
    if (b->has_ring) {
        return submit_fence(c, b, ret_why);
    }
    syncs_apply(&c->syncs, take_ptr(c->progress.update));
    return 0;
}

static int submit_cmd2(struct client *c, const char **ret_why)
{
    struct vtest_submit s;
    int r;

    /* Parsed again when taken up again: the bytes are ours and have not changed. */
    r = vtest_submit_parse(words(c), c->request.size / sizeof(uint32_t), &s);
    if (r < 0) {
        return refuse(ret_why, r == -EOPNOTSUPP ? "fence descriptors or sync objects, which Venus "
                                                  "never uses"
                                                : "batches that do not parse");
    }
    while (c->progress.batch < s.n_batches) {
        struct vtest_batch b = vtest_submit_batch(&s, c->progress.batch);

        r = submit_commands(c, &b, ret_why);
        if (r == 0) {
            r = submit_syncs(c, &b, ret_why);
        }
        if (r < 0) {
            return r;
        }
        c->progress.batch++;
        c->progress.submitted = false;
    }
    return 0;
}

void command_fences(struct client *c)
{
    cordon_context_fence_drain(c->context);
    for (uint32_t ring = 0; ring < VTEST_TIMELINES; ring++) {
        while (!list_empty(&c->fences[ring])) {
            struct client_fence *f = list_entry(c->fences[ring].next, struct client_fence, link);

            if (!cordon_context_fence_done(c->context, ring, f->seqno)) {
                break;
            }
            list_remove(&f->link);
            syncs_apply(&c->syncs, f->update);
            free(f);
        }
    }
}

/* ---- the table ---------------------------------------------------------------------------- */

enum when {
    FIRST,         /* nothing may come before it */
    AFTER_NAME,    /* after CREATE_RENDERER */
    AFTER_CONTEXT, /* after CONTEXT_INIT */
};

static const struct {
    int (*run)(struct client *c, const char **ret_why);
    enum when when;
} rules[] = {
    /* clang-format off */
    [VTEST_CREATE_RENDERER]       = { create_renderer,       FIRST },
    [VTEST_PING_PROTOCOL_VERSION] = { ping_protocol_version, AFTER_NAME },
    [VTEST_PROTOCOL_VERSION]      = { protocol_version,      AFTER_NAME },
    [VTEST_RESOURCE_BUSY_WAIT]    = { resource_busy_wait,    AFTER_NAME },
    [VTEST_GET_PARAM]             = { get_param,             AFTER_NAME },
    [VTEST_GET_CAPSET]            = { get_capset,            AFTER_NAME },
    [VTEST_CONTEXT_INIT]          = { context_init,          AFTER_NAME },
    [VTEST_RESOURCE_CREATE_BLOB]  = { resource_create_blob,  AFTER_CONTEXT },
    [VTEST_RESOURCE_UNREF]        = { resource_unref,        AFTER_CONTEXT },
    [VTEST_SYNC_CREATE]           = { sync_create,           AFTER_CONTEXT },
    [VTEST_SYNC_UNREF]            = { sync_unref,            AFTER_CONTEXT },
    [VTEST_SYNC_READ]             = { sync_read,             AFTER_CONTEXT },
    [VTEST_SYNC_WRITE]            = { sync_write,            AFTER_CONTEXT },
    [VTEST_SYNC_WAIT]             = { sync_wait,             AFTER_CONTEXT },
    [VTEST_SUBMIT_CMD2]           = { submit_cmd2,           AFTER_CONTEXT },
    /* clang-format on */
};

int command_run(struct client *c, const char **ret_why)
{
    uint32_t command = c->request.command;

    /* vtest_request_parse has let only commands of this table pass. */
    if (rules[command].when >= AFTER_NAME && !c->named) {
        return refuse(ret_why, "before CREATE_RENDERER");
    }
    if (rules[command].when >= AFTER_CONTEXT && !c->context) {
        return refuse(ret_why, "before CONTEXT_INIT");
    }
    return rules[command].run(c, ret_why);
}
