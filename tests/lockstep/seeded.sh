#!/bin/sh
# seeded.sh [BUG...]: builds the engine with each bug of the translator (engine/seed.h, from 21 on) in turn, boots the
# kernel in lock-step and shows what is found: the instruction, and what differs behind it; or, where the instruction
# alone is right, those between the last place that was the same and the first that was not. Exit status 0: at least
# LEAST of them were found, and a build without a bug runs the same.
set -eu
cd "$(dirname "$0")/../.."
insns=${INSNS:-2G}
least=${LEAST:-10}
build=${BUILD_SEEDED:-build-seeded}
guest=${GUEST:-build/guest}
bugs=$(sed -n 's/.*SEED_BUGS = \([0-9]*\).*/\1/p' src/accel/soft/engine/seed.h)
list=${*:-0 $(seq 21 "$bugs")}
work='find / -xdev | sort | sha256sum; ls -lR / | gzip | wc'
found=0
tried=0
clean=yes

[ -d "$build" ] || meson setup "$build" >/dev/null
for n in $list; do
    meson configure "$build" -Dseed_bug="$n"
    ninja -C "$build" tests/lockstep/lockstep >"$build/lockstep.log" 2>&1 || { tail -20 "$build/lockstep.log"; exit 1; }
    timeout -k 5 900 "$build/tests/lockstep/lockstep" --kernel "$guest/kernel/vmlinuz" --initrd "$guest/shell.cpio" \
        --cmdline "console=ttyS0 mitigations=off liege.run=\"$work\"" --insns "$insns" \
        >"$build/lockstep.log" 2>&1 || true
    if grep -q '^the same' "$build/lockstep.log"; then
        echo "bug $n: the same"
        [ "$n" = 0 ] || tried=$((tried + 1))
        continue
    fi
    [ "$n" != 0 ] || clean=no
    tried=$((tried + 1))
    grep -q '^DIFFERS' "$build/lockstep.log" && found=$((found + 1))
    echo "bug $n: $(grep -v '^[0-9]' "$build/lockstep.log" | sed 's/^DIFFERS/found/')"
done
echo "$found of $tried found; without a bug the two are $([ $clean = yes ] && echo the same || echo NOT THE SAME)"
[ $clean = yes ] && { [ $# -gt 0 ] || [ "$found" -ge "$least" ]; }
