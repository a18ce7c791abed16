#!/bin/bash
# qemu.sh MEMORY-MIB ARGUMENT...
#
# QEMU with a guest of its own root, in emulation: its kernel, read-only over 9p, and /run/cordon
# to leave results in. With -no-reboot among the arguments two QEMUs run, one after the other.
# Its window is on an X server that nobody sees. Inside that root.

set -eu

memory=$1
shift
Xvfb -displayfd 3 -screen 0 640x480x24 -nolisten tcp 3> /tmp/display > /run/cordon/xvfb.log 2>&1 &
helpers=$!
trap 'kill $helpers; wait' EXIT
# A device of its own that QEMU connects to.
if [ -e /run/cordon/device ]; then
    # shellcheck disable=SC2046,SC2091  # the words of a command line, to be run
    $(cat /run/cordon/device) &
    helpers="$helpers $!"
    for _ in $(seq 100); do
        [ ! -S /run/cordon/gpu.sock ] || break
        sleep 0.1
    done
fi
for _ in $(seq 100); do
    [ ! -s /tmp/display ] || break
    sleep 0.1
done
DISPLAY=:$(cat /tmp/display)
export DISPLAY XDG_RUNTIME_DIR=/tmp LIBGL_ALWAYS_SOFTWARE=1

# Another kernel than the root's.
kernel=/boot/vmlinuz
[ ! -e /run/cordon/vmlinuz ] || kernel=/run/cordon/vmlinuz
run()
{
    timeout -k 5 "$CORDON_VM_SECONDS" qemu-system-x86_64 \
        -nodefaults -no-user-config -machine q35 -accel tcg -cpu max -smp 1 -m "$memory" \
        -kernel "$kernel" -initrd /run/cordon/initrd.gz -append 'console=ttyS0 panic=-1 quiet' \
        -serial file:/run/cordon/serial.log -monitor none -action panic=shutdown \
        -fsdev local,id=root,path=/,security_model=none,readonly=on,multidevs=remap \
        -device virtio-9p-pci,fsdev=root,mount_tag=root \
        -fsdev local,id=shared,path=/run/cordon,security_model=none \
        -device virtio-9p-pci,fsdev=shared,mount_tag=shared \
        "$@"
}

run "$@"
# With -no-reboot a reboot ends QEMU: the guest goes on in another one.
case " $* " in
*" -no-reboot "*) run "$@" ;;
esac
