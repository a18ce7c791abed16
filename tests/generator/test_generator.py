#!/usr/bin/env python3
"""The generator over tiny registries: its output is compared with what lies beside them, and bad
input is refused with file, place and reason. `--update` rewrites the expected output."""

import difflib
import os
import re
import sys
import tempfile
import unittest
import xml.etree.ElementTree as ET

HERE = os.path.dirname(os.path.abspath(__file__))
sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(HERE, "..", "..", "worker", "venus"))

import emit_docs  # noqa: E402
import generate  # noqa: E402
from registry import BadInput  # noqa: E402

COLUMNS = {
    "commands.csv": "command,number",
    "extensions.csv": "extension,number,spec_version,advertised",
    "stypes.csv": "stype,value",
    "rules.csv": "command,kind,hook,required,reason",
    "host.csv": "command,reason",
}


def registry_text(types, commands, common=None):
    """A whole registry from a few elements: all types and commands belong to Vulkan 1.0."""
    with open(os.path.join(HERE, "common.xml"), encoding="utf-8") as f:
        common = f.read() if common is None else common
    stypes = sorted(set(re.findall(r'values="(\w+)"', types)))
    enums = "".join(f'<enum name="{s}" value="{i}"/>' for i, s in enumerate(stypes))
    all_types = re.findall(r'<type[^>]* category="(?:struct|union|enum)" name="(\w+)"', types)
    all_types += re.findall(r'<type category="(?:struct|union|enum)" name="(\w+)"', types)
    all_commands = re.findall(r"<proto>.*?<name>(\w+)</name></proto>", commands)
    require = "".join(f'<type name="{t}"/>' for t in all_types)
    require += "".join(f'<command name="{c}"/>' for c in all_commands)
    return (f"<registry><types>{common}{types}</types>"
            f'<enums name="VkStructureType" type="enum">{enums}</enums>'
            f"<commands>{commands}</commands>"
            f'<feature api="vulkan" name="VK_VERSION_1_0" number="1.0"><require>{require}'
            "</require></feature></registry>")


def load(registry, data):
    """The planner over texts. `data`: file -> rows below the header, or the whole text."""
    with tempfile.TemporaryDirectory() as folder:
        with open(os.path.join(folder, "vk.xml"), "w", encoding="utf-8") as f:
            f.write(registry)
        with open(os.path.join(folder, "private.xml"), "w", encoding="utf-8") as f:
            f.write("<registry/>")
        for name, columns in COLUMNS.items():
            with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                f.write(f"{columns}\n" + "".join(r + "\n" for r in data.get(name, ())))
        return generate.load(os.path.join(folder, "vk.xml"), folder)


def case_output(path):
    case = ET.parse(path).getroot()
    with open(path, encoding="utf-8") as f:
        text = f.read()
    body = text[text.index(">") + 1:text.rindex("</case>")]
    types = body[:body.index("<command>")] if "<command>" in body else body
    at = re.search(r"<command[ >]", body).start()
    types, commands = body[:at], body[at:]
    planner = load(registry_text(types, commands), {
        "commands.csv": [c.replace(" ", ",") for c in case.get("commands").split(";")],
        "rules.csv": case.get("rules", "").split(";") if case.get("rules") else [],
    })
    files = generate.outputs(planner)
    out = []
    for name in sorted(files):
        if name.startswith(("structs", "commands", "chains")) and "void wire_" in files[name] \
                or name == "commands.c" or name == "chains.c":
            out.append(f"==> {name}\n{files[name]}")
    return "\n".join(out) + "\n==> commands.md\n" + emit_docs.commands_md(planner)


CASES = sorted(f[:-4] for f in os.listdir(os.path.join(HERE, "cases")) if f.endswith(".xml"))


class Output(unittest.TestCase):
    def test_output_is_as_expected(self):
        for name in CASES:
            with self.subTest(name):
                got = case_output(os.path.join(HERE, "cases", name + ".xml"))
                with open(os.path.join(HERE, "cases", name + ".expected"), encoding="utf-8") as f:
                    want = f.read()
                diff = "".join(difflib.unified_diff(
                    want.splitlines(True), got.splitlines(True), "expected", "generated"))
                self.assertEqual(diff, "")

    def test_output_is_the_same_each_time(self):
        path = os.path.join(HERE, "cases", "chains.xml")
        self.assertEqual(case_output(path), case_output(path))


