"""Renders the demo through Cordon and writes what a person wants to see. Called by scripts/demo."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

LAVAPIPE = "/usr/share/vulkan/icd.d/lvp_icd.json"
VENUS = "/usr/share/vulkan/icd.d/virtio_icd.json"
# Long enough for a loaded two-core machine; a run takes a few seconds.
LIMIT_S = 180


def find_icd(wanted):
    """Debian 12 names the files without an architecture, later releases with one."""
    stem = wanted[: -len(".json")]
    for path in (wanted, stem + ".x86_64.json", stem + ".aarch64.json"):
        if os.path.exists(path):
            return path
    sys.exit(f"demo: {wanted} is missing: run scripts/setup, which installs Mesa's drivers")


def client_env(socket):
    env = dict(os.environ)
    env.update(VK_DRIVER_FILES=find_icd(VENUS), VK_ICD_FILENAMES=find_icd(VENUS),
               VN_DEBUG="vtest", VTEST_SOCKET_NAME=socket)
    return env


def native_env():
    env = dict(os.environ)
    env.update(VK_DRIVER_FILES=find_icd(LAVAPIPE), VK_ICD_FILENAMES=find_icd(LAVAPIPE))
    return env


def run_client(what, command, env):
    print(f"  {what} ...", flush=True)
    begin = time.monotonic()
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, timeout=LIMIT_S, check=False)
    seconds = time.monotonic() - begin
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode != 0 or not lines:
        sys.stderr.write(done.stdout + done.stderr)
        sys.exit(f"demo: {what} failed with exit status {done.returncode}; the lines above say why")
    result = json.loads(lines[-1])
    result["seconds"] = seconds
    return result


class Vtest:
    """A cordon-vtest of our own, ended by pid."""

    def __init__(self, build, scratch):
        self.socket = os.path.join(scratch, "vtest.sock")
        self.stats = os.path.join(scratch, "stats.json")
        self.log_path = os.path.join(scratch, "server.log")
        self.log = open(self.log_path, "w", encoding="utf-8")
        env = dict(os.environ, VK_DRIVER_FILES=find_icd(LAVAPIPE),
                   VK_ICD_FILENAMES=find_icd(LAVAPIPE))
        self.process = subprocess.Popen(
            [os.path.join(build, "server/vtest/cordon-vtest"), "--socket-path", self.socket,
             "--stats", self.stats],
            env=env, stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log)
        deadline = time.monotonic() + 20
        while not os.path.exists(self.socket):
            if self.process.poll() is not None or time.monotonic() > deadline:
                self.show_log()
                sys.exit("demo: cordon-vtest did not come up; its log is above")
            time.sleep(0.02)

    def show_log(self):
        self.log.flush()
        with open(self.log_path, encoding="utf-8", errors="replace") as log:
            sys.stderr.write(log.read())

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)
        self.log.close()
        with open(self.stats, encoding="utf-8") as stats:
            return json.load(stats)


def summary_text(scene, native, compute, stats, png, seconds):
    same = scene["values"]["pixels"] == native["values"]["pixels"]
    checks = compute["checks"]
    good = [name for name, text in checks.items() if text == "ok"]
    layers = stats["layers"]
    rows = [
        ("picture", f"{png}, " + ("identical to lavapipe's own, pixel for pixel" if same else
                                  "DIFFERENT from lavapipe's own")),
        ("compute", f"{len(good)} of {len(checks)} results equal to the CPU's "
         f"({', '.join(good)})"),
        ("client", f"Mesa's {scene['driver']} driver over vtest sees {scene['device']}, "
         f"Vulkan {scene['api']}"),
        ("contexts", f"{stats['contexts']} served, {stats['contexts_lost']} lost, "
         f"{stats['workers']} workers started (spares included)"),
        ("commands", f"{stats['commands']:,} decoded"),
        ("sandbox", f"{stats['sandbox']}: " + (", ".join(layers) or "NO LAYERS")),
        ("time", f"scene {scene['seconds']:.2f} s (lavapipe alone {native['seconds']:.2f} s), "
         f"compute {compute['seconds']:.2f} s, everything {seconds:.1f} s"),
    ]
    width = max(len(name) for name, _ in rows)
    right = same and len(good) == len(checks) and bool(layers)
    return right, "\n".join(f"  {name:<{width}}  {text}" for name, text in rows)


def main():
    parser = argparse.ArgumentParser(prog="scripts/demo")
    parser.add_argument("--build", required=True)
    parser.add_argument("--out", default="build/demo")
    options = parser.parse_args()
    begin = time.monotonic()
    os.makedirs(options.out, exist_ok=True)
    png = os.path.join(options.out, "scene.png")
    scene_program = os.path.join(options.build, "tests/client/cl_scene")
    compute_program = os.path.join(options.build, "tests/client/cl_compute")
    scratch = tempfile.mkdtemp(prefix="cordon-demo-")
    try:
        print("rendering", flush=True)
        native = run_client("the scene on lavapipe alone, to compare", [scene_program],
                            native_env())
        vtest = Vtest(options.build, scratch)
        try:
            scene = run_client("the scene through a sandboxed worker",
                               [scene_program, "--out", png], client_env(vtest.socket))
            compute = run_client("compute through a sandboxed worker", [compute_program],
                                 client_env(vtest.socket))
        except BaseException:
            vtest.process.terminate()
            vtest.process.wait(timeout=20)
            vtest.show_log()
            raise
        stats = vtest.stop()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    right, text = summary_text(scene, native, compute, stats, png, time.monotonic() - begin)
    print("\nCordon\n" + text)
    with open(os.path.join(options.out, "summary.txt"), "w", encoding="utf-8") as out:
        out.write(text + "\n")
    return 0 if right else 1


if __name__ == "__main__":
    sys.exit(main())
