#!/usr/bin/env python3
"""Real dma-bufs and sync files: everything inside a guest, whose kernel has udmabuf and vgem.

  dma_buf.py SUITE BUILDDIR

Server, workers, a hand-made VMM (tests/protocol/test_dma_buf.py) and a vtest client run in a
Debian kernel of SUITE, with lavapipe as the host driver.

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


def inside(suite, build, commands):
    """Runs the commands in a guest that has tests/protocol; returns the console's text and results."""
    root = f"{suite}-vm"
    roots.need(root)
    with tempfile.TemporaryDirectory(prefix="cordon-vm-") as name:
        folder = pathlib.Path(name)
        shutil.copytree(roots.TOP / "tests/protocol", folder / "protocol")
        machine = vm.Guest(root, pathlib.Path(build).resolve(), folder, ["vgem"])
        machine.run({name: f"cd /run/cordon/protocol; {text}" for name, text in commands.items()},
                    ["-display", "none"], prepare=PREPARE, memory=2048)
        return machine.serial().strip(), {name: machine.result(name) for name in commands}


def words(suite, build, peer):
    """One word for each test, of our server or of the suite's own."""
    _, results = inside(suite, build, {
        "record": f"{PEER if peer else OURS} python3 record.py test_dma_buf"})
    return results["record"].line


def run(suite, build):
    serial, results = inside(suite, build, {
        "dma_buf": f"{OURS} python3 test_dma_buf.py", "vtest": VTEST})
    print(serial)
    print(results["dma_buf"].stderr)
    wrong = []
    if results["dma_buf"].status != 0 or "skipped" in results["dma_buf"].stderr:
        wrong.append("test_dma_buf failed or skipped a test; see above")
    if not results["vtest"].ok:
        wrong.append(f"compute through vtest: {results['vtest'].describe()}")
    if wrong:
        raise harness.Failure("\n".join(wrong))


if __name__ == "__main__":
    sys.exit(harness.main(f"dma_buf {sys.argv[1]}", lambda: run(*sys.argv[1:])))
