"""Programs of a build, run on this machine or in one of scripts/peer-root's Debian roots."""

import os
import pathlib
import subprocess
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/client"))

# pylint: disable=wrong-import-position
import harness

PEER_ROOT = TOP / "scripts/peer-root"
CACHE = pathlib.Path(os.environ.get("CORDON_CACHE", pathlib.Path.home() / ".cache/cordon"))
ICDS = "/usr/share/vulkan/icd.d/"
SECONDS = 120

# Client programs and their arguments. "@NAME" is a file in the folder that both sides see.
PROGRAMS = {
    "scene": ["cl_scene", "--frames", "2"],
    "scene_dynamic": ["cl_scene", "--dynamic"],
    "compute": ["cl_compute"],
    "sync": ["cl_sync"],
    "timeline": ["cl_timeline"],
    "queries": ["cl_queries"],
    "cache": ["cl_cache"],
    "descriptors": ["cl_descriptors"],
    "threads": ["cl_threads"],
    "memory": ["cl_memory"],
    "misc": ["cl_misc"],
}


def need(suite):
    if not root(suite).is_dir():
        raise harness.Skip(f"no {suite} root; scripts/peer-root --suite {suite} make")
    if os.geteuid() != 0 and subprocess.run(["sudo", "-n", "true"], check=False).returncode != 0:
        raise harness.Skip("entering another root needs root, or sudo without a password")


def root(suite):
    return CACHE / f"peer-{suite}"


def version(suite, package):
    return subprocess.run(["dpkg-query", f"--admindir={root(suite)}/var/lib/dpkg", "-W", "-f",
                           "${Version}", package], capture_output=True, text=True,
                          check=True).stdout


def native_options(name):
    """What is compared byte by byte is left in a file: the run on the host driver writes it."""
    return ["--raw", "@host.raw"] if name.startswith("scene") else []


def guest_options(name):
    return ["--compare", "@host.raw"] if name.startswith("scene") else []


class Place:
    """Where programs run: on this machine ("host"), or in a suite's root."""

    def __init__(self, name, build, folder):
        self.name, self.build, self.folder = name, build, folder

    def line(self, command):
        """The command as it reads there."""
        if self.name == "host":
            programs, shared = self.build / "tests/client", self.folder
        else:
            programs, shared = "/mnt/tests/client", "/run/cordon"
        return [f"{programs}/{command[0]}",
                *(word.replace("@", f"{shared}/") for word in command[1:])]

    def run(self, command, variables):
        line = self.line(command)
        if self.name == "host":
            return harness.run_client(line, harness.clean_environment() | variables, SECONDS)
        words = [f"{name}={text}" for name, text in variables.items()]
        return harness.run_client([str(PEER_ROOT), "--suite", self.name, "enter",
                                   str(self.folder), str(self.build), *words, *line], None,
                                  SECONDS)

    def native(self, name):
        """A program of PROGRAMS on the host driver. Raises Failure unless it is content."""
        result = self.run(PROGRAMS[name] + native_options(name),
                          {"VK_DRIVER_FILES": ICDS + "lvp_icd.json"})
        if not result.ok:
            raise harness.Failure(f"{name}: on the host driver: {result.describe()}")
        return result

    def guest(self, name):
        """A program of PROGRAMS as a client of the vtest server at FOLDER/vtest.sock."""
        shared = self.folder if self.name == "host" else pathlib.Path("/run/cordon")
        return self.run(PROGRAMS[name] + guest_options(name),
                        {"VK_DRIVER_FILES": ICDS + "virtio_icd.json", "VN_DEBUG": "vtest",
                         "VTEST_SOCKET_NAME": str(shared / "vtest.sock")})
