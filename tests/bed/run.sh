#!/bin/bash
# run.sh [FILE...] -- SCRIPT: run a shell script in the nested bed, where /dev/kvm is a real kvm_amd under QEMU's
# emulated SVM. FILEs lie in the script's current folder (and on its PATH), programs with their libraries; +NAME: a
# library that is loaded later. Prints the script's output; ends with its status. SCRIPT is text, or @FILE. 125: the
# bed itself failed; 77: what it needs is not installed (said on stderr).
#   BED_MEMORY (768) MiB; BED_TIMEOUT (600) seconds; BED_KERNEL: version of the cloud kernel; BED_VERBOSE=1: the
#   bed's own lines, too; BED_CPUS (1); BED_XSAVE=1: the bed's processor has XSAVE and AVX. Its SVM does not
#   intercept XSETBV, so a guest's CPUID shows wrong sizes and Linux warns: off unless asked for.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
files=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    files+=("$1")
    shift
done
[ $# -ge 2 ] || { sed -n '2,8s/^# //p' "$0" >&2; exit 2; }
script=$2

need() { echo "bed: $1" >&2; exit 77; }
command -v qemu-system-x86_64 >/dev/null || need "qemu-system-x86_64 is not installed (package qemu-system-x86)"
command -v busybox >/dev/null || need "busybox is not installed (package busybox-static)"
command -v cpio >/dev/null || need "cpio is not installed"
kernel=${BED_KERNEL:-$(ls /lib/modules 2>/dev/null | grep -- '-cloud-amd64$' | sort -V | tail -1 || true)}
[ -n "$kernel" ] && [ -r "/boot/vmlinuz-$kernel" ] ||
    need "no cloud kernel is installed (package linux-image-cloud-amd64)"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
case $script in @*) cp "${script#@}" "$work/script" ;; *) printf '%s\n' "$script" >"$work/script" ;; esac
BED_KERNEL=$kernel "$here/mkbed.sh" "$work/bed.cpio" "${files[@]}"
(cd "$work" && echo script | cpio --quiet -o -H newc -R 0:0) >>"$work/bed.cpio"

cpu=max,+svm,+npt,-la57
[ "${BED_XSAVE:-0}" = 1 ] || cpu=$cpu,-xsave,-avx,-avx2,-f16c,-fma

# Two CPUs would gain nothing under TCG. A fifth level of page tables confuses the emulated nested paging.
status=0
: >"$work/log"
timeout -k 5 "${BED_TIMEOUT:-600}" qemu-system-x86_64 -accel tcg,tb-size=512 -machine q35 -cpu "$cpu" \
    -m "${BED_MEMORY:-768}M" -smp "${BED_CPUS:-1}" -display none -nodefaults -no-reboot -serial stdio \
    -kernel "/boot/vmlinuz-$kernel" -initrd "$work/bed.cpio" \
    -append "console=ttyS0 panic=-1 quiet nopti mitigations=off" </dev/null >"$work/log" 2>"$work/err" &
qemu=$!
# Show lines as they come, from the first mark to the last.
if [ "${BED_VERBOSE:-0}" = 1 ]; then
    tail -n +1 --pid=$qemu -f "$work/log" | tr -d '\r'
else
    tail -n +1 --pid=$qemu -f "$work/log" | tr -d '\r' | sed -un '/^@@bed begin/,/^@@bed status/{/^@@bed/!p}'
fi
wait $qemu || status=$?
if [ $status = 124 ] || [ $status = 137 ]; then
    echo "bed: no end in ${BED_TIMEOUT:-600} s" >&2
    tail -5 "$work/log" >&2
    exit 125
fi
inner=$(tr -d '\r' <"$work/log" | sed -n 's/^@@bed status //p' | tail -1)
if [ -z "$inner" ]; then
    echo "bed: the script did not run to its end" >&2
    tail -20 "$work/log" "$work/err" >&2
    exit 125
fi
exit "$inner"
