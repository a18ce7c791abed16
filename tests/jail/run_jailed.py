#!/usr/bin/env python3
"""Programs against a server in crosvm's jail.

  run_jailed.py protocol TEST.py        a test of tests/protocol
  run_jailed.py client VTEST PROGRAM [ARGUMENT...]
                                        a client program on Mesa's venus driver, outside the jail
  run_jailed.py compare VTEST PROGRAM [ARGUMENT...]
                                        the same, and its results against the host driver's

The first two are in the stock jail, with a real GPU driver: RADV, on a GPU that does nothing. Driver, pipelines, memory, recording and submission are real; nothing is computed or drawn, so that a
client's checks of results do not count. That it comes to its end does, and that no context is lost.
The last has lavapipe, where crosvm's filter allows executable memory besides.

Environment: that of test_crosvm.py. The GPU is one of scripts/host-drivers; without it: status 77.
"""

import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "client"))

# pylint: disable=wrong-import-position
import harness

GPU = harness.CACHE / "noop/libamdgpu.so"
ICD = "/usr/share/vulkan/icd.d/radeon_icd.json"
# The guest must not look for what the GPU would have written.
NO_FEEDBACK = ",".join(f"no_{what}_feedback" for what in ("fence", "semaphore", "event", "query"))
SECONDS = 120


def fill(folder):
    """The device in a folder that the jail shows in its place; the environment of the jail."""
    if not GPU.exists():
        raise harness.Skip(f"no {GPU}; scripts/host-drivers make noop")
    if not pathlib.Path(ICD).exists():
        raise harness.Skip(f"no {ICD}")
    os.chmod(folder, 0o755)
    shutil.copy(GPU, folder)
    pathlib.Path(folder, "gpu").write_text("AMDGPU_GPU_ID=navi21\n", encoding="ascii")
    return {
        "CORDON_SERVER": os.environ["CORDON_JAIL_PROGRAM"],
        "CORDON_JAIL": "stock",
        "CORDON_JAIL_PRELOAD": f"{folder}/{GPU.name}",
        "CORDON_JAIL_BINDS": f"{os.environ['CORDON_WORKER_FOLDER']}=/cordon:{folder}={folder}:"
                             "/dev/null=/dev/dri/renderD128",
        "CORDON_OPTIONS": "--worker /cordon/cordon-worker --driver radv",
        "VK_DRIVER_FILES": ICD,
        "VK_ICD_FILENAMES": ICD,
    }


def run_protocol(test, folder):
    status = subprocess.call([sys.executable, test], env=dict(os.environ, **fill(folder)))
    if status == 77:
        raise harness.Skip(f"{test} skips all its cases")
    if status != 0:
        raise harness.Failure(f"{test}: status {status}")


def run_client(vtest, command, folder):
    env = fill(folder)
    harness.HOST_ICD = ICD
    os.environ.update(env)
    name = pathlib.Path(command[0]).name
    with harness.Server(vtest, ["--render-server", env["CORDON_SERVER"]]) as server:
        result = harness.run_client(command, server.environment() | {"VN_PERF": NO_FEEDBACK},
                                    SECONDS)
        log = server.whole_log()
    if result.line is None or "fatal" in result.line:
        raise harness.Failure(f"{name}: {result.describe()}\n{log}")
    if "(RADV NAVI21)" not in result.line["device"]:
        raise harness.Failure(f"{name}: ran on {result.line['device']}")
    # It compiles and creates and asks for nothing that only a GPU could have done.
    if name == "cl_cache" and not result.ok:
        raise harness.Failure(f"{name}: {result.describe()}\n{log}")
    wrong = [line for line in log.splitlines() if " error " in line or " warn " in line]
    if wrong or "jail that was here first" not in log:
        raise harness.Failure("\n".join(wrong) or log)
    print(f"ok: {name} on {result.line['device']}")


def run_compare(vtest, command):
    os.environ.update({
        "CORDON_JAIL": "jit",
        "CORDON_JAIL_BINDS": f"{os.environ['CORDON_WORKER_FOLDER']}=/cordon",
        "CORDON_OPTIONS": "--worker /cordon/cordon-worker",
    })
    runner = HERE.parent / "client/run.py"
    with harness.Server(vtest, ["--render-server", os.environ["CORDON_JAIL_PROGRAM"]]) as server:
        status = subprocess.call([sys.executable, runner, "--socket", server.socket_path, *command])
        log = server.whole_log()
    if status != 0:
        raise harness.Failure(f"{command[0]}: status {status}\n{log}")
    if "jail that was here first" not in log:
        raise harness.Failure(log)


def main():
    kind, *rest = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="cordon-radv-") as folder:
        if kind == "protocol":
            run_protocol(rest[0], folder)
        elif kind == "client":
            run_client(rest[0], rest[1:], folder)
        else:
            run_compare(rest[0], rest[1:])


if __name__ == "__main__":
    sys.exit(harness.main(" ".join(sys.argv[1:3]), main))
