/* What a worker gets to see: the plan of its tree, its limits, its environment. */
#include "policy/jail.h"

#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "ipc/cleanup.h"
#include "policy/profile.h"

static int refuse(struct sandbox_failure *failure, int error, const char *what, const char *path)
{
    return sandbox_failed(failure, SANDBOX_MOUNTS, -error, "%s %.90s", what, path);
}

/* Is `path` itself, or a directory above it, in the plan already with the same rights? */
static bool covered(const struct jail_plan *plan, enum jail_path_kind kind, const char *path)
{
    for (unsigned i = 0; i < plan->n_paths; i++) {
        const struct jail_path *p = &plan->paths[i];
        size_t len = strlen(p->path);

        if (strcmp(p->path, path) == 0) {
            return true;
        }
        if (p->directory && strncmp(p->path, path, len) == 0 && path[len] == '/' &&
            (p->kind == kind || (p->kind == JAIL_READ_EXEC && kind == JAIL_READ))) {
            return true;
        }
    }
    return false;
}

static int add_path(struct jail_plan *plan, enum jail_path_kind kind, const char *path,
                    struct sandbox_failure *failure)
{
    struct jail_path *p;
    char real[PATH_MAX];
    struct stat st;

    if (!realpath(path, real) || stat(real, &st) < 0) {
        return refuse(failure, errno, "stat", path);
    }
    /* By its real name too: "/lib/x" is there when "/usr/lib" is and "/lib" leads to it. */
    if (path[0] != '/' || covered(plan, kind, path) || covered(plan, kind, real)) {
        return path[0] == '/' ? 0 : refuse(failure, EINVAL, "not an absolute path:", path);
    }
    if (strcmp(real, "/") == 0) {
        return refuse(failure, EINVAL, "the whole file system:", path);
    }
    if (kind == JAIL_DEVICE && !S_ISCHR(st.st_mode)) {
        return refuse(failure, ENODEV, "not a character device:", path);
    }
    if (plan->n_paths == JAIL_MAX_PATHS || strlen(path) >= sizeof(p->path)) {
        return refuse(failure, E2BIG, "no room for", path);
    }
    p = &plan->paths[plan->n_paths++];
    *p = (struct jail_path){ .kind = kind, .directory = S_ISDIR(st.st_mode) };
    (void)snprintf(p->path, sizeof(p->path), "%s", path);
    return 0;
}

static int add_link(struct jail_plan *plan, const char *path, struct sandbox_failure *failure)
{
    struct jail_path *p;
    ssize_t n;

    if (plan->n_paths == JAIL_MAX_PATHS || strlen(path) >= sizeof(p->path)) {
        return refuse(failure, E2BIG, "no room for", path);
    }
    p = &plan->paths[plan->n_paths];
    *p = (struct jail_path){ .kind = JAIL_LINK };
    (void)snprintf(p->path, sizeof(p->path), "%s", path);
    n = readlink(path, p->link, sizeof(p->link) - 1);
    if (n < 0) {
        return refuse(failure, errno, "readlink", path);
    }
    p->link[n] = '\0';
    plan->n_paths++;
    return 0;
}

/* One of the usual places: as a link where the host has a link, nothing where it has nothing. */
static int add_usual(struct jail_plan *plan, enum jail_path_kind kind, const char *path,
                     struct sandbox_failure *failure)
{
    struct stat st;

    if (lstat(path, &st) < 0) {
        return 0;
    }
    return S_ISLNK(st.st_mode) ? add_link(plan, path, failure)
                               : add_path(plan, kind, path, failure);
}

/* What the kernel says about a device in /sys: drivers tell GPUs apart by it. The link from its
 * number, and the directory of the device that the link leads into. */
static int add_device_facts(struct jail_plan *plan, const char *path,
                            struct sandbox_failure *failure)
{
    char link[64], device[128], real[PATH_MAX];
    struct stat st;
    int r;

