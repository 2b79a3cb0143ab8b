//! The sections of few words: database, health, logging.

use std::time::Duration;

use super::{
    reader::{Allowed, Reader, Section, Sourced},
    schema,
    value::{Readable, words},
};
use crate::snapshot::Severity;

pub(super) const MS: Duration = Duration::from_millis(1);
pub(super) const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
pub(super) const HOUR: Duration = Duration::from_secs(3600);
pub(super) const DAY: Duration = Duration::from_secs(24 * 3600);

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
pub(super) fn any<T>(text: &str) -> Allowed<impl Fn(&T) -> bool + use<T>> {
    Allowed {
        text: text.to_owned(),
        inside: |_: &T| true,
    }
}

pub(super) fn within<T: PartialOrd>(
    min: T,
    max: T,
    text: &str,
) -> Allowed<impl Fn(&T) -> bool + use<T>> {
    Allowed {
        text: text.to_owned(),
        inside: move |value: &T| (&min..=&max).contains(&value),
    }
}

pub(super) fn within_or_off(
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
pub(super) fn plain<T: Readable>(
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
