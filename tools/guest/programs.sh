#!/bin/sh
# programs.sh BASE.cpio OUT.cpio PROGRAM...: BASE with a second archive behind it: PROGRAMs of this machine and
# their libraries, where they lie here. Libraries outside of the loader's usual folders are moved into one, because
# the guest has no linker cache.
set -eu
base=$1 out=$2
shift 2
root=$(mktemp -d)
trap 'rm -rf "$root"' EXIT INT TERM
chmod 755 "$root"
for p in "$@"; do
    program=$(command -v "$p") || { echo "programs.sh: $p is not installed" >&2; exit 1; }
    install -D "$program" "$root$program"
    ldd "$program" | sed -n 's|.*=> \(/[^ ]*\) .*|\1|p; s|^[[:space:]]*\(/[^ ]*\) .*|\1|p' | while read -r lib; do
        case $lib in
        /lib64/*) to=$lib ;;
        *) to=/lib/x86_64-linux-gnu/$(basename "$lib") ;;
        esac
        [ -e "$root$to" ] || install -D "$(realpath "$lib")" "$root$to"
    done
done
# An archive begins at a multiple of 512 bytes behind another.
cp "$base" "$out.tmp"
truncate -s %512 "$out.tmp"
(cd "$root" && find . -mindepth 1 | LC_ALL=C sort | cpio --quiet -o -H newc -R 0:0) >> "$out.tmp"
mv "$out.tmp" "$out"
