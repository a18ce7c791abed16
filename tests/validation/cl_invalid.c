/*
 * Does what no valid program does, once, harmlessly: shows that a validation layer which stays
 * silent about the other programs is listening.
 */
#include "../client/vkapp.h"

int main(int argc, char **argv)
{
    static const struct option_rule options[] = { { NULL, OPTION_FLAG, NULL, NULL } };
    struct app app = { 0 };
    struct buffer buffer;
    VkCommandBuffer commands;

    app_open(&app, "cl_invalid", argc, argv, options, NULL, 0);
    /* The usage lacks TRANSFER_DST: VUID-vkCmdFillBuffer-dstBuffer-00029. */
    buffer = buffer_create(&app, 4096, VK_BUFFER_USAGE_STORAGE_BUFFER_BIT, HOST_MEMORY);
    commands = commands_begin(&app);
    vkCmdFillBuffer(commands, buffer.buffer, 0, 4096, 7);
    commands_run(&app, commands);
    check(true, "ran", "always");
    buffer_destroy(&app, &buffer);
    return app_close(&app);
}
