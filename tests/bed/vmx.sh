#!/bin/bash
# vmx.sh guests RUNNER GUEST... -- TEST... | gdb LIEGE CALLS.elf: on kvm_intel, in the bed under Bochs.
#   guests  the small guests, those that need breakpoints, segment limits and checks of reserved bits with them, and
#           test programs that print SKIPPED where they could not look. Left out is `debug`: when an instruction under
#           single step exits, Bochs keeps the step pending (a processor does not: SDM 3C 27.3.4), and the guest gets
#           it once the stepping has ended
#   gdb     gdb in the bed, on a guest with DWARF: breakpoints of both kinds, a watchpoint, steps
set -euo pipefail
here=$(dirname "$(realpath "$0")")
export BED_MACHINE=bochs
what=$1
shift
case $what in
guests)
    files=("$1")
    script="$(basename "$1") --accel kvm --native *.bin || bad=1"
    shift
    while [ $# -gt 0 ] && [ "$1" != -- ]; do
        [ "$(basename "$1")" = debug.bin ] || files+=("$1")
        shift
    done
    for t in "${@:2}"; do
        files+=("$t")
        t=$(basename "$t")
        script="$script; $t >log 2>&1 || bad=1; cat log; grep -q SKIPPED log && bad=1"
    done
    exec "$here/run.sh" "${files[@]}" -- "$script; exit \${bad:-0}"
    ;;
gdb)
    gdb=$(command -v gdb) || { echo "gdb is not installed" >&2; exit 77; }
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    # What gdb's Python wants to begin.
    python=$(ldd "$gdb" | sed -n 's|.*libpython\(3[.0-9]*\)\.so.*=>.*|\1|p')
    (cd / && tar -cf "$work/python.tar" --exclude=__pycache__ usr/share/gdb/python usr/lib/python"$python"/*.py \
        usr/lib/python"$python"/{encodings,collections,importlib,re})
    "$here/run.sh" "$1" "$2" "$here/../guests/calls.c" "$gdb" "$work/python.tar" "$here/inner.sh" \
        "$here/gdb-inner.sh" -- 'sh gdb-inner.sh'
    ;;
esac
