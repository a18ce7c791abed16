#include "policy/blob.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ipc/cleanup.h"

struct loaded {
    struct policy_program program;
    const char *broker[POLICY_BLOB_MAX_BROKER + 1];
};

static bool fits(const struct policy_blob *b, size_t size)
{
    if (b->magic != POLICY_BLOB_MAGIC || b->n_code == 0 || b->n_code > BPF_MAXINSNS ||
        b->n_answers == 0 || b->n_answers > POLICY_BLOB_MAX_ANSWERS ||
        b->n_broker > POLICY_BLOB_MAX_BROKER || b->notify > 1 || b->mdwe > 1 || b->cache > 1 ||
        !memchr(b->name, '\0', sizeof(b->name))) {
        return false;
    }
    return size == sizeof(*b) + b->n_code * sizeof(struct sock_filter) +
                       b->n_answers * sizeof(struct policy_answer) +
                       (size_t)b->n_broker * POLICY_BLOB_PATH;
}

static bool parse(const uint8_t *bytes, size_t size, struct loaded *l)
{
    const struct policy_blob *b = (const struct policy_blob *)bytes;
    const struct sock_filter *code = (const struct sock_filter *)(b + 1);
    const struct policy_answer *answers;
    const char *paths;

    if (size < sizeof(*b) || !fits(b, size)) {
        return false;
    }
    answers = (const struct policy_answer *)(code + b->n_code);
    paths = (const char *)(answers + b->n_answers);
    if (answers[b->n_answers - 1].nr >= 0) {
        return false;
    }
    for (uint32_t i = 0; i < b->n_broker; i++) {
        l->broker[i] = paths + (size_t)i * POLICY_BLOB_PATH;
        if (!memchr(l->broker[i], '\0', POLICY_BLOB_PATH)) {
            return false;
        }
    }
    l->program = (struct policy_program){
        .name = b->name,
        .code = code,
        .n_code = (uint16_t)b->n_code,
        .notify = b->notify,
        .mdwe = b->mdwe,
        .cache = b->cache,
        .broker = l->broker,
        .answers = answers,
    };
    return true;
}

int policy_load(int fd, const struct policy_program **ret)
{
    AUTO_FREE struct loaded *l = calloc(1, sizeof(*l));
    AUTO_FREE uint8_t *bytes = NULL;
    struct stat st;
    size_t size;

    if (fstat(fd, &st) < 0) {
        return -errno;
    }
    if (st.st_size <= 0 || st.st_size > 1 << 20) {
        return -EBADMSG;
    }
    size = (size_t)st.st_size;
    bytes = malloc(size);
    if (!l || !bytes) {
        return -ENOMEM;
    }
    if (pread(fd, bytes, size, 0) != (ssize_t)size || !parse(bytes, size, l)) {
        return -EBADMSG;
    }
    *ret = &l->program;
    (void)take_ptr(bytes);
    (void)take_ptr(l);
    return 0;
}
