#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "ipc/beside.h"
#include "ipc/cleanup.h"
#include "ipc/descriptors.h"
#include "ipc/log.h"
#include "ipc/loop.h"
#include "ipc/seqpacket.h"
#include "policy/filter.h"
#include "policy/learn.h"
#include "policy/profile.h"
#include "server/render/connection.h"
#include "server/render/contexts.h"
#include "server/render/driver.h"
#include "server/render/options.h"
#include "server/render/outer_jail.h"
#include "server/render/own_policy.h"
#include "server/render/stats.h"

#define EXIT_USAGE 2

/* All that a validating worker is given to see more of; the layer's library is among the others. */
#define LAYER_DIR "/usr/share/vulkan/explicit_layer.d"
#define VALIDATION_MANIFEST LAYER_DIR "/VkLayer_khronos_validation.json"

extern char **environ;

struct server {
    struct loop *loop;
    struct options options;
    struct outer_jail outer;
    char library[4096]; /* the worker, where it cannot be exec'd */
    struct driver_choice driver;
    struct spawner spawner;
    struct contexts contexts;
    struct connection connection;
    struct learn learn;
    int policy_fd; /* the operator's own policy as bytes, until the spawner has it; -1: none */
};

/* The VMM may have had us inherit anything: its descriptors (guest disks among them), signals
 * that it blocks or ignores. A SIGCHLD that stays ignored would leave no child to wait for. */
static void shed_descriptors(int keep)
{
    int r = descriptors_close(3, (unsigned)MAX(keep, 3) - 1);

    r = r < 0 ? r : descriptors_close((unsigned)MAX(keep, 2) + 1, ~0u);
    if (r < 0) {
        log_warn("what the VMM left open stays so in this process: %s", strerror(-r));
    }
}

/* 0, 1 and 2 must be something, or the next socket becomes somebody's stdout. */
static void fill_standard_descriptors(void)
{
    int fd;

    do {
        fd = descriptors_open_null();
    } while (fd >= 0 && fd <= 2);
    close_fd(&fd);
}

static void reset_signals(void)
{
    sigset_t none;

    for (int sig = 1; sig < _NSIG; sig++) {
        (void)signal(sig, SIG_DFL); /* fails for the few that cannot be set */
    }
    (void)signal(SIGPIPE, SIG_IGN);
    sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

#define LIBRARY "libcordon-worker.so"
#define LAST_FOLDER "/usr/lib/cordon"

/* Where the worker is: beside the server, of one just built in the next folder, installed. */
static const char *const worker_folders[] = {
    "", "../worker", "../../worker", CORDON_WORKER_DIR, LAST_FOLDER, NULL,
};

/* --worker names the program, or the shared object itself; that is beside the program. */
static bool library_of_option(const char *worker, char *buf, size_t size)
{
    const char *slash = strrchr(worker, '/');
    size_t n = strlen(worker);

    if (n > 3 && strcmp(worker + n - 3, ".so") == 0) {
        (void)snprintf(buf, size, "%s", worker);
    } else {
        (void)snprintf(buf, size, "%.*s" LIBRARY, slash ? (int)(slash + 1 - worker) : 0, worker);
    }
    return access(buf, R_OK) == 0;
}

static const char *level_name(const struct server *s)
{
    return s->spawner.forks ? "of another jail" : sandbox_level_name(s->options.level);
}

static void write_stats(void *arg)
{
    struct server *s = arg;

    if (s->options.stats_path) {
        stats_write(&s->contexts, level_name(s), s->options.stats_path);
    }
}

static void on_signal(void *arg, const struct signalfd_siginfo *info)
{
    struct server *s = arg;

    if (info->ssi_signo == SIGUSR1) {
        stats_log(&s->contexts, level_name(s));
        write_stats(s);
        return;
    }
    log_info("told to end by %s from pid %u", strsignal((int)info->ssi_signo), info->ssi_pid);
    loop_stop(s->loop, 0);
}

static int watch_signals(struct server *s)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGUSR1);
    return loop_add_signals(s->loop, &set, on_signal, s, NULL);
}

