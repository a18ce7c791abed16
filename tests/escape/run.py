#!/usr/bin/env python3
"""Runs every escape attempt under the given layers and compares with attempts.tsv.

usage: run.py [--policy DRIVER] ESCAPE_RUN ESCAPE_TRY LAYERS [NAME...]

The policy is a host driver's, lavapipe's if none is named; the attempts are all, if none is.

As root every attempt is made twice, as root and as an ordinary user; the control column `none`
only as an ordinary user, so that what succeeds does no harm. Status 77: this host cannot do it.
"""
import argparse
import errno
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

COLUMNS = ("none", "all", "no-userns", "no-landlock", "no-seccomp")
ORDINARY = 65534


# Where a hardware driver's policy answers otherwise than lavapipe's, as long as there is a filter.
WX = {"map-rwx": "refused EPERM", "write-then-exec": "refused EPERM",
      "map-memfd-exec": "refused EPERM"}
# The call passes: the kernel says that the descriptor is no GPU's.
DRM = {"ioctl-drm": "refused ENOTTY", "prime-import": "refused ENOTTY"}
# The driver tries to start nvidia-modprobe, and copes.
HELPER = {"fork": "refused EPERM", "clone-user-net": "refused EPERM"}


def answers_of(policy, layers):
    if policy == "lavapipe" or layers == "none":
        return {}
    if layers == "no-seccomp":
        return {"write-cache": "refused ENOENT"}  # the folder is lavapipe's alone
    return WX | (HELPER if policy == "nvidia" else DRM)


def read_table(path):
    """Rows of the table: {name: {column: outcome}}; outcomes may be given per user."""
    table = {}
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line or line.startswith("#"):
            continue
        cells = line.split("\t")
        if len(cells) not in (7, 8) or cells[1] in table:
            sys.exit(f"{path}:{number}: seven or eight cells, each name once")
        table[cells[1]] = dict(zip(COLUMNS, cells[2:7]))
    return table


def expectation(cell, uid):
    """`refused EAGAIN; root: escaped` differs for root; the first is everybody else's."""
    usual, _, root = cell.partition("; root: ")
    return root if root and uid == 0 else usual


def no_network_here():
    """A host whose loopback is down: nothing to reach, even without a sandbox."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        try:
            s.connect(("127.0.0.1", 9))
        except OSError as error:
            return error.errno == errno.ENETUNREACH
    return False


def matches(expected, got):
    if expected == "escaped" and got == "refused ENETUNREACH":
        return no_network_here()
    if expected == "any":
        return got.split()[0] != "broken"
    if expected == "contained":
        return got.split()[0] in ("refused", "killed", "signal")
    return got == expected


def run_as(uid, argv):
    who = {}
    if uid != os.geteuid():
        who = dict(user=uid, group=uid, extra_groups=[])
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=90, **who)
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess(argv, 1, "broken: no end", "")


def run_all(uid, runner, helper, layers, table, policy, only):
    failures = 0
    escaped = []
    answers = answers_of(policy, layers)
    names = [line.split()[1] for line in run_as(uid, [helper, "--list"]).stdout.splitlines()]
    names = [name for name in names if not only or name in only]
    for name in names:
        if name not in table:
            print(f"FAIL {name}: not in the table")
            failures += 1
            continue
        done = run_as(uid, [runner, helper, layers, name])
        got = done.stdout.strip() or f"broken: status {done.returncode}"
        expected = answers.get(name) or expectation(table[name][layers], uid)
        if got == "escaped":
            escaped.append(name)
        if not matches(expected, got):
            print(f"FAIL {name} as uid {uid}: expected {expected}, got {got}")
            failures += 1
        elif got.startswith("killed") and f"not in worker.{policy}.policy" not in done.stderr:
            print(f"FAIL {name} as uid {uid}: the log line is `{done.stderr.strip()}`")
            failures += 1
    print(f"policy={policy} layers={layers} uid={uid}: {len(names)} attempts, {len(escaped)} escaped, "
          f"{failures} unexpected" + (": " + ", ".join(escaped) if escaped else ""))
    return failures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--policy", default="lavapipe")
    parser.add_argument("runner")
    parser.add_argument("helper")
    parser.add_argument("layers")
    parser.add_argument("only", nargs="*")
    options = parser.parse_args()
    layers = options.layers
    os.environ["CORDON_POLICY"] = options.policy
    table = read_table(Path(__file__).with_name("attempts.tsv"))
    uids = [os.geteuid()]
    if uids == [0]:
        uids = [ORDINARY] if layers == "none" else [0, ORDINARY]
    failures = 0
    # Where another user can run them, whoever owns the build folder.
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        runner, helper = (shutil.copy(p, folder) for p in (options.runner, options.helper))
        for uid in uids:
            able = run_as(uid, [runner, "--check", layers])
            if able.returncode == 77:
                print(f"SKIP as uid {uid}: {able.stdout.strip()}")
                return 77
            failures += run_all(uid, runner, helper, layers, table, options.policy,
                                options.only)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
