//! The sections beside the breakers': fallback, database, health, logging.

use std::time::Duration;

use super::{
    reader::{Allowed, Reader, Section, Sourced},
    schema,
    tree::Origin,
    value::{Readable, words},
};
use crate::snapshot::Severity;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const DAY: Duration = Duration::from_secs(24 * 3600);

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
    /// fetched, so that nobody waits; counted from `ttl`. `None` (`off`): not at
    /// all. 1 ms to 30 days. Default: `off`.
    pub stale_while_revalidate: Option<Duration>,
    /// Whether what the upstream says (`Cache-Control`, `Expires`) goes before `ttl`
    /// and may only shorten `stale_limit`. Default: `true`.
    pub obey_cache_control: bool,
    /// Bytes in memory for the answers of one service. 64 KiB to 64 GiB. Default:
    /// 64 MiB.
    pub memory: u64,
    /// A body that is larger is passed on and not kept. 0 to 1 GiB. Default: 1 MiB.
    pub largest_body: u64,
    /// Where answers are kept. Default: `memory`.
    pub store: FallbackStore,
}

/// Where a fallback answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum FallbackStrategy {
    /// The last good answer.
    Cache,
    /// A fixed answer, set in the code.
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

/// The PostgreSQL pool.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DatabaseConfig {
    /// Connections that are kept. 1 to 10,000. Default: 20.
    pub pool_size: u32,
    /// Connections beyond these in a rush, closed when returned. 0 to 10,000.
    /// Default: 10.
    pub max_overflow: u32,
    /// How long a caller waits for a connection. 1 ms to 1 h. Default: 30 s.
    pub pool_timeout: Duration,
    /// How long a new connection may take to be made, in all. 1 ms to 10 min.
    /// Default: 5 s.
    pub connect_timeout: Duration,
    /// How long a caller waits for the answer to a statement, also when the
    /// server says nothing any more; `None` (`off`): for ever. 1 ms to 24 h.
    /// Default: 35 s, a little more than `statement_timeout`, so that a server
    /// that is alive ends the statement itself.
    pub query_timeout: Option<Duration>,
    /// A connection older than this is replaced once it is returned, give or take
    /// a tenth so that not all go at once; `None` (`off`) keeps them. 1 s to
    /// 7 days. Default: 30 min.
    pub max_lifetime: Option<Duration>,
    /// A connection that nobody used for so long is closed, down to none;
    /// `None` (`off`) keeps them. 1 s to 7 days. Default: 10 min.
    pub idle_timeout: Option<Duration>,
    /// An idle connection is asked for a sign of life this often, so that a
    /// firewall does not forget it and a dead one is found before a caller
    /// does; `None` (`off`) asks none. 1 s to 24 h. Default: 1 min.
    pub keepalive: Option<Duration>,
    /// A statement that runs longer is ended by the server; `None` (`off`)
    /// ends none. 1 ms to 24 h. Default: 30 s.
    pub statement_timeout: Option<Duration>,
    /// A statement that takes longer is logged as `Slow query`; `None`
    /// (`off`) logs none. 1 ms to 1 h. Default: 100 ms.
    pub slow_query: Option<Duration>,
    /// A connection that is out for longer is reported as a suspected leak;
    /// `None` (`off`) reports none. 1 ms to 24 h. Default: 60 s.
    pub leak_threshold: Option<Duration>,
}

impl DatabaseConfig {
    /// So many connections a pool may keep, and as many more in a rush.
    pub(crate) const MOST_CONNECTIONS: u32 = 10_000;
}

/// How much the checks weigh in `/health/ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ReadyConfig {
    /// The database. Default: `critical`, as the runbook counts on a 503.
    pub database: Severity,
    /// The circuit breakers. Default: `warn`: a replica that refuses calls to
    /// one upstream still serves everything else.
    pub circuit_breakers: Severity,
}

/// Log lines.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct LoggingConfig {
    /// Default: `text`.
    pub format: LogFormat,
    /// Default: `info`.
    pub level: LogLevel,
}

