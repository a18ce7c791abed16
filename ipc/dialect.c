#include "ipc/dialect.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "ipc/base.h"
#include "ipc/cleanup.h"

static const struct dialect_rule server_rules[] = {
    /*                           name              bytes                                fds   when */
    [SRV_OP_NOP] = { "NOP", sizeof(struct srv_nop), 0, 0, DIALECT_ANY_TIME },
    [SRV_OP_INIT] = { "INIT", sizeof(struct srv_init), 0, 0, DIALECT_ANY_TIME },
    [SRV_OP_RESET] = { "RESET", sizeof(struct srv_reset), 0, 0, DIALECT_ANY_TIME },
    /* At any time: the sender waits for an answer, and would wait for ever for one that a refusal
     * here had cost it. */
    [SRV_OP_CREATE_CONTEXT] = { "CREATE_CONTEXT", sizeof(struct srv_create_context), 0, 0,
                                DIALECT_ANY_TIME },
    [SRV_OP_DESTROY_CONTEXT] = { "DESTROY_CONTEXT", sizeof(struct srv_destroy_context), 0, 0,
                                 DIALECT_ANY_TIME },
};
static_assert(ARRAY_SIZE(server_rules) == SRV_OP_COUNT, "a rule per op");

static const struct dialect_rule context_rules[] = {
    [CTX_OP_NOP] = { "NOP", sizeof(struct ctx_nop), 0, 0, DIALECT_ANY_TIME },
    [CTX_OP_INIT] = { "INIT", sizeof(struct ctx_init), 1, 2, DIALECT_BEFORE_INIT },
    [CTX_OP_CREATE_RESOURCE] = { "CREATE_RESOURCE", sizeof(struct ctx_create_resource), 0, 0,
                                 DIALECT_AFTER_INIT },
    [CTX_OP_IMPORT_RESOURCE] = { "IMPORT_RESOURCE", sizeof(struct ctx_import_resource), 1, 1,
                                 DIALECT_AFTER_INIT },
    [CTX_OP_DESTROY_RESOURCE] = { "DESTROY_RESOURCE", sizeof(struct ctx_destroy_resource), 0, 0,
                                  DIALECT_AFTER_INIT },
    [CTX_OP_SUBMIT_CMD] = { "SUBMIT_CMD", sizeof(struct ctx_submit_cmd), 0, 0, DIALECT_AFTER_INIT },
    [CTX_OP_SUBMIT_FENCE] = { "SUBMIT_FENCE", sizeof(struct ctx_submit_fence), 0, 0,
                              DIALECT_AFTER_INIT },
};
static_assert(ARRAY_SIZE(context_rules) == CTX_OP_COUNT, "a rule per op");

const struct dialect_table dialect_b_server = {
    .name = "server socket",
    .rules = server_rules,
    .n_rules = ARRAY_SIZE(server_rules),
};

const struct dialect_table dialect_b_context = {
    .name = "context socket",
    .rules = context_rules,
    .n_rules = ARRAY_SIZE(context_rules),
};

int dialect_check_request(const struct dialect_table *t, enum dialect_state state,
                          const void *bytes, size_t size, uint32_t n_fds, uint32_t *ret_op)
{
    const struct dialect_rule *rule;
    uint32_t op;

    if (size < sizeof(op)) {
        return -EBADMSG;
    }
    memcpy(&op, bytes, sizeof(op));
    if (op >= t->n_rules) {
        return -EOPNOTSUPP;
    }
    rule = &t->rules[op];
    if (size != rule->size) {
        return -EMSGSIZE;
    }
    if (n_fds < rule->min_fds || n_fds > rule->max_fds) {
        return -EBADF;
    }
    if ((rule->when & (unsigned)state) == 0) {
        return -EPROTO;
    }
    *ret_op = op;
    return 0;
}

const char *dialect_error_text(int error)
{
    switch (error) {
    case -EBADMSG:
        return "too short to hold an op";
    case -EOPNOTSUPP:
        return "unknown op";
    case -EMSGSIZE:
        return "wrong size for its op";
    case -EBADF:
        return "wrong number of descriptors for its op";
    case -EPROTO:
        return "not allowed at this time";
    default:
        return "unknown error";
    }
}

