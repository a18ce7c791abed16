#!/usr/bin/env python3
"""An unmodified virgl_test_server with our render server behind it, and two generations of Mesa.

  pairings.py SUITE BUILDDIR [PROGRAM...]

SUITE is the Debian whose virglrenderer (trixie 1.1.0, forky 1.3.0), host driver and libraries are
used, with our programs of BUILDDIR behind RENDER_SERVER_EXEC_PATH. Every client program runs there
on the host driver, and then as a guest twice: with the Mesa of this machine, and with forky's. The
same checks must pass with the same values.

Exit status: 0 good, 1 not, 77 skipped.
"""

import argparse
import pathlib
import subprocess
import sys
import tempfile

import roots

# pylint: disable=wrong-import-order
import harness
import run as client_run

# Asked for by 26.1 alone, and told to guests by the library of 1.3.0 alone.
NEWEST_ONLY = {"host_image_copy"}


def check(name, host, clients, log):
    """One program in each client's place against its run on the host driver; what was wrong."""
    try:
        native = host.native(name)
    except harness.Failure as error:
        return [str(error)]
    wrong = []
    for place in clients:
        log_start = log.stat().st_size
        got = place.guest(name)
        if got.ok:
            different, _ = client_run.compare(native.line, got.line, True)
            if (host.name, place.name) != ("forky", "forky"):
                different = [text for text in different if text.split(":")[0] not in NEWEST_ONLY]
        else:
            text = log.read_text(errors="replace")[log_start:]
            different = [f"{got.describe()}\nserver log:\n{text}"]
        print(f"{'FAIL' if different else 'ok  '} {name}, client {place.name}", flush=True)
        wrong += [f"{name}, client {place.name}: {text}" for text in different]
    return wrong


def run(options):
    for suite in (options.suite, "forky"):
        roots.need(suite)
    wrong = []
    with tempfile.TemporaryDirectory(prefix="cordon-peer-") as name:
        folder = pathlib.Path(name)
        socket_path = folder / "vtest.sock"
        log = folder / "vtest.sock.log"
        build = pathlib.Path(options.build).resolve()
        subprocess.run([roots.PEER_ROOT, "--suite", options.suite, "start", socket_path, build],
                       check=True, stdout=subprocess.DEVNULL)
        try:
            host = roots.Place(options.suite, build, folder)
            clients = [roots.Place("host", build, folder), roots.Place("forky", build, folder)]
            version = roots.version(options.suite, "libvirglrenderer1")
            print(f"virglrenderer {version} with our render server")
            # A vtest server has no sync files to give.
            for program in options.programs or [name for name in roots.PROGRAMS if name != "sync"]:
                wrong += check(program, host, clients, log)
            # Else the peer's own server stood behind the socket, and all this shows nothing.
            if "cordon-render-server" not in log.read_text(errors="replace"):
                wrong.append("our render server was never started")
        finally:
            subprocess.run([roots.PEER_ROOT, "stop", socket_path], check=False)
    if wrong:
        raise harness.Failure("\n".join(wrong))


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("suite", choices=("trixie", "forky"))
    parser.add_argument("build")
    parser.add_argument("programs", nargs="*", metavar="program")
    options = parser.parse_args()
    return harness.main(f"virgl_test_server {options.suite}", lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
