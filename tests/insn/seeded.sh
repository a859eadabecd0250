#!/bin/sh
# seeded.sh [CASES [BUG...]]: builds the interpreter with each seeded bug in turn (engine/seed.h) and shows that the
# instruction lab finds it. Exit status 0: all were found, and the build without a bug is clean.
set -eu
cd "$(dirname "$0")/../.."
cases=${1:-200000}
build=${BUILD_SEEDED:-build-seeded}
bugs=$(sed -n 's/.*SEED_BUGS = \([0-9]*\).*/\1/p' src/accel/soft/engine/seed.h)
missed=0
if [ $# -gt 1 ]; then
    shift
    list=$*
else
    list="0 $(seq 1 "$bugs")"
fi

[ -d "$build" ] || meson setup "$build" >/dev/null
for n in $list; do
    meson configure "$build" -Dseed_bug="$n"
    ninja -C "$build" tests/insn/lab >"$build/seeded.log" 2>&1 || { tail -20 "$build/seeded.log"; exit 1; }
    status=0
    "$build/tests/insn/lab" --cases "$cases" --seed "$n" --verbose 1 >"$build/seeded.log" 2>&1 || status=$?
    form=$(sed -n 's/^  form \(.*\), [a-z-]*, bytes.*/\1/p' "$build/seeded.log" | head -1)
    if [ "$n" = 0 ]; then
        [ "$status" = 0 ] && echo "no bug: clean" || { echo "no bug: NOT CLEAN ($form)"; missed=1; }
    elif [ "$status" = 1 ] && [ -n "$form" ]; then
        echo "bug $n: found, first in: $form"
    else
        echo "bug $n: MISSED"
        missed=1
    fi
done
exit $missed