static void say_what_is_loose(const struct server *s, uint32_t missing)
{
    char text[160];

    if (s->options.peer_option) {
        log_info("%s has no effect: every worker is filtered by the built-in policy of its driver",
                 s->options.peer_option);
    }
    if (missing) {
        sandbox_layers_text(missing, text, sizeof(text));
        log_warn("sandbox: this host lacks %s; workers run without, as allowed by "
                 "--sandbox-allow-missing",
                 text);
    }
    if (s->spawner.plan.uid == 0 && (s->spawner.plan.layers & SANDBOX_CAPS)) {
        log_warn("sandbox: workers are root without capabilities, not nobody: this server may not "
                 "change their user, or a device or a driver file is open to root only; give its "
                 "node a group that may read and write it, or run the server as another user");
    }
    if (s->options.validate) {
        log_warn("--validate: every guest runs under the Khronos validation layer, which is slow; "
                 "for tests");
    }
    if (policy_profile.note) {
        log_warn("sandbox: %s", policy_profile.note);
    }
    if (s->options.learn) {
        log_error("sandbox: LEARNING. Calls that the policy does not list are let through; whoever "
                  "controls the guest can use them all");
    }
    if (s->options.policy_dir) {
        log_warn("sandbox: workers are filtered by %s of %s, not by the policy that is built in",
                 s->driver.program->name, s->options.policy_dir);
    }
    if (s->options.level == SANDBOX_LEVEL_MINIMAL) {
        log_warn("sandbox: minimal: workers have no namespaces and no Landlock, only the filter");
    }
    if (s->options.level == SANDBOX_LEVEL_OFF) {
        log_error("sandbox: OFF. Whoever controls the guest, or finds one bug in a graphics "
                  "driver, runs code on this host as user %u with all its rights",
                  (unsigned)geteuid());
    }
}

static void say_what_was_learned(const struct server *s)
{
    char line[256];

    if (!s->options.learn) {
        return;
    }
    log_info("learned: %u lines for worker.%s.policy%s", s->learn.n_calls, s->driver.name,
             s->learn.lost ? ", and more than fit" : "");
    for (unsigned i = 0; learn_line(&s->learn, i, line, sizeof(line)); i++) {
        log_info("learned: %s", line);
    }
}

/* The server gives up what neither it nor the jail's set-up needs. Workers inherit that. */
static void seal_server(const struct server *s)
{
    int r;

    /* Somebody else's filter (systemd has such) is no reason to do without ours, if it lets us. */
    if (s->outer.no_seccomp || !(s->spawner.plan.layers & SANDBOX_SECCOMP)) {
        return;
    }
    r = prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 ? -errno : filter_install(&policy_server, 0);
    if (r < 0) {
        log_warn("the server's own filter could not be installed: %s; workers have theirs",
                 strerror(-r));
    }
}

/* The loader's choice of drivers, by its name of today or its older one. */
static const char *manifests(void)
{
    const char *list = getenv("VK_DRIVER_FILES");

    return list ? list : getenv("VK_ICD_FILENAMES");
}

#define DIST_POLICY                                                                       \
    "for crosvm: --seccomp-policy-dir with Cordon's policy, see OTHER PEOPLE'S JAILS in " \
    "cordon-sandbox(7)"

/* May workers be forked here? They could not do more than fail otherwise. */
static bool find_forked_worker(struct server *s)
{
    const char *more = "";
    bool found;

    if (s->outer.no_jit && strcmp(s->driver.name, "lavapipe") == 0) {
        log_error(
            "the jail around this server refuses executable memory (mprotect with PROT_EXEC), "
            "without which lavapipe cannot run, and no other driver was found (%s); give the "
            "VM a GPU's render node, or a jail that allows more (" DIST_POLICY ")",
            s->driver.why);
        return false;
    }
    if (s->options.worker_path) {
        found = library_of_option(s->options.worker_path, s->library, sizeof(s->library));
    } else {
        found = beside_find(worker_folders, LIBRARY, R_OK, s->library, sizeof(s->library));
        more = ", beside this server, and for " LAST_FOLDER "/" LIBRARY;
    }
    if (!found) {
        log_error(
            "the jail around this server forbids to start programs, and shows no " LIBRARY
            " to load instead; looked for %s%s; install it where the jail shows it (crosvm's: "
            "below /usr/lib, /usr/lib64, /lib or /lib64)",
            s->library, more);
    }
    return found;
}

