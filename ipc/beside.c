#include "ipc/beside.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "ipc/base.h"

/* False: this program's folder is not known, or the path does not fit. */
static bool path_in(const char *folder, const char *name, char *buf, size_t size)
{
    char self[PATH_MAX] = "";

    if (folder[0] != '/') {
        ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
        char *slash;

        self[MAX(n, 0)] = '\0';
        slash = strrchr(self, '/');
        if (!slash) {
            return false;
        }
        slash[1] = '\0';
    }
    return snprintf(buf, size, "%s%s%s%s", self, folder, folder[0] ? "/" : "", name) < (int)size;
}

bool beside_find(const char *const *folders, const char *name, int mode, char *buf, size_t size)
{
    for (const char *const *folder = folders; *folder; folder++) {
        if (path_in(*folder, name, buf, size) && access(buf, mode) == 0) {
            return true;
        }
    }
    while (**folders != '/') {
        folders++;
    }
    (void)path_in(*folders, name, buf, size);
    return false;
}
