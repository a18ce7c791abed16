#!/usr/bin/env python3
"""Runs one client program on the host driver and through Cordon and compares the results.

  run.py [--native] [--validate] [--server PROGRAM | --socket PATH] [--root DIR] [--host NAME]
         [--known CHECK] [--timeout S] [--strict] CLIENT [client options]

--native    only on the host driver
--validate  only on the host driver, with the Khronos validation layer
--server    starts this cordon-vtest for the run
--socket    uses a vtest server that already listens
--root      through the renderer with the venus driver of this Debian root; a plain name is one
            of those that scripts/peer-root makes
--host      on this host driver of scripts/host-drivers
--known     the host driver is known to fail this check
--strict    a check that the host passes and the renderer skips is a failure

Exit status: 0 equal and good, 1 not, 77 skipped.
"""

import argparse
import pathlib
import sys
import tempfile

import harness


def good(result, known):
    """Nothing failed, or what is known to."""
    if not result.line or "fatal" in result.line:
        return False
    failed = [name for name, text in result.line["checks"].items() if text.startswith("fail")]
    return result.ok or (failed == [known] and result.status == 1)


def run_native(options, extra=()):
    result = harness.run_client([options.client, *options.rest, *extra],
                                harness.host_environment(), options.timeout)
    if result.status == harness.SKIP:
        raise harness.Skip(result.stderr.strip().splitlines()[-1])
    if not good(result, options.known):
        raise harness.Failure(f"on the host driver: {result.describe()}")
    return result.line


def run_through(options, server, extra=()):
    socket = server.socket_path if server else options.socket
    command = [options.client, *options.rest, *extra]
    environment = harness.guest_environment(socket)
    if options.root:
        root = harness.OtherRoot(harness.CACHE / options.root)
        command, environment = root.command(command), root.environment(socket)
    result = harness.run_client(command, environment, options.timeout)
    if not good(result, options.known):
        log = f"\nserver log:\n{server.log()[-4000:]}" if server else ""
        raise harness.Failure(f"through the renderer: {result.describe()}{log}")
    return result.line


def compare(host, guest, strict):
    """Differences that matter, and remarks that do not."""
    wrong, remarks = [], []
    for name, text in host["checks"].items():
        got = guest["checks"].get(name, "missing")
        if text == "ok" and got != "ok":
            (wrong if strict or got == "missing" else remarks).append(f"{name}: {got}")
    for name, number in host["values"].items():
        got = guest["values"].get(name)
        if got is None:
            remarks.append(f"{name}: no value through the renderer")
        elif got != number:
            wrong.append(f"{name}: {number} on the host, {got} through the renderer")
    # A client that was given the host driver by mistake would compare equal.
    if guest["driver"] == host["driver"]:
        wrong.append(f"both runs used the driver {host['driver']}")
    return wrong, remarks


def print_bench(host, guest):
    """Medians side by side; the numbers judge nothing here."""
    for name, row in guest["bench"].items():
        beside = host["bench"].get(name, {}).get("median", "-")
        print(f"{name:32} {beside:>14} host {row['median']:>14} renderer  {row['unit']}")


def run(options):
    if options.validate:
        run_native(options, ["--validate"])
        return
    if options.native:
        line = run_native(options)
        skipped = [name for name, text in line["checks"].items() if text.startswith("skip")]
        print(f"ok on {line['device']}" + (f"; skipped: {', '.join(skipped)}" if skipped else ""))
        return
    if options.root:
        harness.OtherRoot(harness.CACHE / options.root)  # skips before anything is started
    server = None if options.socket else harness.Server(options.server)
    try:
        with tempfile.TemporaryDirectory(prefix="cordon-client-") as folder:
            # Pixels are compared byte by byte, so that a difference says where it is.
            scene = pathlib.Path(options.client).name == "cl_scene"
            raw = str(pathlib.Path(folder) / "host.raw")
            host = run_native(options, ["--raw", raw] if scene else [])
            guest = run_through(options, server, ["--compare", raw] if scene else [])
    finally:
        left = server.stop() if server else []
    wrong, remarks = compare(host, guest, options.strict)
    for remark in remarks:
        print(f"remark: {remark}")
    if "bench" in host and "bench" in guest:
        print_bench(host, guest)
    if left:
        wrong.append(f"the server left processes behind: {left}")
    if wrong:
        raise harness.Failure("; ".join(wrong))
    print(f"ok: {guest['device']} (Vulkan {guest['api']}) equals {host['device']}, "
          f"{len(host['checks'])} checks, {len(host['values'])} values")


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--native", action="store_true")
    parser.add_argument("--validate", action="store_true")
    parser.add_argument("--strict", action="store_true")
    parser.add_argument("--server")
    parser.add_argument("--socket")
    parser.add_argument("--root")
    parser.add_argument("--host")
    parser.add_argument("--known")
    parser.add_argument("--timeout", type=float, default=120)
    parser.add_argument("client")
    parser.add_argument("rest", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if not (options.native or options.validate or options.server or options.socket):
        parser.error("one of --native, --validate, --server and --socket is needed")
    if options.host:
        harness.HOST_ICD = str(next((harness.CACHE / options.host).glob("*_icd.json"),
                                    f"{options.host}; scripts/host-drivers make"))
    return harness.main(pathlib.Path(options.client).name, lambda: run(options))


if __name__ == "__main__":
    sys.exit(main())
