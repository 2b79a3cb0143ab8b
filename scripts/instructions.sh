#!/usr/bin/env bash
# Instructions of a call, counted under valgrind.
#
#   instructions.sh check    fails if a count is above its ceiling
#   instructions.sh record   writes the counts as they are now into
#                            benches/instructions.recorded, which the ceilings are
#                            made from: for a change that is meant to move them
set -euo pipefail

cd "$(dirname "$0")/.."
PATH=$PWD/target/tools/bin:$PATH
recorded=benches/instructions.recorded
count=(cargo bench --quiet -p resilience-benches --bench instructions --)

case ${1:-} in
check) "${count[@]}" ;;
record)
    counted=$(RECORD_INSTRUCTIONS=1 "${count[@]}" --output-format=json |
        jq -r '"\(.id) \(.profiles[0].data.total.metrics.Ir.values.new)"')
    printf '%s\n' "$counted" >"$recorded"
    git --no-pager diff --stat -- "$recorded" || true
    cat "$recorded"
    ;;
*)
    echo "usage: instructions.sh check|record" >&2
    exit 2
    ;;
esac
