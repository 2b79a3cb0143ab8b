//! The settings in force.

use std::time::Duration;

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

pub(super) const fn limits(config: &DatabaseConfig) -> Limits {
    Limits {
        pool_size: config.pool_size,
        max_overflow: config.max_overflow,
    }
}
