/* PNG files, uncompressed: no library for one picture. */
#ifndef CORDON_SERVER_VHOST_USER_PNG_H
#define CORDON_SERVER_VHOST_USER_PNG_H

#include <stddef.h>
#include <stdint.h>

#include "ipc/base.h"

/* rgb: width * height * 3 bytes, top row first. On success *ret_bytes is the caller's to free.
 * 0 or -ENOMEM. */
MUST_USE int png_encode(const uint8_t *rgb, uint32_t width, uint32_t height, uint8_t **ret_bytes,
                        size_t *ret_size);

#endif
