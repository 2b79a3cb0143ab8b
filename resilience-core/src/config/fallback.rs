//! The `fallback` sections.

mod answer;
mod stores;
mod url;

use std::time::Duration;

use super::{
    reader::{Reader, Section, Sourced},
    schema,
    sections::{DAY, MS, any, switch, within, within_or_off},
    tree::Origin,
    value::{Readable, Size, words},
};

pub use answer::FixedAnswer;
pub(super) use stores::read as stores;
pub use stores::{FallbackFileConfig, FallbackRedisConfig};
pub use url::{BadRedisUrl, RedisUrl};

/// What is answered when an upstream cannot be asked.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FallbackConfig {
    /// Off lets every failure through to the caller. Default: `true`.
    pub enabled: bool,
    /// Default: `cache`.
    pub strategy: FallbackStrategy,
    /// How long an answer is fresh. 1 ms to 30 days, at most `stale_limit`.
    /// Default: 300 s.
    pub ttl: Duration,
    /// How old an answer may be to be served when the upstream fails. 1 ms to
    /// 30 days, at least `ttl`. Default: 24 h.
    pub stale_limit: Duration,
    /// How long an answer that is not fresh any more is served while a newer one is
    /// fetched, so that nobody waits; counted from `ttl`, and over at `stale_limit`
    /// at the latest. `None` (`off`): not at all. 1 ms to 30 days. Default: `off`.
    pub stale_while_revalidate: Option<Duration>,
    /// Whether what the upstream says (`Cache-Control`, `Expires`) goes before `ttl`
    /// and may only shorten `stale_limit`. Default: `true`.
    pub obey_cache_control: bool,
    /// Bytes in memory for the answers of one service. 64 KiB to 64 GiB. Default:
    /// 64 MiB.
    pub memory: u64,
    /// A body that is larger is passed on and not kept. 0 to 1 GiB. Default: 1 MiB.
    pub largest_body: u64,
    /// Where answers are kept. Which one a service uses is settled at the start.
    /// Default: `memory`.
    pub store: FallbackStore,
    /// What is answered with `strategy: static` over HTTP, unless the code has an
    /// answer of its own. Only in the section of a service. Default: none.
    pub answer: Option<FixedAnswer>,
}

/// Where a fallback answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FallbackStrategy {
    /// The last good answer.
    Cache,
    /// A fixed answer, set in the code or, for HTTP, in the configuration.
    Static,
    /// Another service.
    Service,
    /// Nowhere: the failure is passed on.
    None,
}

words!(FallbackStrategy {
    Cache = "cache",
    Static = "static",
    Service = "service",
    None = "none",
});

/// Where answers are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FallbackStore {
    /// In this process.
    Memory,
    /// In a file of this machine; outlives a restart.
    File,
    /// In Redis, shared by the fleet.
    Redis,
}

words!(FallbackStore {
    Memory = "memory",
    File = "file",
    Redis = "redis",
});

/// A `fallback` section with where each value came from.
#[derive(Clone, Debug)]
pub(super) struct FallbackValues {
    enabled: Sourced<bool>,
    strategy: Sourced<FallbackStrategy>,
    ttl: Sourced<Duration>,
    stale_limit: Sourced<Duration>,
    stale_while_revalidate: Sourced<Option<Duration>>,
    obey_cache_control: Sourced<bool>,
    memory: Sourced<Size>,
    largest_body: Sourced<Size>,
    store: Sourced<FallbackStore>,
}

impl Default for FallbackValues {
    fn default() -> Self {
        Self {
            enabled: Sourced::default(true),
            strategy: Sourced::default(FallbackStrategy::Cache),
            ttl: Sourced::default(Duration::from_secs(300)),
            stale_limit: Sourced::default(DAY),
            stale_while_revalidate: Sourced::default(None),
            obey_cache_control: Sourced::default(true),
            memory: Sourced::default(Size(64 << 20)),
            largest_body: Sourced::default(Size(1 << 20)),
            store: Sourced::default(FallbackStore::Memory),
        }
    }
}

impl FallbackValues {
    fn config(&self, answer: Option<FixedAnswer>) -> FallbackConfig {
        FallbackConfig {
            enabled: self.enabled.value,
            strategy: self.strategy.value,
            ttl: self.ttl.value,
            stale_limit: self.stale_limit.value,
            stale_while_revalidate: self.stale_while_revalidate.value,
            obey_cache_control: self.obey_cache_control.value,
            memory: self.memory.value.0,
            largest_body: self.largest_body.value.0,
            store: self.store.value,
            answer,
        }
    }
}

/// The `fallback` section at the top of the file.
pub(super) struct Fallback {
    /// What services inherit.
    pub(super) values: FallbackValues,
    pub(super) config: FallbackConfig,
    pub(super) file: FallbackFileConfig,
    pub(super) redis: FallbackRedisConfig,
    /// `redis.url` is written, though it may be wrong.
    redis_is_named: bool,
}

/// Reads the section at the top.
pub(super) fn read(reader: &mut Reader, top: &Section<'_>) -> Fallback {
    let section = reader.section(top, "fallback", schema::FALLBACK);
    let redis = reader.section(&section, "redis", schema::FALLBACK_REDIS);
    let redis_is_named = redis.node("url").is_some();
    let values = shared(reader, &section, &FallbackValues::default(), redis_is_named);
    let (file, redis) = stores(reader, &section, &redis);
    Fallback {
        config: values.config(None),
        values,
        file,
        redis,
        redis_is_named,
    }
}