const char *dialect_op_name(const struct dialect_table *t, uint32_t op)
{
    return op < t->n_rules ? t->rules[op].name : "unknown op";
}

bool dialect_looks_like_a(const void *bytes, size_t size)
{
    uint32_t op;

    if (size != DIALECT_A_SUBMIT_CMD_SIZE) {
        return false;
    }
    memcpy(&op, bytes, sizeof(op));
    return op == CTX_OP_SUBMIT_CMD;
}

/* ---- who is the VMM ------------------------------------------------------------------------ */

#define LIBRARY "libvirglrenderer.so.1."
/* libvirglrenderer 1.0.0 is .so.1.8.8; the last of 0.10 is .so.1.7.7 */
#define FIRST_MINOR_OF_B 8
/* A VMM has some hundreds of lines of maps; a number to end at, whatever is there. */
#define MAPS_MAX (4u << 20)

bool dialect_from_maps_line(const char *line, struct dialect_vmm *ret_vmm)
{
    const char *path = strchr(line, '/');
    const char *file;
    unsigned minor = 0;
    size_t len;

    if (!path) {
        return false;
    }
    file = strrchr(path, '/') + 1;
    if (strncmp(file, LIBRARY, strlen(LIBRARY)) != 0) {
        return false;
    }
    /* The name as far as it is digits and dots: what follows may be " (deleted)" or anything. */
    len = strlen(LIBRARY) + strspn(file + strlen(LIBRARY), "0123456789.");
    if (len == strlen(LIBRARY) || len >= sizeof(ret_vmm->library)) {
        return false;
    }
    for (const char *p = file + strlen(LIBRARY); *p >= '0' && *p <= '9' && minor < 100000; p++) {
        minor = minor * 10 + (unsigned)(*p - '0');
    }
    memcpy(ret_vmm->library, file, len);
    ret_vmm->library[len] = '\0';
    ret_vmm->dialect = minor < FIRST_MINOR_OF_B ? DIALECT_A : DIALECT_B;
    return true;
}

/* Feeds /proc/PID/maps to dialect_from_maps_line, line by line. A line longer than the buffer is
 * no path of a system library; its pieces are looked at as if they were lines. */
static void detect_in_maps(int fd, struct dialect_vmm *vmm)
{
    char buf[4096 + 1];
    size_t used = 0, total = 0;

    while (total < MAPS_MAX) {
        char *start = buf, *end;
        ssize_t n = read(fd, buf + used, sizeof(buf) - 1 - used);

        if (n < 0 && errno == EINTR) {
            continue;
        }
        if (n <= 0) {
            return;
        }
        total += (size_t)n;
        used += (size_t)n;
        buf[used] = '\0';
        while ((end = memchr(start, '\n', used - (size_t)(start - buf)))) {
            *end = '\0';
            if (dialect_from_maps_line(start, vmm)) {
                return;
            }
            start = end + 1;
        }
        used -= (size_t)(start - buf);
        memmove(buf, start, used);
        if (used == sizeof(buf) - 1) {
            used = 0;
        }
    }
}

void dialect_detect(int socket_fd, struct dialect_vmm *ret_vmm)
{
    struct ucred peer = { 0 };
    socklen_t len = sizeof(peer);
    AUTO_CLOSE int fd = -1;
    char path[32];

    *ret_vmm = (struct dialect_vmm){ .dialect = DIALECT_UNKNOWN };
    if (getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) < 0 || peer.pid <= 0) {
        return;
    }
    ret_vmm->pid = peer.pid;
    snprintf(path, sizeof(path), "/proc/%d/maps", (int)peer.pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd >= 0) {
        detect_in_maps(fd, ret_vmm);
    }
}

const char *dialect_refusal(const struct dialect_vmm *vmm, char *buf, size_t size)
{
    snprintf(buf, size,
             "the VMM (pid %d) uses %s, which speaks the protocol of virglrenderer 0.10; it is "
             "not served: install libvirglrenderer 1.0.0 or later for the VMM",
             (int)vmm->pid, vmm->library);
    return buf;
}
