"""formats.h/.c: what a texel block of each format takes in memory, from the registry's <formats>."""

from emit_text import banner, guard, wrap


def formats_h(planner):
    return banner("texel blocks of formats.") + guard("formats.h", f'''#include <stdint.h>

#include <vulkan/vulkan_core.h>

struct wire_format {{
    VkFormat format;
    uint8_t block_size; /* bytes of a texel block; of all planes together */
    uint8_t block_width, block_height, block_depth; /* texels in it */
    uint8_t n_planes; /* 0: not multi-planar */
    struct {{
        VkFormat format; /* single-plane format of the same texels */
        uint8_t divide_x, divide_y; /* of the image's size */
    }} planes[3];
}};

#define WIRE_FORMAT_COUNT {len(planner.reg.formats)}u
extern const struct wire_format wire_formats[WIRE_FORMAT_COUNT]; /* by number */

/* NULL: the registry does not know it. */
const struct wire_format *wire_format_find(VkFormat format);
''')


def formats_c(planner):
    rows = ""
    for f in sorted(planner.reg.formats, key=lambda f: f.number):
        planes = ""
        if f.planes:
            inner = ", ".join(f"{{ {p.number}, {p.divide_x}, {p.divide_y} }}" for p in f.planes)
            planes = f", {len(f.planes)}, {{ {inner} }}"
        w, h, d = f.extent
        rows += f"    /* {f.name[len('VK_FORMAT_'):]} */\n"
        rows += wrap(f"    {{ {f.number}, {f.size}, {w}, {h}, {d}{planes} }},") + "\n"
    return banner("texel blocks of formats.") + f'''#include "wire/formats.h"

#include <stdlib.h>

const struct wire_format wire_formats[WIRE_FORMAT_COUNT] = {{
{rows}}};

static int compare(const void *format, const void *row)
{{
    const VkFormat a = *(const VkFormat *)format;
    const VkFormat b = ((const struct wire_format *)row)->format;

    return (a > b) - (a < b);
}}

const struct wire_format *wire_format_find(VkFormat format)
{{
    return bsearch(&format, wire_formats, WIRE_FORMAT_COUNT, sizeof(wire_formats[0]), compare);
}}
'''
