#!/usr/bin/env python3
"""Life and death of clients, workers and the server, seen from outside.

  test_lifecycle.py --server CORDON_VTEST --scene CL_SCENE [--only NAME] [--cycles N]

Each case starts a server of its own, watches its process tree (cordon-vtest, then
cordon-render-server, then the workers) through /proc, and ends what it started by process id.
"""

import argparse
import os
import pathlib
import platform
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import harness
from harness import Failure, wait_until

FRAME = ["--width", "320", "--height", "180"]
SETTLE_S = 15
# Mesa looks at the ring's status word every few seconds while it waits.
DEATH_S = 5


class Client:
    """A cl_scene in the background; `hold` draws until killed and says a line per frame."""

    def __init__(self, options, server, hold=False, frames=2):
        more = ["--hold"] if hold else ["--frames", str(frames)]
        self.process = subprocess.Popen([options.scene, *FRAME, *more], env=server.environment(),
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                                        errors="replace")
        self.frame = -1
        if hold:
            self.reader = threading.Thread(target=self.read_frames, daemon=True)
            self.reader.start()

    def read_frames(self):
        for line in self.process.stderr:
            if line.startswith("frame "):
                self.frame = int(line[6:])

    def wait_for_frame(self):
        """Returns once the client has submitted another two frames."""
        start = self.frame

        def drew():
            if self.process.poll() is not None:
                raise Failure(f"a client ended with status {self.process.returncode}")
            return self.frame >= start + 2

        wait_until("a client draws a frame", drew, 60)

    def finish(self, seconds):
        try:
            stdout, stderr = self.process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failure(f"a client did not end within {seconds} s") from None
        return harness.Result(self.process.returncode, stdout, stderr)

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Clients(list):
    """Kills on the way out whatever still runs."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for client in self:
            client.kill()


def render_once(options, server):
    result = harness.run_client([options.scene, *FRAME], server.environment(), 60)
    if not result.ok:
        raise Failure(f"a client failed: {result.describe()}\n{server.log()[-3000:]}")
    return result.line["values"]["pixels"]


def expected_pixels(options):
    result = harness.run_client([options.scene, *FRAME], harness.host_environment(), 60)
    if not result.ok:
        raise Failure(f"on the host driver: {result.describe()}")
    return result.line["values"]["pixels"]


def settled(server):
    """The usage once it no longer changes: spare workers started, the dead reaped."""
    last, since = None, time.monotonic()
    deadline = since + SETTLE_S
    while time.monotonic() < deadline:
        now = server.usage()
        key = (now.processes, now.fds, now.mappings, now.zombies)
        if key != last:
            last, since = key, time.monotonic()
        elif time.monotonic() - since > 1.0:
            return now
        time.sleep(0.1)
    return server.usage()


def check_same(server, before, what):
    """Processes, zombies and fds are back where they were."""
    def same():
        now = server.usage()
        return now.zombies == 0 and now.processes <= before.processes and now.fds <= before.fds

    try:
        wait_until(what, same, SETTLE_S)
    except Failure:
        raise Failure(f"{what}: before {before}, after {server.usage()}\n"
                      f"{server.log()[-3000:]}") from None


def named_shm():
    """Shared memory with a name, which would outlive every process."""
    return {name for name in os.listdir("/dev/shm")} if os.path.isdir("/dev/shm") else set()


def baseline(options, server):
    """The usage of a server that has served a client before, so that nothing is first-time."""
    render_once(options, server)
    return settled(server)


def case_sixteen(options):
    """16 clients at once all get the right picture, and leave nothing."""
    want = expected_pixels(options)
    with harness.Server(options.server) as server, Clients() as clients:
        before = baseline(options, server)
        clients.extend(Client(options, server, frames=1) for _ in range(16))
        for client in clients:
            result = client.finish(150)
            if not result.ok:
                raise Failure(f"{result.describe()}\n{server.log()[-3000:]}")
            got = result.line["values"]["pixels"]
            if got != want:
                raise Failure(f"pixels {got}, not {want}")
        check_same(server, before, "16 clients gone")


def case_client_killed(options):
    """A client killed in the middle of a frame leaves no process, fd, shm or zombie."""
    with harness.Server(options.server) as server, Clients() as clients:
        before, shm = baseline(options, server), named_shm()
        for _ in range(3):
            client = Client(options, server, hold=True)
            clients.append(client)
            client.wait_for_frame()
            client.kill()
        check_same(server, before, "killed clients gone")
        if named_shm() - shm:
            raise Failure(f"left in /dev/shm: {named_shm() - shm}")
        render_once(options, server)


def busiest(server, known):
    """The worker that is not among `known`; of several, the one that used most time."""
    fresh = [pid for pid in server.workers() if pid not in known and harness.alive(pid)]

    def ticks(pid):
        text = pathlib.Path(f"/proc/{pid}/stat").read_text()
        return sum(map(int, text[text.rindex(")") + 2:].split()[11:13]))

    return max(fresh, key=ticks, default=None)


def send_sigkill(pid):
    os.kill(pid, signal.SIGKILL)


def make_fault(pid):
    """Has the worker run an instruction that it may not run.

    A SIGSEGV from kill() is no crash: a worker is the first process of its pid namespace, and the
    kernel keeps from such a process what would end it, but for SIGKILL and for real faults.
    """
    if platform.machine() != "x86_64":
        raise harness.Skip("no way here to make a worker crash but on x86-64")
    halt = b"\xf4"
    try:
        with open(f"/proc/{pid}/mem", "r+b", buffering=0) as memory:
            for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
                # Where a waiting thread goes on; one that runs has nothing here, some end meanwhile.
                try:
                    fields = (task / "syscall").read_text().split()
                except (FileNotFoundError, ProcessLookupError):
                    continue
                if len(fields) > 2:
                    memory.seek(int(fields[-1], 16))
                    memory.write(halt)
    except PermissionError as error:
        raise harness.Skip(f"a worker cannot be made to crash: {error}") from None
    except OSError:
        if harness.alive(pid):
            raise


def worker_killed(options, number, end):
    """A worker's death ends its own client only, and the server says so in its log."""
    with harness.Server(options.server) as server, Clients() as clients:
        before = baseline(options, server)
        bystander = Client(options, server, hold=True)
        clients.append(bystander)
        bystander.wait_for_frame()
        own = busiest(server, known=())
        if own is None:
            raise Failure(f"no cordon-worker below the server: "
                          f"{[harness.command_of(pid) for pid in server.tree()]}")
        victim = Client(options, server, hold=True)
        clients.append(victim)
        victim.wait_for_frame()
        target = busiest(server, known=(own,))
        log_length = len(server.log())
        names = [name.lower() for name in (
            signal.Signals(number).name, f"signal {int(number)}", signal.strsignal(number))]
        end(target)
        # Mesa looks at the renderer's state every few seconds while it waits, then aborts.
        killed = time.monotonic()
        wait_until("the dead worker's client ends", lambda: victim.process.poll() is not None, 60)
        took = time.monotonic() - killed
        wait_until(f"a log line that names one of {names}", lambda: any(
            name in server.log()[log_length:].lower() for name in names), 10)
        if bystander.process.poll() is not None:
            raise Failure("the other client died too")
        bystander.wait_for_frame()
        bystander.kill()
        print(f"the client ended {took:.1f} s after its worker", flush=True)
        if took > DEATH_S:
            raise Failure(f"the client noticed only after {took:.1f} s")
        check_same(server, before, "after a worker's death")
        render_once(options, server)


