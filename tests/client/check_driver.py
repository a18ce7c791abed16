#!/usr/bin/env python3
"""What a host driver does by itself and through Cordon, in one table: see scripts/check-driver."""

import argparse
import json
import os
import pathlib
import platform
import re
import shlex
import sys
import tempfile
import time

import harness
import run

TOP = pathlib.Path(__file__).resolve().parents[2]


def read_programs(build):
    """Name of the test -> command, as meson wrote them down."""
    path = build / "tests/client/programs.txt"
    if not path.exists():
        raise SystemExit(f"check-driver: no {path}: build first, or say --build")
    commands = {}
    for line in path.read_text().splitlines():
        name, program, *rest = shlex.split(line)
        commands[name] = [str(build / "tests/client" / program), *rest]
    return commands


def last_line(text):
    lines = text.strip().splitlines()
    return lines[-1] if lines else "nothing on standard error"


def timed(command, environment, seconds):
    begun = time.monotonic()
    result = harness.run_client(command, environment, seconds)
    return result, time.monotonic() - begun


def through_cordon(options, command, row, name):
    """Runs the command against a server of its own; what the server says goes into the row."""
    with tempfile.TemporaryDirectory(prefix="cordon-check-") as folder:
        stats = pathlib.Path(folder) / "stats.json"
        server = harness.Server(
            options.build / "server/vtest/cordon-vtest",
            ["--sandbox", options.sandbox, "--stats", str(stats), *options.server_option])
        try:
            result, row["seconds_cordon"] = timed(
                command, harness.guest_environment(server.socket_path, options.client_icd),
                options.timeout)
            server.process.terminate()
            server.process.wait(20)
            row["log"] = server.log()
        finally:
            left = server.stop()
        row["stats"] = json.loads(stats.read_text()) if stats.exists() else {}
    if left:
        row["wrong"].append(f"the server left processes behind: {left}")
    if options.logs:
        (options.logs / f"{name}.log").write_text(row["log"])
    return result


def check(options, name, command):
    row = {"name": name, "wrong": [], "remarks": [], "checks": 0, "values": 0, "stats": {},
           "seconds_host": 0.0, "seconds_cordon": 0.0, "log": "", "host": {}, "guest": {}}
    with tempfile.TemporaryDirectory(prefix="cordon-check-") as folder:
        # Pixels are compared byte by byte, so that a difference says where it is.
        raw = str(pathlib.Path(folder) / "host.raw")
        scene = pathlib.Path(command[0]).name == "cl_scene"
        host, row["seconds_host"] = timed([*command, *(["--raw", raw] if scene else [])],
                                          harness.host_environment(), options.timeout)
        if host.status == harness.SKIP:
            row["status"] = "host lacks it"
            row["remarks"].append(last_line(host.stderr))
            return row
        if not host.line or "fatal" in host.line:
            row["remarks"].append(f"on the host: {last_line(host.describe())}")
            scene = False
        else:
            row["host"] = host.line
        guest = through_cordon(options, [*command, *(["--compare", raw] if scene else [])], row,
                               name)
    if not row["host"]:
        # A limit of time, most likely: then Cordon's own checks are all there is.
        row["guest"] = guest.line or {}
        row["checks"] = sum(text == "ok" for text in row["guest"].get("checks", {}).values())
        row["status"] = "host fails, Cordon passes" if guest.ok else "host fails"
        return row
    if guest.line is None:
        row["wrong"].append(guest.describe())
    else:
        row["guest"] = guest.line
        wrong, row["remarks"] = run.compare(host.line, guest.line, False)
        row["wrong"] += wrong
        row["checks"] = sum(text == "ok" for text in guest.line["checks"].values())
        row["values"] = len(host.line["values"])
        row["wrong"] += [f"{check}: {text}" for check, text in guest.line["checks"].items()
                         if text.startswith("fail") and host.line["checks"].get(check) != text]
        row["wrong"] = sorted(set(row["wrong"]))
        if "fatal" in guest.line:
            row["wrong"].append(guest.line["fatal"])
        elif host.ok and not guest.ok and not row["wrong"]:
            row["wrong"].append(guest.describe())
    if row["stats"].get("contexts_lost"):
        row["wrong"].append(f"{row['stats']['contexts_lost']} contexts lost")
    row["status"] = "differs" if row["wrong"] else "equal"
    return row


def first_word(rows, key, field):
    return next((row[key][field] for row in rows if row[key].get(field)), "")


