#!/bin/sh
# run.sh GUEST BUILD [OPTION]...: what `make run` starts.
set -eu
guest=$1 build=$2
shift 2
dir=$build/guest
case $guest in
shell)
    exec "$build/liege" run --kernel "$dir/kernel/vmlinuz" --initrd "$dir/shell.cpio" \
        --cmdline "console=ttyS0 quiet mitigations=off" --net user --rng "$@" ;;
debian)
    exec "$build/liege" run --kernel "$dir/kernel/vmlinuz" --initrd "$dir/disk.cpio" --disk "$dir/debian.img" \
        --cmdline "console=ttyS0 quiet mitigations=off root=/dev/vda" --net user --rng "$@" ;;
*)
    echo "make run: unknown GUEST=$guest (shell, debian)" >&2
    exit 2 ;;
esac
