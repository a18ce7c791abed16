/* The program's side of jailed.h: links the worker's library only. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "policy/seal.h"
#include "tests/escape/jailed.h"

void jailed_seal(uint32_t layers)
{
    union {
        char space[CMSG_SPACE(sizeof(int))];
        struct cmsghdr align;
    } u = { 0 };
    char byte = 'R';
    struct iovec iov = { &byte, 1 };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    const char *name = getenv("CORDON_POLICY");
    const struct policy_program *policy = policy_worker(name ? name : "lavapipe");
    struct sandbox_failure failure;
    int listener = -1;
    uint32_t added;

    if ((layers & SANDBOX_SECCOMP) && policy->mdwe) {
        layers |= SANDBOX_MDWE;
    }
    if (layers &&
        seal(policy, layers, !(layers & SANDBOX_USERNS), &listener, &added, &failure) < 0) {
        char text[1024];

        sandbox_failure_text(&failure, text, sizeof(text));
        fprintf(stderr, "%s\n", text);
        _exit(failure.exit_code);
    }
    if (listener >= 0) {
        struct cmsghdr *cmsg;

        msg.msg_control = &u;
        msg.msg_controllen = sizeof(u);
        cmsg = CMSG_FIRSTHDR(&msg);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(cmsg), &listener, sizeof(int));
    }
    if (sendmsg(JAILED_FD_CONTROL, &msg, MSG_NOSIGNAL) != 1) {
        _exit(SANDBOX_EXIT_VERIFY);
    }
    if (listener >= 0) {
        close(listener);
    }
    iov.iov_len = 1;
    msg.msg_control = NULL;
    msg.msg_controllen = 0;
    if (recvmsg(JAILED_FD_CONTROL, &msg, 0) != 1) {
        _exit(SANDBOX_EXIT_VERIFY);
    }
}
