#!/bin/sh
# kernel.sh OUT [PACKAGE]: unpack a stock Debian kernel package (default linux-image-cloud-amd64) into OUT: vmlinuz,
# modules/, version. Nothing is installed on this machine.
set -eu
out=$1
meta=${2:-linux-image-cloud-amd64}
[ -s "$out/vmlinuz" ] && exit 0
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT INT TERM
chmod 755 "$tmp"
real=$(apt-cache depends "$meta" 2>/dev/null | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
if [ -z "$real" ]; then
    apt-get update -qq
    real=$(apt-cache depends "$meta" | sed -n 's/^ *Depends: \(linux-image-[0-9][^ ]*\)$/\1/p' | head -n 1)
fi
[ -n "$real" ] ||
    { echo "kernel.sh: no kernel package behind $meta: is this Debian with its sources listed?" >&2; exit 1; }
echo "kernel: $real (from Debian)"
(cd "$tmp" && { apt-get download -qq "$real" 2>/dev/null || { apt-get update -qq && apt-get download -qq "$real"; }; })
dpkg-deb -x "$tmp"/*.deb "$tmp/root"
mkdir -p "$out"
version=$(basename "$tmp"/root/lib/modules/*)
rm -rf "$out/lib"
mkdir -p "$out/lib/modules"
mv "$tmp/root/lib/modules/$version" "$out/lib/modules/$version"
/sbin/depmod -b "$out" "$version"
ln -sfn "lib/modules/$version" "$out/modules"
echo "$version" > "$out/version"
mv "$tmp/root/boot/vmlinuz-$version" "$out/vmlinuz"