GET = """<command><proto><type>void</type> <name>vkGetIt</name></proto>
<param><type>VkDevice</type> <name>device</name></param>
<param><type>uint32_t</type>* <name>pIt</name></param></command>"""
MAP = """<command><proto><type>void</type> <name>vkMapIt</name></proto>
<param><type>VkDevice</type> <name>device</name></param>
<param><type>void</type>** <name>ppData</name></param></command>"""
QUEUE = """<command><proto><type>void</type> <name>vkQueueIt</name></proto>
<param><type>VkQueue</type> <name>queue</name></param></command>"""
LOOP = """<type category="struct" name="VkLoop">
<member>const <type>VkLoop</type>* <name>pLoop</name></member></type>"""
USE_LOOP = """<command><proto><type>void</type> <name>vkGetIt</name></proto>
<param><type>VkDevice</type> <name>device</name></param>
<param>const <type>VkLoop</type>* <name>pLoop</name></param></command>"""
BITS = """<type category="struct" name="VkBits">
<member><type>uint32_t</type> <name>low</name>:24</member></type>"""
IT = {"commands.csv": ["vkGetIt,7"]}


def it(**rows):
    return {**IT, **{k + ".csv": v for k, v in rows.items()}}


OLD = "<type category='define'>#define <name>VK_HEADER_VERSION</name> 308</type>" \
    "<type category='define'>#define <name>VK_HEADER_VERSION_COMPLETE</name> " \
    "VK_MAKE_API_VERSION(0, 1, 4, VK_HEADER_VERSION)</type>"

# What is wrong -> registry, data, the message.
REFUSALS = {
    "old registry": (registry_text("", GET, OLD), IT,
                     r"vk\.xml: VK_HEADER_VERSION: version 1\.4\.308 is older than 1\.4\.309"),
    "no version": (registry_text("", GET, ""), IT, r"VK_HEADER_VERSION: version unknown"),
    "not XML": ("<registry><types>", IT, r"vk\.xml: line 1: not well-formed"),
    "type without name": (registry_text(
        '<type category="struct" name="VkX"><member><type>uint32_t</type></member></type>', GET),
        IT, r"vk\.xml: VkX: <member> without a type or a name"),
    "command without a number": (registry_text("", GET), {},
                                 r"commands\.csv: vkGetIt: a supported command has no number"),
    "number twice": (registry_text("", GET + QUEUE),
                     {"commands.csv": ["vkGetIt,7", "vkQueueIt,7"],
                      "rules.csv": ["vkQueueIt,handler,,,"]},
                     r"commands\.csv: row 3: number 7 is already vkGetIt"),
    "name twice": (registry_text("", GET), {"commands.csv": ["vkGetIt,7", "vkGetIt,8"]},
                   r"commands\.csv: row 3: vkGetIt appears twice"),
    "no number": (registry_text("", GET), {"commands.csv": ["vkGetIt,x"]},
                  r"commands\.csv: row 2: number `x` is not a number"),
    "too few fields": (registry_text("", GET), it(rules=["vkGetIt,call"]),
                       r"rules\.csv: row 2: 2 fields, expected 5"),
    "unknown kind": (registry_text("", GET), it(rules=["vkGetIt,dance,,,"]),
                     r"rules\.csv: row 2: unknown kind `dance`"),
    "unknown hook": (registry_text("", GET), it(rules=["vkGetIt,,after,,"]),
                     r"rules\.csv: row 2: unknown hook `after`"),
    "refusal without a reason": (registry_text("", GET), it(rules=["vkGetIt,refuse,,,"]),
                                 r"rules\.csv: row 2: a refusal needs a reason"),
    "row without effect": (registry_text("", GET), it(rules=["vkGetIt,,,,"]),
                           r"rules\.csv: row 2: the row changes nothing"),
    "two rows for one": (registry_text("", GET),
                         it(rules=["vkGetIt,call,,,", "vkGetIt,handler,,,"]),
                         r"rules\.csv: row 3: vkGetIt already has row 2"),
    "row for nothing": (registry_text("", GET), it(rules=["vkGetThat,handler,,,"]),
                        r"rules\.csv: row 2: no command is called vkGetThat"),
    "kind that does not fit": (registry_text("", GET), it(rules=["vkGetIt,create,,,"]),
                               r"rules\.csv: row 2: vkGetIt cannot be `create`"),
    "unknown parameter": (registry_text("", GET), it(rules=["vkGetIt,,,pThat,"]),
                          r"rules\.csv: row 2: vkGetIt has no parameter pThat"),
    "served without a wire form": (registry_text("", MAP),
                                   {"commands.csv": ["vkMapIt,7"],
                                    "rules.csv": ["vkMapIt,handler,,,"]},
                                   r"rules\.csv: row 2: vkMapIt has no wire form: ppData"),
    "queue without a lock": (registry_text("", QUEUE), {"commands.csv": ["vkQueueIt,7"]},
                             r"rules\.csv: vkQueueIt: a queue must be locked"),
    "endless structure": (registry_text(LOOP, USE_LOOP), IT,
                          r"vk\.xml: VkLoop: contains itself"),
    "bit-field": (registry_text(BITS, USE_LOOP.replace("VkLoop", "VkBits")), IT,
                  r"vk\.xml: VkBits: low is a bit-field"),
    "extension twice": (registry_text("", GET), it(extensions=["VK_A,5,1,1", "VK_B,5,1,1"]),
                        r"extensions\.csv: row 3: number 5 is already VK_A"),
    "extension outside the mask": (registry_text("", GET), it(extensions=["VK_A,1024,1,1"]),
                                   r"extensions\.csv: row 2: number 1024 does not fit"),
    "sType twice": (registry_text("", GET), it(stypes=["VK_A,5", "VK_B,5"]),
                    r"stypes\.csv: row 3: VK_B or its value appears twice"),
}


