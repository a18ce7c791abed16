#include "server/render/driver.h"

#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "policy/program.h"

/* Mesa's manifests are named after the driver: "radeon_icd.x86_64.json". */
static const struct {
    const char *prefix, *name;
} manifests[] = {
    { "lvp_icd", "lavapipe" },  { "radeon_icd", "radv" },      { "intel_icd", "anv-i915" },
    { "nouveau_icd", "nvk" },   { "freedreno_icd", "turnip" }, { "panfrost_icd", "panvk" },
    { "nvidia_icd", "nvidia" },
};

static const struct {
    const char *kernel, *name;
} kernels[] = {
    { "amdgpu", "radv" }, { "i915", "anv-i915" },  { "xe", "anv-xe" },     { "nouveau", "nvk" },
    { "msm", "turnip" },  { "msm_dpu", "turnip" }, { "panthor", "panvk" }, { "nvidia", "nvidia" },
};

const char *driver_of_manifest(const char *manifest)
{
    const char *slash = strrchr(manifest, '/');
    const char *file = slash ? slash + 1 : manifest;

    for (size_t i = 0; i < ARRAY_SIZE(manifests); i++) {
        if (strncmp(file, manifests[i].prefix, strlen(manifests[i].prefix)) == 0) {
            return manifests[i].name;
        }
    }
    return NULL;
}

const char *driver_of_kernel(const char *kernel_driver)
{
    for (size_t i = 0; i < ARRAY_SIZE(kernels); i++) {
        if (strcmp(kernel_driver, kernels[i].kernel) == 0) {
            return kernels[i].name;
        }
    }
    return NULL;
}

/* The policy for a render node, by the kernel driver behind it; NULL if unknown. */
static const char *driver_of_node(const char *node)
{
    char path[128], target[PATH_MAX];
    const char *slash;
    struct stat st;
    ssize_t n;

    if (stat(node, &st) < 0) {
        return NULL;
    }
    /* By number: other people's jails show this part of /sys, and /sys/class seldom. */
    (void)snprintf(path, sizeof(path), "/sys/dev/char/%u:%u/device/driver", major(st.st_rdev),
                   minor(st.st_rdev));
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0) {
        return NULL;
    }
    target[n] = '\0';
    slash = strrchr(target, '/');
    return driver_of_kernel(slash ? slash + 1 : target);
}

static const char *first_node(char *buf, size_t size)
{
    for (int minor = 128; minor < 192; minor++) {
        (void)snprintf(buf, size, "/dev/dri/renderD%d", minor);
        if (access(buf, F_OK) == 0) {
            return driver_of_node(buf);
        }
    }
    buf[0] = '\0';
    return NULL;
}

/* A list with one kind of driver in it decides; one with several leaves it to the host. */
static const char *of_manifests(const char *list)
{
    const char *name = NULL;

    while (list && *list) {
        size_t len = strcspn(list, ":");
        char one[PATH_MAX];

        (void)snprintf(one, sizeof(one), "%.*s", (int)MIN(len, sizeof(one) - 1), list);
        if (len > 0) {
            const char *this = driver_of_manifest(one);

            if (!this || (name && strcmp(this, name) != 0)) {
                return NULL;
            }
            name = this;
        }
        list += len + (list[len] == ':');
    }
    return name;
}

/* "anv-i915" and "anv-xe" are one driver, and have one manifest. */
static bool same_driver(const char *a, const char *b)
{
    size_t n = strcspn(a, "-");

    return strcspn(b, "-") == n && strncmp(a, b, n) == 0;
}

/* Where the loader looks when it is told nothing, as far as workers see it too. */
static void find_manifests(struct driver_choice *c)
{
    static const char *const folders[] = { "/usr/share/vulkan/icd.d",
                                           "/usr/local/share/vulkan/icd.d", "/etc/vulkan/icd.d" };

    for (size_t i = 0; i < ARRAY_SIZE(folders); i++) {
        DIR *folder = opendir(folders[i]);

        for (struct dirent *e; folder && (e = readdir(folder));) {
            const char *name = driver_of_manifest(e->d_name);
            size_t used = strlen(c->manifests), left = sizeof(c->manifests) - used;

            if (name && same_driver(name, c->name) &&
                strlen(folders[i]) + strlen(e->d_name) + 3 <= left) {
                (void)snprintf(c->manifests + used, left, "%s%s/%s", used ? ":" : "", folders[i],
                               e->d_name);
            }
        }
        if (folder) {
            (void)closedir(folder);
        }
    }
}

/* Containers often have NVIDIA's driver without a render node; and, for computing alone, its device
 * without a Vulkan driver. */
static bool is_headless_nvidia(void)
{
    struct driver_choice c = { .name = "nvidia" };

    find_manifests(&c);
    return c.manifests[0] && access("/dev/nvidiactl", F_OK) == 0;
}

static void add_nodes(struct driver_choice *c)
{
    unsigned d = 0, r = 0;

    if (strcmp(c->name, "lavapipe") == 0) {
        /* Fast way out for mappable memory; without it blobs are memfds. */
        if (access("/dev/udmabuf", R_OK | W_OK) == 0) {
            c->devices[d++] = "/dev/udmabuf";
        }
        return;
    }
    if (c->node[0]) {
        c->devices[d++] = c->node;
    }
    if (strcmp(c->name, "nvidia") == 0) {
        c->devices[d++] = "/dev/nvidiactl";
        c->devices[d++] = "/dev/nvidia0";
        return;
    }
    /* Mesa finds out through these what stands behind a render node. */
    c->read[r++] = "/sys/dev/char";
    c->read[r++] = "/sys/devices";
}

int driver_choose(const char *wanted, const char *device, const char *manifest_list,
                  struct driver_choice *ret, char *why, size_t why_size)
{
    struct driver_choice c = { .why = "asked for" };
    const bool told = manifest_list && manifest_list[0];
    const char *found;

    if (device && strncmp(device, "/dev/dri/renderD", strlen("/dev/dri/renderD")) != 0) {
        (void)snprintf(why, why_size,
                       "--device %s is no render node; use /dev/dri/renderD128 or "
                       "the like",
                       device);
        return -EINVAL;
    }
    if (device) {
        (void)snprintf(c.node, sizeof(c.node), "%s", device);
        found = driver_of_node(c.node);
    } else {
        found = first_node(c.node, sizeof(c.node));
    }
    c.name = wanted;
    if (strcmp(wanted, "auto") == 0) {
        c.name = of_manifests(manifest_list);
        c.why = "named by VK_DRIVER_FILES";
        if (!c.name) {
            c.name = found;
            c.why = "the driver of the render node";
        }
        if (!c.name && !told && is_headless_nvidia()) {
            c.name = "nvidia";
            c.why =
                "/dev/nvidiactl and its manifest are there, and no render node of a known driver";
        }
        if (!c.name) {
            c.name = "lavapipe";
            c.why = "no render node of a known driver";
        }
    }
    c.program = policy_worker(c.name);
    if (!c.program) {
        (void)snprintf(why, why_size,
                       "--driver %s has no policy; use auto, lavapipe, radv, "
                       "anv-i915, anv-xe, nvk, turnip, panvk or nvidia",
                       wanted);
        return -EINVAL;
    }
    *ret = c;
    add_nodes(ret);
    if (!told) {
        find_manifests(ret);
    }
    return 0;
}
