#!/usr/bin/env bash
# What `make test` and CI run: every gate, also after one has failed, with a
# headline each and the outcome on the last line.
set -uo pipefail

cd "$(dirname "$0")/.." || exit 1
PATH=$PWD/target/tools/bin:$PATH:/usr/sbin:/sbin
failed=() skipped=() passed=0
# Nothing is built a second time there and nobody uses a debugger, and what either
# would need takes time to write.
if [[ ${CI:-} == true ]]; then export CARGO_INCREMENTAL=0 CARGO_PROFILE_DEV_DEBUG=false; fi

# gate NAME COMMAND…
gate() {
    local name=$1 began=$SECONDS
    shift
    printf '\n=== %s\n' "$name"
    if "$@"; then
        passed=$((passed + 1))
        printf -- '--- %s: passed in %d s\n' "$name" $((SECONDS - began))
    else
        failed+=("$name")
        printf -- '--- %s: FAILED (%s)\n' "$name" "$*"
    fi
}

# skip NAME REASON: loud here, a failure in CI.
skip() {
    printf '\n=== %s\n' "$1"
    if [[ ${CI:-} == true ]]; then
        failed+=("$1")
        printf -- '--- %s: FAILED (%s)\n' "$1" "$2"
    else
        skipped+=("$1")
        printf 'SKIP: %s (%s)\n' "$1" "$2"
    fi
}

have() { command -v "$1" >/dev/null 2>&1; }

postgres_there() {
    compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null || have initdb || have pg_config
}

# Each feature alone: what one needs and forgets to say is found only so. Whatever the
# compiler says is too much; to have it say so by RUSTFLAGS would build every dependency
# a second time.
alone() {
    local said
    said=$(cargo check --quiet -p resilience-core --lib --no-default-features "$@" 2>&1) && [[ -z $said ]] && return
    printf '%s\n' "$said"
    return 1
}

features() {
    local feature
    echo "no features" && alone || return
    while read -r feature; do
        echo "feature $feature" && alone --features "$feature" || return
    done < <(cargo metadata --no-deps --format-version 1 |
        jq -r '.packages[] | select(.name == "resilience-core") | .features | del(.default) | keys[]')
}

# Of what others use.
documentation() {
    RUSTDOCFLAGS='-D warnings' cargo doc --no-deps -p resilience-core -p admin-sidecar --all-features
}

gate format cargo fmt --all --check
gate clippy cargo clippy --workspace --all-targets --all-features -- -D warnings
gate build cargo build --workspace --bins --all-features
# Their names say which tests need a Redis.
without='none()'
have redis-server || have valkey-server || without='test(redis)'
if ! have cargo-nextest; then
    skip tests "cargo-nextest is missing"
elif postgres_there; then
    # Twice as many at a time as there are cores: most of what they do is wait.
    gate tests cargo nextest run --workspace --all-features --test-threads $((2 * $(nproc))) -E "not ($without)"
else
    gate "tests without a database" cargo nextest run --workspace --all-features \
        -E "not (package(resilience-tests) | package(resilience-examples) | $without)"
    skip "tests with a database" "PostgreSQL is missing"
fi
if [[ $without != 'none()' ]]; then
    skip "tests with Redis" "redis-server is missing"
fi
gate "loom models" scripts/loom.sh --quiet
gate "doc tests" cargo test --quiet --doc --workspace --all-features
gate documentation documentation
if have cargo-deny; then
    # The advisories need a download: `make audit`.
    gate "licences, bans, sources" cargo deny --log-level error check licenses bans sources
else
    skip "licences, bans, sources" "cargo-deny is missing"
fi
if have jq; then
    gate "features one by one" features
else
    skip "features one by one" "jq is missing"
fi
if have cargo-fuzz && have g++; then
    gate "fuzzing, a short run" scripts/fuzz.sh short
else
    skip "fuzzing, a short run" "cargo-fuzz or g++ is missing"
fi
# Whether they run, not how fast: the dev profile spares a second build of
# everything, and so do the workspace's features. `make bench` measures.
gate "benches, one round each" cargo bench --quiet --workspace --all-features --profile dev \
    --bench rows --bench turns --bench allocations -- --test
# Without PostgreSQL that gate leaves out the rows of the pool.
postgres_there || skip "benches of the pool, one round each" "PostgreSQL is missing"
# Likewise: whether the outages run, what they find is for `make chaos` to say.
if postgres_there; then
    gate "chaos, a short run" env SHORT=1 scripts/chaos.sh
else
    skip "chaos, a short run" "PostgreSQL is missing"
fi
# Counted and not timed, so this one is a test.
if [[ $(uname -m) != x86_64 ]]; then
    # Not a skip: there is nothing that could be installed to change it.
    printf '\n=== instruction counts\nnone: they are recorded for x86_64\n'
elif ! have valgrind; then
    skip "instruction counts" "valgrind is missing"
elif ! have gungraun-runner; then
    skip "instruction counts" "gungraun-runner is missing"
else
    gate "instruction counts" scripts/instructions.sh check
fi

printf '\ngates: %d passed, %d failed, %d skipped\n' "$passed" "${#failed[@]}" "${#skipped[@]}"
list() { local IFS=';'; printf '%s' "${*/#/ }"; }
if ((${#failed[@]})); then
    echo "FAILED:$(list "${failed[@]}")"
    exit 1
elif ((${#skipped[@]})); then
    echo "all gates that ran passed; SKIPPED:$(list "${skipped[@]}")"
else
    echo "all gates passed"
fi
