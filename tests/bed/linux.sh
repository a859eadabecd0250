#!/bin/bash
# linux.sh LIEGE SAVELOAD GUEST: a stock Linux guest on the bed's KVM, with two CPUs, a disk and a network; then one
# that is saved under KVM and goes on under KVM and under the software engine (under Bochs, which would take a quarter
# of an hour for it, only under KVM). GUEST: the folder with kernel/vmlinuz and shell.cpio (make guest-shell).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/bed/guest.sh
. "$here/guest.sh"
guest_files "$3"
on="kvm soft"
[ "${BED_MACHINE:-qemu}" = qemu ] || on=kvm
exec "$here/run.sh" "$1" "$2" "${files[@]}" "$3/shell.cpio" "$here/inner.sh" "$here/linux-inner.sh" -- \
    "sh linux-inner.sh $on"
