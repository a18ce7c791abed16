#!/usr/bin/env python3
"""Prints what decoding a command costs the worker alone, by bench_decode: nanoseconds of processor,
and instructions as callgrind counts them, which a busy machine does not change.

  tests/bench/decode.py [BUILD] [KIND...]

Without valgrind there is no column of instructions.
"""

import json
import pathlib
import re
import shutil
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
COUNT = 20000  # commands under callgrind: some 50 times slower


def times(program, kinds):
    done = subprocess.run([program, *kinds], stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout)


def instructions(program, kind):
    """Per command, or None without valgrind."""
    if not shutil.which("valgrind"):
        return None
    done = subprocess.run(
        ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null",
         "--toggle-collect=bench_decode_run", program, "--count", str(COUNT), "--rounds", "1",
         kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=True)
    commands = json.loads(done.stdout)[kind]["commands"]
    return int(re.search(r"Collected : (\d+)", done.stderr).group(1)) / commands


def main():
    build = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ROOT / "build/release")
    program = str(build / "tests/bench/bench_decode")
    print(f"{'decoding, no driver, per command':<34}{'processor':>12}{'instructions':>15}")
    for kind, row in times(program, sys.argv[2:]).items():
        count = instructions(program, kind)
        print(f"{kind:<34}{row['ns']:>9.1f} ns"
              f"{f'{count:.1f}' if count is not None else '-':>15}", flush=True)


if __name__ == "__main__":
    main()
