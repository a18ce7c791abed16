#!/usr/bin/env bash
# vulkaninfo_against_peer.sh BUILDDIR
#
# What vulkaninfo sees through virglrenderer's server must be there through ours. Skips itself
# (77) if one of the two is not here; scripts/test peer makes the former.

set -euo pipefail

top=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
vtest=$1/server/vtest/cordon-vtest
scratch=$(mktemp -d)
ours=

end()
{
    if [ -L "$scratch/peer.sock" ]; then
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

[ -x "$vtest" ] || skip "cordon-vtest is not in this build"
[ -d "${CORDON_CACHE:-${HOME:-/root}/.cache/cordon}/peer-trixie" ] ||
    skip "no root with the peer's server; scripts/peer-root make"
[ "$(id -u)" = 0 ] || sudo -n true 2> /dev/null ||
    skip "entering the peer's root needs root, or sudo without a password"

"$top/scripts/peer-root" start "$scratch/peer.sock"
VK_DRIVER_FILES=/usr/share/vulkan/icd.d/lvp_icd.json \
    "$vtest" --socket-path "$scratch/ours.sock" < /dev/null > "$scratch/ours.log" 2>&1 &
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
python3 "$top/tests/peer/compare_vulkaninfo.py" "$scratch/peer.sock" "$scratch/ours.sock"
