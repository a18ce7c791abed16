#include "worker/idle.h"

#include <link.h>
#include <malloc.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

/* Compilers and their tables. What smaller libraries hold, the next command needs: it would come a
 * quarter of a millisecond later. */
#define LARGE (16u << 20)

/* dl_iterate_phdr: code and constants are pages of a file, found there again when they are touched.
 * What the loader has relocated lies in segments that were writable, also what no longer is. */
static int unmap_segments(struct dl_phdr_info *info, size_t size, void *arg)
{
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);

    (void)size;
    (void)arg;
    for (size_t i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *segment = &info->dlpi_phdr[i];
        const uintptr_t at = info->dlpi_addr + segment->p_vaddr;
        const uintptr_t begin = (at + page - 1) & ~(page - 1);
        const uintptr_t end = (at + segment->p_filesz) & ~(page - 1);

        if (segment->p_type == PT_LOAD && !(segment->p_flags & PF_W) && begin < end &&
            end - begin >= LARGE) {
            /* One that stays mapped is no harm. */
            (void)madvise((void *)begin, end - begin, MADV_DONTNEED);
        }
    }
    return 0;
}

void idle_give_back(bool unmap_code)
{
    (void)malloc_trim(0);
    if (unmap_code) {
        (void)dl_iterate_phdr(unmap_segments, NULL);
    }
}
