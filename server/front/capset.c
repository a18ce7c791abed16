#include "server/front/capset.h"

#include <string.h>

#include "wire/capset.h"

void capset_fill(uint32_t ret_words[CAPSET_WORDS])
{
    memset(ret_words, 0, CAPSET_WORDS * sizeof(uint32_t));
    ret_words[0] = WIRE_FORMAT_VERSION;
    ret_words[1] = WIRE_VK_XML_VERSION;
    ret_words[2] = WIRE_SERIALIZATION_SPEC_VERSION;
    ret_words[3] = WIRE_VENUS_SPEC_VERSION;
    ret_words[4] = 1; /* supports_blob_id_0 */
    memcpy(ret_words + 5, wire_extension_mask, sizeof(wire_extension_mask));
    ret_words[37] = 1; /* allow_vk_wait_syncs */
    ret_words[38] = 1; /* supports_multiple_timelines */
}