def seen(options, rows):
    """What the run was on: name -> text."""
    log = "\n".join(row["log"] for row in rows)
    memory = sorted(set(re.findall(r"\bmemory of [^\n]*: (types 0x[^\n]*)", log)))
    lost = sorted({line.strip() for line in log.splitlines()
                   if re.search(r"\b(error|warn)\b", line)})
    stats = next((row["stats"] for row in rows if row["stats"].get("layers")), {})
    host, guest = (next((row[side] for row in rows if row[side]), {}) for side in ("host", "guest"))
    return {
        "driver": f"{host.get('driver', '?')}, {options.icd}",
        "device": f"{host.get('device', '?')}, Vulkan {host.get('api', '?')}",
        "client": f"{guest.get('driver', '?')}: {guest.get('device', '?')}, "
                  f"Vulkan {guest.get('api', '?')}",
        "sandbox": f"{stats.get('sandbox', '?')}, policy {stats.get('policy', '?')}: "
                   + (", ".join(stats.get("layers", [])) or "no worker was ready"),
        "memory": "; ".join(memory) or "not said",
        "kernel": f"{platform.system()} {platform.release()} {platform.machine()}",
        "warnings": "\n".join(lost),
    }


def table(rows):
    head = ("program", "host driver and Cordon", "checks", "values", "commands", "host s",
            "Cordon s")
    lines = [head]
    for row in rows:
        lines.append((row["name"], row["status"], str(row["checks"]), str(row["values"]),
                      str(row["stats"].get("commands", "")), f"{row['seconds_host']:.1f}",
                      f"{row['seconds_cordon']:.1f}"))
    return lines


def print_table(rows):
    lines = table(rows)
    widths = [max(len(line[i]) for line in lines) for i in range(len(lines[0]))]
    for line in lines:
        print("  " + "  ".join(text.ljust(widths[i]) if i < 2 else text.rjust(widths[i])
                               for i, text in enumerate(line)))


def markdown(rows, facts):
    text = ["| | |", "| --- | --- |"]
    text += [f"| {name} | {fact} |" for name, fact in facts.items() if name != "warnings"]
    lines = table(rows)
    text += ["", "| " + " | ".join(lines[0]) + " |", "|" + " --- |" * len(lines[0])]
    text += ["| " + " | ".join(line) + " |" for line in lines[1:]]
    notes = [f"* {row['name']}: {note}" for row in rows
             for note in [*row["wrong"], *row["remarks"]]]
    return "\n".join(text + ([""] + notes if notes else [])) + "\n"


def main():
    parser = argparse.ArgumentParser(prog="scripts/check-driver")
    parser.add_argument("--client-icd", default=harness.GUEST_ICD)
    parser.add_argument("--build", type=pathlib.Path, default=TOP / "build/release")
    parser.add_argument("--programs")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--sandbox", default="strict")
    parser.add_argument("--server-option", action="append", default=[])
    parser.add_argument("--timeout", type=float, default=300)
    parser.add_argument("--json")
    parser.add_argument("--markdown")
    parser.add_argument("--logs", type=pathlib.Path)
    parser.add_argument("--no-bench", action="store_true")
    parser.add_argument("icd", nargs="?")
    options = parser.parse_args()
    options.build = options.build.resolve()
    commands = read_programs(options.build)
    if options.list:
        print("\n".join(commands))
        return 0
    if not options.icd:
        parser.error("which driver? name its manifest, for example "
                     "/usr/share/vulkan/icd.d/lvp_icd.json")
    wanted = options.programs.split(",") if options.programs else \
        [name for name in commands if not (options.no_bench and name == "bench")]
    unknown = [name for name in wanted if name not in commands]
    if unknown:
        parser.error(f"no such test: {', '.join(unknown)}; --list names them")
    for path in (options.icd, options.client_icd):
        if not os.path.exists(path):
            parser.error(f"there is no {path}")
    options.icd = harness.HOST_ICD = os.path.abspath(options.icd)
    if options.logs:
        options.logs.mkdir(parents=True, exist_ok=True)

    rows = []
    for name in wanted:
        print(f"{name} ...", flush=True)
        rows.append(check(options, name, commands[name]))
        print(f"{name}: {rows[-1]['status']}", flush=True)
    facts = seen(options, rows)

    print()
    for name, fact in facts.items():
        if name != "warnings":
            print(f"  {name:<8} {fact}")
    print()
    print_table(rows)
    for row in rows:
        for note in row["wrong"]:
            print(f"\n  {row['name']}: {note}".replace("\n", "\n    "))
            if row["status"] == "differs" and row["log"]:
                print("    the server's last lines:")
                print("\n".join("    | " + line for line in row["log"].splitlines()[-15:]))
        for note in row["remarks"]:
            print(f"  {row['name']}: {note}")
    if facts["warnings"]:
        print("\n  what the server warned of:\n    " + facts["warnings"].replace("\n", "\n    "))
    if options.json:
        pathlib.Path(options.json).write_text(
            json.dumps({"facts": facts, "rows": rows}, indent=1, sort_keys=True) + "\n")
    if options.markdown:
        pathlib.Path(options.markdown).write_text(markdown(rows, facts))

    count = {status: sum(row["status"] == status for row in rows)
             for status in ("equal", "differs", "host fails", "host fails, Cordon passes",
                            "host lacks it")}
    print("\n  " + ", ".join(f"{number} {status}" for status, number in count.items() if number))
    if not any(row["host"] for row in rows):
        return harness.SKIP
    return 1 if count["differs"] else 0


if __name__ == "__main__":
    sys.exit(main())
