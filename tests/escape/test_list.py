#!/usr/bin/env python3
"""Every attempt of the threat list, 1 to 106, is tried somewhere, and where is no empty claim.

usage: test_list.py ESCAPE_TRY
"""

import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
TOP = HERE.parent.parent
LAST = 106


def rows(name):
    for line in (HERE / name).read_text().splitlines():
        if line and not line.startswith("#"):
            yield line.split("\t")


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
    print(f"{len(numbers)} of {LAST} numbers, {len(tried)} attempts in a sealed process", *wrong,
          sep="\n")
    return 1 if wrong or max(numbers) > LAST else 0


if __name__ == "__main__":
    sys.exit(main())
