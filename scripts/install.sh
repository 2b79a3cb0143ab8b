#!/bin/sh
# Installs what is missing on a Debian or Ubuntu with Rust and make.
#
#   install.sh demo   what `make demo` needs
#   install.sh test   what `make test` needs
#
# Prints nothing when all is there. What cannot be had is one line and exit 1;
# for `test` on a developer's machine (CI is not `true`) it is a line that begins
# with SKIP and exit 0, and scripts/gates.sh leaves out what needs it.
set -eu

# The oldest that will do is also in examples/src/postgres/installation.rs.
POSTGRES_OLDEST=15
NEXTEST=0.9.143
DENY=0.20.2
FUZZ=0.13.2
# The one that benches/Cargo.toml names.
GUNGRAUN=0.20.0

root=$(CDPATH='' cd -- "$(dirname -- "$0")/.." && pwd)
tools=$root/target/tools
PATH=$tools/bin:$PATH:/usr/sbin:/sbin
purpose=${1:-}
failed=0

say() { printf '%s\n' "$*" >&2; }

have() { command -v "$1" >/dev/null 2>&1; }

# missing WHAT HOW: what could not be had, and what a person can do about it.
missing() {
    if [ "$purpose" = test ] && [ "${CI:-}" != true ]; then
        say "SKIP: $1 is missing and cannot be installed: $2"
    else
        say "install: $1 is missing and cannot be installed: $2"
        failed=1
    fi
}

as_root() {
    if [ "$(id -u)" = 0 ]; then
        "$@"
    elif [ "${CI:-}" = true ]; then
        sudo -n "$@" # nobody is there to type a password
    else
        sudo "$@"
    fi
}

# Whether packages can be installed at all; asks once, and refreshes the lists once.
apt_state=unknown
apt_ready() {
    if [ "$apt_state" = unknown ]; then
        apt_state=no
        if ! have apt-get; then
            apt_why="this is not a Debian or Ubuntu"
        elif [ "$(id -u)" != 0 ] && ! have sudo; then
            apt_why="you are not root and there is no sudo"
        elif ! { say "Refreshing apt's package lists …" && as_root apt-get update -qq >&2; }; then
            apt_why="apt-get update failed"
        else
            apt_state=yes
        fi
    fi
    [ "$apt_state" = yes ]
}

apt_install() {
    say "Installing $* …"
    as_root env DEBIAN_FRONTEND=noninteractive \
        apt-get install -y -qq --no-install-recommends "$@" >&2
}

# package COMMAND PACKAGE
package() {
    have "$1" && return 0
    if ! apt_ready; then
        missing "$1" "$apt_why; install the package $2 by hand"
    elif ! apt_install "$2"; then
        missing "$1" "apt-get install $2 failed"
    fi
}

postgres_there() {
    for initdb in /usr/lib/postgresql/*/bin/initdb; do
        [ -x "$initdb" ] || continue
        version=${initdb#/usr/lib/postgresql/}
        version=${version%%/*}
        [ "$version" -ge "$POSTGRES_OLDEST" ] 2>/dev/null && return 0
    done
    # One from elsewhere: in PATH, or where pg_config says.
    bin=$(command -v postgres 2>/dev/null) || bin=$(pg_config --bindir 2>/dev/null)/postgres
    version=$("$bin" --version 2>/dev/null | sed -n 's/.*(PostgreSQL) \([0-9]*\).*/\1/p')
    [ -n "$version" ] && [ "$version" -ge "$POSTGRES_OLDEST" ]
}

postgres() {
    postgres_there && return 0
    if ! apt_ready; then
        missing "PostgreSQL $POSTGRES_OLDEST or newer" "$apt_why; install its server by hand"
        return 0
    fi
    newest=$(apt-cache --names-only search '^postgresql-[0-9][0-9]*$' |
        sed 's/^postgresql-\([0-9]*\) .*/\1/' | sort -rn | head -n 1)
    if [ -z "$newest" ] || [ "$newest" -lt "$POSTGRES_OLDEST" ]; then
        missing "PostgreSQL $POSTGRES_OLDEST or newer" \
            "apt here has ${newest:-none}; the PostgreSQL project's own apt repository has newer ones"
        return 0
    fi
    # Debian's package makes a cluster and starts it on port 5432. The setting
    # that stops it is a file of postgresql-common, so that one comes first;
    # afterwards the file is as it was.
    apt_install postgresql-common || true
    conf=/etc/postgresql-common/createcluster.conf
    if [ -f "$conf" ]; then
        as_root cp -p "$conf" "$conf.before"
        printf 'create_main_cluster = false\n' | as_root tee -a "$conf" >/dev/null
    fi
    apt_install "postgresql-$newest" || missing "PostgreSQL" "apt-get install postgresql-$newest failed"
    if [ -f "$conf.before" ]; then
        as_root mv "$conf.before" "$conf"
    fi
}

redis() {
    have redis-server && return 0
    have valkey-server && return 0
    if ! apt_ready; then
        missing "redis-server" "$apt_why; install it by hand"
        return 0
    fi
    # The package starts a server on port 6379, unless this says that none may be.
    policy=/usr/sbin/policy-rc.d
    ours=no
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$policy" >/dev/null
        as_root chmod 755 "$policy"
        ours=yes
    fi
    apt_install redis-server || missing "redis-server" "apt-get install redis-server failed"
    if [ "$ours" = yes ]; then
        as_root rm -f "$policy"
    fi
}

# cargo_tool NAME VERSION [exactly]: into target/tools, so that nothing of the user's
# own changes; `exactly` if another version of the user's own will not do. A debug
# build: it compiles in a minute instead of five, and what these tools spend their
# time on is cargo's work, not their own.
cargo_tool() {
    # Ours in the pinned version, or one of the user's in any.
    grep -qsF "\"$1 $2 " "$tools/.crates.toml" && return 0
    case ${3:-any}:$(command -v "$1" 2>/dev/null) in
    exactly:* | any: | any:"$tools"/*) ;;
    *) return 0 ;;
    esac
    say "Installing $1 $2 into target/tools (a minute or two) …"
    if CARGO_PROFILE_DEV_DEBUG=false cargo install --quiet --locked --debug \
        --root "$tools" --target-dir "$tools/build" --version "=$2" "$1" >&2; then
        rm -rf "$tools/build"
    else
        missing "$1" "cargo install $1 --version $2 failed"
    fi
}

case $purpose in
demo | test) ;;
*)
    say "usage: install.sh demo|test"
    exit 2
    ;;
esac

if ! have cargo; then
    # Not to be skipped: without it there is nothing to run.
    say "install: Rust is missing: install it with rustup, whose toolchain file is rust-toolchain.toml here"
    exit 1
fi
package setpriv util-linux
package curl curl
package jq jq
package cc gcc
postgres
if [ "$purpose" = test ]; then
    cargo_tool cargo-nextest "$NEXTEST"
    cargo_tool cargo-deny "$DENY"
    cargo_tool cargo-fuzz "$FUZZ"
    package g++ g++ # libFuzzer is C++
    package valgrind valgrind
    redis
    # For packets that are lost, in a network namespace of the test's own.
    package ip iproute2
    package nft nftables
    cargo_tool gungraun-runner "$GUNGRAUN" exactly
fi
exit "$failed"
