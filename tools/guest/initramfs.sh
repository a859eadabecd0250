#!/bin/sh
# initramfs.sh KERNEL_DIR INIT OUT.cpio [FILE=PATH_IN_GUEST]...: an initramfs of busybox, the virtio modules of that
# kernel and INIT. INIT is a folder whose tree is laid over the result (tools/guest/shell, tools/guest/disk).
set -eu
kdir=$1 init=$2 out=$3
shift 3
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
chmod 755 "$root"
version=$(cat "$kdir/version")
for d in bin sbin dev proc sys tmp run etc root mnt usr/bin usr/sbin var lib/modules/"$version"; do
    mkdir -p "$root/$d"
done
cp "$(command -v busybox)" "$root/bin/busybox"
# Links to every applet that this busybox has.
for a in $("$root/bin/busybox" --list); do
    [ "$a" = busybox ] || ln -sf busybox "$root/bin/$a"
done
# The modules and what they depend on, with the indexes that modprobe reads.
lib=$root/lib/modules/$version
for m in virtio_pci virtio_mmio virtio_blk virtio_net virtio_console virtio-rng button evdev af_packet; do
    for f in $(sed -n "s|^\\(.*/$m\\.ko\\): *\\(.*\\)\$|\\1 \\2|p" "$kdir/modules/modules.dep"); do
        mkdir -p "$lib/$(dirname "$f")"
        cp "$kdir/modules/$f" "$lib/$f"
    done
done
cp "$kdir/modules/modules.order" "$kdir"/modules/modules.builtin* "$lib/" 2>/dev/null || true
find "$lib" -name '*.ko' -exec strip --strip-debug {} +
/sbin/depmod -b "$root" "$version"
cp -a "$init/." "$root/"
for spec in "$@"; do
    mkdir -p "$root/$(dirname "${spec#*=}")"
    cp "${spec%%=*}" "$root/${spec#*=}"
done
(cd "$root" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) > "$out.tmp"
mv "$out.tmp" "$out"
