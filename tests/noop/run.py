#!/usr/bin/env python3
"""Runs client programs through Cordon on a host driver whose GPU does nothing.

  run.py [--log] CASE BUILDDIR [PROGRAM...]

Drivers, pipelines, recording and submission are real, results are not: what a program finds wrong
on the very same GPU without Cordon is not held against it. Everything else must be as it is there,
under the strict sandbox with the driver's own policy, with no device opens but the expected ones.

Exit status: 0 good, 1 not, 77 skipped.
"""

import argparse
import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "client"))

# pylint: disable=wrong-import-position
import harness

SECONDS = 120
DEVICES = harness.CACHE / "noop"
# The guest must not look for what the GPU would have written.
NO_FEEDBACK = ",".join(f"no_{what}_feedback" for what in ("fence", "semaphore", "event", "query"))

# What ends on a GPU that does nothing: cl_sync, cl_timeline and cl_queries wait for results.
PROGRAMS = {
    "record": ["cl_record"],
    "cache": ["cl_cache"],
    "compute": ["cl_compute"],
    "scene": ["cl_scene", "--frames", "2"],
    "scene_dynamic": ["cl_scene", "--dynamic"],
    "descriptors": ["cl_descriptors"],
    "threads": ["cl_threads"],
    "memory": ["cl_memory", "--mib", "64"],
    "misc": ["cl_misc"],
    "modern": ["cl_modern"],
    "pipelines": ["cl_record", "--pipelines"],
}
MOST = [name for name in PROGRAMS if name not in ("modern", "pipelines")]


@dataclasses.dataclass
class Case:
    """A GPU that does nothing, and what its driver is expected to do."""
    policy: str
    driver: str  # of Mesa: the middle of the library's name
    gpu: str     # the variable that chooses the GPU
    opens: int   # of the render node per instance with a device, after the worker has sealed itself
    backing: str  # of memory that the guest can map
    programs: list
    device: str = ""  # of scripts/host-drivers; none: the driver plays it itself
    root: str = ""    # the Debian that has the driver, if Debian 12 has not


# Where there is ray tracing, cl_modern waits for the size of an acceleration structure.
def radv(gpu):
    return Case("radv", "radeon", f"AMDGPU_GPU_ID={gpu}", 1, "dma-buf", MOST, "amdgpu")


def anv(gpu, *more):
    return Case("anv-i915", "intel", f"INTEL_STUB_GPU_PLATFORM={gpu}", 2, "dma-buf",
                [*MOST, *more], "intel")


CASES = {
    "radv_null": Case("radv", "radeon", "RADV_FORCE_FAMILY=navi21", 0, "none", ["pipelines"]),
    "radv_navi21": radv("navi21"),
    "radv_renoir": radv("renoir"),
    "anv_skl": anv("skl", "modern"),
    "anv_tgl": anv("tgl", "modern"),
    "anv_dg2": anv("dg2"),
    "nvk": Case("nvk", "nouveau", "NOUVEAU_CHIPSET=164", 3, "dma-buf", [*MOST, "modern"],
                "nouveau", "peer-trixie"),
}
CASES["turnip26"] = Case("turnip", "freedreno", "FD_GPU_ID=740", 2, "dma-buf", MOST, "msm",
                         "peer-forky")
# Mesa 26 asks its kernel for more.
for older, newer in {"radv_navi21": "radv26", "anv_tgl": "anv26", "nvk": "nvk26"}.items():
    CASES[newer] = dataclasses.replace(CASES[older], root="peer-forky")

# A /dev with a render node in it, which is /dev/null, in a mount namespace of our own.
MAKE_DEV = """
    mount -t tmpfs -o mode=755 dev "$1"
    for node in null zero full random urandom tty; do
        touch "$1/$node"
        mount --bind "/dev/$node" "$1/$node"
    done
    mkdir -m 1777 "$1/shm"
    mkdir "$1/dri"
    touch "$1/dri/renderD128"
    mount --bind /dev/null "$1/dri/renderD128"
    mount --rbind "$1" /dev
    shift
    exec "$@"
"""


def enter_own_dev():
    """Runs this program again, where there is a render node."""
    with tempfile.TemporaryDirectory(prefix="cordon-dev-") as folder:
        user = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
        return subprocess.run(
            ["unshare", *user, "--mount", "--propagation", "private", "sh", "-euc", MAKE_DEV, "sh",
             folder, sys.executable, *sys.argv],
            env=os.environ | {"CORDON_NOOP_DEV": "user" if user else "root"},
            check=False).returncode


def fill(case, folder, seen):
    """A folder with the driver's manifest and the device; the environment that leads there."""
    if not case.device:
        key, _, text = case.gpu.partition("=")
        return {"VK_DRIVER_FILES": f"/usr/share/vulkan/icd.d/{case.driver}_icd.json", key: text}
    folder.chmod(0o755)  # root's workers are nobody
    shutil.copy(DEVICES / f"lib{case.device}.so", folder / "libnoop_device.so")
    (folder / "gpu").write_text(case.gpu + "\n")
    library = f"libvulkan_{case.driver}.so"
    (folder / library).symlink_to(f"/usr/lib/x86_64-linux-gnu/{library}")
    manifest = f"{case.driver}_icd.json"
    (folder / manifest).write_text(
        f'{{"ICD": {{"api_version": "1.3.0", "library_path": "{seen}/{library}"}}, '
        '"file_format_version": "1.0.0"}\n')
    return {"VK_DRIVER_FILES": f"{seen}/{manifest}", "LD_LIBRARY_PATH": seen}


