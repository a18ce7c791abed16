#!/usr/bin/env python3
"""Real dma-bufs and sync files: everything inside a guest, whose kernel has udmabuf and vgem.

  dma_buf.py SUITE BUILDDIR [ours|peer]

Server, workers, a hand-made VMM (tests/protocol/test_dma_buf.py) and a vtest client run in a
Debian kernel of SUITE, with lavapipe as the host driver. With "peer" virglrenderer's own server
takes the tests instead, and what it fails is only told.

Exit status: 0 good, 1 not, 77 skipped.
"""

import pathlib
import shutil
import sys
import tempfile

import guest as vm
import harness
import roots

PREPARE = f"""
mkdir /dev/shm
mount -t tmpfs tmpfs /dev/shm
export VK_DRIVER_FILES={roots.ICDS}lvp_icd.json PYTHONDONTWRITEBYTECODE=1
"""
OURS = "CORDON_SERVER=/mnt/server/render/cordon-render-server"
PEER = "CORDON_SERVER=/usr/libexec/virgl_render_server CORDON_PEER=1"
# Through vtest a client gets what it exports as a dma-buf too.
VTEST = ("/mnt/server/vtest/cordon-vtest --socket-path /tmp/vtest & sleep 2; "
         f"VK_DRIVER_FILES={roots.ICDS}virtio_icd.json VN_DEBUG=vtest "
         "VTEST_SOCKET_NAME=/tmp/vtest /mnt/tests/client/cl_compute; "
         "status=$?; kill $!; exit $status")


def run(suite, build, whose="ours"):
    root = f"{suite}-vm"
    roots.need(root)
    with tempfile.TemporaryDirectory(prefix="cordon-vm-") as name:
        folder = pathlib.Path(name)
        shutil.copytree(roots.TOP / "tests/protocol", folder / "protocol")
        machine = vm.Guest(root, pathlib.Path(build).resolve(), folder, ["vgem"])
        tests = "cd /run/cordon/protocol && python3 test_dma_buf.py"
        commands = {"dma_buf": f"{OURS if whose == 'ours' else PEER} sh -c '{tests}'"}
        if whose == "ours":
            commands["vtest"] = VTEST
        machine.run(commands, ["-display", "none"], prepare=PREPARE, memory=2048)
        print(machine.serial().strip())
        result = machine.result("dma_buf")
        print(result.stderr)
        if whose != "ours":
            return
        wrong = []
        if result.status != 0 or "skipped" in result.stderr:
            wrong.append("test_dma_buf failed or skipped a test; see above")
        result = machine.result("vtest")
        if not result.ok:
            wrong.append(f"compute through vtest: {result.describe()}")
        if wrong:
            raise harness.Failure("\n".join(wrong))


if __name__ == "__main__":
    sys.exit(harness.main(f"dma_buf {sys.argv[1]}", lambda: run(*sys.argv[1:])))