/// Layout of log lines.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum LogFormat {
    /// One line a record, fields parted by single spaces.
    Text,
    /// One JSON object a line.
    Json,
}

words!(LogFormat {
    Text = "text",
    Json = "json",
});

/// The least important level that is logged.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LogLevel {
    /// What failed.
    Error,
    /// What may fail soon.
    Warn,
    /// What was done.
    Info,
    /// How it was done.
    Debug,
    /// Every step.
    Trace,
}

words!(LogLevel {
    Error = "error",
    Warn = "warn",
    Info = "info",
    Debug = "debug",
    Trace = "trace",
});

impl LogLevel {
    /// The word used in the file, which `tracing` understands too.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

/// A `fallback` section with where each value came from.
#[derive(Clone, Debug)]
pub(super) struct FallbackValues {
    enabled: Sourced<bool>,
    strategy: Sourced<FallbackStrategy>,
    ttl: Sourced<Duration>,
    stale_limit: Sourced<Duration>,
    store: Sourced<FallbackStore>,
}

impl Default for FallbackValues {
    fn default() -> Self {
        Self {
            enabled: Sourced::default(true),
            strategy: Sourced::default(FallbackStrategy::Cache),
            ttl: Sourced::default(Duration::from_secs(300)),
            stale_limit: Sourced::default(DAY),
            store: Sourced::default(FallbackStore::Memory),
        }
    }
}

impl FallbackValues {
    pub(super) fn config(&self) -> FallbackConfig {
        FallbackConfig {
            enabled: self.enabled.value,
            strategy: self.strategy.value,
            ttl: self.ttl.value,
            stale_limit: self.stale_limit.value,
            stale_while_revalidate: None,
            obey_cache_control: true,
            memory: 64 << 20,
            largest_body: 1 << 20,
            store: self.store.value,
        }
    }
}

/// Reads a `fallback` section over what it inherits.
pub(super) fn fallback(
    reader: &mut Reader,
    section: &Section<'_>,
    base: &FallbackValues,
) -> FallbackValues {
    let age = within(MS, 30 * DAY, "1ms to 30 days");
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
        store: reader.value(section, "store", &base.store, &any("memory, file, redis")),
    };
    let FallbackValues {
        ttl, stale_limit, ..
    } = &values;
    // One that is wrong has been reported, and nobody wished for what stands in
    // for it.
    let misread = |key, value: &Sourced<Duration>| {
        section
            .node(key)
            .is_some_and(|node| node.origin != value.origin)
    };
    let wished = !misread("ttl", ttl) && !misread("stale_limit", stale_limit);
    if wished && ttl.value > stale_limit.value {
        // Said where it can be mended: at the key that this section gives. If
        // it gives neither, the two were reported where they are written.
        let label = |origin: &Origin| origin.label(reader.file_name());
        if section.node("stale_limit").is_some() {
            let allowed = format!(
                "at least `ttl`, {} ({})",
                ttl.value.show(),
                label(&ttl.origin)
            );
            let key = section.full("stale_limit");
            reader.conflict(
                &key,
                &stale_limit.origin,
                stale_limit.value.show(),
                &allowed,
            );
        } else if section.node("ttl").is_some() {
            let allowed = format!(
                "at most `stale_limit`, {} ({})",
                stale_limit.value.show(),
                label(&stale_limit.origin)
            );
            reader.conflict(
                &section.full("ttl"),
                &ttl.origin,
                ttl.value.show(),
                &allowed,
            );
        }
    }
    values
}

