#!/usr/bin/env bash
# vulkaninfo_against_peer.sh BUILDDIR [SUITE]
#
# What vulkaninfo sees through virglrenderer's server must be there through ours. Skips itself
# (77) if one of the two is not here; scripts/test peer makes the former.
#
# Without SUITE this machine's vulkaninfo asks ours on this machine and the peer in Debian trixie:
# two builds of one lavapipe, Mesa 25.0.7 with LLVM 15 and with LLVM 19. With SUITE, trixie or forky, both servers run in that Debian's root,
# on the same libraries, and its own vulkaninfo, newer than Debian 12's, asks.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
build=$(realpath "$1")
vtest=server/vtest/cordon-vtest
suite=${2:-trixie}
root=${CORDON_CACHE:-${HOME:-/root}/.cache/cordon}/peer-$suite
scratch=$(mktemp -d)
ours=

end()
{
    if [ -e "$scratch/peer.sock.pid" ]; then
        "$top/scripts/peer-root" stop "$scratch/peer.sock" || true
    fi
    if [ "$ours" ]; then
        kill "$ours" 2> /dev/null || true
        wait "$ours" 2> /dev/null || true
        sed 's/^/cordon-vtest: /' "$scratch/ours.log"
    fi
    rm -rf "$scratch"
}
trap end EXIT

skip()
{
    echo "SKIP: $1"
    exit 77
}

[ -x "$build/$vtest" ] || skip "cordon-vtest is not in this build"
[ -d "$root" ] || skip "no root with the peer's server; scripts/peer-root --suite $suite make"
[ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null ||
    skip "entering the peer's root needs root, or sudo without a password"

"$top/scripts/peer-root" --suite "$suite" start "$scratch/peer.sock"
if [ "${2:-}" ]; then
    run=("$top/tests/enter_root.sh" "$root" "$build" "$scratch"
        "/mnt/$vtest" --socket-path /srv/ours.sock)
    client=(--root "$root")
    # Trixie's vulkaninfo asks for VkFormatProperties3 by its extension, and no device of Vulkan
    # 1.3, which ours is and the peer's is not; so both are asked as 1.2. The test without SUITE
    # compares the versions.
    [ "$suite" != trixie ] || export MESA_VK_VERSION_OVERRIDE=1.2
else
    run=("$build/$vtest" --socket-path "$scratch/ours.sock")
    client=()
fi
VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json \
    "${run[@]}" < /dev/null > "$scratch/ours.log" 2>&1 &
ours=$!
for _ in $(seq 100); do
    [ ! -S "$scratch/ours.sock" ] || break
    kill -0 "$ours" 2> /dev/null || break
    sleep 0.1
done
if [ ! -S "$scratch/ours.sock" ]; then
    echo "cordon-vtest opened no socket at --socket-path within 10 s"
    exit 1
fi
python3 "$top/tests/peer/compare_vulkaninfo.py" "${client[@]}" \
    "$scratch/peer.sock" "$scratch/ours.sock"
