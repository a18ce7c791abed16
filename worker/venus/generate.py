#!/usr/bin/env python3
"""Writes the decoder of the Venus protocol: C from vk.xml, private.xml and the CSVs beside this.

    generate.py --registry vk.xml --out DIR          the C files and headers
    generate.py --registry vk.xml --docs FILE        the table of commands
"""

import argparse
import os
import sys

import emit_commands
import emit_docs
import emit_formats
import emit_headers
import emit_structs
import registry
import rules
import schema
from plan import Planner
from registry import BadInput


def load(registry_path, data):
    """Registry and data, checked, as a Planner."""
    reg = registry.parse(registry_path, os.path.basename(registry_path))
    if reg.version < emit_headers.OLDEST:
        said = ".".join(map(str, reg.version)) if reg.version != (0, 0, 0) else "unknown"
        raise BadInput(os.path.basename(registry_path), "VK_HEADER_VERSION",
                       f"version {said} is older than "
                       f"{'.'.join(map(str, emit_headers.OLDEST))}, the oldest that knows the "
                       "protocol")
    registry.merge(reg, registry.parse(os.path.join(data, "private.xml"), "private.xml"))
    planner = Planner(schema.Schema(reg, rules.read(data)))
    planner.acyclic()
    return planner


def outputs(planner):
    """File name -> text."""
    files = {
        "capset.h": emit_headers.capset_h(planner),
        "chains.c": emit_structs.chains_c(planner),
        "commands.c": emit_commands.commands_c(planner),
        "commands.h": emit_commands.commands_h(planner),
        "extensions.c": emit_headers.extensions_c(planner),
        "extensions.h": emit_headers.extensions_h(planner),
        "formats.c": emit_formats.formats_c(planner),
        "formats.h": emit_formats.formats_h(planner),
        "links.h": emit_structs.links_h(planner),
        "mesa.h": emit_headers.mesa_h(planner),
        "names.c": emit_headers.names_c(planner),
        "names.h": emit_headers.names_h(planner),
        "objects.c": emit_headers.objects_c(planner),
        "objects.h": emit_headers.objects_h(planner),
        "procs.c": emit_headers.procs_c(planner),
        "procs.h": emit_headers.procs_h(planner),
        "runs.h": emit_commands.runs_h(planner),
        "structs.h": emit_structs.structs_h(planner),
    }
    for f in emit_structs.FILES:
        files[f] = emit_structs.structs_c(planner, f)
    for f in emit_commands.FILES:
        files[f] = emit_commands.commands_group_c(planner, f)
    return files


def main(argv):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--registry", required=True, help="vk.xml")
    parser.add_argument("--data", default=os.path.dirname(os.path.abspath(__file__)),
                        help="folder of private.xml and the CSVs")
    parser.add_argument("--out", help="folder for the C files")
    parser.add_argument("--docs", help="file for the table of commands")
    args = parser.parse_args(argv)
    if not args.out and not args.docs:
        parser.error("nothing to do: give --out or --docs")
    try:
        planner = load(args.registry, args.data)
        if args.out:
            os.makedirs(args.out, exist_ok=True)
            for name, text in outputs(planner).items():
                with open(os.path.join(args.out, name), "w", encoding="utf-8") as f:
                    f.write(text)
        if args.docs:
            with open(args.docs, "w", encoding="utf-8") as f:
                f.write(emit_docs.commands_md(planner))
    except BadInput as e:
        print(f"generate.py: {e}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
