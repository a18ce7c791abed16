/*
 * escape_run HELPER LAYERS NAME: makes the targets (a process, files, sockets, shared memory),
 * runs one attempt of the helper as a worker with those layers, and prints one word or two:
 *   escaped | refused ERRNO | killed CALL | signal N | broken TEXT
 * LAYERS: all, no-userns, no-landlock, no-seccomp, none. escape_run --check LAYERS: can this host do it?
 * Exit status 77 and the cause if not.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/shm.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ipc/base.h"
#include "policy/jail.h"
#include "tests/escape/jailed.h"

static char folder[] = "/tmp/cordon-escape-XXXXXX";
static char victim_bytes[8] = "victim";
static struct jailed_result result;

static void must(bool ok, const char *what)
{
    if (!ok) {
        printf("broken %s: %s\n", what, strerror(errno));
        exit(2);
    }
}

static void make_file(const char *name)
{
    char path[256];
    int fd;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, name);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    must(fd >= 0 && write(fd, "secret\n", 7) == 7, path);
    close(fd);
}

static void remove_files(void)
{
    static const char *const names[] = { "secret",  "secret2", "created", "renamed",
                                         "planted", "linked",  "mem",     "socket" };
    char path[256];

    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        (void)snprintf(path, sizeof(path), "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    (void)rmdir(folder);
}

static pid_t make_victim(void)
{
    pid_t pid = fork();

    if (pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        /* Yama would otherwise decide, not we. */
        (void)prctl(PR_SET_PTRACER, PR_SET_PTRACER_ANY);
        for (;;) {
            (void)pause();
        }
    }
    return pid;
}

/* A TCP listener and a UDP socket on the same port of 127.0.0.1. */
static int make_port(void)
{
    struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
    socklen_t len = sizeof(a);
    int tcp = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    int udp = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    must(bind(tcp, (struct sockaddr *)&a, len) == 0 && listen(tcp, 4) == 0 &&
             getsockname(tcp, (struct sockaddr *)&a, &len) == 0,
         "tcp");
    (void)bind(udp, (struct sockaddr *)&a, len);
    return ntohs(a.sin_port);
}

static void make_unix(bool abstract, const char *name)
{
    struct sockaddr_un a = { .sun_family = AF_UNIX };
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    size_t len = offsetof(struct sockaddr_un, sun_path) + abstract + strlen(name);

    (void)snprintf(a.sun_path + abstract, sizeof(a.sun_path) - 1, "%s", name);
    must(bind(fd, (struct sockaddr *)&a, (socklen_t)len) == 0 && listen(fd, 4) == 0, "unix socket");
}

static uint32_t parse_layers(const char *text)
{
    if (strcmp(text, "all") == 0) {
        return SANDBOX_ALL & ~SANDBOX_MDWE;
    }
    if (strcmp(text, "no-userns") == 0) {
        return SANDBOX_ALL & ~SANDBOX_MDWE & ~SANDBOX_NAMESPACES;
    }
    if (strcmp(text, "no-landlock") == 0) {
        return SANDBOX_ALL & ~SANDBOX_MDWE & ~SANDBOX_LANDLOCK;
    }
    if (strcmp(text, "no-seccomp") == 0) {
        return SANDBOX_ALL & ~SANDBOX_MDWE & ~SANDBOX_SECCOMP;
    }
    must(strcmp(text, "none") == 0, "layers");
    return 0;
}

static int check_host(uint32_t layers)
{
    static const struct sandbox_config config = { .level = SANDBOX_LEVEL_STRICT };
    struct sandbox_failure failure;
    struct jail_plan plan;
    char text[1024];
    uint32_t missing;
    int r;

    if (!layers) {
        return 0;
    }
    r = jail_plan_init(&plan, &config, jailed_policy(), &failure);
    plan.layers &= layers;
    if (r == 0) {
        r = jail_probe(&plan, &config, &missing, &failure);
    }
    if (r < 0) {
        sandbox_failure_text(&failure, text, sizeof(text));
        printf("%s\n", text);
        return 77;
    }
    return 0;
}

static void print_result(void)
{
    const char *call = strstr(result.line, ": ");

    if (strstr(result.output, "ESCAPED") ||
        (WIFEXITED(result.status) && WEXITSTATUS(result.status) == 77)) {
        printf("escaped\n");
    } else if (result.violation && call) {
        bool flood = strstr(result.line, "(flood)") != NULL;

        printf("killed %.*s\n", flood ? 5 : (int)strcspn(call + 2, "("),
               flood ? "flood" : call + 2);
    } else if (strncmp(result.output, "REFUSED ", 8) == 0) {
        printf("refused %s", result.output + 8);
    } else if (WIFSIGNALED(result.status)) {
        printf("signal %d\n", WTERMSIG(result.status));
    } else {
        printf("broken status %#x line `%s` output `%s`\n", result.status, result.line,
               result.output);
    }
}

int main(int argc, char **argv)
{
    char number[8][64], socket_path[256], *args[10];
    uint32_t layers;
    int leaked, shared, shm;
    pid_t victim;

    if (argc == 3 && strcmp(argv[1], "--check") == 0) {
        return check_host(parse_layers(argv[2]));
    }
    if (argc != 4) {
        return 2;
    }
    layers = parse_layers(argv[2]);
    must(mkdtemp(folder) != NULL, folder);
    (void)atexit(remove_files);
    make_file("secret");
    make_file("secret2");
    (void)snprintf(socket_path, sizeof(socket_path), "%s/socket", folder);
    make_unix(false, socket_path);
    (void)snprintf(number[6], 64, "cordon-escape-%d", getpid());
    make_unix(true, number[6]);
    victim = make_victim();
    shm = shmget(IPC_PRIVATE, 4096, 0600);
    /* Leaked on purpose: not close-on-exec. */
    leaked = open("/", O_PATH | O_DIRECTORY);
    shared = memfd_create("shared", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    must(leaked >= 0 && shm >= 0 && ftruncate(shared, 4096) == 0 &&
             fcntl(shared, F_ADD_SEALS, F_SEAL_SHRINK) == 0,
         "targets");

    args[0] = argv[1];
    (void)snprintf(number[0], 64, "%#x", layers);
    args[1] = number[0];
    args[2] = argv[3];
    (void)snprintf(number[1], 64, "%d", victim);
    args[3] = number[1];
    (void)snprintf(number[2], 64, "%p", (void *)victim_bytes);
    args[4] = number[2];
    args[5] = folder;
    (void)snprintf(number[3], 64, "%d", make_port());
    args[6] = number[3];
    args[7] = number[6];
    (void)snprintf(number[4], 64, "%d", shm);
    args[8] = number[4];
    args[9] = NULL;
    if (jailed_run(layers, argv[1], args, shared, &result) < 0) {
        printf("broken %s\n", result.line);
    } else {
        print_result();
        if (result.violation) {
            fprintf(stderr, "sandbox: worker ctx=1 %s: killed\n", result.line);
        }
    }
    (void)shmctl(shm, IPC_RMID, NULL);
    (void)kill(victim, SIGKILL);
    (void)waitpid(victim, NULL, 0);
    return 0;
}
