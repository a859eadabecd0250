#!/bin/bash
# run.sh [FILE...] -- SCRIPT: run a shell script in the nested bed, where /dev/kvm is a real kvm_amd under QEMU's
# emulated SVM. FILEs lie in the script's current folder (and on its PATH), programs with their libraries; +NAME: a
# library that is loaded later. Prints the script's output; ends with its status. SCRIPT is text, or @FILE. 125: the
# bed itself failed; 77: what it needs is not installed (said on stderr).
#   BED_MACHINE=bochs: a real kvm_intel under Bochs' emulated VMX instead, ten times slower;
#   BED_MEMORY (768) MiB; BED_TIMEOUT (300, bochs: 1800) seconds; BED_KERNEL: version of the cloud kernel;
#   BED_VERBOSE=1: the bed's own lines, too;
#   qemu: BED_CPUS (1); BED_XSAVE=1: the bed's processor has XSAVE and AVX. Its SVM does not intercept XSETBV, so a
#   guest's CPUID shows wrong sizes and Linux warns: off unless asked for.
set -euo pipefail
here=$(dirname "$(realpath "$0")")
files=()
while [ $# -gt 0 ] && [ "$1" != -- ]; do
    files+=("$1")
    shift
done
[ $# -ge 2 ] || { sed -n '2,12s/^# //p' "$0" >&2; exit 2; }
script=$2

need() { echo "bed: $1" >&2; exit 77; }
machine=${BED_MACHINE:-qemu}
isolinux=/usr/lib/ISOLINUX/isolinux.bin
if [ "$machine" = bochs ]; then
    command -v bochs >/dev/null || need "bochs is not installed (packages bochs, bochsbios, vgabios, bochs-term)"
    command -v genisoimage >/dev/null || need "genisoimage is not installed"
    [ -r "$isolinux" ] || need "no boot loader for a CD (packages isolinux, syslinux-common)"
else
    command -v qemu-system-x86_64 >/dev/null || need "qemu-system-x86_64 is not installed (package qemu-system-x86)"
fi
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

cmdline="console=ttyS0,115200 panic=-1 quiet nopti mitigations=off"

# Two CPUs would gain nothing under TCG. A fifth level of page tables confuses the emulated nested paging.
start_qemu() {
    local cpu=max,+svm,+npt,-la57
    [ "${BED_XSAVE:-0}" = 1 ] || cpu=$cpu,-xsave,-avx,-avx2,-f16c,-fma
    timeout -k 5 "$limit" qemu-system-x86_64 -accel tcg,tb-size=512 -machine q35 -cpu "$cpu" \
        -m "${BED_MEMORY:-768}M" -smp "${BED_CPUS:-1}" -display none -nodefaults -no-reboot -serial stdio \
        -kernel "/boot/vmlinuz-$kernel" -initrd "$work/bed.cpio" -append "$cmdline" \
        </dev/null >"$work/log" 2>"$work/err" &
    emulator=$!
}

# From a CD, because its BIOS knows nothing else of this size. Time there is counted in instructions. Bochs reads memory
# that it has not set, and meson fills that with MALLOC_PERTURB_. Its screen is a terminal of its own; it sleeps when
# nobody reads that.
start_bochs() {
    mkdir "$work/cd"
    cp "$isolinux" /usr/lib/syslinux/modules/bios/ldlinux.c32 "$work/cd"
    cp "/boot/vmlinuz-$kernel" "$work/cd/vmlinuz"
    mv "$work/bed.cpio" "$work/cd/bed.cpi"
    printf '%s\n' "default bed" "prompt 0" "label bed" " kernel vmlinuz" \
        " append initrd=bed.cpi $cmdline tsc=reliable no_timer_check" >"$work/cd/isolinux.cfg"
    genisoimage -quiet -o "$work/bed.iso" -b isolinux.bin -c boot.cat -no-emul-boot -boot-load-size 4 \
        -boot-info-table "$work/cd"
    cat >"$work/bochsrc" <<X
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
megs: ${BED_MEMORY:-768}
ata0-master: type=cdrom, path=$work/bed.iso, status=inserted
boot: cdrom
display_library: term
log: $work/bochs.log
com1: enabled=1, mode=file, dev=$work/log
cpu: model=corei7_haswell_4770, ips=120000000, ignore_bad_msrs=1
clock: sync=none
panic: action=fatal
error: action=ignore
info: action=ignore
X
    echo c >"$work/rc"
    (cd "$work" && exec env -u MALLOC_PERTURB_ TERM=xterm timeout -k 5 "$limit" bochs -q -f bochsrc -rc rc) \
        </dev/null >"$work/err" 2>&1 &
    emulator=$!
    local screen=
    while [ -z "$screen" ] && kill -0 $emulator 2>/dev/null; do
        sleep 0.2
        screen=$(sed -n 's/^Bochs connected to screen "\(.*\)"$/\1/p' "$work/err" || true)
    done
    [ -z "$screen" ] || cat "$screen" >/dev/null 2>&1 &
}

limit=${BED_TIMEOUT:-$([ "$machine" = bochs ] && echo 1800 || echo 300)}
emulator=
run() {
    status=0
    : >"$work/log"
    "start_$machine"
    # Show lines as they come, from the first mark to the last.
    if [ "${BED_VERBOSE:-0}" = 1 ]; then
        tail -n +1 --pid=$emulator -f "$work/log" | tr -d '\r'
    else
        tail -n +1 --pid=$emulator -f "$work/log" | tr -d '\r' |
            sed -un '/^@@bed begin/,/^@@bed status/{/^@@bed/!p}'
    fi
    wait $emulator || status=$?
}
too_long() { [ $status = 124 ] || [ $status = 137 ]; }
run
# Seen rarely: QEMU computes, and nothing in the bed goes on, not even what only waits for a while; as if its kernel
# got no timer interrupts while a guest of its own computes. No program in the bed can do that. Once more, then.
if too_long && [ "$machine" = qemu ]; then
    echo "bed: no end in $limit s; once more" >&2
    run
fi
if too_long; then
    echo "bed: no end in $limit s" >&2
    tail -n 5 "$work/log" >&2
    exit 125
fi
inner=$(tr -d '\r' <"$work/log" | sed -n 's/^@@bed status //p' | tail -1)
if [ -z "$inner" ]; then
    echo "bed: the script did not run to its end" >&2
    tail -n 20 "$work/log" "$work/err" >&2
    exit 125
fi
exit "$inner"
