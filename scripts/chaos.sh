#!/usr/bin/env bash
# What `make chaos` runs: outages of a real PostgreSQL under our pool and others,
# one table, and a summary in target/chaos.
#
#   chaos.sh [FLAGS]        all of it: some ten minutes on a quiet machine
#   SHORT=1 chaos.sh        whether it works: one outage, ours and one peer
#
# The short form is the program that the tests' build has made, so that nothing is
# compiled a second time. No time of it is worth a thought.
set -euo pipefail

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
out=$target/chaos
if [[ ${SHORT:-} ]]; then
    cargo build --quiet --workspace --bins --all-features
    exec "$target/debug/chaos" --out "$out" --short "$@"
else
    exec cargo run --quiet --release -p resilience-chaos -- --out "$out" "$@"
fi
