/*
 * Compiles a policy text to a seccomp BPF program, at build time.
 *
 *   @default notify | kill | trap | allow   what happens to a call that no line lists
 *   @mdwe                                the driver runs under W^X
 *   @cache                               workers get a folder for what the driver compiles
 *   @include FILE                        relative to the including file
 *   name: allow                          # reason
 *   name: return ERRNO
 *   name: tell ERRNO                     the same, by the supervisor, which logs that it was tried
 *   name: notify                         asks the supervisor; ENOSYS where there is none
 *   name: EXPR [, else return ERRNO]     allowed if EXPR; otherwise ERRNO, or the default action
 *   name: EXPR, else notify              or else tell ERRNO
 *   ioctl-nr: d 0x00 0x09                type and number of an ioctl, whatever its size field
 *   ioctl-nr: d 0x51, return ENODEV      one that gets this answer
 *   broker: rw /dev/udmabuf              a path for the supervisor's broker
 *
 * EXPR is an || of && of tests:  argN == V,  argN != V,  argN in MASK (no bit outside),
 * argN & MASK == V.  V and MASK are numbers, names, joined by |, or ~ of such.  All 64 bits of an
 * argument count (a masked test looks at the mask's bits).
 *
 * Lines for the same call from several files merge when they agree: equal lines count once,
 * expressions with the same else part are joined by ||. Anything else is an error with file:line,
 * as is an unknown name. A call that the target architecture does not have is left out.
 *
 * The program: wrong architecture or x32 bit: kill. Then a binary search by call number over
 * intervals, so that the kernel can answer plain calls from its bitmap and the others are found
 * in about seven steps.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/futex.h>
#include <linux/memfd.h>
#include <linux/prctl.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "ipc/base.h"
#include "policy/blob.h"
#include "policy/policyc.h"
#include "policy/program.h"

#if defined(__x86_64__)
#define OUR_AUDIT_ARCH AUDIT_ARCH_X86_64
#define X32_BIT 0x40000000u
#elif defined(__aarch64__)
#define OUR_AUDIT_ARCH AUDIT_ARCH_AARCH64
#define X32_BIT 0u
#else
#error "policies are written for x86-64 and arm64"
#endif

#define MAX_RULES 512
#define MAX_IOCTLS 256
#define MAX_BROKER 16
#define MAX_DEPTH 4

struct name {
    const char *name;
    uint64_t value;
};

#define N(x)              \
    {                     \
#x, (uint64_t)(x) \
    }
static const struct name constants[] = {
    N(O_RDONLY),
    N(O_WRONLY),
    N(O_RDWR),
    N(O_CLOEXEC),
    N(O_NONBLOCK),
    N(O_DIRECTORY),
    N(O_NOFOLLOW),
    N(O_NOCTTY),
    N(PROT_READ),
    N(PROT_WRITE),
    N(PROT_EXEC),
    N(PROT_NONE),
    N(MAP_PRIVATE),
    N(MAP_SHARED),
    N(MAP_ANONYMOUS),
    N(F_GETFD),
    N(F_SETFD),
    N(F_GETFL),
    N(F_SETFL),
    N(F_DUPFD_CLOEXEC),
    N(F_ADD_SEALS),
    N(F_GET_SEALS),
    N(MADV_NORMAL),
    N(MADV_DONTNEED),
    N(MADV_FREE),
    N(MADV_HUGEPAGE),
    N(MADV_NOHUGEPAGE),
    N(MADV_DONTDUMP),
    N(MADV_DODUMP),
    { "MADV_GUARD_INSTALL", 102 },
    { "MADV_GUARD_REMOVE", 103 },
    N(MREMAP_MAYMOVE),
    N(MFD_CLOEXEC),
    N(MFD_ALLOW_SEALING),
    { "MFD_NOEXEC_SEAL", 8 },
    N(EFD_SEMAPHORE),
    N(EFD_CLOEXEC),
    N(EFD_NONBLOCK),
    N(PR_SET_NAME),
    N(PR_GET_NAME),
    N(PR_SET_PDEATHSIG),
    N(CLONE_VM),
    N(CLONE_FS),
    N(CLONE_FILES),
    N(CLONE_SIGHAND),
    N(CLONE_THREAD),
    N(CLONE_SYSVSEM),
    N(CLONE_SETTLS),
    N(CLONE_PARENT_SETTID),
    N(CLONE_CHILD_CLEARTID),
    N(CLONE_NEWNS),
    N(CLONE_NEWUTS),
    N(CLONE_NEWIPC),
    N(CLONE_NEWUSER),
    N(CLONE_NEWPID),
    N(CLONE_NEWNET),
    N(CLONE_NEWCGROUP),
    { "CLONE_NEWTIME", 0x80 },
    N(AF_UNIX),
    N(SIGABRT),
    { "SIGCANCEL", 32 },
    { "SIGSETXID", 33 },
    /* The process itself, for calls that take a pid. */
    { "SELF", 0 },
};
static const struct name errnos[] = {
    N(EPERM),  N(ENOENT), N(EINTR),  N(EIO),        N(ENXIO),        N(EBADF),  N(EAGAIN),
    N(ENOMEM), N(EACCES), N(EBUSY),  N(EEXIST),     N(ENODEV),       N(EINVAL), N(EMFILE),
    N(ENOTTY), N(EROFS),  N(ENOSYS), N(EOPNOTSUPP), N(EAFNOSUPPORT),
};
/* Calls newer than the oldest libseccomp that we build with; the same number everywhere. */
static const struct name new_calls[] = {
    { "futex_waitv", 449 },      { "cachestat", 451 },  { "fchmodat2", 452 },
    { "map_shadow_stack", 453 }, { "futex_wake", 454 }, { "futex_wait", 455 },
    { "futex_requeue", 456 },    { "mseal", 462 },
};
#undef N

