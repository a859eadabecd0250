#!/bin/sh
# test.sh short|full|soak [SHARD]: install what the tests need, then run them (tools/test.py).
set -eu
cd "$(dirname "$0")/.."
tools/deps.sh build guest test
exec /usr/bin/python3 tools/test.py "$@"
