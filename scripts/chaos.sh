#!/usr/bin/env bash
# What `make chaos` runs: outages of a real PostgreSQL under our pool and others,
# one table, and a summary in target/chaos.
#
#   chaos.sh [FLAGS]        all of it: some ten minutes on a quiet machine
#   SHORT=1 chaos.sh        whether it works: one outage, ours and one peer
#
# The short form is built like the tests, so that they share what is compiled. No
# time of it is worth a thought.
set -euo pipefail

cd "$(dirname "$0")/.."
out=${CARGO_TARGET_DIR:-target}/chaos
if [[ ${SHORT:-} ]]; then
    exec cargo run --quiet -p resilience-chaos -- --out "$out" --short "$@"
else
    exec cargo run --quiet --release -p resilience-chaos -- --out "$out" "$@"
fi
