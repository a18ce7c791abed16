#!/usr/bin/env python3
"""Does a venus client see through our server at least what it sees through the peer's?

usage: compare_vulkaninfo.py [--exceptions FILE] [--registry VK.XML] [--save DIR]
                             [--root DIR] PEER OURS

PEER and OURS are vtest sockets, through which vulkaninfo is run, or folders that --save left.
Every device extension, feature, property, format, queue family and memory type of PEER must be
there through OURS, at least as good: vk.xml says for each limit whether more or less is better.
--root: vulkaninfo and the venus driver come from this other Debian.
Exit status 0 if nothing is missing but what exceptions.tsv names and argues.
"""

import argparse
import fnmatch
import json
import os
import re
import stat
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree
from pathlib import Path

HERE = Path(__file__).resolve().parent
JSON_NAME = "vulkaninfo.json"
TEXT_NAME = "vulkaninfo.txt"
VENUS_DRIVER = "usr/share/vulkan/icd.d/virtio_icd.json"
DEADLINE_S = 120

# The registry calls these "noauto", which hides that a client does compare them.
LIMIT_TYPES = {
    "VkPhysicalDeviceProperties.apiVersion": "max",
}


class Unusable(Exception):
    """What a person must put right before there is anything to compare."""


# Capturing

def vulkaninfo_command(root):
    """The program; of another Debian with that one's dynamic linker, told where its libraries are."""
    if root == Path("/"):
        return ["vulkaninfo"]
    linker = next(iter(root.glob("usr/lib64/ld-linux-*.so.*")), None)
    libraries = next(iter(root.glob("usr/lib/*-linux-gnu")), None)
    if not linker or not libraries:
        raise Unusable(f"{root} is no Debian root; see scripts/peer-root")
    return [linker, "--library-path", libraries, root / "usr/bin/vulkaninfo"]


def run_vulkaninfo(root, socket, arguments, folder):
    driver = str(root / VENUS_DRIVER)
    environment = dict(os.environ, VN_DEBUG="vtest", VTEST_SOCKET_NAME=os.path.abspath(socket),
                       VK_DRIVER_FILES=driver, VK_ICD_FILENAMES=driver,
                       XDG_RUNTIME_DIR=folder, NODEVICE_SELECT="1")
    environment.pop("DISPLAY", None)
    environment.pop("WAYLAND_DISPLAY", None)
    try:
        done = subprocess.run([*vulkaninfo_command(root), *arguments], cwd=folder, env=environment,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              errors="replace", timeout=DEADLINE_S, check=False)
    except FileNotFoundError:
        raise Unusable("vulkaninfo is not installed; run scripts/setup") from None
    except subprocess.TimeoutExpired:
        raise Unusable(f"vulkaninfo through {socket} did not end in {DEADLINE_S} s") from None
    if done.returncode != 0:
        raise Unusable(f"vulkaninfo through {socket} ended with status {done.returncode}:\n"
                       f"{done.stdout[-500:]}{done.stderr[-2000:]}")
    return done.stdout


def capture(root, socket, folder):
    """Runs vulkaninfo twice: only the text has the memory types, only the JSON is exact."""
    with tempfile.TemporaryDirectory() as scratch:
        run_vulkaninfo(root, socket, ["--json"], scratch)
        written = list(Path(scratch).glob("VP_VULKANINFO_*.json"))
        if len(written) != 1:
            raise Unusable(f"vulkaninfo through {socket} saw no device")
        (folder / JSON_NAME).write_bytes(written[0].read_bytes())
        (folder / TEXT_NAME).write_text(run_vulkaninfo(root, socket, ["--text"], scratch),
                                        encoding="utf-8")


# Reading what was captured

def read_memory(text):
    """Returns the memory types as (heap size, flags, uses), in vulkaninfo's text."""
    start = text.find("\nVkPhysicalDeviceMemoryProperties:")
    if start < 0:
        raise Unusable("vulkaninfo's text has no memory properties")
    heaps, types = {}, []
    heap = current = uses = None
    for line in text[start:].splitlines()[3:]:
        word = line.strip()
        if line and not line[0].isspace() and not word.startswith("memory"):
            break
        if match := re.match(r"memoryHeaps\[(\d+)\]:", word):
            heap, current = int(match.group(1)), None
        elif re.match(r"memoryTypes\[(\d+)\]:", word):
            current, uses = {"heap": None, "flags": set(), "uses": set()}, None
            types.append(current)
        elif match := re.match(r"size\s+= (\d+)", word):
            heaps[heap] = int(match.group(1))
        elif match := re.match(r"heapIndex\s+= (\d+)", word):
            current["heap"] = int(match.group(1))
        elif current is not None and word.startswith("MEMORY_PROPERTY_"):
            current["flags"].add(word)
        elif current is not None and word.startswith("IMAGE_TILING_"):
            uses = word.split(":")[0]
        elif current is not None and uses and word and word[0] != "(" and word != "None":
            # "(non-sparse)" tells what is not possible; nobody can rely on that.
            current["uses"].add(f"{uses} {word}")
    return [(heaps[one["heap"]], one["flags"], one["uses"]) for one in types]


