# What the guest does once its root is mounted: runs the lines "NAME COMMAND..." of
# /run/cordon/programs, and leaves what each said in /run/cordon/out. If there is a second such
# file it reboots and goes on with that.

export PATH=/usr/bin:/usr/sbin:/bin:/sbin HOME=/tmp MESA_SHADER_CACHE_DISABLE=true

out=/run/cordon/out
programs=/run/cordon/programs
mount -t 9p -o trans=virtio,version=9p2000.L,msize=524288 shared /run/cordon
echo "$(uname -r), up for $(cut -d ' ' -f 1 /proc/uptime) s"
if [ -e $out/rebooted ]; then
    # The second life of the same machine, with the same server behind it.
    out=$out/second
    programs=$programs.second
fi
. /run/cordon/prepare
while read -r name command; do
    echo "$name, at $(cut -d ' ' -f 1 /proc/uptime) s"
    timeout -k 5 "${CORDON_COMMAND_SECONDS:-100}" sh -c "$command" > "$out/$name.stdout" 2> "$out/$name.stderr" < /dev/null
    echo $? > "$out/$name.status"
done < $programs
if [ -e $programs.second ]; then
    : > $out/rebooted
    exec busybox reboot -f
fi
exec busybox poweroff -f
