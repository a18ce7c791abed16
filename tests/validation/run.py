#!/usr/bin/env python3
"""Runs one client program through Cordon, with the Khronos validation layer in the worker.

  run.py --server CORDON_VTEST [--root DIR [--newest]] [--expect ID] CLIENT [client options]

--root    the client uses the venus driver of this Debian root (see tests/client/run.py)
--newest  the server runs in that root as well, with its layer and its host driver
--expect  the layer must say just this, once at least: shows that it listens

Every error of the layer fails the test, except those that docs/validation.md names and argues.
Exit status: 0 good, 1 not, 77 skipped.
"""

import argparse
import fnmatch
import pathlib
import re
import sys

TOP = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(TOP / "tests/client"))

import harness  # noqa: E402  (beside the programs that it runs)

LAYER = "usr/share/vulkan/explicit_layer.d/VkLayer_khronos_validation.json"
DOCUMENT = TOP / "docs/validation.md"

# What the server prints of what the layer says.
LINE = re.compile(
    r"^cordon-render-server: (error|warn) +(ctx=\d+)? .*?validation: (\S+): (.*)$")


def read_exceptions():
    """The rows of the document's tables: (pattern of the id, part of the message)."""
    rows = []
    for line in DOCUMENT.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("| `VUID") and len(cells) == 3:
            if not cells[2]:
                raise harness.Failure(f"{DOCUMENT.name}: {cells[0]} gives no reason")
            rows.append((cells[0].strip("`"), cells[1].strip("`")))
    return rows


def read_messages(log):
    """(id, text) of each error of the layer; whatever hides one is a failure."""
    messages = []
    for line in log.splitlines():
        if "validation:" in line:
            found = LINE.match(line)
            if not found:
                raise harness.Failure(f"no line of the layer: {line}")
            if not found[2]:
                raise harness.Failure(f"the line does not say which context: {line}")
            if found[1] == "error":
                messages.append((found[3], found[4]))
        elif re.search(r"worker .* (killed|exited)|lines? (not shown|swallowed)", line):
            raise harness.Failure(line)
    return messages


def excused(message, exceptions):
    return any(fnmatch.fnmatchcase(message[0], pattern) and part in message[1]
               for pattern, part in exceptions)


def run(options):
    root = harness.OtherRoot(harness.CACHE / options.root) if options.root else None
    layer = (root.folder if options.newest else pathlib.Path("/")) / LAYER
    if not layer.exists():
        raise harness.Skip(f"no validation layer at {layer}")
    exceptions = read_exceptions()
    command = [options.client, *options.rest]
    with harness.Server(options.server, ["--validate"],
                        root if options.newest else None) as server:
        environment = server.environment()
        if root:
            command, environment = root.command(command), root.environment(server.socket_path)
        result = harness.run_client(command, environment, options.timeout)
        log = server.whole_log()
    if result.status == harness.SKIP:
        raise harness.Skip(result.stderr.strip().splitlines()[-1])
    if not result.ok:
        raise harness.Failure(f"{result.describe()}\nserver log:\n{log[-4000:]}")
    messages = read_messages(log)
    bad = [message for message in messages if not excused(message, exceptions)]
    if options.expect:
        if [name for name, _ in bad] != [options.expect]:
            raise harness.Failure(f"expected {options.expect} alone, the layer said {bad}")
    elif bad:
        raise harness.Failure("\n".join(sorted({f"{name}: {text}" for name, text in bad})))
    print(f"ok: {len(messages) - len(bad)} messages, all of them named in {DOCUMENT.name}; "
          f"{len(bad)} others")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", required=True)
    parser.add_argument("--root")
    parser.add_argument("--newest", action="store_true")
    parser.add_argument("--expect")
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("client")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.newest and not options.root:
        parser.error("--newest needs --root")
    return harness.main(pathlib.Path(options.client).name, lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