class Gpu:
    """Programs on the GPU, with and without Cordon."""

    def __init__(self, case, build):
        self.case = case
        self.build = build
        self.root = harness.OtherRoot(harness.CACHE / case.root) if case.root else None
        self.place = "/mnt" if self.root else build  # of the build, as the driver's side sees it
        base = self.root.folder if self.root else pathlib.Path("/")
        if not (base / f"usr/share/vulkan/icd.d/{case.driver}_icd.json").exists():
            raise harness.Skip(f"no Mesa driver \"{case.driver}\" in {base}")
        if case.device and not (DEVICES / f"lib{case.device}.so").exists():
            raise harness.Skip(f"no {DEVICES}; scripts/host-drivers make noop")

    def native(self, name):
        """What a program finds without Cordon."""
        program, *rest = PROGRAMS[name]
        with tempfile.TemporaryDirectory(prefix="cordon-noop-") as folder:
            seen = "/srv" if self.root else folder
            variables = fill(self.case, pathlib.Path(folder), seen)
            if self.case.device:
                variables["LD_PRELOAD"] = f"{seen}/libnoop_device.so"
            command = ["env", *(f"{key}={text}" for key, text in variables.items()),
                       f"{self.place}/tests/client/{program}", *rest]
            if self.root:
                command = self.root.enter(self.build, folder, command)
            result = harness.run_client(command, harness.clean_environment(), SECONDS)
        if result.line is None or "fatal" in result.line:
            raise harness.Failure(f"{name}: without Cordon: {result.describe()}")
        return result.line

    def server(self):
        extra = ["--sandbox=strict", "--log-level", "debug"]
        if self.case.device:
            extra += ["--worker", f"{self.place}/tests/noop/noop_worker"]
        return harness.Server(self.build / "server/vtest/cordon-vtest", extra, self.root,
                              prepare=lambda folder, seen: fill(self.case, folder, seen))

    def through(self, server, name):
        program, *rest = PROGRAMS[name]
        environment = server.environment() | {"VN_PERF": NO_FEEDBACK}
        return harness.run_client([f"{self.build}/tests/client/{program}", *rest], environment,
                                  SECONDS)


def compare(name, native, result):
    """What went well without Cordon must go well with it."""
    if result.line is None or "fatal" in result.line:
        return [f"{name}: {result.describe()}"]
    wrong = []
    for check, text in native["checks"].items():
        got = result.line["checks"].get(check, "missing")
        if text == "ok" and got != "ok" and not got.startswith("skip"):
            wrong.append(f"{name}: {check}: {got}")
    return wrong


def check_log(case, log, contexts):
    """The policy, all layers, the backing and the brokered opens were what they should be."""
    wrong = [line for line in log.splitlines() if " warn " in line or " error " in line]
    if os.environ["CORDON_NOOP_DEV"] == "user":
        # Root of a namespace for one user can make nobody else of its workers.
        wrong = [line for line in wrong if "workers are root without capabilities" not in line]
    if f'policy of "{case.policy}"' not in log:
        wrong.append(f"the server did not choose the policy of {case.policy}")
    if not re.search(r"memory of .*" + re.escape(case.backing) + r"$", log, re.MULTILINE):
        wrong.append(f"mapped memory is not {case.backing}")
    given = [(int(opened), int(denied)) for opened, denied in GIVEN.findall(log)]
    if given != [(case.opens, 0)] * contexts:
        wrong.append(f"devices given and opens denied per context: {given}, not {case.opens} and 0")
    return wrong


# Workers that never had a context tell no number of it.
GIVEN = re.compile(r"ctx=\d+.* sealed, it was given (\d+) devices and denied (\d+) opens")


def run(options):
    case = CASES[options.case]
    gpu = Gpu(case, pathlib.Path(options.build).resolve())
    programs = options.programs or case.programs
    wrong = []
    with gpu.server() as server:
        for name in programs:
            start = len(server.log())
            native = gpu.native(name)
            different = compare(name, native, gpu.through(server, name))
            print(f"{'FAIL' if different else 'ok  '} {name} on {native['device']}", flush=True)
            if different:
                wrong += [*different, server.log()[start:][-3000:]]
        if not wrong:
            harness.wait_until("the workers end",
                               lambda: len(GIVEN.findall(server.log())) >= len(programs), SECONDS)
            wrong += check_log(case, server.log(), len(programs))
        if options.log:
            print(server.log())
    if wrong:
        raise harness.Failure("\n".join(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", choices=CASES)
    parser.add_argument("build")
    parser.add_argument("programs", nargs="*", metavar="program", help=", ".join(PROGRAMS))
    parser.add_argument("--log", action="store_true", help="print the server's log")
    options = parser.parse_args()
    if "CORDON_NOOP_DEV" not in os.environ:
        return enter_own_dev()
    return harness.main(f"noop {options.case}", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
