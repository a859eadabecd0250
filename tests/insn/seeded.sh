#!/bin/sh
# seeded.sh [CASES [BUG...]]: builds the engine with each seeded bug in turn (engine/seed.h) and shows that it is
# found: those of the interpreter by the instruction lab, those of the translator by the lab or by random blocks. Exit
# status 0: all were found, and the build without a bug is clean. BLOCKS: how many blocks.
set -eu
cd "$(dirname "$0")/../.."
cases=${1:-200000}
blocks=${BLOCKS:-100000}
build=${BUILD_SEEDED:-build-seeded}
bugs=$(sed -n 's/.*SEED_BUGS = \([0-9]*\).*/\1/p' src/accel/soft/engine/seed.h)
translator=21 # the first of the translator's
missed=0
if [ $# -gt 1 ]; then
    shift
    list=$*
else
    list="0 $(seq 1 "$bugs")"
fi

# Each prints in what it was found, or nothing.
by_lab()
{
    "$build/tests/insn/lab" --seed "$n" --verbose 1 "$@" >"$build/seeded.log" 2>&1 || true
    sed -n 's/^  form \(.*\), [a-z-]*, bytes.*/lab: \1/p' "$build/seeded.log" | head -1
}

by_blocks()
{
    "$build/tests/insn/blocks" --seed "$n" --cases "$blocks" >"$build/seeded-blocks.log" 2>&1 || true
    sed -n 's/^DIFFERS: /blocks: /p' "$build/seeded-blocks.log" | head -1
}

find_bug()
{
    if [ "$n" = 0 ]; then
        by_lab --cases "$cases"
        by_lab --translated --mode 64 --cases "$((cases / 10))"
        by_blocks
    elif [ "$n" -lt "$translator" ]; then
        by_lab --cases "$cases"
    else
        found=$(by_blocks)
        [ -n "$found" ] || found=$(by_lab --translated --mode 64 --cases "$((cases / 2))")
        echo "$found"
    fi
}

[ -d "$build" ] || meson setup "$build" >/dev/null
for n in $list; do
    meson configure "$build" -Dseed_bug="$n"
    ninja -C "$build" tests/insn/lab tests/insn/blocks >"$build/seeded.log" 2>&1 ||
        { tail -20 "$build/seeded.log"; exit 1; }
    found=$(find_bug)
    if [ "$n" = 0 ]; then
        [ -z "$found" ] && echo "no bug: clean" || { echo "no bug: NOT CLEAN ($found)"; missed=1; }
    elif [ -n "$found" ]; then
        echo "bug $n: found, first by $found"
    else
        echo "bug $n: MISSED"
        missed=1
    fi
done
exit $missed
