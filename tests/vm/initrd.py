"""Writes an initramfs: the "newc" cpio format, which every Linux kernel unpacks."""

import gzip
import lzma
import pathlib
import re
import stat


class Archive:
    def __init__(self):
        self.parts = []
        self.inode = 0

    def add(self, name, mode, data=b""):
        self.inode += 1
        path = name.encode() + b"\0"
        fields = (self.inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(path), 0)
        head = b"070701" + b"".join(b"%08x" % field for field in fields) + path
        self.parts += [head, bytes(-len(head) % 4), data, bytes(-len(data) % 4)]

    def folder(self, name):
        self.add(name, stat.S_IFDIR | 0o755)

    def file(self, name, data, mode=0o644):
        self.add(name, stat.S_IFREG | mode, data)

    def write(self, path):
        self.add("TRAILER!!!", 0)
        path.write_bytes(gzip.compress(b"".join(self.parts), 1))


def module_order(modules, wanted):
    """Files of the wanted modules and of what they need, in the order to load them.

    What one kernel has as a module another has built in."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        file, rest = line.split(":")
        needs[file] = rest.split()

    def name_of(file):
        return re.sub(r"\.ko(\.xz)?$", "", pathlib.PurePath(file).name).replace("-", "_")

    by_name = {name_of(file): file for file in needs}
    order = []

    def add(file):
        for other in reversed(needs[file]):
            add(other)
        if file not in order:
            order.append(file)

    # What is not there is built in: not every kernel package lists that in a file.
    for name in wanted:
        if name.replace("-", "_") in by_name:
            add(by_name[name.replace("-", "_")])
    return order


def make(path, root, modules, wanted, init):
    """An initramfs with busybox of `root`, the wanted kernel modules, and `init` as /init."""
    archive = Archive()
    for folder in ("bin", "dev", "lib", "new", "proc", "sys"):
        archive.folder(folder)
    archive.file("bin/busybox", (root / "usr/bin/busybox").read_bytes(), 0o755)
    archive.file("init", init.read_bytes(), 0o755)
    names = []
    for file in module_order(modules, wanted):
        data = (modules / file).read_bytes()
        names.append(pathlib.PurePath(file).name.removesuffix(".xz"))
        archive.file(f"lib/{names[-1]}", lzma.decompress(data) if file.endswith(".xz") else data)
    archive.file("lib/order", "".join(f"{name}\n" for name in names).encode())
    archive.write(path)
