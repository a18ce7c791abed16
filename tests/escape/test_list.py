#!/usr/bin/env python3
"""Every attempt of the threat list, 1 to 106, is tried somewhere, and where is no empty claim; nor
are the tests that docs/threat-model.md names.

usage: test_list.py ESCAPE_TRY
"""

import pathlib
import re
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
LAST = 106


def rows(name):
    for line in (HERE / name).read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


def claims(page):
    """(file, word in it) of each test that a page names: `file` (`word`, `word`)."""
    for file, words in re.findall(r"`(tests/[^`]+)`(?: \(((?:`[^`]+`(?:, )?)+)\))?", page):
        yield file, None
        yield from ((file, word) for word in re.findall("`([^`]+)`", words))


def main():
    wrong = []
    tried = {line.split()[1] for line in subprocess.run(
        [sys.argv[1], "--list"], capture_output=True, text=True, check=True).stdout.splitlines()}
    numbers = set()
    for number, name, *_ in rows("attempts.tsv"):
        if number != "-":
            numbers.add(int(number))
        if name not in tried:
            wrong.append(f"attempts.tsv: nobody tries {name}")
    for number, _, file, word, _ in rows("elsewhere.tsv"):
        if int(number) in numbers:
            wrong.append(f"elsewhere.tsv: {number} is in attempts.tsv")
        numbers.add(int(number))
        if word not in (TOP / file).read_text():
            wrong.append(f"elsewhere.tsv: {number}: there is no {word} in {file}")
    wrong += [f"{number} is tried nowhere" for number in range(1, LAST + 1)
              if number not in numbers]
    for file, word in claims((TOP / "docs/threat-model.md").read_text()):
        path = TOP / file
        if not path.exists() or (word and word not in path.read_text()):
            wrong.append(f"threat-model.md: there is no {word or 'file'} in {file}")
    print(f"{len(numbers)} of {LAST} numbers, {len(tried)} attempts in a sealed process", *wrong,
          sep="\n")
    return 1 if wrong or max(numbers) > LAST else 0


if __name__ == "__main__":
    sys.exit(main())