    if (stat(path, &st) < 0) {
        return refuse(failure, errno, "stat", path);
    }
    (void)snprintf(link, sizeof(link), "/sys/dev/char/%u:%u", major(st.st_rdev), minor(st.st_rdev));
    (void)snprintf(device, sizeof(device), "%s/device", link);
    if (!realpath(device, real)) {
        return 0; /* a device of no bus, or no /sys */
    }
    r = add_link(plan, link, failure);
    return r < 0 ? r : add_path(plan, JAIL_READ, real, failure);
}

static int add_devices(struct jail_plan *plan, const char *const *list,
                       struct sandbox_failure *failure)
{
    for (; list && *list; list++) {
        int r = add_path(plan, JAIL_DEVICE, *list, failure);

        if (r == 0) {
            r = add_device_facts(plan, *list, failure);
        }
        if (r < 0) {
            return r;
        }
    }
    return 0;
}

static int add_list(struct jail_plan *plan, enum jail_path_kind kind, const char *const *list,
                    struct sandbox_failure *failure)
{
    for (; list && *list; list++) {
        int r = add_path(plan, kind, *list, failure);

        if (r < 0) {
            return r;
        }
    }
    return 0;
}

/* Finds "library_path": "..." in a driver manifest; the file is the operator's, not the guest's. */
static bool manifest_library(const char *manifest, char *library, size_t size)
{
    AUTO_CLOSE int fd = open(manifest, O_RDONLY | O_CLOEXEC);
    char text[16384];
    const char *value;
    ssize_t n;
    size_t len;

    n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
    if (n < 0) {
        return false;
    }
    text[n] = '\0';
    value = strstr(text, "\"library_path\"");
    value = value ? strchr(value + strlen("\"library_path\""), '"') : NULL;
    if (!value) {
        return false;
    }
    len = strcspn(++value, "\"");
    if (len == 0 || len >= size || memchr(value, '\\', len)) {
        return false;
    }
    memcpy(library, value, len);
    library[len] = '\0';
    return true;
}

static bool is_below(const char *path, const char *folder)
{
    size_t n = strlen(folder);

    return strncmp(path, folder, n) == 0 && (path[n] == '/' || path[n] == '\0');
}

/* A folder of libraries that is not there yet. */
static int add_library_folder(struct jail_plan *plan, const char *folder,
                              struct sandbox_failure *failure)
{
    for (unsigned i = 0; i < plan->n_paths; i++) {
        if (plan->paths[i].kind == JAIL_READ_EXEC && is_below(folder, plan->paths[i].path)) {
            return 0;
        }
    }
    return add_path(plan, JAIL_READ_EXEC, folder, failure);
}

/* Where `folder` has the library: that folder, and the one that a link leads to. */
static int add_library_at(struct jail_plan *plan, const char *folder, const char *library,
                          struct sandbox_failure *failure)
{
    char path[PATH_MAX], real[PATH_MAX];
    int r;

    (void)snprintf(path, sizeof(path), "%s/%s", folder, library);
    if (!realpath(path, real)) {
        return 0;
    }
    r = add_library_folder(plan, folder, failure);
    if (r < 0) {
        return r;
    }
    *strrchr(real, '/') = '\0';
    return real[0] ? add_library_folder(plan, real, failure) : 0;
}

/* A library by its bare name lies where the dynamic linker looks: the usual folders, and those that
 * /etc/ld.so.conf.d adds (NVIDIA's driver is often installed in one of its own). */
static int add_library(struct jail_plan *plan, const char *library, struct sandbox_failure *failure)
{
    static const char *const usual[] = { "/usr/lib", "/usr/lib64", "/lib", "/lib64" };
    glob_t found;
    int r = 0;

    for (size_t i = 0; i < ARRAY_SIZE(usual) && r == 0; i++) {
        r = add_library_at(plan, usual[i], library, failure);
    }
    if (glob("/etc/ld.so.conf.d/*.conf", 0, NULL, &found) != 0) {
        return r;
    }
    for (size_t i = 0; i < found.gl_pathc && r == 0; i++) {
        FILE *conf = fopen(found.gl_pathv[i], "re");
        char line[256];

        while (conf && r == 0 && fgets(line, sizeof(line), conf)) {
            line[strcspn(line, " \t\r\n#")] = '\0';
            if (line[0] == '/') {
                r = add_library_at(plan, line, library, failure);
            }
        }
        if (conf) {
            (void)fclose(conf);
        }
    }
    globfree(&found);
    return r;
}

