#!/usr/bin/env bash
# What `make bench` runs: the benches beside those of the peers in several short
# rounds, and a summary of them.
#
#   bench.sh [FILTER]   only the rows and members whose name matches
#
# Several rounds, because what else the machine does comes and goes in seconds: a
# disturbance spoils a round, and the summary takes the median of the rounds.
set -euo pipefail

cd "$(dirname "$0")/.."
target=${CARGO_TARGET_DIR:-target}
# Benches run in the folder of their package, so a relative one would be another.
[[ $target == /* ]] || target=$PWD/$target
export CARGO_TARGET_DIR=$target
reports=$target/bench
rounds=${ROUNDS:-5}

rm -rf "$reports"
mkdir -p "$reports"
cargo bench --quiet -p resilience-peers --no-run
for ((round = 1; round <= rounds; round++)); do
    printf 'round %d of %d …\n' "$round" "$rounds"
    CRITERION_HOME=$reports/round-$round cargo bench --quiet -p resilience-peers --bench rows -- \
        --noplot --quiet "$@" >"$reports/round-$round.log" 2>&1 || {
        cat "$reports/round-$round.log" >&2
        exit 1
    }
    mkdir -p "$reports/round-$round"
    cargo bench --quiet -p resilience-peers --bench turns -- "$@" \
        >"$reports/round-$round/turns.json" 2>>"$reports/round-$round.log" || {
        cat "$reports/round-$round.log" >&2
        exit 1
    }
    # Rows that could not be measured.
    grep '^SKIP' "$reports/round-$round.log" >&2 || true
done
echo 'allocations …'
cargo bench --quiet -p resilience-peers --bench allocations >"$reports/allocations.json"
cargo run --quiet -p resilience-peers --bin bench_summary -- "$reports"