/// Reads the `database` section.
pub(super) fn database(reader: &mut Reader, top: &Section<'_>) -> DatabaseConfig {
    let section = reader.section(top, "database", schema::DATABASE);
    DatabaseConfig {
        pool_size: plain(
            reader,
            &section,
            "pool_size",
            20,
            &within(1, DatabaseConfig::MOST_CONNECTIONS, "1 to 10000"),
        ),
        max_overflow: plain(
            reader,
            &section,
            "max_overflow",
            10,
            &within(0, DatabaseConfig::MOST_CONNECTIONS, "0 to 10000"),
        ),
        pool_timeout: plain(
            reader,
            &section,
            "pool_timeout",
            Duration::from_secs(30),
            &within(MS, HOUR, "1ms to 1h"),
        ),
        connect_timeout: plain(
            reader,
            &section,
            "connect_timeout",
            Duration::from_secs(5),
            &within(MS, 10 * MINUTE, "1ms to 10m"),
        ),
        query_timeout: plain(
            reader,
            &section,
            "query_timeout",
            Some(Duration::from_secs(35)),
            &within_or_off(MS, DAY, "1ms to 24h, or off"),
        ),
        max_lifetime: plain(
            reader,
            &section,
            "max_lifetime",
            Some(30 * MINUTE),
            &within_or_off(SECOND, 7 * DAY, "1s to 7d, or off"),
        ),
        idle_timeout: plain(
            reader,
            &section,
            "idle_timeout",
            Some(10 * MINUTE),
            &within_or_off(SECOND, 7 * DAY, "1s to 7d, or off"),
        ),
        keepalive: plain(
            reader,
            &section,
            "keepalive",
            Some(MINUTE),
            &within_or_off(SECOND, DAY, "1s to 24h, or off"),
        ),
        statement_timeout: plain(
            reader,
            &section,
            "statement_timeout",
            Some(Duration::from_secs(30)),
            &within_or_off(MS, DAY, "1ms to 24h, or off"),
        ),
        slow_query: plain(
            reader,
            &section,
            "slow_query",
            Some(Duration::from_millis(100)),
            &within_or_off(MS, HOUR, "1ms to 1h, or off"),
        ),
        leak_threshold: plain(
            reader,
            &section,
            "leak_threshold",
            Some(Duration::from_secs(60)),
            &within_or_off(MS, DAY, "1ms to 24h, or off"),
        ),
    }
}

/// Reads the `health` section.
pub(super) fn ready(reader: &mut Reader, top: &Section<'_>) -> ReadyConfig {
    let health = reader.section(top, "health", schema::HEALTH);
    let section = reader.section(&health, "ready", schema::READY);
    let words = any("critical, warn, off");
    ReadyConfig {
        database: plain(reader, &section, "database", Severity::Critical, &words),
        circuit_breakers: plain(reader, &section, "circuit_breakers", Severity::Warn, &words),
    }
}

/// Reads the `logging` section.
pub(super) fn logging(reader: &mut Reader, top: &Section<'_>) -> LoggingConfig {
    let section = reader.section(top, "logging", schema::LOGGING);
    LoggingConfig {
        format: plain(
            reader,
            &section,
            "format",
            LogFormat::Text,
            &any("text, json"),
        ),
        level: plain(
            reader,
            &section,
            "level",
            LogLevel::Info,
            &any("error, warn, info, debug, trace"),
        ),
    }
}

/// `true` or `false`.
pub(super) fn switch() -> Allowed<impl Fn(&bool) -> bool> {
    any("true or false")
}

/// Every value of the type.
fn any<T>(text: &str) -> Allowed<impl Fn(&T) -> bool + use<T>> {
    Allowed {
        text: text.to_owned(),
        inside: |_: &T| true,
    }
}

fn within<T: PartialOrd>(min: T, max: T, text: &str) -> Allowed<impl Fn(&T) -> bool + use<T>> {
    Allowed {
        text: text.to_owned(),
        inside: move |value: &T| (&min..=&max).contains(&value),
    }
}

fn within_or_off(
    min: Duration,
    max: Duration,
    text: &str,
) -> Allowed<impl Fn(&Option<Duration>) -> bool + use<>> {
    Allowed {
        text: text.to_owned(),
        inside: move |value: &Option<Duration>| value.is_none_or(|v| (min..=max).contains(&v)),
    }
}

/// A value of a section that nothing overrides.
fn plain<T: Readable>(
    reader: &mut Reader,
    section: &Section<'_>,
    key: &str,
    default: T,
    allowed: &Allowed<impl Fn(&T) -> bool>,
) -> T {
    reader
        .value(section, key, &Sourced::default(default), allowed)
        .value
}