struct place {
    const char *file;
    int line;
};

static struct rule *rules;
static unsigned n_rules;
static struct ioctl_rule ioctls[MAX_IOCTLS];
static unsigned n_ioctls;
static struct place first_ioctl;
static char *broker[MAX_BROKER];
static unsigned n_broker;
static bool mdwe;
static bool cache;
static uint32_t default_action;
static bool default_set;
static struct place at;

static void fail(const char *fmt, ...) __attribute__((noreturn)) PRINTF(1, 2);

static void fail(const char *fmt, ...)
{
    va_list args;

    fprintf(stderr, "%s:%d: ", at.file, at.line);
    va_start(args, fmt);
    vfprintf(stderr, fmt, args);
    va_end(args);
    fputc('\n', stderr);
    exit(1);
}

/* ---- text ------------------------------------------------------------------------------------ */

static const char *cursor;

static void skip_space(void)
{
    while (isspace((unsigned char)*cursor)) {
        cursor++;
    }
}

static bool take(const char *token)
{
    size_t len = strlen(token);

    skip_space();
    if (strncmp(cursor, token, len) != 0) {
        return false;
    }
    /* A word ends where the name ends: "in" is not the start of "inner". */
    if (isalpha((unsigned char)token[0]) &&
        (isalnum((unsigned char)cursor[len]) || cursor[len] == '_')) {
        return false;
    }
    cursor += len;
    return true;
}

static void expect(const char *token)
{
    if (!take(token)) {
        fail("expected `%s` at `%s`", token, cursor);
    }
}

static void take_word(char *word, size_t size)
{
    size_t n = 0;

    skip_space();
    while (isalnum((unsigned char)cursor[n]) || cursor[n] == '_') {
        n++;
    }
    if (n == 0 || n >= size) {
        fail("expected a name at `%s`", cursor);
    }
    memcpy(word, cursor, n);
    word[n] = '\0';
    cursor += n;
}

static void expect_end(void)
{
    skip_space();
    if (*cursor) {
        fail("unexpected `%s`", cursor);
    }
}

static uint64_t take_number(void)
{
    char *end;
    uint64_t v;

    errno = 0;
    v = strtoull(cursor, &end, 0);
    if (errno || end == cursor || isalnum((unsigned char)*end)) {
        fail("bad number at `%s`", cursor);
    }
    cursor = end;
    return v;
}

static uint64_t look_up(const struct name *table, size_t n, const char *name)
{
    for (size_t i = 0; i < n; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return table[i].value;
        }
    }
    fail("unknown name `%s`", name);
}

static uint64_t take_value(void)
{
    uint64_t v = 0;

    if (take("~")) {
        return ~take_value();
    }
    do {
        skip_space();
        if (isdigit((unsigned char)*cursor)) {
            v |= take_number();
        } else {
            char word[48];

            take_word(word, sizeof(word));
            v |= look_up(constants, ARRAY_SIZE(constants), word);
        }
        skip_space();
    } while (cursor[0] == '|' && cursor[1] != '|' && take("|"));
    return v;
}

static uint32_t take_errno(void)
{
    char word[48];

    take_word(word, sizeof(word));
    return SECCOMP_RET_ERRNO | (uint32_t)look_up(errnos, ARRAY_SIZE(errnos), word);
}

/* The kernel does not look at the errno beside this action; the supervisor's table is made of it. */
static uint32_t take_told_errno(void)
{
    if (default_action != SECCOMP_RET_USER_NOTIF) {
        fail("`tell` needs `@default notify`: nobody else would hear of it");
    }
    return SECCOMP_RET_USER_NOTIF | (take_errno() & SECCOMP_RET_DATA);
}

