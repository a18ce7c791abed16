#include "server/render/registry.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "ipc/cleanup.h"

void registry_init(struct registry *r)
{
    r->count = 0;
    list_init(&r->contexts);
}

/* At most REGISTRY_MAX entries, looked at when contexts come and go: a list will do. */
struct context *registry_find(const struct registry *r, uint32_t id)
{
    list_for_each (pos, &r->contexts) {
        struct context *c = list_entry(pos, struct context, link);

        if (c->id == id) {
            return c;
        }
    }
    return NULL;
}

static void copy_name(char *ret_name, const char *name)
{
    size_t n = strnlen(name, CONTEXT_NAME_SIZE - 1);

    for (size_t i = 0; i < n; i++) {
        /* Quotes too: names are logged between them. */
        bool plain = name[i] >= ' ' && name[i] <= '~' && name[i] != '"' && name[i] != '\\';

        ret_name[i] = plain ? name[i] : '?';
    }
    memset(ret_name + n, 0, CONTEXT_NAME_SIZE - n);
}

int registry_check(const struct registry *r, uint32_t id)
{
    if (id == 0) {
        return -EINVAL;
    }
    if (registry_find(r, id)) {
        return -EEXIST;
    }
    return r->count < REGISTRY_MAX ? 0 : -ENOSPC;
}

int registry_add(struct registry *r, uint32_t id, const char *name, int own_socket_fd,
                 struct context **ret)
{
    AUTO_CLOSE int socket_fd = own_socket_fd;
    struct context *c;
    int err;

    err = registry_check(r, id);
    if (err < 0) {
        return err;
    }
    c = calloc(1, sizeof(*c));
    if (!c) {
        return -ENOMEM;
    }
    c->id = id;
    c->socket_fd = take_fd(&socket_fd);
    copy_name(c->name, name);
    list_append(&r->contexts, &c->link);
    r->count++;
    *ret = c;
    return 0;
}

void registry_remove(struct registry *r, struct context *c)
{
    assert(!c->worker && !c->ghost);
    list_remove(&c->link);
    r->count--;
    close_fd(&c->socket_fd);
    free(c);
}