static int add_manifest(struct jail_plan *plan, const char *manifest,
                        struct sandbox_failure *failure)
{
    char library[256], path[PATH_MAX];
    char *slash;
    int r = add_path(plan, JAIL_READ, manifest, failure);

    /* A link in one of the usual folders, which leads to where the driver was installed. */
    if (r == 0 && realpath(manifest, path) && strcmp(path, manifest) != 0) {
        r = add_path(plan, JAIL_READ, path, failure);
    }

    if (r < 0) {
        return r;
    }
    if (!manifest_library(manifest, library, sizeof(library))) {
        return refuse(failure, EINVAL, "no library_path in", manifest);
    }
    if (!strchr(library, '/')) {
        return add_library(plan, library, failure);
    }
    /* A relative path counts from the manifest's folder. */
    if (library[0] == '/') {
        (void)snprintf(path, sizeof(path), "%s", library);
    } else {
        (void)snprintf(path, sizeof(path), "%.*s/%s", (int)(strrchr(manifest, '/') - manifest),
                       manifest, library);
    }
    slash = strrchr(path, '/');
    *slash = '\0'; /* its folder: a driver brings libraries of its own along */
    return add_path(plan, JAIL_READ_EXEC, path[0] ? path : "/", failure);
}

/* One that nobody asked for may be stale. */
static int try_manifest(struct jail_plan *plan, const char *manifest,
                        struct sandbox_failure *failure)
{
    (void)add_manifest(plan, manifest, failure);
    *failure = (struct sandbox_failure){ 0 };
    return 0;
}

/* NVIDIA's vendor file for EGL, if it is a link to where its driver was installed. */
static void add_vendor_links(struct jail_plan *plan, struct sandbox_failure *failure)
{
    static const char *const patterns[] = { "/usr/share/glvnd/egl_vendor.d/*.json",
                                            "/etc/glvnd/egl_vendor.d/*.json" };

    for (size_t i = 0; i < ARRAY_SIZE(patterns); i++) {
        glob_t found;

        if (glob(patterns[i], 0, NULL, &found) != 0) {
            continue;
        }
        for (size_t k = 0; k < found.gl_pathc; k++) {
            char real[PATH_MAX];

            if (realpath(found.gl_pathv[k], real)) {
                (void)add_path(plan, JAIL_READ, real, failure);
            }
        }
        globfree(&found);
    }
    *failure = (struct sandbox_failure){ 0 };
}

static int add_file(struct jail_plan *plan, const char *path, struct sandbox_failure *failure)
{
    return add_path(plan, JAIL_READ, path, failure);
}

/* VK_DRIVER_FILES and its like hold a colon-separated list. */
static int add_each(struct jail_plan *plan, const char *list,
                    int (*add)(struct jail_plan *plan, const char *path,
                               struct sandbox_failure *failure),
                    struct sandbox_failure *failure)
{
    while (list && *list) {
        size_t len = strcspn(list, ":");
        char path[256];

        if (len >= sizeof(path)) {
            return refuse(failure, ENAMETOOLONG, "manifest", list);
        }
        if (len > 0) {
            int r;

            (void)snprintf(path, sizeof(path), "%.*s", (int)len, list);
            r = add(plan, path, failure);
            if (r < 0) {
                return r;
            }
        }
        list += len + (list[len] == ':');
    }
    return 0;
}

/* Root's workers are nobody, in the group that may open the devices that they were given. */
#define NOBODY 65534u

