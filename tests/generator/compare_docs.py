#!/usr/bin/env python3
"""Is docs/commands.md what the generator writes today? compare_docs.py COMMITTED GENERATED"""

import difflib
import re
import sys

SKIP = 77


def main():
    texts = []
    for path in sys.argv[1:3]:
        with open(path, encoding="utf-8") as f:
            texts.append(f.read())
    versions = [re.search(r"^Registry ([\d.]+);", t, re.M).group(1) for t in texts]
    if versions[0] != versions[1]:
        print(f"the committed table is of registry {versions[0]}, this build has {versions[1]}")
        return SKIP
    diff = list(difflib.unified_diff(texts[0].splitlines(True), texts[1].splitlines(True),
                                     "docs/commands.md", "generated"))
    sys.stdout.writelines(diff)
    if diff:
        print("docs/commands.md is out of date: ninja update-commands-md")
    return 1 if diff else 0


sys.exit(main())
