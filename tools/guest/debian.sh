#!/bin/sh
# debian.sh OUT.img [SIZE]: a Debian root disk (ext4, no partitions) made with debootstrap: systemd, login as root
# without a password on the serial console, network by DHCP. Needs root of this machine, and no loop devices or
# mounts of the image. Cached: an existing OUT is kept. From the environment: HOOK, a program that is given the tree
# before the image is made of it; TREE, where that tree is then left (tests/workloads).
set -eu
out=$1
size=${2:-2G}
suite=${SUITE:-bookworm}
[ -s "$out" ] && exit 0
[ "$(id -u)" = 0 ] || { echo "debian.sh: debootstrap needs root: run 'sudo make run GUEST=debian' once" >&2; exit 1; }
root=$(mktemp -d "${TREE:-${TMPDIR:-/tmp}/debian}.XXXXXX")
trap 'rm -rf "$root"' EXIT INT TERM
chmod 755 "$root"
mirror=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p; s/^URIs: *\([^ ]*\).*/\1/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1)
say()
{
    printf '%s\n' "$*" >&2
}
say "debian: bootstrapping $suite (about a minute and a half)"
n=0
packages=systemd-sysv,udev,dbus,iproute2,iputils-ping,kmod,libpam-systemd,login,netbase,apt,procps,wget
packages=$packages,ca-certificates,fio,ethtool,pciutils
debootstrap --variant=minbase --include=$packages "$suite" "$root" "$mirror" \
    > "$out.log" 2>&1 & pid=$!
while kill -0 $pid 2>/dev/null; do
    n=$((n + 1))
    [ $((n % 10)) = 0 ] && say "debian: $(grep -c '^I: Unpacking' "$out.log" || true) packages unpacked," \
        "$(grep -c '^I: Configuring' "$out.log" || true) configured"
    sleep 1
done
wait $pid || { tail -n 5 "$out.log" >&2; say "debian: debootstrap failed, see $out.log"; exit 1; }
say "debian: configuring"
echo liege > "$root/etc/hostname"
printf '127.0.0.1 localhost liege\n' > "$root/etc/hosts"
sed -i 's/^root:[^:]*:/root::/' "$root/etc/shadow"
printf '/dev/vda / ext4 defaults,errors=remount-ro 0 1\n' > "$root/etc/fstab"
mkdir -p "$root/etc/systemd/network" "$root/etc/systemd/system/serial-getty@ttyS0.service.d" \
    "$root/etc/systemd/system-preset"
printf '[Match]\nName=e*\n[Network]\nDHCP=yes\n[DHCPv4]\nUseDNS=yes\n' > "$root/etc/systemd/network/80-dhcp.network"
printf '[Service]\nExecStart=\nExecStart=-/sbin/agetty --noclear -L 115200 %%I linux\n' \
    > "$root/etc/systemd/system/serial-getty@ttyS0.service.d/login.conf"
# No resolved in a minimal system: the user network's DNS server is always at the same address.
printf 'nameserver 10.0.2.3\n' > "$root/etc/resolv.conf"
mkdir -p "$root/etc/systemd/system/multi-user.target.wants"
ln -sf /lib/systemd/system/systemd-networkd.service \
    "$root/etc/systemd/system/multi-user.target.wants/systemd-networkd.service"
# What a virtual machine without a screen has no use for.
for unit in systemd-networkd-wait-online.service systemd-firstboot.service systemd-pstore.service modprobe@drm.service \
    modprobe@efi_pstore.service modprobe@fuse.service modprobe@loop.service modprobe@dm_mod.service \
    sys-fs-fuse-connections.mount getty@tty1.service apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer \
    e2scrub_all.timer e2scrub_reap.service fstrim.timer; do
    ln -sf /dev/null "$root/etc/systemd/system/$unit"
done
head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$root/etc/machine-id"
echo >> "$root/etc/machine-id"
printf 'deb http://deb.example.invalid/debian %s main\n' "$suite" > "$root/etc/apt/sources.list"
for d in "${KERNEL_DIR:-}"/lib/modules/*; do
    [ -d "$d" ] && mkdir -p "$root/lib/modules" && cp -a "$d" "$root/lib/modules/"
done
[ -z "${HOOK:-}" ] || "$HOOK" "$root" >> "$out.log" 2>&1 ||
    { tail -n 15 "$out.log" >&2; say "debian: $HOOK failed, see $out.log"; exit 1; }
rm -rf "$root"/var/cache/apt/archives/*.deb "$root"/var/lib/apt/lists/*
say "debian: writing the disk image"
rm -f "$out.tmp"
truncate -s "$size" "$out.tmp"
mke2fs -q -t ext4 -L liege-root -d "$root" "$out.tmp"
[ -z "${TREE:-}" ] || { rm -rf "$TREE" && mv "$root" "$TREE"; }
mv "$out.tmp" "$out"
rm -f "$out.log"