static void choose_user(struct jail_plan *plan)
{
    gid_t gid = NOBODY;

    plan->uid = geteuid();
    plan->gid = getegid();
    if (plan->uid != 0 || !(plan->layers & SANDBOX_CAPS)) {
        return;
    }
    for (unsigned i = 0; i < plan->n_paths; i++) {
        struct stat st;

        if (plan->paths[i].kind != JAIL_DEVICE || stat(plan->paths[i].path, &st) < 0 ||
            (st.st_mode & 06) == 06) {
            continue;
        }
        if ((st.st_mode & 060) != 060 || st.st_gid == 0 || (gid != NOBODY && gid != st.st_gid)) {
            return;
        }
        gid = st.st_gid;
    }
    plan->uid = NOBODY;
    plan->gid = gid;
}

/* Nothing of the host's: it need not exist here. */
static int add_scratch(struct jail_plan *plan, const char *path, struct sandbox_failure *failure)
{
    struct jail_path *p = &plan->paths[plan->n_paths];

    if (plan->n_paths == JAIL_MAX_PATHS) {
        return refuse(failure, E2BIG, "no room for", path);
    }
    *p = (struct jail_path){ .kind = JAIL_SCRATCH, .directory = true };
    (void)snprintf(p->path, sizeof(p->path), "%s", path);
    plan->n_paths++;
    return 0;
}

int jail_plan_init(struct jail_plan *plan, const struct sandbox_config *config,
                   const struct policy_program *driver, struct sandbox_failure *ret_failure)
{
    static const struct {
        enum jail_path_kind kind;
        const char *path;
    } usual[] = {
        { JAIL_READ_EXEC, "/usr/lib" },
        { JAIL_READ_EXEC, "/usr/lib64" },
        { JAIL_READ_EXEC, "/lib" },
        { JAIL_READ_EXEC, "/lib64" },
        { JAIL_READ, "/etc/ld.so.cache" },
        { JAIL_READ, "/usr/share/vulkan/icd.d" },
        { JAIL_READ, "/usr/local/share/vulkan/icd.d" },
        { JAIL_READ, "/etc/vulkan/icd.d" },
        { JAIL_READ, "/usr/share/drirc.d" },
        { JAIL_READ, "/usr/share/glvnd" }, /* NVIDIA: no headless instance without it */
        { JAIL_READ, "/etc/glvnd" },
        { JAIL_READ, "/usr/share/libdrm" }, /* names of AMD devices */
        { JAIL_DEVICE, "/dev/null" },
    };
    int r = 0;

    *plan = (struct jail_plan){
        .layers = sandbox_wanted(config, driver->mdwe),
        /* Venus holds a descriptor or two per exportable allocation; drivers start a few dozen
         * threads, a guest asks for 512; a heap of 4 GiB and blobs of 2 GiB are more than an honest guest asks for. */
        .limits = { .files = 32768,
                    .threads = 640,
                    .data = policy_profile.unlimited_data ? RLIM_INFINITY : UINT64_C(4) << 30,
                    .file_size = UINT64_C(2) << 30 },
        .cache = driver->cache,
        .stage1 = &policy_worker_stage1,
        .exec_fd = -1,
        .cgroup_fd = -1,
    };
    for (size_t i = 0; i < ARRAY_SIZE(usual) && r == 0; i++) {
        r = add_usual(plan, usual[i].kind, usual[i].path, ret_failure);
    }
    /* A node that the driver may ask for and that this host has; the broker's rule with a pattern
     * gets its nodes from the configuration. */
    for (const char *const *b = driver->broker; *b && r == 0; b++) {
        if (!strchr(*b, '[')) {
            r = add_usual(plan, JAIL_DEVICE, *b, ret_failure);
        }
    }
    if (r == 0) {
        r = add_list(plan, JAIL_READ, policy_profile.read, ret_failure);
    }
    if (r == 0) {
        r = add_list(plan, JAIL_READ_EXEC, config->read_exec, ret_failure);
    }
    if (r == 0) {
        r = add_list(plan, JAIL_READ, config->read, ret_failure);
    }
    if (r == 0) {
        r = add_devices(plan, config->devices, ret_failure);
    }
    if (r == 0) {
        add_vendor_links(plan, ret_failure);
        r = add_each(plan, config->icd_manifests, try_manifest, ret_failure);
    }
    if (r == 0) {
        r = add_each(plan, getenv("VK_DRIVER_FILES"), add_manifest, ret_failure);
    }
    if (r == 0) {
        r = add_each(plan, getenv("VK_ICD_FILENAMES"), add_manifest, ret_failure);
    }
    if (r == 0) {
        r = add_each(plan, getenv("__EGL_VENDOR_LIBRARY_FILENAMES"), add_file, ret_failure);
    }
    if (r == 0 && plan->cache) {
        r = add_scratch(plan, JAIL_CACHE, ret_failure);
    }
    choose_user(plan);
    return r;
}