def case_worker_sigkill(options):
    """A worker that is killed."""
    worker_killed(options, signal.SIGKILL, send_sigkill)


def case_worker_sigsegv(options):
    """A worker that crashes."""
    worker_killed(options, signal.SIGSEGV, make_fault)


def case_worker_sigkill_rings(options):
    """A worker that is killed while many threads of its client wait, each on a ring of its own."""
    program = str(pathlib.Path(options.scene).with_name("cl_threads"))
    with harness.Server(options.server) as server:
        before = baseline(options, server)
        for _ in range(2):
            client = subprocess.Popen([program, "--threads", "8", "--rounds", "100000"],
                                      env=server.environment(), stdout=subprocess.DEVNULL,
                                      stderr=subprocess.DEVNULL)
            try:
                def rings():
                    pids = [pid for pid in server.workers() if ring_threads(pid) >= 4]
                    return pids and pids[0]

                target = wait_until("four rings of one client", rings, 60)
                send_sigkill(target)
                killed = time.monotonic()
                wait_until("its client ends", lambda: client.poll() is not None, 60)
                took = time.monotonic() - killed
                print(f"a client with 8 threads ended {took:.1f} s after its worker", flush=True)
                # Its threads look in turn, each when it has slept often enough.
                if took > 2 * DEATH_S:
                    raise Failure(f"the client noticed only after {took:.1f} s")
                if client.returncode == 0:
                    raise Failure("the client believes that all went well")
            finally:
                if client.poll() is None:
                    client.kill()
                client.wait()
        check_same(server, before, "after the deaths")
        render_once(options, server)


