"""Starts a cordon-vtest server and client programs, and watches the server's process tree.

Everything started here is ended here, by process id, and every wait has an end.
"""

import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import tempfile
import time

HOST_ICD = os.environ.get("CORDON_HOST_ICD", "/usr/share/vulkan/icd.d/lvp_icd.json")
GUEST_ICD = os.environ.get("CORDON_GUEST_ICD", "/usr/share/vulkan/icd.d/virtio_icd.json")
SKIP = 77
# Other roots hold other clients: scripts/peer-root.
CACHE = pathlib.Path(os.environ.get("CORDON_CACHE") or pathlib.Path.home() / ".cache/cordon")


class Skip(Exception):
    """The test cannot run here; the text says why."""


class Failure(Exception):
    """The test ran and found something wrong."""


def wait_until(what, condition, seconds):
    """Polls until `condition()` is true; its value is returned. Raises Failure after `seconds`."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failure(f"after {seconds} s still waiting: {what}")
        time.sleep(0.02)


def clean_environment():
    """Our environment without what would redirect the Vulkan loader or Mesa."""
    drop = ("VK_DRIVER_FILES", "VK_ICD_FILENAMES", "VN_DEBUG", "VTEST_SOCKET_NAME",
            "VK_ADD_DRIVER_FILES")
    env = {name: text for name, text in os.environ.items() if name not in drop}
    env["NODEVICE_SELECT"] = "1"
    return env


def host_environment():
    if not pathlib.Path(HOST_ICD).exists():
        raise Skip(f"no host driver at {HOST_ICD}")
    return clean_environment() | {"VK_DRIVER_FILES": HOST_ICD}


def guest_environment(socket_path, icd=GUEST_ICD):
    if not pathlib.Path(icd).exists():
        raise Skip(f"no venus driver at {icd}")
    old = os.environ.get("VN_DEBUG")
    return clean_environment() | {
        "VK_DRIVER_FILES": str(icd),
        "VN_DEBUG": f"{old},vtest" if old else "vtest",
        "VTEST_SOCKET_NAME": str(socket_path),
    }


ENTER_ROOT = pathlib.Path(__file__).resolve().parents[1] / "enter_root.sh"


class OtherRoot:
    """Another Debian: its libc, Vulkan loader and drivers, for clients or for the server.

    For a client its dynamic linker is told where they are, which takes no rights at all. The
    server gets it as its root, in a mount namespace of its own.
    """

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.linker = next(iter(self.folder.glob("usr/lib64/ld-linux-*.so.*")), None)
        self.libraries = next(iter(self.folder.glob("usr/lib/*-linux-gnu")), None)
        if not (self.linker and self.libraries):
            raise Skip(f"no other Debian at {folder}; scripts/peer-root --suite forky make")

    def enter(self, build, folder, command):
        """`command` with this root, the build at /mnt and our folder at /srv."""
        return [str(ENTER_ROOT), str(self.folder), str(build), str(folder), *command]

    def command(self, command):
        return [str(self.linker), "--library-path", str(self.libraries), *command]

    def environment(self, socket_path):
        return guest_environment(socket_path,
                                 self.folder / "usr/share/vulkan/icd.d/virtio_icd.json")


class Result:
    """What a client program left: exit status, result line, text on stderr."""

    def __init__(self, status, stdout, stderr):
        self.status = status
        self.stderr = stderr
        self.line = None
        for text in stdout.splitlines():
            if text.startswith("{"):
                self.line = json.loads(text)

    @property
    def ok(self):
        return self.status == 0 and self.line is not None and self.line.get("ok", False)

    def describe(self):
        if self.status < 0:
            how = f"killed by {signal.Signals(-self.status).name}"
        else:
            how = f"exit status {self.status}"
        failed = [f"{name}: {text}" for name, text in (self.line or {}).get("checks", {}).items()
                  if text.startswith("fail")]
        tail = self.stderr.strip().splitlines()[-20:]
        return "\n".join([how, *failed, *tail])


def run_client(command, environment, seconds):
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, text=True, errors="replace")
    try:
        stdout, stderr = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        stdout, stderr = process.communicate()
        stderr += f"\nkilled by the test after {seconds} s"
    return Result(process.returncode, stdout, stderr)


# The process tree, from /proc.

def parent_of(pid):
    """Parent and state of a process; None if it is gone."""
    try:
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    fields = text[text.rindex(")") + 2:].split()
    return int(fields[1]), fields[0]


def descendants(root):
    """All processes below `root`, zombies included, nearest first."""
    children = {}
    for entry in os.listdir("/proc"):
        if entry.isdigit():
            found = parent_of(int(entry))
            if found:
                children.setdefault(found[0], []).append(int(entry))
    found, queue = [], [root]
    while queue:
        for child in children.get(queue.pop(0), []):
            found.append(child)
            queue.append(child)
    return found


def command_of(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def is_zombie(pid):
    found = parent_of(pid)
    return bool(found) and found[1] == "Z"


def alive(pid):
    """Running: neither gone nor a zombie that its parent has yet to see."""
    found = parent_of(pid)
    return bool(found) and found[1] not in "ZX"


class Usage:
    """What a set of processes holds."""

    def __init__(self, pids):
        self.processes = len(pids)
        self.zombies = sum(is_zombie(pid) for pid in pids)
        self.fds = 0
        self.mappings = 0
        self.rss_kib = 0
        for pid in pids:
            try:
                self.fds += len(os.listdir(f"/proc/{pid}/fd"))
                maps = pathlib.Path(f"/proc/{pid}/maps").read_text()
                self.mappings += maps.count("\n")
                status = pathlib.Path(f"/proc/{pid}/status").read_text()
            except OSError:
                # Ended meanwhile, or confined so that only its pid may be seen.
                continue
            found = re.search(r"VmRSS:\s+(\d+)", status)
            self.rss_kib += int(found[1]) if found else 0

    def __str__(self):
        return (f"processes={self.processes} zombies={self.zombies} fds={self.fds} "
                f"mappings={self.mappings} rss_kib={self.rss_kib}")


class Server:
    """A cordon-vtest of our own, listening; use as a context manager. Root may name another uid.

    `prepare(folder, seen)` fills the server's folder, which it sees as `seen`, before the start, and
    returns what its environment has besides.
    """

    def __init__(self, program, extra=(), root=None, uid=None, prepare=None):
        program = pathlib.Path(program).resolve()
        if not os.access(program, os.X_OK):
            raise Skip(f"no {program}")
        self.folder = tempfile.TemporaryDirectory(prefix="cordon-client-")
        who = {}
        if uid is not None and uid != os.geteuid():
            os.chown(self.folder.name, uid, uid)
            who = {"user": uid, "group": uid, "extra_groups": []}
        self.socket_path = pathlib.Path(self.folder.name) / "vtest.sock"
        self.log_path = pathlib.Path(self.folder.name) / "server.log"
        command = [str(program), "--socket-path", str(self.socket_path), *extra]
        if root:
            build = program.parents[2]
            inside = pathlib.Path("/mnt") / program.relative_to(build)
            command = root.enter(build, self.folder.name, [
                str(inside), "--socket-path", f"/srv/{self.socket_path.name}", *extra])
        # The server's workers use the host driver, whatever our own environment says.
        environment = host_environment()
        if prepare:
            environment |= prepare(pathlib.Path(self.folder.name),
                                   "/srv" if root else self.folder.name)
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                start_new_session=True, **who)
        try:
            wait_until("the server accepts", self.accepts, 20)
        except Failure as error:
            log = self.log()
            self.stop()
            raise Failure(f"{error}\n{log}") from None

    def accepts(self):
        if self.process.poll() is not None:
            raise Failure(f"the server ended with status {self.process.returncode}")
        probe = socket.socket(socket.AF_UNIX)
        try:
            probe.connect(str(self.socket_path))
        except OSError:
            return False
        finally:
            probe.close()
        return True

    @property
    def pid(self):
        return self.process.pid

    def environment(self):
        return guest_environment(self.socket_path)

    def log(self):
        """What it has said so far: a client's end may be known before what was said of it."""
        return self.log_path.read_text(errors="replace")

    def whole_log(self):
        """Ends the server; what it said to its end."""
        self.end()
        return self.log()

    def tree(self):
        return [self.pid, *descendants(self.pid)]

    def workers(self):
        return [pid for pid in descendants(self.pid) if command_of(pid) == "cordon-worker"]

    def usage(self):
        return Usage(self.tree())

    def end(self):
        """Ends the server and whatever it left, and says what that was."""
        below = descendants(self.pid)
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        deadline = time.monotonic() + 5
        while any(alive(pid) for pid in below) and time.monotonic() < deadline:
            time.sleep(0.02)
        left = [pid for pid in below if alive(pid)]
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        return left

    def stop(self):
        """The same, and nothing of it is kept."""
        left = self.end()
        self.folder.cleanup()
        return left

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


def main(name, function):
    """Runs `function()` and turns its outcome into an exit status."""
    try:
        function()
    except Skip as reason:
        print(f"SKIP {name}: {reason}")
        return SKIP
    except Failure as error:
        print(f"FAIL {name}: {error}")
        return 1
    return 0
