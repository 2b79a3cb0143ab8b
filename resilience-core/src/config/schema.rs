//! The keys there are.

/// Sections at the top of the file.
pub(super) const TOP: &[&str] = &[
    "resilience",
    "fallback",
    "database",
    "health",
    "logging",
    "services",
];
/// Keys of `resilience`.
pub(super) const RESILIENCE: &[&str] = &["circuit_breaker"];
/// Keys of a `circuit_breaker` section.
pub(super) const BREAKER: &[&str] = &[
    "enabled",
    "window",
    "minimum_calls",
    "failure_rate_threshold",
    "slow_call_duration",
    "slow_call_rate_threshold",
    "wait_in_open",
    "wait_multiplier",
    "wait_max",
    "wait_jitter",
    "automatic_half_open",
    "half_open_permits",
    "half_open_max_wait",
    "ramp_up",
    "probe_lease",
];
/// Keys of `window`, of which one is given.
pub(super) const WINDOW: &[&str] = &["calls", "seconds"];
/// Keys of a `fallback` section, wherever it is, and its own.
macro_rules! fallback_keys {
    ($($own:literal),+) => {
        &[
            "enabled",
            "strategy",
            "ttl",
            "stale_limit",
            "stale_while_revalidate",
            "obey_cache_control",
            "memory",
            "largest_body",
            "store",
            $($own),+
        ]
    };
}
/// Keys of the `fallback` section at the top.
pub(super) const FALLBACK: &[&str] = fallback_keys!["file", "redis"];
/// Keys of the `fallback` section of a service.
pub(super) const FALLBACK_OF_SERVICE: &[&str] = fallback_keys!["answer"];
/// Keys of `fallback.file`.
pub(super) const FALLBACK_FILE: &[&str] = &["path", "size"];
/// Keys of `fallback.redis`.
pub(super) const FALLBACK_REDIS: &[&str] = &["url", "ca_file", "deadline"];
/// Keys of `answer` in the `fallback` section of a service.
pub(super) const FALLBACK_ANSWER: &[&str] = &["status", "content_type", "body"];
/// Keys of `database`.
pub(super) const DATABASE: &[&str] = &[
    "pool_size",
    "max_overflow",
    "pool_timeout",
    "connect_timeout",
    "query_timeout",
    "max_lifetime",
    "idle_timeout",
    "keepalive",
    "statement_timeout",
    "slow_query",
    "leak_threshold",
];
/// Keys of `health`.
pub(super) const HEALTH: &[&str] = &["ready"];
/// Keys of `health.ready`.
pub(super) const READY: &[&str] = &["database", "circuit_breakers"];
/// Keys of `logging`.
pub(super) const LOGGING: &[&str] = &["format", "level"];
/// Keys of one service.
pub(super) const SERVICE: &[&str] = &["circuit_breaker", "fallback"];

/// Every section with its keys, to find where a misplaced key belongs.
const SECTIONS: &[(&str, &[&str])] = &[
    ("resilience", RESILIENCE),
    ("resilience.circuit_breaker", BREAKER),
    ("resilience.circuit_breaker.window", WINDOW),
    ("fallback", FALLBACK),
    ("fallback.file", FALLBACK_FILE),
    ("fallback.redis", FALLBACK_REDIS),
    // Its other keys are those of `fallback`, where they are found.
    ("services.<name>.fallback", &["answer"]),
    ("services.<name>.fallback.answer", FALLBACK_ANSWER),
    ("database", DATABASE),
    ("health", HEALTH),
    ("health.ready", READY),
    ("logging", LOGGING),
];

/// What to say of a key that is not among `known`.
pub(super) fn advice(key: &str, known: &[&str]) -> String {
    let all = known.join(", ");
    // Far longer than any key: no slip of the finger, and dear to compare.
    if key.len() > 64 {
        return format!("known here: {all}");
    }
    let lower = key.to_lowercase().replace('-', "_");
    let nearest = known
        .iter()
        .map(|name| (strsim::damerau_levenshtein(&lower, name), name))
        .min();
    if let Some((distance, name)) = nearest
        // A third of the letters may be wrong; more, and the advice is noise.
        && distance <= (name.len() / 3).max(1)
    {
        return format!("did you mean `{name}`? (known here: {all})");
    }
    let elsewhere: Vec<String> = SECTIONS
        .iter()
        .filter(|(_, keys)| keys.contains(&lower.as_str()))
        .map(|(section, _)| format!("`{section}.{lower}`"))
        .collect();
    if elsewhere.is_empty() {
        format!("known here: {all}")
    } else {
        // Most likely the indentation was lost.
        format!(
            "did you mean {}? (known here: {all})",
            elsewhere.join(" or ")
        )
    }
}
