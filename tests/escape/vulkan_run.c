/* vulkan_run HELPER LAYERS HOW: runs vulkan_sealed as a worker; 0 if it rendered and asked for
 * nothing but what the policy and the broker know. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tests/escape/jailed.h"

int main(int argc, char **argv)
{
    static struct jailed_result result;
    int r;

    if (argc != 4) {
        return 2;
    }
    r = jailed_run((uint32_t)strtoul(argv[2], NULL, 0), argv[1],
                   (char *const[]){ argv[1], argv[2], argv[3], NULL }, -1, &result);
    printf("%s%s%s", result.output, result.line, result.line[0] ? "\n" : "");
    printf("brokered %u, denied opens %u, wait status %#x\n", result.opened, result.denied,
           (unsigned)result.status);
    if (WIFEXITED(result.status) && WEXITSTATUS(result.status) == 77) {
        return 77;
    }
    return r == 0 && !result.violation && result.status == 0 && strstr(result.output, "RENDERED\n")
               ? 0
               : 1;
}
