"""Our data: commands.csv, extensions.csv, stypes.csv, rules.csv. Refuses rows that make no sense."""

import csv
import fnmatch
import os
from dataclasses import dataclass

from registry import BadInput

KINDS = ("call", "create", "allocate", "pipelines", "destroy", "free", "reset", "handler",
         "refuse")
HOOKS = ("prepare", "created")


@dataclass
class Rule:
    pattern: str
    kind: str
    hooks: tuple
    required: tuple  # parameters that must be present although the registry is lenient
    reason: str
    line: int
    used: bool = False


@dataclass
class Extension:
    name: str
    number: int
    spec_version: int
    advertised: bool


@dataclass
class Rules:
    numbers: dict  # every command name (aliases too) -> number
    extensions: dict
    stypes: dict
    rules: list
    host_only: dict  # commands for our handlers only -> reason
    places: dict  # command name -> line in commands.csv


def _rows(folder, file, columns):
    path = os.path.join(folder, file)
    try:
        with open(path, newline="", encoding="utf-8") as f:
            reader = csv.reader(f)
            header = next(reader, [])
            if header != columns:
                raise BadInput(file, "row 1", f"columns are {','.join(header)}, "
                               f"expected {','.join(columns)}")
            for row in reader:
                if not row or row[0].startswith("#"):
                    continue
                if len(row) != len(columns):
                    raise BadInput(file, f"row {reader.line_num}",
                                   f"{len(row)} fields, expected {len(columns)}")
                yield reader.line_num, dict(zip(columns, row))
    except OSError as e:
        raise BadInput(file, "open", e.strerror) from None


def _number(file, line, text, what):
    try:
        return int(text)
    except ValueError:
        raise BadInput(file, f"row {line}", f"{what} `{text}` is not a number") from None


def _rule(line, row):
    file, place = "rules.csv", f"row {line}"
    hooks = tuple(row["hook"].split())
    if row["kind"] and row["kind"] not in KINDS:
        raise BadInput(file, place, f"unknown kind `{row['kind']}`")
    for h in hooks:
        if h not in HOOKS:
            raise BadInput(file, place, f"unknown hook `{h}`")
    if row["kind"] == "refuse" and not row["reason"]:
        raise BadInput(file, place, "a refusal needs a reason")
    if not row["kind"] and not hooks and not row["required"]:
        raise BadInput(file, place, "the row changes nothing")
    return Rule(row["command"], row["kind"], hooks, tuple(row["required"].split()),
                row["reason"], line)


def read(folder):
    numbers, places = {}, {}
    for line, row in _rows(folder, "commands.csv", ["command", "number"]):
        if row["command"] in numbers:
            raise BadInput("commands.csv", f"row {line}", f"{row['command']} appears twice")
        numbers[row["command"]] = _number("commands.csv", line, row["number"], "number")
        places[row["command"]] = line

    extensions, by_number = {}, {}
    for line, row in _rows(folder, "extensions.csv",
                           ["extension", "number", "spec_version", "advertised"]):
        e = Extension(row["extension"],
                      _number("extensions.csv", line, row["number"], "number"),
                      _number("extensions.csv", line, row["spec_version"], "spec_version"),
                      row["advertised"] == "1")
        if e.name in extensions:
            raise BadInput("extensions.csv", f"row {line}", f"{e.name} appears twice")
        if e.number in by_number:
            raise BadInput("extensions.csv", f"row {line}",
                           f"number {e.number} is already {by_number[e.number]}")
        if not 0 < e.number < 1024:
            raise BadInput("extensions.csv", f"row {line}",
                           f"number {e.number} does not fit the capset's 1024-bit mask")
        extensions[e.name] = e
        by_number[e.number] = e.name

    stypes = {}
    for line, row in _rows(folder, "stypes.csv", ["stype", "value"]):
        value = _number("stypes.csv", line, row["value"], "value")
        if row["stype"] in stypes or value in stypes.values():
            raise BadInput("stypes.csv", f"row {line}", f"{row['stype']} or its value appears twice")
        stypes[row["stype"]] = value

    rules = [_rule(line, row) for line, row in
             _rows(folder, "rules.csv", ["command", "kind", "hook", "required", "reason"])]
    seen = {}
    for r in rules:
        if r.pattern in seen:
            raise BadInput("rules.csv", f"row {r.line}",
                           f"{r.pattern} already has row {seen[r.pattern]}")
        seen[r.pattern] = r.line
    host_only = {row["command"]: row["reason"]
                 for _, row in _rows(folder, "host.csv", ["command", "reason"])}
    return Rules(numbers, extensions, stypes, rules, host_only, places)


def rule_for(rules, name):
    """An exact row wins over a wildcard; the first fitting wildcard counts."""
    exact = [r for r in rules.rules if r.pattern == name]
    fitting = exact or [r for r in rules.rules
                        if "*" in r.pattern and fnmatch.fnmatchcase(name, r.pattern)]
    if not fitting:
        return None
    fitting[0].used = True
    return fitting[0]