static struct test take_test(void)
{
    struct test t = { .mask = ~UINT64_C(0) };

    skip_space();
    if (strncmp(cursor, "arg", 3) != 0 || cursor[3] < '0' || cursor[3] > '5') {
        fail("expected arg0 to arg5 at `%s`", cursor);
    }
    t.arg = (unsigned)(cursor[3] - '0');
    cursor += 4;
    if (take("==")) {
        t.op = OP_EQ;
        t.value = take_value();
    } else if (take("!=")) {
        t.op = OP_NE;
        t.value = take_value();
    } else if (take("in")) {
        t.op = OP_IN;
        t.mask = take_value();
    } else {
        skip_space();
        if (cursor[0] != '&' || cursor[1] == '&') {
            fail("expected ==, !=, in or & at `%s`", cursor);
        }
        cursor++;
        t.op = OP_MASKED_EQ;
        t.mask = take_value();
        expect("==");
        t.value = take_value();
        if (t.value & ~t.mask) {
            fail("the value has bits outside the mask: never true");
        }
    }
    return t;
}

static void take_expression(struct rule *rule)
{
    do {
        struct conjunction *conj;

        if (rule->n_any == MAX_CONJ) {
            fail("more than %d alternatives", MAX_CONJ);
        }
        conj = &rule->any[rule->n_any++];
        do {
            if (conj->n_tests == ARRAY_SIZE(conj->tests)) {
                fail("more than %zu tests in a row", ARRAY_SIZE(conj->tests));
            }
            conj->tests[conj->n_tests++] = take_test();
        } while (take("&&"));
    } while (take("||"));
}

/* ---- rules ----------------------------------------------------------------------------------- */

static int call_number(const char *name)
{
    int nr = seccomp_syscall_resolve_name(name);

    if (nr != __NR_SCMP_ERROR) {
        return nr;
    }
    for (size_t i = 0; i < ARRAY_SIZE(new_calls); i++) {
        if (strcmp(new_calls[i].name, name) == 0) {
            return (int)new_calls[i].value;
        }
    }
    fail("unknown system call `%s`", name);
}

static bool same_rule(const struct rule *a, const struct rule *b)
{
    if (a->always != b->always || a->otherwise != b->otherwise || a->n_any != b->n_any) {
        return false;
    }
    for (unsigned i = 0; i < a->n_any; i++) {
        if (a->any[i].n_tests != b->any[i].n_tests ||
            memcmp(a->any[i].tests, b->any[i].tests, a->any[i].n_tests * sizeof(struct test)) !=
                0) {
            return false;
        }
    }
    return true;
}

/* Adds to what earlier lines said about the call, or refuses the contradiction. */
static void merge_rule(struct rule *old, const struct rule *rule)
{
    if (same_rule(old, rule)) {
        return;
    }
    if (old->always || rule->always || old->otherwise != rule->otherwise) {
        fail("`%s` contradicts %s:%d", rule->name, old->file, old->line);
    }
    if (old->n_any + rule->n_any > MAX_CONJ) {
        fail("more than %d alternatives with %s:%d", MAX_CONJ, old->file, old->line);
    }
    for (unsigned i = 0; i < rule->n_any; i++) {
        old->any[old->n_any++] = rule->any[i];
    }
}

static struct rule *find_rule(int nr)
{
    for (unsigned i = 0; i < n_rules; i++) {
        if (rules[i].nr == nr) {
            return &rules[i];
        }
    }
    return NULL;
}

/* A rule that so far says what the default says. */
static void start_rule(struct rule *rule, const char *name)
{
    memset(rule, 0, sizeof(*rule));
    (void)snprintf(rule->name, sizeof(rule->name), "%s", name);
    rule->nr = call_number(name);
    rule->file = at.file;
    rule->line = at.line;
    rule->otherwise = default_action;
}

static void add_rule(const struct rule *rule)
{
    struct rule *old = find_rule(rule->nr);

    if (rule->nr < 0) {
        return; /* this architecture does not have it */
    }
    if (old) {
        merge_rule(old, rule);
        return;
    }
    if (n_rules == MAX_RULES) {
        fail("more than %d calls", MAX_RULES);
    }
    rules[n_rules++] = *rule;
}