def ring_threads(pid):
    """Rings of a worker. A driver's threads have the name of the one that made them."""
    try:
        names = [(task / "comm").read_text() for task in pathlib.Path(f"/proc/{pid}/task").iterdir()]
    except OSError:
        return 0
    return len({name for name in names if name.startswith("ring-")})


def case_server_killed(options):
    """SIGKILL to the front end takes the render server and every worker with it."""
    with harness.Server(options.server) as server, Clients() as clients:
        client = Client(options, server, hold=True)
        clients.append(client)
        client.wait_for_frame()
        below = harness.descendants(server.pid)
        if not below:
            raise Failure("the server has no child processes")
        server.process.kill()
        server.process.wait()
        try:
            wait_until("the server's processes end",
                       lambda: not any(harness.alive(pid) for pid in below), 20)
        except Failure:
            left = [(pid, harness.command_of(pid)) for pid in below if harness.alive(pid)]
            for pid, _ in left:
                os.kill(pid, signal.SIGKILL)
            raise Failure(f"left running: {left}") from None


def mapped_files_kib(pid):
    text = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"RssFile:\s+(\d+)", text)[1])


def case_silence(options):
    """A context whose guest is silent gives its mapping of the driver's compiler back; its guest then
    goes on as if nothing had been."""
    with harness.Server(options.server) as server, Clients() as clients:
        client = Client(options, server, hold=True)
        clients.append(client)
        client.wait_for_frame()
        worker = busiest(server, known=())
        before = mapped_files_kib(worker)
        client.process.send_signal(signal.SIGSTOP)
        try:
            wait_until("a silent context gives its code back",
                       lambda: mapped_files_kib(worker) < before / 3, 10)
        except Failure as error:
            raise Failure(f"{error}: {before} KiB of files mapped before, "
                          f"{mapped_files_kib(worker)} now") from None
        print(f"{before} KiB of files mapped, {mapped_files_kib(worker)} in silence", flush=True)
        client.process.send_signal(signal.SIGCONT)
        client.wait_for_frame()
        client.kill()
        if render_once(options, server) != expected_pixels(options):
            raise Failure("the next client's picture is wrong")


def case_cycles(options):
    """Connect, render, disconnect, many times: nothing grows."""
    with harness.Server(options.server) as server:
        for _ in range(3):
            before = baseline(options, server)
        print(f"before {options.cycles} cycles: {before}", flush=True)
        pixels = {render_once(options, server) for _ in range(options.cycles)}
        after = settled(server)
        print(f"after  {options.cycles} cycles: {after}", flush=True)
        if len(pixels) != 1:
            raise Failure(f"{len(pixels)} different pictures")
        check_same(server, before, f"after {options.cycles} cycles")
        # Spare workers differ by a few mappings and pages from one to the next; a leak per
        # cycle does not hide in that.
        if after.mappings > before.mappings + 20 + options.cycles // 20:
            raise Failure(f"mappings grew from {before.mappings} to {after.mappings}")
        if after.rss_kib > before.rss_kib * 1.1 + 4096 + options.cycles:
            raise Failure(f"memory grew from {before.rss_kib} to {after.rss_kib} KiB")


def case_connects(options):
    """Connections that say nothing, or nonsense, and go away: nothing is left."""
    with harness.Server(options.server) as server:
        before = baseline(options, server)
        for i in range(64):
            probe = socket.socket(socket.AF_UNIX)
            probe.connect(str(server.socket_path))
            if i % 2:
                probe.send(bytes([0xff] * (1 + i % 13)))
            probe.close()
        check_same(server, before, "silent connections gone")
        render_once(options, server)


CASES = {name[5:]: function for name, function in sorted(globals().items())
         if name.startswith("case_")}


def run(options):
    for name, function in CASES.items():
        if options.only in (None, name):
            start = time.monotonic()
            try:
                function(options)
            except Failure as error:
                raise Failure(f"{name}: {error}") from None
            print(f"ok {name} ({time.monotonic() - start:.1f} s)", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--scene", required=True)
    parser.add_argument("--only", choices=CASES)
    parser.add_argument("--cycles", type=int, default=10)
    options = parser.parse_args()
    return harness.main("lifecycle", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
