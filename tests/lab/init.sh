#!/bin/sh
# The first process of the lab kernel (User-Mode Linux). Its root is the host's file system, so
# everything that it mounts is its own and everything that it would write is the host's: it writes
# to LAB_RUN only. tests/lab/kernel.py starts it and explains the files in LAB_RUN.
#
# Consoles: tty0 kernel messages, tty1 and tty2 standard output and error of the command.

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH

mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir -p /run/lab/keep /run/lab/lib/modules /run/lock

# What the command needs may lie under a directory that is hidden next: keep a way to it.
n=0
while IFS= read -r directory; do
    n=$((n + 1))
    mkdir "/run/lab/keep/$n"
    mount --bind "$directory" "/run/lab/keep/$n"
done <"$LAB_RUN/keep"

mount -t tmpfs -o mode=1777 tmpfs /tmp
grep -q ' /dev devtmpfs ' /proc/mounts || mount -t devtmpfs -o mode=755 devtmpfs /dev
# This kernel's own watchdog needs a program that is not there; opening it is a kernel fault.
rm -f /dev/watchdog
mkdir -p /dev/pts /dev/shm
mount -t devpts -o ptmxmode=666 devpts /dev/pts
ln -sf pts/ptmx /dev/ptmx
mount -t tmpfs -o mode=1777 tmpfs /dev/shm
[ -e /dev/fd ] || ln -s /proc/self/fd /dev/fd
[ -e /dev/stdin ] || ln -s fd/0 /dev/stdin
[ -e /dev/stdout ] || ln -s fd/1 /dev/stdout
[ -e /dev/stderr ] || ln -s fd/2 /dev/stderr

n=0
while IFS= read -r directory; do
    n=$((n + 1))
    [ -d "$directory" ] || mkdir -p "$directory"
    mountpoint -q "$directory" || mount --bind "/run/lab/keep/$n" "$directory"
done <"$LAB_RUN/keep"

# Modules: the host may have no /lib/modules at all, and the kernel's own requests (a scheduler,
# the type of a network device) must find them too.
ln -s "/usr/lib/uml/modules/$(uname -r)" "/run/lab/lib/modules/$(uname -r)"
printf '#!/bin/sh\nexec modprobe -d /run/lab "$@"\n' >/run/lab/modprobe
chmod 755 /run/lab/modprobe
echo /run/lab/modprobe >/proc/sys/kernel/modprobe
/run/lab/modprobe -a ipv6 ip_vs # in this order: without ipv6 ip_vs knows only IPv4

echo lab >/proc/sys/kernel/hostname
ip link set lo up

stty -F /dev/tty1 raw -echo
stty -F /dev/tty2 raw -echo
# The command stands in a file, quoted by whoever wrote it; its exit code is left in another.
setsid sh "$LAB_RUN/command" </dev/null >/dev/tty1 2>/dev/tty2
echo $? >"$LAB_RUN/exit-code"

stty -F /dev/tty1 raw # waits until the output has left
stty -F /dev/tty2 raw
sync
echo o >/proc/sysrq-trigger
sleep 60
