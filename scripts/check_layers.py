#!/usr/bin/env python3
"""Who may include whom, and what the binaries may link.

usage: check_layers.py [BUILDDIR]

Every #include of ours in the tracked C files is held against ALLOWED. With a build folder, also:
the render server names no Vulkan library, and libipc.a wants no symbol that starts with vk.
"""

import re
import subprocess
import sys
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent

# What the files of a room may include, as beginnings of paths from the root. A room is the
# longest key that its path begins with. Generated headers are by their name: "wire/".
ALLOWED = {
    "include/": ("include/", "cordon/"),
    "ipc/": ("ipc/", "include/", "cordon/"),
    "policy/": ("policy/", "ipc/base.h", "ipc/cleanup.h", "ipc/checked.h", "ipc/log.h",
                "ipc/descriptors.h", "ipc/fdset.h"),
    "server/": ("server/", "policy/", "ipc/", "include/", "cordon/"),
    # Plain numbers, made from the protocol's tables: what a front end announces.
    "server/front/": ("server/", "ipc/", "include/", "cordon/", "wire/capset.h"),
    "worker/": ("worker/", "policy/", "ipc/", "wire/"),
    "tests/": ("",),
}

# The Vulkan headers, by the rooms that may know the word.
VULKAN_HEADER = re.compile(r"^(vulkan|vk_video)/")
VULKAN_ROOMS = ("worker/", "tests/")

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.MULTILINE)

RENDER_SERVER = "server/render/cordon-render-server"
NEEDED = re.compile(r"\(NEEDED\).*\[(.+)\]")


def room_of(path):
    rooms = [room for room in ALLOWED if path.startswith(room)]
    return max(rooms, key=len, default=None)


def is_ours(included, quoted):
    """A system header is none of this table's business; ours are quoted or begin with a room."""
    return quoted or included.startswith(("cordon/", *ALLOWED))


def check_includes(path, text):
    """Yields what is wrong with the includes of one file."""
    room = room_of(path)
    if room is None:
        yield f"{path}: lies in no room; name its folder in ALLOWED of scripts/check_layers.py"
        return
    for match in INCLUDE.finditer(text):
        included = match.group(2)
        where = f"{path}:{text.count(chr(10), 0, match.start(2)) + 1}"
        if VULKAN_HEADER.match(included):
            if room not in VULKAN_ROOMS:
                yield f"{where}: includes {included}, but {room} must not know Vulkan"
            continue
        if not is_ours(included, match.group(1) == '"'):
            continue
        if not included.startswith(ALLOWED[room]):
            allowed = ", ".join(sorted(set(ALLOWED[room])))
            yield f"{where}: includes {included}, but {room} may include only {allowed}"


def check_needed(readelf_output):
    """Yields the Vulkan libraries in a dynamic section, as `readelf -d` prints it."""
    for name in NEEDED.findall(readelf_output):
        if "vulkan" in name.lower():
            yield f"{RENDER_SERVER}: links {name}; the server must not load Vulkan"


def check_undefined(nm_output):
    """Yields the vk symbols that an archive wants, as `nm -u` prints it."""
    for line in nm_output.splitlines():
        words = line.split()
        if len(words) == 2 and words[0] == "U" and words[1].startswith("vk"):
            yield f"ipc/libipc.a: wants {words[1]}; ipc must not know Vulkan"


def tracked_files():
    """The C files of the tree; all that are there where git or its data is missing."""
    try:
        listed = subprocess.run(
            ["git", "-c", f"safe.directory={TOP}", "-C", str(TOP), "ls-files", "-z",
             "*.c", "*.h"], capture_output=True, text=True, check=True).stdout
        return sorted(name for name in listed.split("\0") if name)
    except (OSError, subprocess.CalledProcessError):
        found = (path.relative_to(TOP).as_posix() for path in TOP.rglob("*.[ch]"))
        return sorted(name for name in found if not name.startswith("build/"))


def output_of(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def check_binaries(build, sources):
    """Yields what is wrong with the binaries; a room without sources has none yet."""
    server = build / RENDER_SERVER
    archive = build / "ipc/libipc.a"
    if server.exists():
        yield from check_needed(output_of("readelf", "-d", server))
    elif "server/render/main.c" in sources:
        yield f"{server}: is not there, so what it links cannot be read"
    if archive.exists():
        yield from check_undefined(output_of("nm", "-u", archive))
    elif any(re.match(r"ipc/.*\.c$", name) for name in sources):
        yield f"{archive}: is not there, so its symbols cannot be read"


def main(arguments):
    if len(arguments) > 1 or "--help" in arguments:
        print(__doc__)
        return 0 if "--help" in arguments else 2
    wrong = []
    files = tracked_files()
    for name in files:
        path = TOP / name
        if path.exists():
            wrong += check_includes(name, path.read_text(encoding="utf-8", errors="replace"))
    if arguments:
        build = Path(arguments[0])
        if not build.is_dir():
            print(f"check_layers: {build} is no folder; run scripts/build", file=sys.stderr)
            return 2
        wrong += check_binaries(build, files)
    for line in wrong:
        print(line)
    print(f"check_layers: {len(files)} files, {len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
