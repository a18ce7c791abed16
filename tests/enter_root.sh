#!/usr/bin/env bash
# enter_root.sh ROOT BUILD FOLDER COMMAND...
#
# Runs COMMAND with another Debian as its root, BUILD at /mnt and FOLDER at /srv in it, in place of
# this process. Not by chroot: the kernel makes no user namespaces there, and the sandbox is made
# of them.

set -euo pipefail

[ $# -ge 4 ] || {
    sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0" >&2
    exit 2
}

user=()
[ "$(id -u)" = 0 ] || user=(--user --map-root-user)
# shellcheck disable=SC2016  # expanded inside
exec unshare "${user[@]}" --mount --propagation private sh -euc '
    mount --bind "$1" "$1"
    mount --bind "$2" "$1/mnt"
    mount --bind "$3" "$1/srv"
    mount --rbind /proc "$1/proc"
    mount --rbind /dev "$1/dev"
    mount --rbind /sys "$1/sys"
    cd "$1"
    pivot_root . .
    umount -l .
    cd /
    shift 3
    exec "$@"' sh "$@"