static void parse_rule(const char *name)
{
    static struct rule rule; /* too large for the stack */

    start_rule(&rule, name);
    if (take("allow")) {
        rule.always = true;
        rule.otherwise = SECCOMP_RET_ALLOW;
    } else if (take("return")) {
        rule.always = true;
        rule.otherwise = take_errno();
    } else if (take("tell")) {
        rule.always = true;
        rule.otherwise = take_told_errno();
    } else if (take("notify")) {
        rule.always = true;
        rule.otherwise = SECCOMP_RET_USER_NOTIF;
    } else {
        take_expression(&rule);
        if (take(",")) {
            expect("else");
            if (take("notify")) {
                rule.otherwise = SECCOMP_RET_USER_NOTIF;
            } else if (take("tell")) {
                rule.otherwise = take_told_errno();
            } else {
                expect("return");
                rule.otherwise = take_errno();
            }
        }
        if (rule.otherwise == SECCOMP_RET_ALLOW) {
            fail("`%s` is allowed either way: say `else return`", name);
        }
    }
    expect_end();
    add_rule(&rule);
}

/* A number counts once, with one answer. */
static void add_ioctl(uint32_t key, uint32_t action)
{
    for (unsigned i = 0; i < n_ioctls; i++) {
        if (ioctls[i].key != key) {
            continue;
        }
        if (ioctls[i].action != action) {
            fail("ioctl %c 0x%02x has another answer already", (int)(key >> 8), key & 0xff);
        }
        return;
    }
    if (n_ioctls == MAX_IOCTLS) {
        fail("more than %d ioctls", MAX_IOCTLS);
    }
    ioctls[n_ioctls++] = (struct ioctl_rule){ key, action };
}

static void parse_ioctls(void)
{
    uint32_t numbers[256], type, action = SECCOMP_RET_ALLOW;
    unsigned n = 0;

    skip_space();
    type = (unsigned char)*cursor;
    if (!type || !isspace((unsigned char)cursor[1])) {
        fail("expected an ioctl type character and numbers at `%s`", cursor);
    }
    cursor++;
    if (!first_ioctl.file) {
        first_ioctl = at;
    }
    for (skip_space(); *cursor && *cursor != ','; skip_space()) {
        uint64_t nr = take_number();

        if (nr > 0xff) {
            fail("ioctl number %#llx is larger than 0xff", (unsigned long long)nr);
        }
        if (n == ARRAY_SIZE(numbers)) {
            fail("more than %zu ioctls in a line", ARRAY_SIZE(numbers));
        }
        numbers[n++] = type << 8 | (uint32_t)nr;
    }
    if (take(",")) {
        expect("return");
        action = take_errno();
        expect_end();
    }
    for (unsigned i = 0; i < n; i++) {
        add_ioctl(numbers[i], action);
    }
}

/* The numbers are one more alternative of the call's rule, which may be theirs alone. */
static void add_ioctls(void)
{
    static struct rule rule;
    const struct rule *old;

    if (n_ioctls == 0) {
        return;
    }
    at = first_ioctl;
    if (default_action == SECCOMP_RET_ALLOW) {
        fail("`ioctl-nr` allows what is allowed anyway");
    }
    start_rule(&rule, "ioctl");
    old = find_rule(rule.nr);
    if (old && old->always) {
        fail("`ioctl-nr` contradicts %s:%d", old->file, old->line);
    }
    if (!old) {
        add_rule(&rule);
    }
}

static void parse_broker(void)
{
    size_t len;

    expect("rw");
    skip_space();
    len = strcspn(cursor, " \t");
    if (strncmp(cursor, "/dev/", 5) != 0 || strstr(cursor, "..") || len > 100) {
        fail("the broker opens device nodes below /dev only, not `%s`", cursor);
    }
    if (n_broker == MAX_BROKER) {
        fail("more than %d broker lines", MAX_BROKER);
    }
    broker[n_broker++] = strndup(cursor, len);
    cursor += len;
    expect_end();
}

static void parse_file(const char *path, int depth);

static void parse_directive(int depth)
{
    if (take("@default")) {
        uint32_t action = take("notify")  ? SECCOMP_RET_USER_NOTIF
                          : take("kill")  ? SECCOMP_RET_KILL_PROCESS
                          : take("trap")  ? SECCOMP_RET_TRAP
                          : take("allow") ? SECCOMP_RET_ALLOW
                                          : 0;

        if (!action) {
            fail("the default is notify, kill, trap or allow, not `%s`", cursor);
        }
        if (n_rules || (default_set && action != default_action)) {
            fail("the default is set once, before any rule");
        }
        default_action = action;
        default_set = true;
    } else if (take("@mdwe")) {
        mdwe = true;
    } else if (take("@cache")) {
        cache = true;
    } else if (take("@include")) {
        const char *slash = strrchr(at.file, '/');
        struct place here = at;
        char path[4096];

        skip_space();
        (void)snprintf(path, sizeof(path), "%.*s%s", slash ? (int)(slash - at.file + 1) : 0,
                       at.file, cursor);
        parse_file(path, depth + 1);
        at = here;
        cursor = "";
    } else {
        fail("unknown directive `%s`", cursor);
    }
    expect_end();
}

