#!/usr/bin/env python3
"""Refuses a policy line that gives a dangerous call away without saying why.

usage: lint.py POLICY...

A line on the risky list needs a reason: a comment on the line itself. Also refused: tabs, trailing
blanks, an `allow` for calls whose arguments decide what they do, and calls that a sealed worker
never gets.
"""
import re
import sys
from pathlib import Path

# Giving these needs a reason, whatever the condition.
RISKY = {
    "clone", "mmap", "mprotect", "openat", "open", "ioctl-nr", "ioctl", "broker", "memfd_create",
    "fcntl", "prctl", "sendmsg", "recvmsg", "sendto", "recvfrom", "socket", "socketpair",
    "personality", "mremap", "ftruncate",
}
# Never to be given without looking at the arguments.
ARGUMENTS_DECIDE = {"clone", "mmap", "mprotect", "openat", "open", "ioctl", "fcntl", "prctl",
                    "socket", "socketpair", "personality", "mremap", "memfd_create", "eventfd2",
                    "rt_sigaction", "madvise"}
# Never to be given to a sealed worker at all.
NEVER = {"execve", "execveat", "ptrace", "bpf", "mount", "umount2", "pivot_root", "unshare", "setns",
         "io_uring_setup", "io_uring_enter", "io_uring_register", "userfaultfd", "keyctl",
         "add_key", "request_key", "perf_event_open", "kill", "tkill", "pidfd_open", "pidfd_getfd",
         "pidfd_send_signal", "process_vm_readv", "process_vm_writev", "seccomp", "connect", "bind",
         "listen", "accept", "accept4", "fork", "vfork", "clone3", "setuid", "setgid", "capset",
         "chroot", "init_module", "finit_module", "kexec_load", "modify_ldt", "iopl", "ioperm",
         "open_by_handle_at", "name_to_handle_at", "openat2", "memfd_secret", "prlimit64"}

# ... but that a front end, which is no worker, may be given for a reason: its next client, and the
# end of its own render server.
FRONT_END = {"accept4", "pidfd_send_signal"}
FRONT_ENDS = {"vhost_user.policy"}


def check_line(line, file_name=""):
    """The fault of one line, or None."""
    if "\t" in line or line != line.rstrip():
        return "tab or trailing blank"
    rule, _, reason = line.partition("#")
    match = re.match(r"([a-z0-9_-]+):\s*(.*)", rule)
    if not match:
        return None
    name, body = match.group(1), match.group(2).strip()
    if body.startswith(("return", "tell")) or body == "notify":
        return None
    if name in FRONT_END and file_name in FRONT_ENDS:
        return None if reason.strip() else f"`{name}` needs a reason on its line"
    if name in NEVER:
        return f"`{name}` is never given"
    if body == "allow" and name in ARGUMENTS_DECIDE:
        return f"`{name}` needs a test of its arguments"
    if name in RISKY and not reason.strip():
        return f"`{name}` needs a reason on its line"
    return None


def main():
    faults = 0
    for path in sys.argv[1:]:
        for number, line in enumerate(Path(path).read_text().splitlines(), 1):
            fault = check_line(line, Path(path).name)
            if fault:
                print(f"{path}:{number}: {fault}")
                faults += 1
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