/// Reads the section of a service over what it inherits.
pub(super) fn read_own(
    reader: &mut Reader,
    section: &Section<'_>,
    base: &Fallback,
) -> FallbackConfig {
    let values = shared(reader, section, &base.values, base.redis_is_named);
    let answer = answer::read(reader, section);
    values.config(answer)
}

/// The keys that both have.
fn shared(
    reader: &mut Reader,
    section: &Section<'_>,
    base: &FallbackValues,
    redis_is_named: bool,
) -> FallbackValues {
    let age = within(MS, 30 * DAY, "1ms to 30 days");
    let age_or_off = within_or_off(MS, 30 * DAY, "1ms to 30 days, or off");
    let values = FallbackValues {
        enabled: reader.value(section, "enabled", &base.enabled, &switch()),
        strategy: reader.value(
            section,
            "strategy",
            &base.strategy,
            &any("cache, static, service, none"),
        ),
        ttl: reader.value(section, "ttl", &base.ttl, &age),
        stale_limit: reader.value(section, "stale_limit", &base.stale_limit, &age),
        stale_while_revalidate: reader.value(
            section,
            "stale_while_revalidate",
            &base.stale_while_revalidate,
            &age_or_off,
        ),
        obey_cache_control: reader.value(
            section,
            "obey_cache_control",
            &base.obey_cache_control,
            &switch(),
        ),
        memory: reader.value(
            section,
            "memory",
            &base.memory,
            &within(Size(64 << 10), Size(64 << 30), "64KiB to 64GiB"),
        ),
        largest_body: reader.value(
            section,
            "largest_body",
            &base.largest_body,
            &within(Size(0), Size(1 << 30), "0B to 1GiB"),
        ),
        store: reader.value(section, "store", &base.store, &any("memory, file, redis")),
    };
    if !ages_go_together(reader, section, &values) {
        revalidation_ends_in_time(reader, section, &values);
    }
    // Whoever inherits it is told of it where it is written.
    if values.store.value == FallbackStore::Redis
        && !redis_is_named
        && section.node("store").is_some()
    {
        reader.conflict(
            &section.full("store"),
            &values.store.origin,
            values.store.value.show(),
            "with `fallback.redis.url`, which is not set, such as `redis://127.0.0.1:6379`",
        );
    }
    values
}

/// Whether a key of this section was reported already: nobody wished for what
/// stands in for it.
fn misread<T>(section: &Section<'_>, key: &str, value: &Sourced<T>) -> bool {
    section
        .node(key)
        .is_some_and(|node| node.origin != value.origin)
}

fn shown<T: Readable>(reader: &Reader, value: &Sourced<T>) -> String {
    let origin = value.origin.label(reader.file_name());
    format!("{} ({origin})", value.value.show())
}

/// One of several keys that do not go together, and what it may be.
type Mend<'a> = (&'a str, &'a Origin, String, String);

/// Says a conflict where it can be mended: at the first of these keys that the
/// section itself gives. If it gives none, it was reported where they are written.
fn report(reader: &mut Reader, section: &Section<'_>, mends: &[Mend<'_>]) {
    let written = mends.iter().find(|(key, ..)| section.node(key).is_some());
    if let Some((key, origin, given, allowed)) = written {
        reader.conflict(&section.full(key), origin, given.clone(), allowed);
    }
}

/// Reports a `ttl` beyond `stale_limit`; whether there was something wrong.
fn ages_go_together(reader: &mut Reader, section: &Section<'_>, values: &FallbackValues) -> bool {
    let (ttl, limit) = (&values.ttl, &values.stale_limit);
    if misread(section, "ttl", ttl) || misread(section, "stale_limit", limit) {
        return true;
    }
    if ttl.value <= limit.value {
        return false;
    }
    let (at_least, at_most) = (
        format!("at least `ttl`, {}", shown(reader, ttl)),
        format!("at most `stale_limit`, {}", shown(reader, limit)),
    );
    let mends = [
        ("stale_limit", &limit.origin, limit.value.show(), at_least),
        ("ttl", &ttl.origin, ttl.value.show(), at_most),
    ];
    report(reader, section, &mends);
    true
}

/// Reports a `stale_while_revalidate` that goes on beyond `stale_limit`.
fn revalidation_ends_in_time(reader: &mut Reader, section: &Section<'_>, values: &FallbackValues) {
    let (ttl, limit) = (&values.ttl, &values.stale_limit);
    let revalidate = &values.stale_while_revalidate;
    if misread(section, "stale_while_revalidate", revalidate) {
        return;
    }
    let Some(time) = revalidate.value else { return };
    // At most 60 days: no overflow.
    if ttl.value + time <= limit.value {
        return;
    }
    let (ttl_shown, limit_shown) = (shown(reader, ttl), shown(reader, limit));
    let time_shown = shown(reader, revalidate);
    let mends = [
        (
            "stale_while_revalidate",
            &revalidate.origin,
            time.show(),
            format!("at most `stale_limit` less `ttl`, {limit_shown} less {ttl_shown}"),
        ),
        (
            "stale_limit",
            &limit.origin,
            limit.value.show(),
            format!(
                "at least `ttl` and `stale_while_revalidate` together, {ttl_shown} and \
                 {time_shown}"
            ),
        ),
        (
            "ttl",
            &ttl.origin,
            ttl.value.show(),
            format!(
                "at most `stale_limit` less `stale_while_revalidate`, {limit_shown} less \
                 {time_shown}"
            ),
        ),
    ];
    report(reader, section, &mends);
}
