#!/bin/bash
# fuzz.sh SECONDS [TARGET...]: build the fuzz targets with clang and run each of them (or those named) for SECONDS,
# JOBS (two) at a time. What is new goes to build-fuzz/corpus/TARGET and is taken up by the next run; findings go to
# build-fuzz/findings/TARGET-*. The committed corpus is only read. One line for each target, and all of them as a
# dated result with the commit in results/. Exit status 1 when a target found something, 2 when none did but one was
# interrupted before its time was up.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:?usage: fuzz.sh SECONDS [TARGET...]}
shift
jobs=${JOBS:-2}
build="build-fuzz"
[ -f $build/build.ninja ] ||
    CC=clang meson setup $build -Dfuzz=true -Db_sanitize=address,undefined -Db_lundef=false >$build.log 2>&1 ||
    { cat $build.log; exit 1; }
rm -f $build.log
result="results/$(date +%F)-fuzz"
[ $# = 0 ] || result+=$(printf -- '-%s' "$@")
commit=$(git rev-parse --short=12 HEAD 2>/dev/null || true)
targets=("$@")
[ $# != 0 ] || targets=(tests/fuzz/corpus/*)
targets=("${targets[@]##*/}")
ninja -C $build "${targets[@]/#/tests/fuzz/fuzz_}" >$build/ninja.log 2>&1 || { tail -40 $build/ninja.log; exit 1; }
export ASAN_OPTIONS=allocator_may_return_null=1 UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1
export LSAN_OPTIONS=report_objects=1

# fuzz_one TARGET: its line, and status 1 for a finding, 2 for a run cut short
fuzz_one()
{
    local t=$1 out=$build/corpus/$1 log=$build/fuzz-$1.log status=0 start=$SECONDS outcome=ok runs edges inputs took
    mkdir -p "$out" $build/findings
    rm -f "$build/result-$t"
    nice "$build/tests/fuzz/fuzz_$t" -max_total_time="$seconds" -timeout=25 -rss_limit_mb=3000 -print_final_stats=1 \
        -artifact_prefix="$build/findings/$t-" "$out" "tests/fuzz/corpus/$t" >"$log" 2>&1 || status=$?
    took=$((SECONDS - start))
    runs=$(sed -n 's/^stat::number_of_executed_units: //p' "$log")
    edges=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$log" | tail -1)
    inputs=$(find "$out" -type f | wc -l)
    case $status in
    0) ;;
    72) outcome=interrupted ;; # libFuzzer's status after SIGINT or SIGTERM
    *) outcome=finding ;;
    esac
    printf '  {"name": "%s", "outcome": "%s", "runs": %s, "seconds": %s, "edges": %s, "inputs": %s}' \
        "$t" $outcome "${runs:-0}" "$took" "${edges:-0}" "$inputs" >"$build/result-$t"
    case $outcome in
    ok) printf '%-10s ok       %10s runs in %s s  cov: %s  %s inputs\n' "$t" "${runs:-?}" "$took" "$edges" "$inputs" ;;
    interrupted)
        printf '%-10s interrupted after %s s, %s runs\n' "$t" "$took" "${runs:-?}"
        return 2
        ;;
    finding)
        printf '%-10s FINDING  status %s, %s; see %s\n' "$t" "$status" \
            "$(grep -om1 -E 'SUMMARY: .*' "$log" || echo 'no summary')" "$log"
        return 1
        ;;
    esac
}

# reap: the status of the next target to end, kept in `failed` unless it holds a finding already
failed=0
reap()
{
    local status=0
    wait -n || status=$?
    [ $status = 0 ] || [ $failed = 1 ] || failed=$status
}

running=0
for t in "${targets[@]}"; do
    if [ $running = "$jobs" ]; then
        reap
        running=$((running - 1))
    fi
    fuzz_one "$t" &
    running=$((running + 1))
done
while [ $running -gt 0 ]; do
    reap
    running=$((running - 1))
done

mkdir -p results
{
    printf '{\n "date": "%s",\n "commit": "%s",\n "kind": "fuzz",\n "seconds": %s,\n "targets": [\n' \
        "$(date +%F)" "$commit" "$seconds"
    separator=""
    for t in "${targets[@]}"; do
        printf '%s' "$separator"
        cat "$build/result-$t"
        separator=$',\n'
    done
    printf '\n ]\n}\n'
} >"$result.json"
exit $failed
