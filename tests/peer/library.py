#!/usr/bin/env python3
"""Debian's own libvirglrenderer as a VMM uses it, with our render server, or with its own.

  library.py [--original] SUITE BUILDDIR

SUITE is trixie (1.1.0) or forky (1.3.0). What the VMM does: tests/peer/library_user.py.

Exit status: 0 good (with --original: it ran), 1 not, 77 skipped.
"""

import argparse
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

import roots

# pylint: disable=wrong-import-order
import harness

CONTEXTS = "200"
EINVAL = 22
# A thread that spins takes what it can get of the two seconds; one that sleeps, nothing.
CPU = 0.1


def run(options):
    root = f"{options.suite}-vm"
    roots.need(root)
    with tempfile.TemporaryDirectory(prefix="cordon-library-") as name:
        folder = pathlib.Path(name)
        shutil.copy(roots.TOP / "tests/protocol/wire.py", folder)
        shutil.copy(pathlib.Path(__file__).with_name("library_user.py"), folder)
        server = [] if options.original else \
            ["RENDER_SERVER_EXEC_PATH=/mnt/server/render/cordon-render-server"]
        done = subprocess.run(
            [roots.PEER_ROOT, "--suite", root, "enter", folder, options.build,
             f"VK_DRIVER_FILES={roots.ICDS}lvp_icd.json", *server, "python3", "-B",
             "/run/cordon/library_user.py", CONTEXTS],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=100, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise harness.Failure(f"exit status {done.returncode}\n{done.stdout}{done.stderr}")
    seen = json.loads(done.stdout.splitlines()[-1])
    for what, value in seen.items():
        print(f"{what}: {value}")
    if options.original:
        return
    wrong = [what for what, value in seen.items() if value is False]
    if seen["VMM's CPU, 2 s behind a killed worker"] > CPU:
        wrong.append("the VMM spins behind a killed worker")
    if seen["workers left"]:
        wrong.append("workers are left")
    # No release asks a render server for it; when one does, this test says so.
    if seen["export_fence"] != [-EINVAL, -EINVAL]:
        wrong.append("export_fence has an answer now")
    if "cordon-render-server" not in done.stderr:
        wrong.append("our render server was never started")
    if wrong:
        raise harness.Failure("\n".join(wrong) + f"\n{done.stderr}")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--original", action="store_true")
    parser.add_argument("suite", choices=("trixie", "forky"))
    parser.add_argument("build")
    options = parser.parse_args()
    return harness.main(f"library {options.suite}", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
