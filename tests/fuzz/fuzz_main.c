/*
 * Replays a corpus: each file given, and each file in each folder given, goes through the target
 * once. What makes a fuzz target an ordinary test; libFuzzer brings a main of its own.
 */
#include <dirent.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (16u << 20)

static int replayed;

static int replay_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    uint8_t *data;
    size_t size;

    if (!f) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    data = malloc(INPUT_MAX);
    size = data ? fread(data, 1, INPUT_MAX, f) : 0;
    fclose(f);
    /* Exactly as large as the input, so that a read past its end is seen. */
    if (data) {
        uint8_t *exact = malloc(size > 0 ? size : 1);

        memcpy(exact, data, size);
        free(data);
        data = exact;
    }
    if (!data) {
        fprintf(stderr, "%s: out of memory\n", path);
        return 1;
    }
    LLVMFuzzerTestOneInput(data, size);
    free(data);
    replayed++;
    return 0;
}

static int replay(const char *path)
{
    struct stat st;
    struct dirent *e;
    DIR *dir;
    int failed = 0;

    if (stat(path, &st) < 0 || !S_ISDIR(st.st_mode)) {
        return replay_file(path);
    }
    dir = opendir(path);
    if (!dir) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    while ((e = readdir(dir))) {
        char *inner;

        if (e->d_name[0] == '.') {
            continue;
        }
        if (asprintf(&inner, "%s/%s", path, e->d_name) < 0) {
            failed = 1;
            break;
        }
        failed |= replay_file(inner);
        free(inner);
    }
    closedir(dir);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;

    for (int i = 1; i < argc; i++) {
        failed |= replay(argv[i]);
    }
    printf("%d inputs replayed\n", replayed);
    /* An empty corpus is a mistake in the build files, not a success. */
    return failed || replayed == 0;
}