/* ---- environment ------------------------------------------------------------------------------- */

static bool passes(const char *variable)
{
    /* The driver's choice and its size. */
    static const char *const names[] = {
        "VK_DRIVER_FILES",
        "VK_ICD_FILENAMES",
        "__EGL_VENDOR_LIBRARY_FILENAMES", /* NVIDIA makes its headless instances through EGL */
        "LP_NUM_THREADS",
        "LD_LIBRARY_PATH",
        "MESA_DRICONF_EXECUTABLE_OVERRIDE",
    };
    /* Switches that operators set: Mesa's driconf options are spelled in lower case. */
    static const char *const prefixes[] = {
        "vk_", "radv_", "anv_", "nvk_", "tu_", "panvk_", "ANV_", "RADV_", "NVK_", "MESA_VK_",
    };
    size_t len = strcspn(variable, "=");

    /* We say which version we serve; a driver that lies about its own would make us lie. */
    if (strncmp(variable, "MESA_VK_VERSION_OVERRIDE=", 25) == 0 || strlen(variable) > 4096) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        if (strlen(names[i]) == len && strncmp(names[i], variable, len) == 0) {
            return true;
        }
    }
    for (size_t i = 0; i < ARRAY_SIZE(prefixes); i++) {
        if (strncmp(prefixes[i], variable, strlen(prefixes[i])) == 0) {
            return true;
        }
    }
    return false;
}

/* Without a filter a worker is a program of its user like any other. */
static const char *home(const struct jail_plan *plan, char *const *from)
{
    for (; !(plan->layers & SANDBOX_SECCOMP) && *from; from++) {
        if (strncmp(*from, "HOME=", strlen("HOME=")) == 0) {
            return *from;
        }
    }
    return "HOME=/nonexistent";
}

void jail_environment(const struct jail_plan *plan, char *const *from,
                      const char *ret_env[JAIL_MAX_ENV + 1])
{
    unsigned n = 0;

    ret_env[n++] = home(plan, from);
    ret_env[n++] = "VK_LOADER_LAYERS_DISABLE=~all~";
    /* A cache that a worker can write is a way into the next worker: its own or none. In one file,
     * since a sealed worker reads what is open and opens nothing for writing. Without a filter, what
     * the driver usually has. */
    if (plan->cache && (plan->layers & SANDBOX_MOUNTS)) {
        ret_env[n++] = "MESA_SHADER_CACHE_DIR=" JAIL_CACHE;
        ret_env[n++] = "MESA_DISK_CACHE_SINGLE_FILE=true";
    } else if (plan->layers & SANDBOX_SECCOMP) {
        ret_env[n++] = "MESA_SHADER_CACHE_DISABLE=true";
    }
    for (const char *const *e = policy_profile.env; *e; e++) {
        ret_env[n++] = *e;
    }
    for (; *from && n < JAIL_MAX_ENV; from++) {
        if (passes(*from)) {
            ret_env[n++] = *from;
        }
    }
    ret_env[n] = NULL;
}
