"""Boots a Debian guest in emulation, inside one of scripts/peer-root's roots named -vm."""

import pathlib
import shutil
import subprocess
import sys
import time

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "peer"))

# pylint: disable=wrong-import-position
import roots

# pylint: disable=wrong-import-order
import harness
import initrd

SECONDS = 150


class Guest:
    """A machine that runs named shell commands; `folder` is what it and we both see.

    `kernel`: the root whose kernel it boots, instead of the suite's own."""

    def __init__(self, suite, build, folder, modules=(), kernel=None):
        self.suite, self.build, self.folder = suite, build, folder
        self.out = folder / "out"
        root = roots.root(kernel or suite)
        initrd.make(folder / "initrd.gz", root, next((root / "usr/lib/modules").iterdir()),
                    ["virtio_pci", "9p", "9pnet_virtio", *modules], HERE / "init.sh")
        if kernel:
            shutil.copy(root / "boot/vmlinuz", folder / "vmlinuz")
        for name in ("guest.sh", "qemu.sh"):
            shutil.copy(HERE / name, folder)

    def run(self, commands, arguments, prepare="", memory=1024, variables=(), second=None,
            device=None, seconds=SECONDS):
        """Runs the commands, and after a reboot those of `second`; returns QEMU's output.

        `device` is the command line of a process to start before QEMU."""
        self.out.mkdir()
        if device:
            (self.folder / "device").write_text(" ".join(device) + "\n")
        (self.folder / "prepare").write_text(prepare + "\n")
        for file, lines in (("programs", commands), ("programs.second", second)):
            if lines:
                (self.folder / file).write_text("".join(
                    f"{name} {command}\n" for name, command in lines.items()))
        if second:
            (self.out / "second").mkdir()
        log = self.folder / "qemu.log"
        begun = time.monotonic()
        with open(log, "wb") as output:
            status = subprocess.run(
                [roots.PEER_ROOT, "--suite", self.suite, "enter", self.folder, self.build,
                 f"CORDON_VM_SECONDS={seconds}", *variables,
                 "/bin/bash", "/run/cordon/qemu.sh", str(memory), *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=False).returncode
        ended = time.monotonic()
        text = log.read_text(errors="replace")
        # The render server outlives QEMU by the moment that it needs to notice.
        while "cordon-render-server" in text and "contexts served" not in text.splitlines()[-1]:
            if time.monotonic() > ended + 10:
                raise harness.Failure(f"the render server did not end with QEMU\n{text}")
            time.sleep(0.05)
            text = log.read_text(errors="replace")
        print(f"QEMU {roots.version(self.suite, 'qemu-system-x86')}, libvirglrenderer "
              f"{roots.version(self.suite, 'libvirglrenderer1')}, the guest was up for "
              f"{ended - begun:.1f} s")
        if status != 0:
            raise harness.Failure(f"QEMU ended with status {status}\n{text}\n{self.serial()}")
        return text

    def serial(self):
        try:
            return (self.folder / "serial.log").read_text(errors="replace")
        except FileNotFoundError:
            return "the guest never wrote a line"

    def result(self, name, life=1):
        """What one command left."""
        out = self.out if life == 1 else self.out / "second"
        try:
            return harness.Result(int((out / f"{name}.status").read_text()),
                                  (out / f"{name}.stdout").read_text(errors="replace"),
                                  (out / f"{name}.stderr").read_text(errors="replace"))
        except (FileNotFoundError, ValueError):
            raise harness.Failure(f"{name} never ended\n{self.serial()}") from None

    def said(self, name, life=1):
        out = self.out if life == 1 else self.out / "second"
        return (out / f"{name}.stdout").read_text(errors="replace")
