#!/usr/bin/env python3
"""The systemd units: hardened as far as workers' jails allow, by systemd's own count.

usage: test_units.py UNIT...

Status 77 where there is no systemd-analyze that can look at a file.
"""

import re
import shutil
import subprocess
import sys
from pathlib import Path

# In tenths; what is left are directives that a jail cannot be made under.
MOST = 37
# Each of these stops workers from being confined, or lavapipe from running.
NEVER = ("RestrictNamespaces", "PrivateUsers", "ProtectControlGroups", "ProtectProc", "ProcSubset",
         "MemoryDenyWriteExecute", "SystemCallFilter")


def faults(path):
    """What is wrong with one unit."""
    names = re.findall(r"^(\w+)=", Path(path).read_text(), re.MULTILINE)
    found = [f"{name}= is set" for name in NEVER if name in names]
    found += [f"{name}= twice" for name in names if names.count(name) > 1 and name != "DeviceAllow"]
    done = subprocess.run(["systemd-analyze", "security", "--offline=true",
                           f"--threshold={MOST}", "--no-pager", path],
                          capture_output=True, text=True, check=False)
    level = done.stdout.strip().splitlines()[-1:]
    print(path, *level)
    if done.returncode != 0:
        found.append(f"exposed more than {MOST / 10}: {level}")
    # The one directive that is newer than the oldest systemd that we name.
    found += [line for line in done.stderr.splitlines()
              if "DelegateSubgroup" not in line and re.search("Unknown|Failed|Invalid", line)]
    return found


def main():
    help_text = shutil.which("systemd-analyze") and subprocess.run(
        ["systemd-analyze", "--help"], capture_output=True, text=True, check=False).stdout
    if not help_text or "--offline" not in help_text:
        print("SKIP: no systemd-analyze security --offline here")
        return 77
    found = [f"{path}: {fault}" for path in sys.argv[1:] for fault in faults(path)]
    print(*found, sep="\n")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
