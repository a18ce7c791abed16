#!/usr/bin/env python3
"""--policy-dir: an operator's own text is what workers are filtered by, or the start ends.

usage: test_own_policy.py CORDON_RENDER_SERVER ATTACKED_WORKER LIBATTACK CORDON_VTEST CL_COMPUTE
"""

import json
import os
import pathlib
import shutil
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE.parent / "client"), str(HERE.parent / "protocol")]
import harness  # noqa: E402
import renderserver  # noqa: E402
from harness import Failure  # noqa: E402

POLICIES = HERE.parent.parent / "policy"
NAME = "worker.lavapipe.policy"


def check(true, what):
    if not true:
        raise Failure(what)


def copies(folder, name, change):
    """A folder of policies with one text changed."""
    own = pathlib.Path(folder, name)
    own.mkdir()
    for path in POLICIES.glob("worker.*.policy"):
        shutil.copy(path, own)
    (own / NAME).write_text(change((own / NAME).read_text()))
    return own


def start(programs, folder, own):
    program, worker, log = *programs, tempfile.mktemp(dir=folder)
    env = {"PATH": os.environ["PATH"], "VK_DRIVER_FILES": "/usr/share/vulkan/icd.d/lvp_icd.json",
           "VK_ICD_FILENAMES": f"{folder}/attack.json"}
    return renderserver.Server(
        program, ["--worker", worker, "--driver", "lavapipe", "--policy-dir", str(own),
                  "--limit", "lost=0"], env, log)


def in_force(programs, folder):
    """What the text refuses is refused, what it gives is given, both by its own name."""
    own = copies(folder, "own", lambda text: text + "kcmp: notify\n" + "".join(
        f"{call}: tell EPERM\n" for call in ("setgid", "setuid")) + "kill: allow\n")
    # `kcmp` is the base's habit with an answer; a contradiction is refused with both places.
    server = start(programs, folder, own)
    check(server.wait_log("--policy-dir: ", f"{own}/{NAME}:", "contradicts", "worker.base.policy:"),
          server.read_log())
    check(server.process.wait(timeout=30) == 2, "the start did not end")

    (own / NAME).write_text((own / NAME).read_text().replace("kcmp: notify\n", ""))
    server = start(programs, folder, own)
    try:
        check(server.wait_log("sandbox: workers are filtered by", str(own)), server.read_log())
        contexts = [server.create_context(1, f"signal {os.getpid()}"),
                    server.create_context(2, f"ptrace {os.getpid()}")]
        # The kernel is asked now, and knows nobody of that number in there.
        check(server.wait_log("ctx=1 ", "attack signal", "refused ESRCH", timeout=60),
              server.read_log())
        check(server.wait_log("ctx=2 ", "ptrace(", f"not in {NAME}", "the context is lost",
                              timeout=60), server.read_log())
        check(contexts[0].sync(), "the context does not go on")
    finally:
        check(server.close() == 0, "the server's status")


def wrong(programs, folder):
    """A text that is none ends the start with its place."""
    own = copies(folder, "wrong", lambda text: text.replace("clone: ", "clnoe: "))
    server = start(programs, folder, own)
    line = next(number for number, text in enumerate(
        (own / NAME).read_text().splitlines(), 1) if text.startswith("clnoe"))
    check(server.wait_log("--policy-dir: ", f"{own}/{NAME}:{line}: unknown system call `clnoe`"),
          server.read_log())
    check(server.process.wait(timeout=30) == 2, "the start did not end")
    server = start(programs, folder, pathlib.Path(folder, "nowhere"))
    check(server.wait_log("--policy-dir: ", "No such file"), server.read_log())
    check(server.process.wait(timeout=30) == 2, "the start did not end")


def serves(vtest, compute, folder):
    """The built-in text as an operator's own: clients see no difference."""
    own = copies(folder, "same", lambda text: text)
    with harness.Server(vtest, ["--policy-dir", str(own), "--log-level", "debug"]) as server:
        for _ in range(2):
            result = harness.run_client([compute], server.environment(), 120)
            check(result.ok, f"{result.describe()}\n{server.log()}")
        log = server.whole_log()
        check(f"filtered by {NAME} of {own}" in log, log)
        # `@cache`, like the rest of the text: the second worker has what the first compiled.
        check("with a cache" in log, log)


def run(program, worker, library, vtest, compute):
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        shutil.copy(library, f"{folder}/libattack.so")
        pathlib.Path(folder, "attack.json").write_text(json.dumps(
            {"ICD": {"library_path": "./libattack.so", "api_version": "1.0.0"}}))
        programs = program, shutil.copy(worker, folder)
        in_force(programs, folder)
        wrong(programs, folder)
        serves(vtest, compute, folder)


if __name__ == "__main__":
    sys.exit(harness.main("own policy", lambda: run(*sys.argv[1:6])))