static void say_whose_jail(const struct server *s)
{
    char theirs[256], ours[160];

    outer_jail_describe(theirs, sizeof(theirs));
    sandbox_layers_text(s->spawner.plan.layers, ours, sizeof(ours));
    log_info(
        "sandbox: the jail that was here first forbids most of ours. Its layers, around this "
        "server and all workers alike: %s. Ours, around each worker: %s. For all of ours too, %s",
        theirs, ours, DIST_POLICY);
}

/* What workers need, once. A host that cannot start one still gets a server: the VM goes on, its
 * contexts are refused, and the reason is in the log. */
static bool prepare_workers(struct server *s)
{
    const char *read[DRIVER_MAX_PATHS + 1];
    struct spawner_config config = {
        .sandbox = {
            .level = s->options.level,
            .allow_missing = s->options.allow_missing,
            .devices = s->driver.devices,
            .read = read,
            .icd_manifests = s->driver.manifests,
        },
        .driver = &s->driver,
        .limits = &s->options.limits,
        .log_level = s->options.log_level_name,
        .validate = s->options.validate,
        .cgroup = s->options.cgroup,
        .policy_fd = s->policy_fd,
        .environment = environ,
        .loop = s->loop,
    };
    struct sandbox_failure failure = { 0 };
    char path[4096];
    uint32_t missing = 0;
    size_t n = 0;
    int r;

    while (s->driver.read[n]) {
        read[n] = s->driver.read[n];
        n++;
    }
    if (s->options.validate) {
        read[n++] = LAYER_DIR;
    }
    read[n] = NULL;
    log_debug("policy of \"%s\": %s", s->driver.name, s->driver.why);
    if (s->outer.no_exec) {
        if (!find_forked_worker(s)) {
            return false;
        }
        config.library = s->library;
    } else if (s->options.worker_path) {
        config.worker_path = s->options.worker_path;
    } else {
        (void)beside_find(worker_folders, "cordon-worker", X_OK, path, sizeof(path));
        config.worker_path = path;
    }
    r = spawner_init(&s->spawner, &config, &missing, &failure);
    if (r < 0) {
        log_failure(&failure);
    }
    if (r < 0 && s->outer.no_seccomp) {
        log_error("a system call filter that was in force at our start refuses seccomp; workers "
                  "cannot be confined inside it: start the server outside that jail, it brings its "
                  "own, or let the jail allow more (" DIST_POLICY ")");
    }
    if (s->spawner.forks) {
        say_whose_jail(s);
    }
    say_what_is_loose(s, missing);
    seal_server(s);
    return r == 0;
}

/* INIT and CREATE_CONTEXT, if a VMM has sent them already: it has its answer before we do what takes
 * time. Not inside another jail, of which it is to be seen first whether workers can be there. */
static int answer_early(struct server *s)
{
    const bool free = !s->outer.no_exec && !s->outer.no_seccomp;
    int r = 0;

    for (int i = 0; free && i < 2 && r == 0; i++) {
        r = loop_run_once(s->loop, 0);
    }
    return r;
}

static int serve(struct server *s)
{
    int r;

    r = loop_create(&s->loop);
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        return EXIT_FAILURE;
    }
    r = watch_signals(s);
    if (r == 0) {
        r = contexts_init(&s->contexts, s->loop, &s->spawner, &s->options.limits,
                          s->options.ready_timeout_ms, s->options.spares, write_stats, s);
        s->contexts.supervisor.learn = s->options.learn ? &s->learn : NULL;
    }
    if (r == 0) {
        r = connection_init(&s->connection, s->loop, s->options.socket_fd, &s->contexts);
    }
    if (r == 0) {
        r = answer_early(s);
    }
    if (r < 0) {
        log_error("cannot start: %s", strerror(-r));
        s->loop = loop_destroy(s->loop);
        return EXIT_FAILURE;
    }
    contexts_begin(&s->contexts, prepare_workers(s));
    r = loop_run(s->loop);
    connection_fini(&s->connection);
    contexts_fini(&s->contexts);
    say_what_was_learned(s);
    stats_log(&s->contexts, level_name(s));
    write_stats(s);
    spawner_fini(&s->spawner);
    s->loop = loop_destroy(s->loop);
    if (r < 0) {
        log_error("the event loop failed: %s", strerror(-r));
        return EXIT_FAILURE;
    }
    return EXIT_SUCCESS;
}

