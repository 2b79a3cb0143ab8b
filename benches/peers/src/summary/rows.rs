//! The rows of the summary and what is hoped of each.

use super::targets::Target;

/// What the numbers of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// Median nanoseconds, of a call and thread unless the row says of what.
    Ns,
    /// Heap allocations a call.
    Allocations,
    /// Bytes of memory.
    Bytes,
    /// Bytes of memory over those of what is kept in it.
    Ratio,
    /// Calls of an upstream.
    Calls,
}

/// One row.
#[derive(Debug)]
pub struct Row {
    /// The name of the criterion group, and the key in the JSON.
    pub name: &'static str,
    /// What its numbers are.
    pub unit: Unit,
    /// Whom it stands beside, in the order of the table: the names of their
    /// packages.
    pub peers: &'static [&'static str],
    /// What is hoped of it; of a row without targets nothing is said.
    pub targets: &'static [Target],
}

/// Other circuit breakers.
const BREAKERS: &[&str] = &[
    "failsafe",
    "recloser",
    "circuitbreaker-rs",
    SEATBELT,
    TOWER_RESILIENCE,
];

/// Other pools of PostgreSQL connections.
const POOLS: &[&str] = &["deadpool-postgres", "bb8", "sqlx"];

/// Other caches of answers behind a layer.
const CACHES: &[&str] = &[TOWER_RESILIENCE_CACHE, MOKA];

const TOWER_RESILIENCE_CACHE: &str = "tower-resilience-cache";
const MOKA: &str = "moka";

const SEATBELT: &str = "seatbelt";
const TOWER_RESILIENCE: &str = "tower-resilience-circuitbreaker";

/// Layers that are no breakers and stand beside them for scale.
pub(super) const SCALE: [&str; 2] = [TIMEOUT, "concurrency_limit"];

const TIMEOUT: &str = "timeout";

const ADDED_BY_THE_LAYER: &[Target] = &[
    Target::OfMember(0.05, TOWER_RESILIENCE),
    Target::OfMember(0.1, SEATBELT),
    Target::LessThan(TIMEOUT),
];

const A_HIT: &[Target] = &[
    Target::AtMost(300.0),
    Target::LessThan(TOWER_RESILIENCE_CACHE),
    Target::LessThan(MOKA),
];

/// All rows.
pub const ROWS: &[Row] = &[
    ns(
        "closed_count_1t",
        &[Target::OfFloor(3.0), Target::LessThan("recloser")],
    ),
    ns("closed_count_2t", &[Target::OfFloor(1.5)]),
    ns(
        "closed_time_1t",
        &[Target::OfFloor(1.6), Target::OfMember(0.15, "failsafe")],
    ),
    ns("closed_time_2t", &[Target::Scaling(0.9)]),
    ns("slow_call_1t", &[Target::OfFloor(2.3)]),
    ns("open_1t", &[Target::OfFloor(1.4)]),
    ns("tower_closed_1t", ADDED_BY_THE_LAYER),
    ns("tower_closed_mt", ADDED_BY_THE_LAYER),
    ns("tower_closed_mt_time", ADDED_BY_THE_LAYER),
    ns("tower_open_1t", &[Target::OfMember(0.1, TOWER_RESILIENCE)]),
    pool("pool_checkout_1t", &[Target::OverFloor(250.0)]),
    pool("pool_checkout_64_on_8", &[Target::OfFloor(1.03)]),
    pool("pool_longest_wait_64_on_8", &[Target::OfFloor(3.0)]),
    kept("fallback_hit_1t", Unit::Ns, A_HIT),
    kept("fallback_hit_2t", Unit::Ns, A_HIT),
    kept("fallback_hit_many", Unit::Ns, &[]),
    kept("fallback_stale_open", Unit::Ns, &[Target::AtMost(1_000.0)]),
    kept("fallback_pass", Unit::Ns, &[Target::AtMost(20.0)]),
    kept("fallback_pass_post", Unit::Ns, &[]),
    kept(
        "fallback_redis_frozen",
        Unit::Ns,
        &[Target::OverFloor(5_000_000.0)],
    ),
    kept("fallback_coalesce", Unit::Calls, &[Target::AtMost(1.0)]),
    kept("fallback_bytes", Unit::Ratio, &[Target::AtMost(1.25)]),
    heap("allocs_closed", Unit::Allocations, &[Target::AtMost(0.0)]),
    heap("allocs_open", Unit::Allocations, &[Target::AtMost(0.0)]),
    heap("bytes", Unit::Bytes, &[Target::AtMost(4096.0)]),
    heap("bytes_largest_window", Unit::Bytes, &[]),
    heap("bytes_flight_recorder", Unit::Bytes, &[]),
];

const fn ns(name: &'static str, targets: &'static [Target]) -> Row {
    Row {
        name,
        unit: Unit::Ns,
        peers: BREAKERS,
        targets,
    }
}

const fn pool(name: &'static str, targets: &'static [Target]) -> Row {
    Row {
        peers: POOLS,
        ..ns(name, targets)
    }
}

const fn kept(name: &'static str, unit: Unit, targets: &'static [Target]) -> Row {
    Row {
        name,
        unit,
        peers: CACHES,
        targets,
    }
}

const fn heap(name: &'static str, unit: Unit, targets: &'static [Target]) -> Row {
    Row {
        name,
        unit,
        peers: BREAKERS,
        targets,
    }
}
