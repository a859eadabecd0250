#!/bin/bash
# linux.sh LIEGE SAVELOAD GUEST: a stock Linux guest on the bed's KVM, with two CPUs, a disk and a network; then one that is saved under
# KVM and goes on under KVM and under the software engine. GUEST: the folder with kernel/vmlinuz and shell.cpio (make guest-shell).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
liege=$1 saveload=$2 guest=$3
[ -r "$guest/kernel/vmlinuz" ] && [ -r "$guest/shell.cpio" ] || { echo "no guest in $guest: make guest-shell" >&2; exit 77; }
libraries=(+libslirp.so.0)
for l in liblz4.so.1 libzstd.so.1 liblzma.so.5; do
    /sbin/ldconfig -p | grep "$l" >/dev/null && libraries+=("+$l")
done

exec "$here/run.sh" "${libraries[@]}" "$liege" "$saveload" "$guest/kernel/vmlinuz" "$guest/shell.cpio" "$here/linux-inner.sh" -- \
    'sh linux-inner.sh'