def flatten(name, value, facts):
    """Turns nested structures into facts with a dotted name; arrays stay values."""
    if isinstance(value, dict):
        for key, inner in value.items():
            flatten(f"{name}.{key}", inner, facts)
    else:
        facts[name] = value


def read_facts(captured, registry):
    """Returns {kind + name: value} of all that the JSON tells."""
    device = captured["capabilities"]["device"]
    facts = {}
    for name, version in device["extensions"].items():
        facts[f"extension {name}"] = version
    for kind, key in (("feature", "features"), ("property", "properties")):
        for struct, members in device[key].items():
            flatten(f"{kind} {registry.core_name(struct)}", members, facts)
    for name, structs in device["formats"].items():
        for struct, members in structs.items():
            flatten(f"format {name}.{registry.core_name(struct)}", members, facts)
    for index, structs in enumerate(device["queueFamiliesProperties"]):
        for struct, members in structs.items():
            flatten(f"queue {index}.{registry.core_name(struct)}", members, facts)
    return facts


def load(folder, registry):
    try:
        captured = json.loads((folder / JSON_NAME).read_text(encoding="utf-8"))
        text = (folder / TEXT_NAME).read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise Unusable(f"{folder}: {error}") from None
    return read_facts(captured, registry), read_memory(text)


class Registry:
    """What vk.xml knows about the structures that a client asks for."""

    def __init__(self, path):
        self.limit_types = {}
        self.aliases = {}
        inner = {}
        for struct in ElementTree.parse(path).getroot().iter("type"):
            name = struct.get("name")
            if struct.get("alias"):
                self.aliases[name] = struct.get("alias")
            for member in struct.findall("member"):
                full = f"{name}.{member.findtext('name')}"
                inner[full] = member.findtext("type")
                if member.get("limittype"):
                    self.limit_types[full] = member.get("limittype")
        # VkPhysicalDeviceProperties.limits.maxViewports is VkPhysicalDeviceLimits.maxViewports.
        for outer, struct in inner.items():
            for known, limit_type in list(self.limit_types.items()):
                if known.startswith(f"{struct}."):
                    self.limit_types[f"{outer}.{known.split('.', 1)[1]}"] = limit_type
        self.limit_types.update(LIMIT_TYPES)

    def core_name(self, struct):
        """The name that vulkaninfo uses once the version makes an extension core."""
        while struct in self.aliases:
            struct = self.aliases[struct]
        return struct

    def limit_type(self, name, value):
        kind, path = name.split(" ", 1)
        if kind == "extension":
            return "max"
        if kind in ("feature", "format"):
            return "bitmask"
        if kind == "queue":
            path = path.split(".", 1)[1]
        # An inner structure without words of its own, such as an extent, takes its holder's.
        found = self.limit_types.get(path) or self.limit_types.get(path.rsplit(".", 1)[0])
        if found and found != "struct":
            return found
        # No word in the registry: what only adds is compared so, anything else must be equal.
        return "bitmask" if isinstance(value, (bool, list)) else "exact"


# Comparing

def at_least(limit_type, peer, ours):
    """Is ours as good as the peer's? limit_type is vk.xml's "limittype"."""
    words = limit_type.split(",")
    if "noauto" in words:
        return True
    if isinstance(peer, bool) and isinstance(ours, bool):
        return peer == ours if "exact" in words else ours or not peer
    if isinstance(peer, str) or isinstance(ours, str) or "exact" in words:
        return peer == ours
    if isinstance(peer, list) and isinstance(ours, list):
        if any(isinstance(one, (str, dict)) for one in peer + ours):
            return all(one in ours for one in peer)
        if len(peer) != len(ours):
            return False
        if "range" in words:
            return ours[0] <= peer[0] and ours[1] >= peer[1]
        return all(at_least(limit_type, *pair) for pair in zip(peer, ours))
    if "min" in words:
        return ours <= peer
    if "max" in words or "bits" in words or "bitmask" in words:
        return ours >= peer
    return peer == ours


def memory_differences(peer, ours):
    """A client looks for a type by its flags, so each of the peer's needs one that has as much."""
    for index, (size, flags, uses) in enumerate(peer):
        if not any(other_size >= size and other_flags >= flags and other_uses >= uses
                   for other_size, other_flags, other_uses in ours):
            wanted = " ".join(sorted(flags)) or "no flags"
            yield (f"memory type {index}",
                   f"none of ours has {wanted}, a heap of {size} bytes and the same uses")