static void parse_line(int depth)
{
    char name[48];

    skip_space();
    if (!*cursor) {
        return;
    }
    if (*cursor == '@') {
        parse_directive(depth);
        return;
    }
    if (!default_set) {
        fail("@default comes first");
    }
    if (take("ioctl-nr:")) {
        parse_ioctls();
        return;
    }
    take_word(name, sizeof(name));
    expect(":");
    if (strcmp(name, "broker") == 0) {
        parse_broker();
    } else {
        parse_rule(name);
    }
}

static void parse_file(const char *path, int depth)
{
    char *text = NULL;
    size_t size = 0;
    FILE *f;

    if (depth > MAX_DEPTH) {
        fail("includes nest deeper than %d", MAX_DEPTH);
    }
    f = fopen(path, "re");
    if (!f) {
        fail("%s: %s", path, strerror(errno));
    }
    at.file = strdup(path); /* kept: rules point to it */
    at.line = 0;
    while (getline(&text, &size, f) > 0) {
        char *end;

        at.line++;
        text[strcspn(text, "#\n")] = '\0';
        for (end = text + strlen(text); end > text && isspace((unsigned char)end[-1]); end--) {
            end[-1] = '\0';
        }
        cursor = text;
        parse_line(depth);
    }
    free(text);
    (void)fclose(f);
}

/* ---- code ------------------------------------------------------------------------------------
 * BPF jumps only forward, so the program is built from its end: when an instruction is emitted
 * all its targets exist. A label is the number of instructions from it to the end, inclusive. */

static struct sock_filter code[BPF_MAXINSNS];
static unsigned n_code;

static unsigned emit(uint16_t op, uint32_t k, uint8_t jt, uint8_t jf)
{
    if (n_code == BPF_MAXINSNS) {
        fail("the program is longer than %d instructions", BPF_MAXINSNS);
    }
    code[n_code++] = (struct sock_filter){ op, jt, jf, k };
    return n_code;
}

static unsigned emit_return(uint32_t action)
{
    return emit(BPF_RET | BPF_K, action, 0, 0);
}

