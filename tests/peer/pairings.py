#!/usr/bin/env python3
"""An unmodified virgl_test_server with our render server behind it, and two generations of Mesa.

  pairings.py SUITE BUILDDIR [CLIENT...]

SUITE is the Debian whose virglrenderer (trixie 1.1.0, forky 1.3.0), host driver and libraries are
used, with our programs of BUILDDIR behind RENDER_SERVER_EXEC_PATH. Every client program runs there
on the host driver, and then as a guest twice: with the Mesa of this machine, and with forky's. The
same checks must pass with the same values.

Exit status: 0 good, 1 not, 77 skipped.
"""

import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/client"))

# pylint: disable=wrong-import-position
import harness
import run as client_run

PEER_ROOT = TOP / "scripts/peer-root"
CACHE = pathlib.Path(os.environ.get("CORDON_CACHE", pathlib.Path.home() / ".cache/cordon"))
ICDS = "/usr/share/vulkan/icd.d/"
SECONDS = 120

PROGRAMS = {
    "scene": ["cl_scene", "--frames", "2"],
    "scene_dynamic": ["cl_scene", "--dynamic"],
    "compute": ["cl_compute"],
    "timeline": ["cl_timeline"],
    "queries": ["cl_queries"],
    "cache": ["cl_cache"],
    "descriptors": ["cl_descriptors"],
    "threads": ["cl_threads"],
    "memory": ["cl_memory"],
    "misc": ["cl_misc"],
}

# Asked for by 26.1 alone, and told to guests by the library of 1.3.0 alone.
NEWEST_ONLY = {"host_image_copy"}


def need(suite):
    if not (CACHE / f"peer-{suite}").is_dir():
        raise harness.Skip(f"no {suite} root with the peer; scripts/peer-root --suite {suite} make")
    if os.geteuid() != 0 and subprocess.run(["sudo", "-n", "true"], check=False).returncode != 0:
        raise harness.Skip("entering the peer's root needs root, or sudo without a password")


class Place:
    """Where a program of the build runs: on this machine, or in a suite's root."""

    def __init__(self, name, build, folder):
        self.name, self.build, self.folder = name, build, folder

    def run(self, command, variables):
        if self.name == "host":
            program = self.build / "tests/client" / command[0]
            shared = str(self.folder)
            prefix = []
            environment = harness.clean_environment() | variables
        else:
            program = f"/mnt/tests/client/{command[0]}"
            shared = "/run/cordon"
            prefix = [str(PEER_ROOT), "--suite", self.name, "enter", str(self.folder),
                      str(self.build), *(f"{name}={text}" for name, text in variables.items())]
            environment = None
        rest = [word.replace("@", shared + "/") for word in command[1:]]
        return harness.run_client([*prefix, str(program), *rest], environment, SECONDS)

    def native(self, command):
        return self.run(command, {"VK_DRIVER_FILES": ICDS + "lvp_icd.json"})

    def guest(self, command):
        shared = self.folder if self.name == "host" else pathlib.Path("/run/cordon")
        return self.run(command, {"VK_DRIVER_FILES": ICDS + "virtio_icd.json", "VN_DEBUG": "vtest",
                                  "VTEST_SOCKET_NAME": str(shared / "vtest.sock")})


def check(name, host, clients, log):
    """One program in each client's place against its run on the host driver; what was wrong."""
    command = PROGRAMS[name]
    scene = command[0] == "cl_scene"
    there = host.native(command + (["--raw", "@host.raw"] if scene else []))
    if not there.ok:
        return [f"{name}: on the host driver: {there.describe()}"]
    wrong = []
    for place in clients:
        log_start = log.stat().st_size
        got = place.guest(command + (["--compare", "@host.raw"] if scene else []))
        if got.ok:
            different, _ = client_run.compare(there.line, got.line, True)
            if (host.name, place.name) != ("forky", "forky"):
                different = [text for text in different if text.split(":")[0] not in NEWEST_ONLY]
        else:
            text = log.read_text(errors="replace")[log_start:]
            different = [f"{got.describe()}\nserver log:\n{text}"]
        print(f"{'FAIL' if different else 'ok  '} {name}, client {place.name}", flush=True)
        wrong += [f"{name}, client {place.name}: {text}" for text in different]
    return wrong


def version(suite):
    admin = CACHE / f"peer-{suite}/var/lib/dpkg"
    return subprocess.run(["dpkg-query", f"--admindir={admin}", "-W", "-f", "${Version}",
                           "libvirglrenderer1"], capture_output=True, text=True,
                          check=True).stdout


def run(options):
    for suite in {options.suite, "forky"}:
        need(suite)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="cordon-peer-") as name:
        folder = pathlib.Path(name)
        socket_path = folder / "vtest.sock"
        log = folder / "vtest.sock.log"
        build = pathlib.Path(options.build).resolve()
        subprocess.run([PEER_ROOT, "--suite", options.suite, "start", socket_path, build],
                       check=True, stdout=subprocess.DEVNULL)
        try:
            host = Place(options.suite, build, folder)
            clients = [Place("host", build, folder), Place("forky", build, folder)]
            print(f"virglrenderer {version(options.suite)} with our render server")
            for program in options.clients or PROGRAMS:
                wrong += check(program, host, clients, log)
            # Else the peer's own server stood behind the socket, and all this shows nothing.
            if "cordon-render-server" not in log.read_text(errors="replace"):
                wrong.append("our render server was never started")
        finally:
            subprocess.run([PEER_ROOT, "stop", socket_path], check=False)
    if wrong:
        raise harness.Failure("\n".join(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=("trixie", "forky"))
    parser.add_argument("build")
    parser.add_argument("clients", nargs="*", metavar="client")
    options = parser.parse_args()
    return harness.main(f"pairings {options.suite}", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
