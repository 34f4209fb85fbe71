#!/bin/sh
# The first process of a machine of the lab that boots a Debian with its own systemd; machine.py
# starts it. What it sees first is this machine's file system, read-only, for its tools.
#
#     LAB_BASE    directory of a Debian, never written to
#     LAB_FILES   directory whose content is laid over it
#     LAB_MODULES directory of the modules of this kernel
#     /dev/ubda   its disk: what it has changed, which outlives a power cut

PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
set -e

mount -t proc proc /proc
mount -t tmpfs -o mode=755 tmpfs /run
grep -q ' /dev devtmpfs ' /proc/mounts || mount -t devtmpfs -o mode=755 devtmpfs /dev
release=$(uname -r)
mkdir -p /run/lab/base /run/lab/disk /run/lab/root /run/lab/lib/modules
ln -s "$LAB_MODULES" "/run/lab/lib/modules/$release"
modprobe -d /run/lab -a overlay ipv6 # ip_vs without ipv6 would know only IPv4

mount -t hostfs -o "$LAB_BASE" none /run/lab/base
mount -t ext4 /dev/ubda /run/lab/disk
mkdir -p /run/lab/disk/upper /run/lab/disk/work
mount -t overlay -o lowerdir=/run/lab/base,upperdir=/run/lab/disk/upper,workdir=/run/lab/disk/work \
    overlay /run/lab/root
cp -a "$LAB_FILES/." /run/lab/root/
mkdir -p "/run/lab/root/usr/lib/modules/$release" /run/lab/root/run
mount --bind "$LAB_MODULES" "/run/lab/root/usr/lib/modules/$release"
# This kernel's own watchdog needs a program that is not there; opening it is a kernel fault.
rm -f /dev/watchdog
mount --move /dev /run/lab/root/dev
mount -t proc proc /run/lab/root/proc
cd /run/lab/root
pivot_root . mnt
exec chroot . /bin/sh -c 'umount -l /mnt; exec /lib/systemd/systemd' </dev/console >/dev/console 2>&1
