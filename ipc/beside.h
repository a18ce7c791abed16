/* Where the other programs of ours are: beside this one, elsewhere in the tree of a build, or where
 * they were installed. */
#ifndef CORDON_IPC_BESIDE_H
#define CORDON_IPC_BESIDE_H

#include <stdbool.h>
#include <stddef.h>

/* The first of `folders`, NULL at the end, that has `name` for access(2)'s `mode`. One that does not
 * begin with "/" is seen from this program's own, which is "". False: none has, and buf is where it
 * would be if installed, in the first that begins with "/"; there must be one. */
bool beside_find(const char *const *folders, const char *name, int mode, char *buf, size_t size);

#endif
