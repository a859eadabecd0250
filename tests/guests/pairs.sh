#!/bin/sh
# pairs.sh N MS: the guests of two CPUs N times by each engine, MS for each of their tests.
set -eu
cd "$(dirname "$0")/../../build/tests/guests"
for _ in $(seq 1 "$1"); do
    for engine in '' --interpret; do
        # shellcheck disable=SC2086 # none or one
        ./runner --accel soft $engine --effort "$2" litmus.bin atomic.bin shoot.bin patch.bin
    done
done
