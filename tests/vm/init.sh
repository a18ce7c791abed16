#!/bin/busybox sh
# shellcheck shell=dash
# The guest's first process: the root is the one that QEMU itself runs in, read-only over 9p.

b=/bin/busybox
$b mount -t proc proc /proc
$b mount -t sysfs sys /sys
$b mount -t devtmpfs dev /dev
for module in $($b cat /lib/order); do
    $b insmod "/lib/$module"
done
$b mount -t 9p -o trans=virtio,version=9p2000.L,ro,msize=524288,cache=loose root /new
$b mount -t proc proc /new/proc
$b mount --move /sys /new/sys
$b mount --move /dev /new/dev
$b mount -t tmpfs tmpfs /new/tmp
exec $b switch_root /new /bin/sh /run/cordon/guest.sh
