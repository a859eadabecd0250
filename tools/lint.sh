#!/bin/bash
# lint.sh [quick]: shellcheck, cppcheck, clang-tidy and clang-format on tracked files; exit status 1 when one of the
# first three has something to say. `quick` leaves out clang-tidy, which takes a minute or two. Layout is only reported:
# `make format` mends it.
set -eu
cd "$(dirname "$0")/.."
failed=0
step()
{
    local name=$1
    shift
    if "$@"; then echo "$name: clean"; else failed=1; echo "$name: FINDINGS"; fi
}

scripts()
{
    git ls-files tools tests .ci | while read -r f; do
        [ -f "$f" ] && head -c 40 "$f" | grep -qE '^#!/bin/(ba)?sh' && echo "$f"
    done
    return 0
}

# SC2010, SC2013, SC2015, SC2115: this tree's idioms for a handful of known names. SC2154: what udhcpc and the bed
# put in the environment.
shell_check()
{
    scripts | xargs shellcheck -f gcc -S warning -e SC2010,SC2013,SC2015,SC2115,SC2154,SC2164
}

# The sources, not the tests: their hexadecimal constants of enums and linker symbols are what cppcheck takes for
# overflow and foreign pointers. arrayIndexOutOfBoundsCond, zerodivcond: it does not see which operands the decoder
# makes. shiftTooManyBitsSigned: gcc defines it (arithmetic). uninitvar: out-parameters that a callee fills, and
# inline assembly. unknownMacro, nullPointer: jansson's loops, offsetof by hand.
cpp_check()
{
    git ls-files 'src/*.c' | grep -v /test/ | xargs nice cppcheck --quiet --error-exitcode=1 --inline-suppr \
        --enable=warning,portability --std=c11 -j2 -Isrc -D_GNU_SOURCE --suppress=missingInclude \
        --suppress=arrayIndexOutOfBoundsCond --suppress=zerodivcond --suppress=shiftTooManyBitsSigned \
        --suppress=uninitvar --suppress=unknownMacro --suppress=nullPointer \
        --template='{file}:{line}: {id}: {message}'
}

tidy()
{
    local build="build-fuzz"
    [ -f $build/compile_commands.json ] ||
        CC=clang meson setup $build -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >/dev/null || return 1
    git ls-files 'src/*.c' | grep -v /test/ | nice xargs -P2 -n8 clang-tidy --quiet -p $build 2>/dev/null
}

layout()
{
    local f off=0
    for f in $(git ls-files 'src/*.c' 'src/*.h'); do
        clang-format --dry-run -Werror "$f" >/dev/null 2>&1 || off=$((off + 1))
    done
    echo "clang-format: $off files are laid out otherwise (make format)"
}

step shellcheck shell_check
step cppcheck cpp_check
[ "${1:-}" = quick ] || step clang-tidy tidy
layout
exit $failed
