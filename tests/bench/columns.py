"""The columns of scripts/bench: the host driver alone, the peer's servers, Cordon; how each is
started, watched from outside, and what a client sees."""

import contextlib
import json
import os
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests/client"))

# pylint: disable=wrong-import-position
import harness

CACHE = pathlib.Path(os.environ.get("CORDON_CACHE") or pathlib.Path.home() / ".cache/cordon")
# What the client's own loader would look for is no part of any column.
QUIET_LOADER = {"XDG_DATA_DIRS": "/nonexistent", "XDG_CONFIG_DIRS": "/nonexistent",
                "VK_LAYER_PATH": "/nonexistent"}
# A refilled pool, a parked ring: what happens some time after a start is over.
SETTLE_S = 0.7
SECONDS = 600


def threads_of(pid):
    try:
        return os.listdir(f"/proc/{pid}/task")
    except OSError:
        return []


def cpu_us(pids):
    """Processor time of the threads that there are."""
    total = 0
    for pid in pids:
        for thread in threads_of(pid):
            try:
                text = pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text()
            except OSError:
                continue
            total += int(text.split()[0])
    return total / 1000


def wakeups(pids):
    total = 0
    for pid in pids:
        for thread in threads_of(pid):
            try:
                text = pathlib.Path(f"/proc/{pid}/task/{thread}/status").read_text()
            except OSError:
                continue
            total += sum(map(int, re.findall(r"ctxt_switches:\s+(\d+)", text)))
    return total


