/* What a front end tells a guest about the renderer. */
#ifndef CORDON_SERVER_FRONT_CAPSET_H
#define CORDON_SERVER_FRONT_CAPSET_H

#include <stdint.h>

#define CAPSET_VENUS 4
#define CAPSET_WORDS 40

/* The Venus capset, version 0. */
void capset_fill(uint32_t ret_words[CAPSET_WORDS]);

#endif