static unsigned emit_load(size_t offset)
{
    return emit(BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

/* A label with the same meaning within reach of a conditional jump: a return is repeated, for
 * other code a long jump is put here. `reserve`: instructions that may still come between. */
static unsigned within_reach(unsigned target, unsigned reserve)
{
    const struct sock_filter *insn = &code[target - 1];

    if (n_code + reserve - target <= 255) {
        return target;
    }
    if (insn->code == (BPF_RET | BPF_K)) {
        return emit_return(insn->k);
    }
    return emit(BPF_JMP | BPF_JA, n_code - target, 0, 0);
}

static unsigned emit_jump(uint16_t op, uint32_t k, unsigned if_true, unsigned if_false)
{
    if_true = within_reach(if_true, 1);
    if_false = within_reach(if_false, 0);
    return emit(BPF_JMP | op | BPF_K, k, (uint8_t)(n_code - if_true), (uint8_t)(n_code - if_false));
}

static size_t arg_offset(unsigned arg, bool high)
{
    return offsetof(struct seccomp_data, args) + arg * 8 + (high ? 4 : 0);
}

static unsigned emit_equal(unsigned arg, uint64_t value, unsigned if_true, unsigned if_false)
{
    unsigned next;

    emit_jump(BPF_JEQ, (uint32_t)value, if_true, if_false);
    next = emit_load(arg_offset(arg, false));
    emit_jump(BPF_JEQ, (uint32_t)(value >> 32), next, if_false);
    return emit_load(arg_offset(arg, true));
}

static unsigned emit_subset(unsigned arg, uint64_t mask, unsigned if_true, unsigned if_false)
{
    unsigned next;

    emit_jump(BPF_JSET, ~(uint32_t)mask, if_false, if_true);
    next = emit_load(arg_offset(arg, false));
    emit_jump(BPF_JSET, ~(uint32_t)(mask >> 32), if_false, next);
    return emit_load(arg_offset(arg, true));
}

static unsigned emit_masked(const struct test *t, unsigned if_true, unsigned if_false)
{
    unsigned next = if_true;

    if ((uint32_t)t->mask) {
        emit_jump(BPF_JEQ, (uint32_t)t->value, if_true, if_false);
        emit(BPF_ALU | BPF_AND | BPF_K, (uint32_t)t->mask, 0, 0);
        next = emit_load(arg_offset(t->arg, false));
    }
    if (t->mask >> 32) {
        emit_jump(BPF_JEQ, (uint32_t)(t->value >> 32), next, if_false);
        emit(BPF_ALU | BPF_AND | BPF_K, (uint32_t)(t->mask >> 32), 0, 0);
        next = emit_load(arg_offset(t->arg, true));
    }
    return next;
}

static unsigned emit_test(const struct test *t, unsigned if_true, unsigned if_false)
{
    switch (t->op) {
    case OP_EQ:
        return emit_equal(t->arg, t->value, if_true, if_false);
    case OP_NE:
        return emit_equal(t->arg, t->value, if_false, if_true);
    case OP_IN:
        return emit_subset(t->arg, t->mask, if_true, if_false);
    case OP_MASKED_EQ:
        return emit_masked(t, if_true, if_false);
    }
    abort();
}

static int compare_ioctls(const void *a, const void *b)
{
    uint32_t x = ((const struct ioctl_rule *)a)->key, y = ((const struct ioctl_rule *)b)->key;

    return (x > y) - (x < y);
}

/* ioctls[lo..hi], sorted; the accumulator holds type and number. */
static unsigned emit_ioctl_search(unsigned lo, unsigned hi, unsigned allow, unsigned missed)
{
    unsigned mid = lo + (hi - lo + 1) / 2, left, right;

    if (lo == hi) {
        const struct ioctl_rule *i = &ioctls[lo];

        return emit_jump(BPF_JEQ, i->key,
                         i->action == SECCOMP_RET_ALLOW ? allow : emit_return(i->action), missed);
    }
    right = emit_ioctl_search(mid, hi, allow, missed);
    left = emit_ioctl_search(lo, mid - 1, allow, missed);
    return emit_jump(BPF_JGE, ioctls[mid].key, right, left);
}

static unsigned emit_ioctls(unsigned allow, unsigned missed)
{
    unsigned next;

    emit_ioctl_search(0, n_ioctls - 1, allow, missed);
    emit(BPF_ALU | BPF_AND | BPF_K, 0xffff, 0, 0);
    next = emit_load(arg_offset(1, false));
    emit_jump(BPF_JEQ, 0, next, missed);
    return emit_load(arg_offset(1, true));
}

static unsigned emit_rule(const struct rule *rule, unsigned allow)
{
    unsigned label = emit_return(rule->otherwise);
    unsigned missed = label;

    if (rule->always) {
        return label;
    }
    if (n_ioctls && strcmp(rule->name, "ioctl") == 0) {
        label = emit_ioctls(allow, missed);
    }
    for (unsigned i = rule->n_any; i-- > 0;) {
        unsigned next = allow;

        for (unsigned j = rule->any[i].n_tests; j-- > 0;) {
            next = emit_test(&rule->any[i].tests[j], next, label);
        }
        label = next;
    }
    return label;
}

struct interval {
    uint32_t first;
    unsigned label;
};

static struct interval intervals[2 * MAX_RULES + 1];
static unsigned n_intervals;

static void add_interval(uint32_t first, unsigned label)
{
    /* Neighbours with the same plain answer share an interval. */
    if (n_intervals) {
        struct sock_filter last = code[intervals[n_intervals - 1].label - 1];
        struct sock_filter this = code[label - 1];

        if (last.code == (BPF_RET | BPF_K) && this.code == last.code && this.k == last.k) {
            return;
        }
    }
    intervals[n_intervals++] = (struct interval){ first, label };
}

static unsigned emit_search(unsigned lo, unsigned hi)
{
    unsigned mid = lo + (hi - lo + 1) / 2, left, right;

    if (lo == hi) {
        return intervals[lo].label;
    }
    right = emit_search(mid, hi);
    left = emit_search(lo, mid - 1);
    return emit_jump(BPF_JGE, intervals[mid].first, right, left);
}

static int compare_rules(const void *a, const void *b)
{
    return ((const struct rule *)a)->nr - ((const struct rule *)b)->nr;
}

static void compile(void)
{
    unsigned kill, unlisted, allow, start;
    uint32_t next = 0;

    qsort(rules, n_rules, sizeof(*rules), compare_rules);
    qsort(ioctls, n_ioctls, sizeof(*ioctls), compare_ioctls);
    kill = emit_return(SECCOMP_RET_KILL_PROCESS);
    unlisted = emit_return(default_action);
    allow = emit_return(SECCOMP_RET_ALLOW);
    for (unsigned i = 0; i < n_rules; i++) {
        uint32_t nr = (uint32_t)rules[i].nr;

        if (nr > next) {
            add_interval(next, unlisted);
        }
        add_interval(nr, emit_rule(&rules[i], allow));
        next = nr + 1;
    }
    add_interval(next, unlisted);

    start = emit_search(0, n_intervals - 1);
    if (start != n_code) {
        emit(BPF_JMP | BPF_JA, n_code - start, 0, 0);
        start = n_code;
    }
    if (X32_BIT) {
        start = emit_jump(BPF_JGE, X32_BIT, kill, start);
    }
    start = emit_load(offsetof(struct seccomp_data, nr));
    emit_jump(BPF_JEQ, OUR_AUDIT_ARCH, start, kill);
    emit_load(offsetof(struct seccomp_data, arch));
}

/* ---- output ---------------------------------------------------------------------------------- */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static unsigned told(const struct rule *rule)
{
    bool notify = (rule->otherwise & SECCOMP_RET_ACTION_FULL) == SECCOMP_RET_USER_NOTIF;

    return notify ? rule->otherwise & SECCOMP_RET_DATA : 0;
}

static void write_c(FILE *f, const char *policy, const char *symbol)
{
    fprintf(f, "/* Made by policyc from %s; edit that. */\n#include \"policy/program.h\"\n\n",
            policy);
    fprintf(f, "static const struct sock_filter code[] = {\n");
    for (unsigned i = n_code; i-- > 0;) {
        fprintf(f, "    { 0x%02x, %u, %u, 0x%08x },\n", code[i].code, code[i].jt, code[i].jf,
                code[i].k);
    }
    fprintf(f, "};\n\nstatic const char *const broker[] = {\n");
    for (unsigned i = 0; i < n_broker; i++) {
        fprintf(f, "    \"%s\",\n", broker[i]);
    }
    fprintf(f, "    NULL,\n};\n\nstatic const struct policy_answer answers[] = {\n");
    for (unsigned i = 0; i < n_rules; i++) {
        if (told(&rules[i])) {
            fprintf(f, "    { %d, %u }, /* %s */\n", rules[i].nr, told(&rules[i]), rules[i].name);
        }
    }
    fprintf(f, "    { -1, 0 },\n};\n\nextern const struct policy_program %s;\n", symbol);
    fprintf(f,
            "const struct policy_program %s = {\n    .name = \"%s\",\n    .code = code,\n"
            "    .n_code = %u,\n    .notify = %d,\n    .mdwe = %d,\n    .cache = %d,\n"
            "    .broker = broker,\n    .answers = answers,\n};\n",
            symbol, policy, n_code, default_action == SECCOMP_RET_USER_NOTIF, mdwe, cache);
}

static void write_binary(FILE *f, const char *policy)
{
    struct policy_blob b = {
        .magic = POLICY_BLOB_MAGIC,
        .n_code = n_code,
        .n_answers = 1,
        .n_broker = n_broker,
        .notify = default_action == SECCOMP_RET_USER_NOTIF,
        .mdwe = mdwe,
        .cache = cache,
    };
    const struct policy_answer end = { .nr = -1 };

    for (unsigned i = 0; i < n_rules; i++) {
        b.n_answers += told(&rules[i]) != 0;
    }
    (void)snprintf(b.name, sizeof(b.name), "%.63s", policy);
    (void)fwrite(&b, sizeof(b), 1, f);
    for (unsigned i = n_code; i-- > 0;) {
        (void)fwrite(&code[i], sizeof(code[i]), 1, f);
    }
    for (unsigned i = 0; i < n_rules; i++) {
        const struct policy_answer answer = { rules[i].nr, (int)told(&rules[i]) };

        if (answer.error) {
            (void)fwrite(&answer, sizeof(answer), 1, f);
        }
    }
    (void)fwrite(&end, sizeof(end), 1, f);
    for (unsigned i = 0; i < n_broker; i++) {
        char path[POLICY_BLOB_PATH] = { 0 };

        (void)snprintf(path, sizeof(path), "%s", broker[i]);
        (void)fwrite(path, sizeof(path), 1, f);
    }
}

static void write_action(FILE *f, uint32_t action)
{
    switch (action & SECCOMP_RET_ACTION_FULL) {
    case SECCOMP_RET_ALLOW:
        fprintf(f, "allow");
        break;
    case SECCOMP_RET_USER_NOTIF:
        if (action & SECCOMP_RET_DATA) {
            fprintf(f, "tell %s", strerrorname_np((int)(action & SECCOMP_RET_DATA)));
        } else {
            fprintf(f, "notify");
        }
        break;
    case SECCOMP_RET_KILL_PROCESS:
        fprintf(f, "kill");
        break;
    case SECCOMP_RET_TRAP:
        fprintf(f, "trap");
        break;
    case SECCOMP_RET_ERRNO:
        fprintf(f, "return %s", strerrorname_np((int)(action & SECCOMP_RET_DATA)));
        break;
    default:
        fprintf(f, "0x%08x", action);
    }
}

static void write_insn(FILE *f, unsigned pc, const struct sock_filter *insn)
{
    static const char *const tests[] = { "", "==", ">", ">=", "&" };
    unsigned word = insn->k - (unsigned)offsetof(struct seccomp_data, args);

    fprintf(f, "%5u  ", pc);
    if (insn->code == (BPF_RET | BPF_K)) {
        write_action(f, insn->k);
    } else if (BPF_CLASS(insn->code) == BPF_ALU) {
        fprintf(f, "and 0x%x", insn->k);
    } else if (BPF_CLASS(insn->code) == BPF_LD) {
        if (insn->k >= offsetof(struct seccomp_data, args)) {
            fprintf(f, "load arg%u.%s", word / 8, word % 8 ? "high" : "low");
        } else {
            fprintf(f, "load %s", insn->k ? "arch" : "nr");
        }
    } else if (insn->code == (BPF_JMP | BPF_JA)) {
        fprintf(f, "goto %u", pc + 1 + insn->k);
    } else {
        fprintf(f, "if %s 0x%x goto %u else %u", tests[BPF_OP(insn->code) >> 4], insn->k,
                pc + 1 + insn->jt, pc + 1 + insn->jf);
    }
    fputc('\n', f);
}

static void write_listing(FILE *f, const char *policy)
{
    fprintf(f, "%s: %u calls listed, %u ioctls, %u instructions, default ", policy, n_rules,
            n_ioctls, n_code);
    write_action(f, default_action);
    fprintf(f, "%s\n\n", mdwe ? ", mdwe" : "");
    for (unsigned i = 0; i < n_rules; i++) {
        fprintf(f, "%-24s %3d  ", rules[i].name, rules[i].nr);
        if (!rules[i].always) {
            fprintf(f, "%u alternatives, else ", rules[i].n_any);
        }
        write_action(f, rules[i].otherwise);
        fprintf(f, "   %s:%d\n", base_name(rules[i].file), rules[i].line);
    }
    fputc('\n', f);
    for (unsigned i = n_code; i-- > 0;) {
        write_insn(f, n_code - 1 - i, &code[i]);
    }
}

static FILE *open_output(const char *path)
{
    FILE *f = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");

    if (!f) {
        fprintf(stderr, "policyc: %s: %s\n", path, strerror(errno));
        exit(1);
    }
    return f;
}

static int end_output(FILE *f, const char *path)
{
    if (fclose(f)) {
        fprintf(stderr, "policyc: %s: %s\n", path, strerror(errno));
        return 1;
    }
    return 0;
}

static int export(const char *text, const char *path)
{
    const struct policy policy = {
        .name = base_name(text),
        .rules = rules,
        .n_rules = n_rules,
        .ioctls = ioctls,
        .n_ioctls = n_ioctls,
        .broker = broker,
        .n_broker = n_broker,
        .mdwe = mdwe,
        .default_action = default_action,
    };
    FILE *f = open_output(path);

    policy_export(f, &policy);
    return end_output(f, path);
}

int main(int argc, char **argv)
{
    bool exporting = argc == 4 && strcmp(argv[1], "--export") == 0;
    bool binary = argc == 4 && strcmp(argv[1], "--binary") == 0;
    const char *text = argv[exporting || binary ? 2 : 1];
    FILE *f;

    if (argc != 5 && !exporting && !binary) {
        fprintf(stderr, "usage: cordon-policyc POLICY SYMBOL OUT.c OUT.lst\n"
                        "       cordon-policyc --export POLICY OUT    plain minijail text\n"
                        "       cordon-policyc --binary POLICY OUT    for the render server\n"
                        "OUT may be -.\n");
        return 2;
    }
    rules = calloc(MAX_RULES, sizeof(*rules));
    if (!rules) {
        return 1;
    }
    at = (struct place){ text, 0 };
    parse_file(text, 0);
    at = (struct place){ text, 0 };
    if (!default_set) {
        fail("no @default");
    }
    add_ioctls();
    if (exporting) {
        return export(text, argv[3]);
    }
    compile();
    f = open_output(argv[3]);
    if (binary) {
        write_binary(f, base_name(text));
        return end_output(f, argv[3]);
    }
    write_c(f, base_name(text), argv[2]);
    if (end_output(f, argv[3])) {
        return 1;
    }
    f = open_output(argv[4]);
    write_listing(f, base_name(text));
    return end_output(f, argv[4]);
}
