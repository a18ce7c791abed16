#!/usr/bin/env python3
"""The sandbox on other kernels than this machine's: Debian 12's 6.1 and Debian 13's 6.12.

  sandbox.py KERNEL BUILDDIR

KERNEL is the root that has it: bookworm-kernel or trixie-vm. Everything runs inside a guest of
trixie: the attempts of tests/escape, as root and as an ordinary user, with all layers and without
namespaces; an attacker's code in a real worker; client programs under the strict sandbox, as root
and as an ordinary user; and workers in control groups, of which the kernel here may have none to
give.

Exit status: 0 good, 1 not, 77 skipped.
"""

import pathlib
import shutil
import sys
import tempfile

import guest as vm
import harness
import roots

SUITE = "trixie-vm"
PREPARE = f"""
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t securityfs securityfs /sys/kernel/security
mount -t cgroup2 cgroup2 /sys/fs/cgroup
# As udev has it; where it is root's alone workers stay root, whose threads no rlimit counts.
[ ! -e /dev/udmabuf ] || {{ chgrp 107 /dev/udmabuf; chmod 660 /dev/udmabuf; }}
export VK_DRIVER_FILES={roots.ICDS}lvp_icd.json PYTHONDONTWRITEBYTECODE=1 LP_NUM_THREADS=1
export CORDON_COMMAND_SECONDS=400
"""
ESCAPE = "/mnt/tests/escape/"
HOOKED = f"/mnt/server/render/cordon-render-server {ESCAPE}attacked_worker {ESCAPE}libattack.so"
# One of each kind; all of them run on the machine that builds.
ATTACKS = "read-memory memory-file ptrace vmm-socket internet secret new-folder exec kvm"
CLIENT = ("{who} /mnt/server/vtest/cordon-vtest --ready-timeout 120 --socket-path /tmp/{name} & "
          "server=$!; until [ -S /tmp/{name} ]; do sleep 0.2; done; "
          f"VK_DRIVER_FILES={roots.ICDS}virtio_icd.json VN_DEBUG=vtest "
          "VTEST_SOCKET_NAME=/tmp/{name} {who} /mnt/tests/client/{program}; "
          "status=$?; kill $server; wait $server; exit $status")
ORDINARY = "setpriv --reuid 65534 --regid 65534 --clear-groups"
COMMANDS = {
    "layers": "cat /sys/kernel/security/lsm; cat /proc/self/mountinfo",
    **{name: f"python3 -u run.py {ESCAPE}escape_run {ESCAPE}escape_try {name}"
       for name in ("all", "no-userns")},
    "attack": f"python3 -u test_attack.py {HOOKED} /mnt/worker/cordon-worker {ATTACKS}",
    "cgroup": f"python3 -u test_cgroup.py {HOOKED}",
    "compute": CLIENT.format(who="", name="root", program="cl_compute"),
    "scene": CLIENT.format(who=ORDINARY, name="user", program="cl_scene --width 64 --height 64"),
}


def run(kernel, build):
    for root in (SUITE, kernel):
        roots.need(root)
    with tempfile.TemporaryDirectory(prefix="cordon-vm-") as name:
        folder = pathlib.Path(name)
        for part in ("protocol", "escape"):
            shutil.copytree(roots.TOP / "tests" / part, folder / part)
        machine = vm.Guest(SUITE, pathlib.Path(build).resolve(), folder, kernel=kernel)
        machine.run({name: f"cd /run/cordon/escape; {text}" for name, text in COMMANDS.items()},
                    ["-display", "none"], prepare=PREPARE, memory=2560, seconds=900)
        print(machine.serial().strip())
        wrong = []
        for name in COMMANDS:
            result = machine.result(name)
            print(f"{name}: {machine.said(name)[-1500:].strip()}")
            if result.status != 0:
                wrong.append(f"{name}: status {result.status}\n{result.stderr[-3000:]}")
        # Rows that were not tried are no proof.
        wrong += [f"{name}: skipped something" for name in COMMANDS
                  if "SKIP" in machine.said(name)]
    if wrong:
        raise harness.Failure("\n".join(wrong))


if __name__ == "__main__":
    sys.exit(harness.main(f"sandbox {sys.argv[1]}", lambda: run(*sys.argv[1:])))
