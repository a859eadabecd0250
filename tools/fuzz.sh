#!/bin/bash
# fuzz.sh SECONDS [TARGET...]: build the fuzz targets with clang and run each of them (or those named) for SECONDS, two at a time.
# What is new goes to build-fuzz/corpus/TARGET and is taken up by the next run; findings go to build-fuzz/findings/TARGET-*. The committed
# corpus is only read. One line for each target; exit status 1 when one of them found something.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?usage: fuzz.sh SECONDS [TARGET...]}
shift
build="build-fuzz"
[ -f $build/build.ninja ] || CC=clang meson setup $build -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >$build.log 2>&1 ||
    { cat $build.log; exit 1; }
rm -f $build.log
targets=("$@")
[ $# != 0 ] || targets=(tests/fuzz/corpus/*)
targets=("${targets[@]##*/}")
ninja -C $build "${targets[@]/#/tests/fuzz/fuzz_}" >$build/ninja.log 2>&1 || { tail -40 $build/ninja.log; exit 1; }
export ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1 LSAN_OPTIONS=report_objects=1

# fuzz_one TARGET: its line, and status 1 for a finding
fuzz_one()
{
    local t=$1 out=$build/corpus/$1 log=$build/fuzz-$1.log status=0 runs edges
    mkdir -p "$out" $build/findings
    nice "$build/tests/fuzz/fuzz_$t" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=3000 -print_final_stats=1 \
        -artifact_prefix="$build/findings/$t-" "$out" "tests/fuzz/corpus/$t" >"$log" 2>&1 || status=$?
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    edges=$(grep -o 'cov: [0-9]*' "$log" | tail -1)
    if [ $status = 0 ]; then
        printf '%-10s ok       %10s runs  %s  %s inputs\n' "$t" "${runs:-?}" "$edges" "$(find "$out" -type f | wc -l)"
    else
        printf '%-10s FINDING  status %s, %s; see %s\n' "$t" "$status" \
            "$(grep -om1 -E 'SUMMARY: .*' "$log" || echo 'no summary')" "$log"
        return 1
    fi
}

failed=0
running=0
for t in "${targets[@]}"; do
    if [ $running = 2 ]; then
        wait -n || failed=1
        running=$((running - 1))
    fi
    fuzz_one "$t" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    wait -n || failed=1
    running=$((running - 1))
done
exit $failed
