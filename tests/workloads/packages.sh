#!/bin/sh
# packages.sh TREE: what the workloads need, installed into a Debian tree (the HOOK of tools/guest/debian.sh), with
# the sources that they build, under /usr/src. Packages come from where this machine has its own from.
set -eu
root=$1
packages="gcc g++ make libc6-dev-i386 gdb strace valgrind linux-perf kexec-tools stress-ng rt-tests
    nodejs python3 libpython3.11-testsuite openjdk-17-jdk-headless luajit lua5.4 perl golang-go
    openssl sqlite3 btrfs-progs xz-utils zstd bzip2 p7zip-full ffmpeg bc"
sources="zlib lua5.4"
list=$root/tmp/sources.list
config="-o Dir::Etc::sourcelist=/tmp/sources.list -o Dir::Etc::sourceparts=/dev/null -o APT::Sandbox::User=root"
suite=$(. "$root/etc/os-release" && echo "$VERSION_CODENAME")
uri=$(sed -n 's/^deb \(\[[^]]*\] \)\?\([^ ]*\) .*/\2/p; s/^URIs: *\([^ ]*\).*/\1/p' \
    /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -v security | head -n 1)
printf 'deb %s %s main\ndeb-src %s %s main\n' "$uri" "$suite" "$uri" "$suite" > "$list"
cp "$root/etc/resolv.conf" "$root/tmp/resolv.conf"
cp -L /etc/resolv.conf "$root/etc/resolv.conf"
mount -t proc proc "$root/proc"
trap 'umount -l "$root/proc"; mv "$root/tmp/resolv.conf" "$root/etc/resolv.conf"' EXIT INT TERM
printf '#!/bin/sh\nexit 101\n' > "$root/usr/sbin/policy-rc.d"
chmod 755 "$root/usr/sbin/policy-rc.d"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C
# shellcheck disable=SC2086 # lists of words
inside()
{
    chroot "$root" apt-get -q -y $config "$@"
}
inside update
# shellcheck disable=SC2086
inside install --no-install-recommends $packages
# shellcheck disable=SC2086
chroot "$root" sh -c "cd /usr/src && apt-get -q $config source --download-only $sources"
# What kexec starts.
cp "$KERNEL_DIR/vmlinuz" "$KERNEL_DIR/../disk.cpio" "$root/boot/"
rm -f "$list" "$root/usr/sbin/policy-rc.d"