/*
 * One server per VM, one worker process per context; the VMM talks to both.
 *
 *     VMM ---- server socket ---- cordon-render-server        creates and ends contexts
 *      |                            |  control socket and log pipe of each worker
 *      |                          cordon-worker (spare)       warmed up and sealed, no guest yet
 *      +---- context socket ----- cordon-worker ctx=7         all guest bytes go here, none to us
 *      +---- context socket ----- cordon-worker ctx=8
 *
 * The server has one thread and one loop, and neither parses what a guest says nor loads a
 * graphics driver. It ends when the VMM hangs up, with status 0, and for no other reason: some
 * VMMs take the machine down with it. Should it be killed, its workers die with it (parent-death
 * signal, end of the control socket).
 *
 * A worker is cloned into its namespaces, execs, loads its driver, seals itself and says READY; it
 * is looked at from outside, and only then gets a guest's socket. When one dies, a ghost in the
 * server answers on that socket in its place, so that the VMM never waits in vain.
 *
 * Inside somebody else's jail that forbids exec (crosvm's), a worker is forked and loads the same
 * code as a shared object; the layers are then that jail's: spawn.h.
 */
int main(int argc, char **argv)
{
    static struct server s = { .spawner = SPAWNER_NONE };
    char why[256];
    int r;

    log_set_program("cordon-render-server");
    argv = options_with(getenv("CORDON_OPTIONS"), &argc, argv);
    r = options_parse(argc, argv, &s.options, why, sizeof(why));
    if (r < 0) {
        fprintf(stderr, "cordon-render-server: %s\n", why);
        return EXIT_USAGE;
    }
    if (s.options.action == OPTIONS_HELP) {
        fputs(options_help, stdout);
        return EXIT_SUCCESS;
    }
    if (s.options.action == OPTIONS_VERSION) {
        puts("cordon-render-server " CORDON_VERSION);
        return EXIT_SUCCESS;
    }
    r = driver_choose(s.options.driver, s.options.device, manifests(), &s.driver, why, sizeof(why));
    if (r < 0) {
        fprintf(stderr, "cordon-render-server: %s\n", why);
        return EXIT_USAGE;
    }
    if (s.options.validate && access(VALIDATION_MANIFEST, R_OK) < 0) {
        fprintf(stderr,
                "cordon-render-server: --validate needs the Khronos validation layer, which is not "
                "here (%s: %s); install it (Debian: vulkan-validationlayers)\n",
                VALIDATION_MANIFEST, strerror(errno));
        return EXIT_USAGE;
    }
    /* In every line, so that nobody reads one without knowing. */
    if (s.options.level == SANDBOX_LEVEL_OFF) {
        log_set_program("cordon-render-server [SANDBOX OFF]");
    } else if (s.options.learn) {
        log_set_program("cordon-render-server [LEARNING]");
    }
    reset_signals();
    outer_jail_expect(&s.outer);
    shed_descriptors(s.options.socket_fd);
    fill_standard_descriptors();
    descriptors_raise_limit();
    log_set_level(s.options.log_level);
    r = seqpacket_check(s.options.socket_fd);
    if (r < 0) {
        log_error("--socket-fd %d is not a connected SEQPACKET socket (%s); a VMM passes one",
                  s.options.socket_fd, strerror(-r));
        return EXIT_USAGE;
    }
    (void)fcntl(s.options.socket_fd, F_SETFD, FD_CLOEXEC);
    s.policy_fd = -1;
    if (s.options.policy_dir &&
        own_policy_compile(s.options.policy_dir, &s.driver, &s.policy_fd, why, sizeof(why)) < 0) {
        log_error("--policy-dir: %s", why);
        return EXIT_USAGE;
    }
    if (!connection_vmm_is_served(s.options.socket_fd)) {
        connection_refuse_all(s.options.socket_fd);
        return EXIT_SUCCESS;
    }
    return serve(&s);
}
