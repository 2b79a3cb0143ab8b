//! The settings in force.

use std::{
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::Duration,
};

use super::queue::Limits;
use crate::{clock::saturating_ns, config::DatabaseConfig};

/// What may change while the pool works; the limits are the queue's.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) wait: Duration,
    pub(super) connect: Duration,
    pub(super) query: Option<Duration>,
    pub(super) lifetime: Option<Duration>,
    pub(super) idle: Option<Duration>,
    pub(super) keepalive: Option<Duration>,
    pub(super) slow: Option<Duration>,
    /// `u64::MAX`: nothing is a leak.
    pub(super) leak_ns: u64,
    /// What a connection is made with.
    pub(super) postgres: tokio_postgres::Config,
}

impl Settings {
    pub(super) fn new(base: &tokio_postgres::Config, config: &DatabaseConfig) -> Self {
        let mut postgres = base.clone();
        if let Some(timeout) = config.statement_timeout {
            // At connect, and not by SET: so it survives a RESET.
            let given = base.get_options().unwrap_or_default();
            let options = format!("{given} -c statement_timeout={}", timeout.as_millis());
            postgres.options(options.trim());
        }
        Self {
            wait: config.pool_timeout,
            connect: config.connect_timeout,
            query: config.query_timeout,
            lifetime: config.max_lifetime,
            idle: config.idle_timeout,
            keepalive: config.keepalive,
            slow: config.slow_query,
            leak_ns: config.leak_threshold.map_or(u64::MAX, saturating_ns),
            postgres,
        }
    }
}

/// What every checkout and every statement asks for, beside the settings: to read those
/// costs two locked instructions.
#[derive(Debug)]
pub(super) struct Times {
    wait_ns: AtomicU64,
    /// [`NONE`]: there is none.
    query_ns: AtomicU64,
    slow_ns: AtomicU64,
}

const NONE: u64 = u64::MAX;

impl Times {
    pub(super) fn new(settings: &Settings) -> Self {
        let times = Self {
            wait_ns: AtomicU64::new(0),
            query_ns: AtomicU64::new(NONE),
            slow_ns: AtomicU64::new(NONE),
        };
        times.set(settings);
        times
    }

    pub(super) fn set(&self, settings: &Settings) {
        // One that is longer than 584 years is as good as none.
        let ns = |time: Option<Duration>| time.map_or(NONE, saturating_ns);
        // ordering: Relaxed. Each stands for itself.
        self.wait_ns.store(saturating_ns(settings.wait), Relaxed);
        self.query_ns.store(ns(settings.query), Relaxed);
        self.slow_ns.store(ns(settings.slow), Relaxed);
    }

    pub(super) fn wait(&self) -> Duration {
        Duration::from_nanos(self.wait_ns.load(Relaxed))
    }

    pub(super) fn query(&self) -> Option<Duration> {
        some(self.query_ns.load(Relaxed))
    }

    /// What takes longer is logged.
    pub(super) fn slow(&self) -> Option<Duration> {
        some(self.slow_ns.load(Relaxed))
    }
}

fn some(ns: u64) -> Option<Duration> {
    (ns != NONE).then_some(Duration::from_nanos(ns))
}

pub(super) const fn limits(config: &DatabaseConfig) -> Limits {
    Limits {
        pool_size: config.pool_size,
        max_overflow: config.max_overflow,
    }
}