def pss_kib(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return None
    found = re.search(r"^Pss:\s+(\d+)", text, re.MULTILINE)
    return int(found[1]) if found else None


class Column:
    """One server, or none. `processes()` are the server's, `environment()` a client's."""

    name = label = ""
    why = ""  # it cannot run

    def start(self):
        pass

    def stop(self):
        pass

    def environment(self):
        return harness.host_environment() | QUIET_LOADER

    def processes(self):
        return []

    def starts(self, _program, _arguments):
        """Lines of tests/bench/starts, or None where there is no server."""
        return None


class Lavapipe(Column):
    name = label = "lavapipe"


class Cordon(Column):
    def __init__(self, build, name, label, arguments=()):
        self.build, self.name, self.label, self.arguments = build, name, label, arguments
        self.server = None

    def start(self):
        self.server = harness.Server(self.build / "server/vtest/cordon-vtest", self.arguments)

    def stop(self):
        if self.server:
            self.server.stop()

    def environment(self):
        return self.server.environment() | QUIET_LOADER

    def processes(self):
        return self.server.tree()

    def starts(self, program, arguments):
        return run_json([program, *arguments, self.build / "server/render/cordon-render-server",
                         "--log-level", "error", "--limit", "starts=1000", *self.arguments],
                        harness.host_environment())


class CordonThere(Cordon):
    """On a peer's host driver, in the peer's root."""

    def __init__(self, build, suite, name, label):
        super().__init__(build, name, label)
        self.suite = suite

    def start(self):
        try:
            self.server = harness.Server(
                self.build / "server/vtest/cordon-vtest",
                root=harness.OtherRoot(CACHE / f"peer-{self.suite}"),
                prepare=lambda folder, seen: {
                    "VK_DRIVER_FILES": "/usr/share/vulkan/icd.d/lvp_icd.json"})
        except harness.Skip as reason:
            self.why = str(reason)

    def starts(self, _program, _arguments):
        return None


class Peer(Column):
    """virglrenderer's server in one of scripts/peer-root's Debian roots."""

    def __init__(self, build, suite, name, label):
        self.build, self.suite, self.name, self.label = build, suite, name, label
        self.folder = None
        self.pid = 0

    def script(self, *arguments):
        return [str(ROOT / "scripts/peer-root"), "--suite", self.suite, *map(str, arguments)]

    def socket(self):
        return f"{self.folder.name}/peer.sock"

    def start(self):
        if not (CACHE / f"peer-{self.suite}").is_dir():
            self.why = f"no root of it here: scripts/peer-root --suite {self.suite} make"
            return
        self.folder = tempfile.TemporaryDirectory(prefix="cordon-bench-")
        result = subprocess.run(
            self.script("start", self.socket(), "--udmabuf", self.build),
            capture_output=True, text=True, check=False)
        if result.returncode != 0:
            lines = (result.stdout + result.stderr).strip().splitlines()
            self.why = lines[-1] if lines else "scripts/peer-root start failed"
            return
        self.pid = int(result.stdout.split()[-1])

    def stop(self):
        if self.pid:
            subprocess.run(self.script("stop", self.socket()), check=False,
                           stdout=subprocess.DEVNULL)
        if self.folder:
            self.folder.cleanup()

    def environment(self):
        return harness.guest_environment(self.socket()) | QUIET_LOADER

    def processes(self):
        return [self.pid, *harness.descendants(self.pid)]

    def starts(self, program, arguments):
        inside = pathlib.Path("/mnt") / program.relative_to(self.build)
        return run_json(self.script("enter", self.folder.name, self.build,
                                    "VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json", inside,
                                    *arguments, "/usr/libexec/virgl_render_server"), None)


def run_json(command, environment):
    """The line of JSON that a program ends with: {name: (median, unit)}; {} if there is none."""
    result = subprocess.run(list(map(str, command)), env=environment, capture_output=True,
                            text=True, check=False, timeout=SECONDS)
    for line in result.stdout.splitlines():
        if line.startswith("{") and line.endswith("}"):
            return {name: (row["median"], row["unit"])
                    for name, row in json.loads(line).items()}
    print(f"bench: {command[0]} ended with {result.returncode}: {result.stderr.strip()[-300:]}",
          file=sys.stderr)
    return {}


class Client:
    """A running bench_calls that says where it is."""

    def __init__(self, program, column, arguments):
        self.process = subprocess.Popen(
            [str(program), *arguments], env=column.environment(), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)

    def read(self):
        return self.process.stdout.readline().strip()

    def go_on(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def end(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass
        self.process.stdout.read()
        return self.process.wait()


def calls(program, column, quick, only):
    """What a client measures, and the server's processor time per call meanwhile."""
    arguments = (["--quick"] if quick else []) + (["--only", only] if only else [])
    rows, begin, pids = {}, 0, []
    client = Client(program, column, [*arguments, "--marks"])
    while line := client.read():
        if line.startswith("{"):
            rows |= {name: (row["median"], row["unit"])
                     for name, row in json.loads(line).get("bench", {}).items()}
            break
        what, name, count = line.split()
        if what == "begin":
            if not pids:
                time.sleep(SETTLE_S)
                pids = column.processes()
            begin = cpu_us(pids)
        elif pids:
            rows[f"{name}_server_cpu"] = ((cpu_us(pids) - begin) / int(count), "us")
        client.go_on()
    client.end()
    return rows


def idle(program, column):
    """What a context with a device holds when it does nothing."""
    if not column.processes():
        return {}
    client = Client(program, column, ["--hold"])
    if client.read() != "holding":
        client.end()
        return {}
    time.sleep(2 * SETTLE_S)
    pids = column.processes()
    # The context's process: it has the ring and the driver's threads.
    context = max(pids, key=lambda pid: len(threads_of(pid)))
    rows = {"idle_threads": (len(threads_of(context)), "")}
    pss = pss_kib(context)
    if pss is not None:
        rows["idle_pss"] = (pss, "KiB")
    before, cpu = wakeups(pids), cpu_us(pids)
    time.sleep(2)
    rows["idle_wakeups"] = ((wakeups(pids) - before) / 2, "")
    rows["idle_cpu"] = ((cpu_us(pids) - cpu) / 2, "us")
    client.end()
    return rows


def stages(build, quick):
    """[(stage of a worker's start, microseconds)]: the jail's layers, then the worker's own stages as
    it tells them, in processor time; without the first worker, which has no cache yet."""
    jail = run_json([build / "tests/bench/jail_stages", *(["--quick"] if quick else [])], None)
    whole = {"jail": "jail, all of it", "broker_open": "then: a device opened by the broker"}
    rows = [(whole.get(name, f"- {name.removeprefix('jail_')}"), value)
            for name, (value, _) in jail.items()]
    told = {}
    with harness.Server(build / "server/vtest/cordon-vtest", ["--log-level", "debug"]) as server:
        column = Column()
        column.environment = lambda: server.environment() | QUIET_LOADER
        for _ in range(3 if quick else 10):
            client = Client(build / "tests/client/bench_calls", column, ["--hold"])
            client.read()
            time.sleep(SETTLE_S)
            client.end()
        for line in server.log().splitlines():
            found = re.search(r"start: stage (\S+) took (\d+) us", line)
            if found:
                told.setdefault(found[1], []).append(int(found[2]))
    return rows + [(f"worker: {name}", median(values[1:])) for name, values in told.items()
                   if len(values) > 1]


AUTOGROUP = pathlib.Path("/proc/sys/kernel/sched_autogroup_enabled")


@contextlib.contextmanager
def no_autogroups():
    """Clients and servers are of different sessions, as a guest and its VMM's server are not, and a
    yield reaches nobody of another session. Only root may change that; who may not measures with
    what there is."""
    try:
        before = AUTOGROUP.read_text(encoding="ascii")
        AUTOGROUP.write_text("0", encoding="ascii")
    except OSError:
        yield
        return
    try:
        yield
    finally:
        AUTOGROUP.write_text(before, encoding="ascii")


def autogroups():
    """Does the scheduler share the processors out by session first?"""
    try:
        return AUTOGROUP.read_text(encoding="ascii").strip() == "1"
    except OSError:
        return False


def crowd(program, column, clients, seconds):
    """Calls per second of many clients at once, all together."""
    running = [Client(program, column, ["--calls", str(seconds)]) for _ in range(clients)]
    ready = [client for client in running if client.read() == "holding"]
    for client in ready:
        client.go_on()
    total = 0
    for client in ready:
        words = client.read().split()
        total += int(words[1]) if words and words[0] == "calls" else 0
    for client in running:
        client.end()
    return {"crowd_calls": (total / seconds, "/s")} if len(ready) == clients else {}


def median(values):
    return statistics.median(values) if values else None
