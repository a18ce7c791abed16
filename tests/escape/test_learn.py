#!/usr/bin/env python3
"""--sandbox-learn: what is not listed passes, and comes out as policy lines.

usage: test_learn.py CORDON_RENDER_SERVER ROGUE_WORKER
"""

import os
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "protocol"))
import renderserver  # noqa: E402

WORDS = ("cordon-render-server [LEARNING]: ", "sandbox: LEARNING", "learned: ptrace: allow  # 1 times, first by thread rogue_worker",
         "learned: vfork: allow", "learned: broker: rw /dev/full  # 128000 times")


def main():
    program, worker = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        server = renderserver.Server(
            program, ["--worker", worker, "--driver", "lavapipe", "--sandbox-learn"],
            {"PATH": os.environ["PATH"]}, os.path.join(folder, "log"))
        contexts = [server.create_context(1, "ptrace"), server.create_context(2, "spawn-helper"),
                    server.create_context(3, "notify-flood")]
        helped = server.wait_log("ctx=2 ", "helper: started")
        server.wait_log("ctx=3 ", "flooded", timeout=40)
        for context in contexts:
            context.destroy()
        status = server.close()
        text = server.read_log()
    for word in WORDS:
        if word not in text:
            print(f"FAIL: `{word}` is not in the log:\n{text}")
            return 1
    if not helped or status != 0 or "not in worker" in text:
        print(f"FAIL: status {status}\n{text}")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
