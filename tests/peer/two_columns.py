#!/usr/bin/env python3
"""Runs tests/protocol against our render server and against virglrenderer's own, and writes the
table of docs/drop-in.md from what came out.

  two_columns.py BUILDDIR [MODULE...]

Of a MODULE alone only its part of the table is written anew.

Takes six minutes: where the original fails it mostly does so by never answering.
Needs root, and the roots of scripts/peer-root. Exit status: 1 if ours fails anything, else 0.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import re
import subprocess
import sys

import roots

sys.path.insert(0, str(roots.TOP / "tests/vm"))

# pylint: disable=wrong-import-position
import dma_buf

PROTOCOL = roots.TOP / "tests/protocol"
PAGE = roots.TOP / "docs/drop-in.md"
BEGIN, END = "<!-- table: begin -->\n", "<!-- table: end -->\n"
MODULES = {
    "test_releases": "Each release of the library, in each VMM",
    "test_drop_in": "What a VMM's library relies on",
    "test_victim": "The VMM is never the victim",
    "test_many": "Contexts that come and go",
    "test_dma_buf": "Descriptors that other devices and processes made",
    "test_bad_input": "What a broken or hostile guest sends",
    "test_defects": "Known defects of the original (docs/defects.md)",
}
WORDS = {"passed": "yes", "failed": "**no**", "skipped": "-"}


def column(modules, server, peer=None):
    env = os.environ | {"CORDON_SERVER": str(server), "PYTHONDONTWRITEBYTECODE": "1"}
    if peer:
        env["CORDON_PEER"] = peer
    done = subprocess.run([sys.executable, PROTOCOL / "record.py", *modules], env=env, check=True,
                          stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    return {name: WORDS[word] for name, word in json.loads(done.stdout).items()}


def dma_bufs(build, columns):
    """These want a kernel with udmabuf, so they run in a guest; lavapipe is that of its suite."""
    for head, (suite, peer) in zip(columns, (("trixie", False), ("trixie", True),
                                             ("forky", True))):
        for name, word in dma_buf.words(suite, build, peer).items():
            columns[head][name] = WORDS[word]


def words(name):
    return name.removeprefix("test_").replace("_", " ")


def section(module, columns):
    heads = list(columns)
    tests = [name for name in columns[heads[0]] if name.startswith(module + ".")]
    lines = [f"### {MODULES[module]}", "", f"`tests/protocol/{module}.py`", "",
             "| | " + " | ".join(heads) + " |", "| --- |" + " --- |" * len(heads)]
    for name in tests:
        cells = [columns[head].get(name, "-") for head in heads]
        lines.append(f"| {words(name.rsplit('.', 1)[1])} | " + " | ".join(cells) + " |")
    sums = [sum(columns[head].get(name) == "yes" for name in tests) for head in heads]
    lines += [f"| **of {len(tests)}** | " + " | ".join(f"**{n}**" for n in sums) + " |", ""]
    return "\n".join(lines)


def render(modules, columns, before):
    """The table; what was not run now stands as it was."""
    parts = []
    for module, title in MODULES.items():
        found = re.search(rf"^### {re.escape(title)}\n.*?(?=^### |\Z)", before, re.M | re.S)
        if module in modules:
            parts.append(section(module, columns))
        elif found:
            parts.append(found[0].rstrip() + "\n")
    return "\n".join(parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("build")
    parser.add_argument("modules", nargs="*", metavar="module")
    options = parser.parse_args()
    modules = options.modules or list(MODULES)
    here = [name for name in modules if name != "test_dma_buf"]
    ours = pathlib.Path(options.build).resolve() / "server/render/cordon-render-server"
    jobs = {"Cordon": (here, ours)}
    for suite in ("trixie", "forky"):
        version = roots.version(suite, "libvirglrenderer1").split("-")[0]
        jobs[f"virglrenderer {version}"] = (
            here, pathlib.Path(__file__).with_name("virgl_render_server"), suite)
    # At once, for most of the time is spent waiting for what never comes.
    with concurrent.futures.ThreadPoolExecutor() as pool:
        running = {head: pool.submit(column, *job) for head, job in jobs.items()}
        columns = {head: job.result() for head, job in running.items()}
    if "test_dma_buf" in modules:
        dma_bufs(options.build, columns)
    before, rest = PAGE.read_text().split(BEGIN)
    table, after = rest.split(END)
    PAGE.write_text(before + BEGIN + "\n" + render(modules, columns, table) + "\n" + END + after)
    failed = [name for name, word in columns["Cordon"].items() if word == "**no**"]
    if failed:
        print("ours fails:", *failed, sep="\n  ")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