def find_fact(name, facts):
    """A structure that became core is told as part of VkPhysicalDeviceVulkan1xFeatures only."""
    if name in facts:
        return facts[name]
    kind, _, path = name.partition(" ")
    ending = {"feature": "Features", "property": "Properties"}.get(kind)
    for version in (11, 12, 13, 14) if ending else ():
        promoted = f"{kind} VkPhysicalDeviceVulkan{version}{ending}.{path.partition('.')[2]}"
        if promoted in facts:
            return facts[promoted]
    return None


def compare(peer, ours, registry):
    """Yields (name, what is less) for each fact of the peer that ours does not reach."""
    peer_facts, peer_memory = peer
    our_facts, our_memory = ours
    for name, value in peer_facts.items():
        our_value = find_fact(name, our_facts)
        limit_type = registry.limit_type(name, value)
        if our_value is None:
            # A structure that says "no" or "none" gives a client nothing to miss.
            if value not in (False, 0, []):
                yield name, f"peer has {shown(value)}, ours does not have it at all"
        elif not at_least(limit_type, value, our_value):
            yield name, less(limit_type, value, our_value)
    yield from memory_differences(peer_memory, our_memory)


def shown(value):
    return json.dumps(value) if not isinstance(value, list) or len(value) < 9 else (
        f"{len(value)} values")


def less(limit_type, peer, ours):
    if isinstance(peer, list) and isinstance(ours, list) and any(
            isinstance(one, str) for one in peer):
        return f"ours lacks {', '.join(str(one) for one in peer if one not in ours)}"
    return f"peer {shown(peer)}, ours {shown(ours)} ({limit_type})"


def read_exceptions(path):
    """Returns [(pattern, reason)]; a line without a reason is refused."""
    exceptions = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        name, tab, reason = line.partition("\t")
        if not tab or not reason.strip():
            raise Unusable(f"{path}:{number}: needs a name, a tab and a reason")
        exceptions.append((name, reason.strip()))
    return exceptions


def excuse(name, exceptions):
    return next((reason for pattern, reason in exceptions if fnmatch.fnmatchcase(name, pattern)),
                None)


def report(n_facts, differences, exceptions):
    """Prints the result and returns how many differences nobody excused."""
    excused = [(name, excuse(name, exceptions)) for name, _ in differences
               if excuse(name, exceptions)]
    bad = [(name, text) for name, text in differences if not excuse(name, exceptions)]
    if excused:
        print("named exceptions:")
        for name, reason in excused:
            print(f"  {name}: {reason}")
    if bad:
        print("less than through the peer:")
        for name, text in bad:
            print(f"  {name}: {text}")
    print(f"{n_facts} facts compared, {len(bad)} less than the peer's, "
          f"{len(excused)} named exceptions")
    return len(bad)


def open_side(side, root, save, name, scratch):
    """Returns the folder of a side, after running vulkaninfo if it is a socket."""
    try:
        mode = os.stat(side).st_mode
    except OSError as error:
        raise Unusable(f"{side}: {error.strerror}") from None
    if stat.S_ISDIR(mode):
        return Path(side)
    if not stat.S_ISSOCK(mode):
        raise Unusable(f"{side} is neither a vtest socket nor a folder that --save left")
    folder = (Path(save) if save else Path(scratch)) / name
    folder.mkdir(parents=True, exist_ok=True)
    capture(root, side, folder)
    return folder


def main(arguments):
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--exceptions", type=Path, default=HERE / "exceptions.tsv")
    parser.add_argument("--registry", type=Path, default=HERE.parents[1] /
                        "build/deps/vulkan/usr/share/vulkan/registry/vk.xml")
    parser.add_argument("--save", metavar="DIR", help="keep what vulkaninfo printed")
    parser.add_argument("--root", metavar="DIR", type=Path, default=Path("/"))
    parser.add_argument("peer")
    parser.add_argument("ours")
    chosen = parser.parse_args(arguments)
    try:
        exceptions = read_exceptions(chosen.exceptions)
        registry = Registry(chosen.registry)
        with tempfile.TemporaryDirectory() as scratch:
            peer, ours = (
                load(open_side(side, chosen.root, chosen.save, name, scratch), registry)
                for side, name in ((chosen.peer, "peer"), (chosen.ours, "ours")))
    except (Unusable, OSError, ElementTree.ParseError) as error:
        print(f"compare_vulkaninfo: {error}", file=sys.stderr)
        return 2
    differences = list(compare(peer, ours, registry))
    n_facts = len(peer[0]) + len(peer[1])
    return 1 if report(n_facts, differences, exceptions) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
