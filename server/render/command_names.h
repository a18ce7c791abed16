/* Names of the protocol's commands by number, for obituaries: a table made from the worker's
 * list, and all that the server knows of them. */
#ifndef CORDON_SERVER_RENDER_COMMAND_NAMES_H
#define CORDON_SERVER_RENDER_COMMAND_NAMES_H

#include <stdint.h>

/* NULL where there is no such number. */
const char *command_name(uint32_t number);

#endif
