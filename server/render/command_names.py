"""Writes the table of command names: command_names.py COMMANDS.csv OUTPUT.c"""

import csv
import sys


def main() -> None:
    source, target = sys.argv[1:]
    with open(source, newline="", encoding="utf-8") as f:
        names = {int(row["number"]): row["command"] for row in csv.DictReader(f)}
    lines = ['#include "server/render/command_names.h"', "", "#include <stddef.h>", "",
             "static const char *const names[] = {"]
    lines += [f'    [{number}] = "{name}",' for number, name in sorted(names.items())]
    lines += ["};", "", "const char *command_name(uint32_t number)", "{",
              "    return number < sizeof(names) / sizeof(names[0]) ? names[number] : NULL;", "}"]
    with open(target, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")


main()
