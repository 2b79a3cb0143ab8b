#!/usr/bin/env bash
# Runs the loom models of tests/loom. A target directory of its own: `--cfg loom`
# would have everything else built a second time.
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-target}/loom
export RUSTFLAGS="${RUSTFLAGS:-} --cfg loom"
exec cargo test --profile models -p resilience-models "$@"
