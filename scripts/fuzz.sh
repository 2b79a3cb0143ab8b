#!/usr/bin/env bash
# Runs the fuzz targets (fuzz/). Writes below the target directory only.
#
#   fuzz.sh short                     all, a set number of inputs from a set seed: `make test`
#   fuzz.sh long [TARGET [SECONDS]]   `make fuzz`: all, or one, for a minute each or so long
#
# An input that fails is kept in target/fuzz/artifacts. When it is mended, move it
# to fuzz/corpus, where every run and an ordinary test try it again.
set -euo pipefail

cd "$(dirname "$0")/.."
PATH=$PWD/target/tools/bin:$PATH
work=${CARGO_TARGET_DIR:-$PWD/target}/fuzz
purpose=${1:-}
targets=(black_box config record)

build() {
    # Without a sanitizer the stable compiler will do: there is no unsafe code for
    # one to watch. A debug build, which stops at an overflow, optimised a little:
    # unoptimised it tries a tenth as many inputs a second.
    CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=line-tables-only \
        cargo fuzz build --dev --sanitizer none --target-dir "$work" 2>&1 |
        { grep -v '^ *\(Compiling\|Finished\|Fresh\)' >&2 || true; }
}

# run TARGET CORPUS FLAG…: new inputs worth keeping go to CORPUS.
run() {
    local target=$1 corpus=$2 program
    shift 2
    program=$(echo "$work"/*/debug/"$target")
    mkdir -p "$corpus" "$work/artifacts/$target"
    "$program" "$corpus" "fuzz/corpus/$target" \
        -dict="fuzz/dictionaries/$target.dict" \
        -artifact_prefix="$work/artifacts/$target/" \
        -max_len=8192 -timeout=10 -rss_limit_mb=1024 -print_final_stats=1 "$@"
}

short() {
    local target status=0
    local -A runs=([black_box]=100000 [config]=20000 [record]=1000000) # some five seconds each
    scratch=$(mktemp -d)
    trap 'rm -rf "$scratch"' EXIT
    # Beside each other: each has one thread.
    for target in "${targets[@]}"; do
        run "$target" "$scratch/$target" -seed=1 -runs="${runs[$target]}" \
            >"$scratch/$target.log" 2>&1 || touch "$scratch/$target.failed" &
    done
    wait
    for target in "${targets[@]}"; do
        if [[ -e $scratch/$target.failed ]]; then
            tail -n 60 "$scratch/$target.log"
            status=1
        else
            grep -E '^Done ' "$scratch/$target.log" | sed "s/^/$target: /"
        fi
    done
    return "$status"
}

case $purpose:${2:-} in
short:) build && short ;;
long: | long:black_box | long:config | long:record)
    build
    [[ -z ${2:-} ]] || targets=("$2")
    for target in "${targets[@]}"; do
        run "$target" "$work/corpus/$target" -max_total_time="${3:-60}"
    done
    ;;
*)
    echo "usage: fuzz.sh short | fuzz.sh long [black_box|config|record [SECONDS]]" >&2
    exit 2
    ;;
esac
