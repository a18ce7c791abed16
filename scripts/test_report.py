#!/usr/bin/env python3
"""Sums up test runs: what failed and what was skipped, by name, then how many passed.

Arguments are LABEL=testlog.json pairs as `meson test` leaves them. A cmocka program counts
once per test function in it, every other test once. The last line is the sum, alone on its line.

A skipped test says why: a line "SKIP: reason" (or "skipped: reason") that it printed last.
"""

import json
import re
import sys
from dataclasses import dataclass, field

CMOCKA_LINE = re.compile(r"^\[\s+(OK|FAILED|SKIPPED)\s+\] (.+)$")
CMOCKA_END = re.compile(r"^\[=+\] \d+ test\(s\) run\.")
CMOCKA_START = re.compile(r"^\[ RUN\s+\] (.+)$")
SKIP_REASON = re.compile(r"^(?:.*\b)?skip(?:ped|ping)?\s*:\s*(.+)$", re.IGNORECASE)
MESON_GOOD = ("OK", "EXPECTEDFAIL")
# Of what a failed test printed: a traceback with its message, and some lines before.
TOLD_LINES = 40


@dataclass
class Summary:
    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: list[tuple[str, str]] = field(default_factory=list)

    def add(self, other):
        self.passed += other.passed
        self.failed += other.failed
        self.skipped += other.skipped


def skip_reason(lines):
    """The last reason given in lines, else the last line that says anything."""
    for line in reversed(lines):
        match = SKIP_REASON.match(line.strip())
        if match:
            return match.group(1)
    told = [line.strip() for line in lines if line.strip()]
    return told[-1] if told else "no reason given"


def read_cmocka(name, lines):
    """Counts the test functions of one cmocka program."""
    summary = Summary()
    since_start = None
    running = ""
    for line in lines:
        match = CMOCKA_LINE.match(line)
        if start := CMOCKA_START.match(line):
            since_start = []
            running = start.group(1)
        elif CMOCKA_END.match(line):
            if since_start is not None:
                # A failing teardown gets no line of its own.
                summary.failed.append(f"{name}: {running}")
            since_start = None
        elif since_start is None:
            # At its end cmocka names once more what failed and what was skipped.
            continue
        elif not match:
            since_start.append(line)
        else:
            test = f"{name}: {match.group(2)}"
            if match.group(1) == "OK":
                summary.passed += 1
            elif match.group(1) == "SKIPPED":
                summary.skipped.append((test, skip_reason(since_start)))
            else:
                summary.failed.append(test)
            since_start = None
    return summary


def read_test(test, label):
    """Counts one test of the meson log."""
    # Meson's name is "project:suites / name"; the project is always this one.
    name = test["name"].split(" / ", 1)[-1]
    if label:
        name = f"{name} ({label})"
    result = test["result"]
    lines = (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines()
    if result == "SKIP":
        return Summary(skipped=[(name, skip_reason(lines))])
    summary = read_cmocka(name, lines)
    counted = summary.passed or summary.failed or summary.skipped
    if result in MESON_GOOD:
        if not counted:
            summary.passed = 1
    elif not summary.failed:
        code = test.get("returncode", "?")
        summary.failed.append(f"{name}: {result.lower()}, status {code}")
    return summary


def read_log(text, label):
    summary = Summary()
    for line in text.splitlines():
        if line.strip():
            summary.add(read_test(json.loads(line), label))
    return summary


def read_failures(text):
    """What each failed test of a meson log printed last."""
    lines = []
    for test in map(json.loads, filter(str.strip, text.splitlines())):
        if summary := read_test(test, "").failed:
            told = (test.get("stdout", "") + "\n" + test.get("stderr", "")).splitlines()
            lines += [*summary, *(f"    {line}" for line in told[-TOLD_LINES:] if line.strip())]
    return "\n".join(lines)


def render(summary):
    lines = []
    if summary.failed:
        lines.append("failed:")
        lines += [f"  {name}" for name in summary.failed]
    if summary.skipped:
        lines.append("skipped:")
        lines += [f"  {name}: {reason}" for name, reason in summary.skipped]
    lines.append(f"{summary.passed} passed, {len(summary.failed)} failed, "
                 f"{len(summary.skipped)} skipped")
    return "\n".join(lines)


def main(arguments):
    """LABEL=path reads a log; passed:NAME, failed:NAME, skipped:NAME=REASON: what ran outside meson.

    --failures path prints instead what the failed tests of one log said.
    """
    if arguments[:1] == ["--failures"]:
        with open(arguments[1], encoding="utf-8", errors="replace") as log:
            print(read_failures(log.read()))
        return 0
    total = Summary()
    for argument in arguments:
        if argument.startswith("passed:"):
            total.passed += 1
            continue
        if argument.startswith("failed:"):
            total.failed.append(argument[len("failed:"):])
            continue
        if argument.startswith("skipped:"):
            name, _, reason = argument[len("skipped:"):].partition("=")
            total.skipped.append((name, reason))
            continue
        label, _, path = argument.partition("=")
        with open(path, encoding="utf-8", errors="replace") as log:
            total.add(read_log(log.read(), label))
    print(render(total))
    return 1 if total.failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
