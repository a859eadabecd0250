#!/bin/bash
# fio.sh short|long LIEGE GUEST: a Linux guest on the bed's KVM writes its disk at random with fio, past the guest's
# page cache and with fsync, and reads back what it wrote, checksum by checksum. GUEST: the folder with
# kernel/vmlinuz and shell.cpio (make guest-shell).
set -euo pipefail
here=$(dirname "$(realpath "$0")")
# shellcheck source=tests/bed/guest.sh
. "$here/guest.sh"
guest_files "$3"
command -v fio >/dev/null || { echo "fio is not installed" >&2; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$here/../../tools/guest/programs.sh" "$3/shell.cpio" "$work/fio.cpio" fio
[ "$1" = long ] && export BED_TIMEOUT="${BED_TIMEOUT:-3000}"
BED_MEMORY=1024 "$here/run.sh" "$2" "${files[@]}" "$work/fio.cpio" "$here/inner.sh" "$here/fio-inner.sh" -- \
    "sh fio-inner.sh $1"
