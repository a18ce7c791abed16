#!/usr/bin/env python3
"""Our render server in the place of the installed one, /usr/libexec/virgl_render_server.

  installed_path.py SUITE BUILDDIR

An unmodified virgl_test_server of SUITE starts what lies there. trixie's (1.1.0) must serve a
client; bookworm's (0.10.4), which knows no RENDER_SERVER_EXEC_PATH and speaks an older protocol,
must be refused: one line that names its version and the remedy, and the VMM's process lives on.

Exit status: 0 good, 1 not, 77 skipped.
"""

import os
import pathlib
import re
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time

import roots

# pylint: disable=wrong-import-order
import harness

# What a packager's diversion does, in a mount namespace that ends with the server.
START = """
mount -t tmpfs tmpfs /usr/libexec
ln -s /mnt/server/render/cordon-render-server /usr/libexec/virgl_render_server
umask 0
echo $$ > /run/cordon/pid
exec virgl_test_server --no-fork --venus {options} --socket-path=/run/cordon/vtest.sock
"""
OPTIONS = {"bookworm": "--use-egl-surfaceless --render-server", "trixie": "--no-virgl"}

CREATE_RENDERER, PROTOCOL_VERSION, CONTEXT_INIT, CREATE_BLOB = 8, 11, 17, 18


class TestServer:
    """virgl_test_server of a suite with our server installed; use as a context manager."""

    def __init__(self, suite, build, folder):
        self.folder = folder
        self.log_path = folder / "log"
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(
                [roots.PEER_ROOT, "--suite", suite, "enter", folder, build,
                 f"VK_DRIVER_FILES={roots.ICDS}lvp_icd.json", "sh", "-c",
                 START.format(options=OPTIONS[suite])],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        harness.wait_until("virgl_test_server listens", (folder / "vtest.sock").exists, 20)
        self.pid = int((folder / "pid").read_text())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            os.kill(self.pid, signal.SIGTERM)
        self.process.wait(20)

    def log(self):
        return self.log_path.read_text(errors="replace")


def vtest(kind, *words, payload=b""):
    payload = payload or struct.pack(f"<{len(words)}I", *words)
    size = len(payload) if kind == CREATE_RENDERER else len(payload) // 4
    return struct.pack("<II", size, kind) + payload


def ask_for_a_context(path):
    """As Mesa does, up to the first blob. True if one came."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(str(path))
        try:
            sock.sendall(vtest(CREATE_RENDERER, payload=b"asker\0"))
            sock.sendall(vtest(PROTOCOL_VERSION, 3))
            sock.recv(12)
            sock.sendall(vtest(CONTEXT_INIT, 4))
            sock.sendall(vtest(CREATE_BLOB, 2, 1, 4096, 0, 0, 0))
            return len(sock.recv(12)) == 12
        except (ConnectionResetError, BrokenPipeError):
            return False


def check_refusal(server):
    wrong = []
    for attempt in (1, 2):
        if ask_for_a_context(server.folder / "vtest.sock"):
            wrong.append("a context was served")
        if server.process.poll() is not None:
            return wrong + [f"the VMM's process ended with {server.process.returncode}"]
    # The library starts a server for each client; from each comes one line and nothing else.
    for _ in range(100):
        lines = [line for line in server.log().splitlines() if "cordon" in line]
        if len(lines) >= 2:
            break
        time.sleep(0.05)
    print("\n".join(lines))
    if len(lines) != 2 or not all(re.search(
            r"error.*libvirglrenderer\.so\.1\.7\.7.*0\.10.*install libvirglrenderer 1\.0\.0",
            line) for line in lines):
        wrong.append("there should be one line for each client, which names version and remedy")
    return wrong


def check_service(server):
    result = harness.run_client(
        [str(server.build / "tests/client/cl_compute")],
        harness.guest_environment(server.folder / "vtest.sock"), roots.SECONDS)
    if not result.ok:
        return [f"{result.describe()}\n{server.log()}"]
    print(f"cl_compute on {result.line['device']}")
    return [] if "cordon-render-server" in server.log() else ["our server was never started"]


def run(suite, build):
    roots.need(suite)
    with tempfile.TemporaryDirectory(prefix="cordon-installed-") as name:
        folder = pathlib.Path(name)
        with TestServer(suite, build, folder) as server:
            server.build = build
            wrong = check_refusal(server) if suite == "bookworm" else check_service(server)
    if wrong:
        raise harness.Failure("\n".join(wrong))


if __name__ == "__main__":
    sys.exit(harness.main(f"installed path, {sys.argv[1]}",
                          lambda: run(sys.argv[1], pathlib.Path(sys.argv[2]).resolve())))