class Refusals(unittest.TestCase):
    def test_bad_input_is_refused(self):
        for name, (registry, data, message) in REFUSALS.items():
            with self.subTest(name):
                with self.assertRaisesRegex(BadInput, message):
                    generate.outputs(load(registry, data))

    def test_good_input_is_not(self):
        self.assertEqual(list(load(registry_text("", GET), IT).plans), [7])


class Extensions(unittest.TestCase):
    """What an extension brings, and when."""

    def planner(self, depends, listed):
        registry = registry_text("", GET).replace("</registry>", f"""<extensions>
            <extension name="VK_EXT_a" number="9" supported="vulkan"><require depends="{depends}">
            <command name="vkGetMore"/></require></extension>
            <extension name="VK_EXT_b" number="10" supported="vulkan"/></extensions></registry>""")
        registry = registry.replace("</commands>", GET.replace("vkGetIt", "vkGetMore") +
                                    "</commands>")
        return load(registry, {
            "commands.csv": ["vkGetIt,0", "vkGetMore,1"],
            "extensions.csv": [f"{e},{i + 9},1,1" for i, e in enumerate(listed)]})

    def test_depends(self):
        a, both = ["VK_EXT_a"], ["VK_EXT_a", "VK_EXT_b"]
        for depends, listed, there in (
                ("", a, True), ("VK_VERSION_1_3", a, True), ("VK_EXT_b", a, False),
                ("VK_EXT_b", both, True), ("VK_EXT_b,VK_VERSION_1_1", a, True),
                ("VK_EXT_b+VK_VERSION_1_1", a, False),
                ("(VK_EXT_b,VkF::f)+VK_EXT_a", a, True),
                ("VK_EXT_c", both, False), ("", ["VK_EXT_b"], False)):
            with self.subTest(depends=depends, listed=listed):
                self.assertEqual("vkGetMore" in self.planner(depends, listed).schema.commands,
                                 there)

    def test_what_the_registry_does_not_know_is_left_out_and_named(self):
        planner = self.planner("", ["VK_EXT_a", "VK_EXT_unknown"])
        self.assertEqual(planner.schema.missing_extensions, ["VK_EXT_unknown"])
        self.assertIn("left out: VK_EXT_unknown", emit_docs.commands_md(planner))
        self.assertNotIn("VK_EXT_unknown", generate.outputs(planner)["extensions.c"])


class Protocol(unittest.TestCase):
    """The whole protocol; the registry is given in VK_XML."""

    def test_counts(self):
        path = os.environ.get("VK_XML")
        if not path:
            self.skipTest("VK_XML is not set")
        planner = generate.load(path, os.path.join(HERE, "..", "..", "worker", "venus"))
        schema = planner.schema
        if schema.missing_extensions:
            self.skipTest("the registry is older than the protocol")
        with_form = [p for p in planner.plans.values() if not p.reason.startswith("no wire form")]
        self.assertEqual((len(planner.plans), len(with_form), len(schema.structs),
                          len(schema.unions)), (345, 325, 531, 7))
        self.assertEqual({n: len(schema.chains[n]) for n in (
            "VkDeviceCreateInfo", "VkPhysicalDeviceFeatures2", "VkPhysicalDeviceProperties2")},
            {"VkDeviceCreateInfo": 120, "VkPhysicalDeviceFeatures2": 117,
             "VkPhysicalDeviceProperties2": 51})


def update():
    for name in CASES:
        with open(os.path.join(HERE, "cases", name + ".expected"), "w", encoding="utf-8") as f:
            f.write(case_output(os.path.join(HERE, "cases", name + ".xml")))


if __name__ == "__main__":
    if sys.argv[1:] == ["--update"]:
        update()
    else:
        unittest.main()
