/* ISO/IEC 15948 with one IDAT of stored deflate blocks (RFC 1950, RFC 1951 3.2.4). */
#include "server/vhost_user/png.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define BLOCK_MAX 65535u

static uint32_t crc_of(const uint8_t *p, size_t size)
{
    uint32_t crc = 0xffffffff;

    for (size_t i = 0; i < size; i++) {
        crc ^= p[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 1) != 0 ? crc >> 1 ^ 0xedb88320 : crc >> 1;
        }
    }
    return ~crc;
}

static uint8_t *put32(uint8_t *p, uint32_t v)
{
    p[0] = (uint8_t)(v >> 24);
    p[1] = (uint8_t)(v >> 16);
    p[2] = (uint8_t)(v >> 8);
    p[3] = (uint8_t)v;
    return p + 4;
}

/* The chunk's data lies behind p[8) already. Returns what follows it. */
static uint8_t *finish_chunk(uint8_t *p, const char *type, size_t size)
{
    put32(p, (uint32_t)size);
    memcpy(p + 4, type, 4);
    return put32(p + 8 + size, crc_of(p + 4, size + 4));
}

static uint8_t *put_blocks(uint8_t *p, const uint8_t *raw, size_t size)
{
    uint32_t a = 1, b = 0;

    for (size_t i = 0; i < size; i++) {
        a = (a + raw[i]) % 65521;
        b = (b + a) % 65521;
    }
    while (size > 0) {
        uint32_t n = (uint32_t)MIN(size, (size_t)BLOCK_MAX);

        *p++ = n == size;
        *p++ = (uint8_t)n;
        *p++ = (uint8_t)(n >> 8);
        *p++ = (uint8_t)~n;
        *p++ = (uint8_t)(~n >> 8);
        memcpy(p, raw, n);
        p += n;
        raw += n;
        size -= n;
    }
    return put32(p, b << 16 | a);
}

int png_encode(const uint8_t *rgb, uint32_t width, uint32_t height, uint8_t **ret_bytes,
               size_t *ret_size)
{
    static const uint8_t signature[] = { 0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n' };
    size_t row = (size_t)width * 3, raw_size = (row + 1) * height;
    size_t blocks = (raw_size + BLOCK_MAX - 1) / BLOCK_MAX;
    size_t data_size = 2 + blocks * 5 + raw_size + 4;
    uint8_t *raw = malloc(raw_size), *bytes = malloc(sizeof(signature) + 25 + 12 + data_size + 12);
    uint8_t *p = bytes;

    if (!raw || !bytes) {
        free(raw);
        free(bytes);
        return -ENOMEM;
    }
    for (uint32_t y = 0; y < height; y++) {
        raw[y * (row + 1)] = 0; /* no filter */
        memcpy(raw + y * (row + 1) + 1, rgb + y * row, row);
    }
    memcpy(p, signature, sizeof(signature));
    p += sizeof(signature);
    put32(p + 8, width);
    put32(p + 12, height);
    memcpy(p + 16, (const uint8_t[]){ 8, 2, 0, 0, 0 }, 5); /* 8 bits, RGB */
    p = finish_chunk(p, "IHDR", 13);
    p[8] = 0x78; /* deflate, 32 KiB window */
    p[9] = 0x01;
    put_blocks(p + 10, raw, raw_size);
    p = finish_chunk(p, "IDAT", data_size);
    p = finish_chunk(p, "IEND", 0);
    free(raw);
    *ret_bytes = bytes;
    *ret_size = (size_t)(p - bytes);
    return 0;
}
