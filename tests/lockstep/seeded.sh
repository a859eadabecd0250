#!/bin/sh
# seeded.sh [BUG...]: builds the engine with each of these bugs of the translator (engine/seed.h) in turn, boots a
# kernel in lock-step and shows what is found: the instruction, and what differs behind it; or, where the instruction
# alone is right, those between the last place that was the same and the first that was not. 0: no bug, the two are the
# same. Without BUG: those that a boot to a shell's commands comes to; tests/insn/seeded.sh has the others. Exit status
# 0: all were found.
set -eu
cd "$(dirname "$0")/../.."
insns=${INSNS:-2G}
build=${BUILD_SEEDED:-build-seeded}
guest=${GUEST:-build/guest}
work='find / -xdev | sort | sha256sum; ls -lR / | gzip | wc'
bad=0

# Exit status of the command, and what it says in the log.
boot()
{
    timeout -k 5 1800 "$build/tests/lockstep/lockstep" --kernel "$guest/kernel/vmlinuz" --initrd "$guest/shell.cpio" \
        --cmdline "console=ttyS0 mitigations=off liege.run=\"$work\"" --insns "$insns" >"$build/lockstep.log" 2>&1
}

[ -d "$build" ] || meson setup "$build" >/dev/null
[ $# -gt 0 ] || set -- 0 22 23 28 29 31 32 34 38 39
for n; do
    meson configure "$build" -Dseed_bug="$n"
    ninja -C "$build" tests/lockstep/lockstep >"$build/lockstep.log" 2>&1 || { tail -20 "$build/lockstep.log"; exit 1; }
    if boot; then
        echo "bug $n: the same"
        [ "$n" = 0 ] || bad=1
    else
        echo "bug $n: $(grep -v '^[0-9]' "$build/lockstep.log" | sed 's/^DIFFERS/found/')"
        [ "$n" != 0 ] && grep -q '^DIFFERS' "$build/lockstep.log" || bad=1
    fi
done
exit $bad
