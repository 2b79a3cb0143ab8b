//! A PostgreSQL pool that says how large it is and how much of it is in use.
//!
//! deadpool-postgres does the pooling; this puts the settings of
//! [`DatabaseConfig`] in force and names its errors.

mod statement;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use deadpool_postgres::{
    Client, Manager, ManagerConfig, PoolError as DeadpoolError, RecyclingMethod, Runtime,
    TimeoutType,
};
use parking_lot::Mutex;
use tokio_postgres::NoTls;

use crate::{config::DatabaseConfig, snapshot::PoolSnapshot};

/// How long a new connection may take to be made.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A pool of PostgreSQL connections. A handle: clones share the connections.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: deadpool_postgres::Pool,
    name: String,
    limits: Arc<Mutex<(u32, u32)>>,
}

/// Why there was no connection.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PoolError {
    /// The URL cannot be used.
    #[error("the database URL is not usable")]
    Url(#[source] tokio_postgres::Error),
    /// The pool could not be made.
    #[error("the pool cannot be made")]
    Build(#[source] deadpool_postgres::BuildError),
    /// All connections were out for as long as a caller may wait. Begins with
    /// the words that the runbook greps for.
    #[error("Connection pool exhausted: size:{size} in_use:{in_use} waited:{waited:?}")]
    Exhausted {
        /// The limit: pool_size + max_overflow.
        size: u32,
        /// How many were checked out.
        in_use: u32,
        /// How long the caller waited.
        waited: Duration,
    },
    /// The database did not take a connection, or not in time.
    #[error("no connection to the database")]
    Database(#[source] DeadpoolError),
}

impl PoolError {
    /// The one place where an error becomes a class of the log.
    #[must_use]
    pub const fn class(&self) -> &'static str {
        match self {
            Self::Url(_) | Self::Build(_) => "pool_config",
            Self::Exhausted { .. } => "pool_exhausted",
            Self::Database(_) => "database_connect",
        }
    }
}

impl Pool {
    /// A pool of the database at `url`. Connections are made when needed, so
    /// this succeeds while the database is down.
    ///
    /// # Errors
    ///
    /// [`PoolError::Url`], [`PoolError::Build`].
    pub fn new(name: &str, url: &str, config: &DatabaseConfig) -> Result<Self, PoolError> {
        let mut postgres: tokio_postgres::Config = url.parse().map_err(PoolError::Url)?;
        if postgres.get_connect_timeout().is_none() {
            postgres.connect_timeout(CONNECT_WITHIN);
        }
        if let Some(timeout) = config.statement_timeout {
            // At connect, and not by SET: so it survives a RESET.
            let given = postgres.get_options().unwrap_or_default();
            let options = format!("{given} -c statement_timeout={}", timeout.as_millis());
            postgres.options(options.trim());
        }
        let manager = Manager::from_config(
            postgres,
            NoTls,
            ManagerConfig {
                recycling_method: RecyclingMethod::Fast,
            },
        );
        let size = config.pool_size.saturating_add(config.max_overflow);
        let inner = deadpool_postgres::Pool::builder(manager)
            .max_size(usize::try_from(size).unwrap_or(usize::MAX))
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(config.pool_timeout))
            .create_timeout(Some(CONNECT_WITHIN))
            .build()
            .map_err(PoolError::Build)?;
        Ok(Self {
            inner,
            name: name.to_owned(),
            limits: Arc::new(Mutex::new((config.pool_size, config.max_overflow))),
        })
    }

    /// A connection; back in the pool when dropped.
    ///
    /// # Errors
    ///
    /// [`PoolError::Exhausted`] after `pool_timeout`, [`PoolError::Database`].
    pub async fn get(&self) -> Result<Client, PoolError> {
        let asked = Instant::now();
        self.inner.get().await.map_err(|error| match error {
            DeadpoolError::Timeout(TimeoutType::Wait) => PoolError::Exhausted {
                size: self.snapshot().size,
                in_use: self.snapshot().in_use,
                waited: asked.elapsed(),
            },
            other => PoolError::Database(other),
        })
    }

    /// Asks the database for an answer over a connection of the pool.
    ///
    /// # Errors
    ///
    /// What stood in the way, with its causes, as one line.
    pub async fn ping(&self) -> Result<(), String> {
        let client = self.get().await.map_err(|error| causes(&error))?;
        client
            .batch_execute("SELECT 1")
            .await
            .map_err(|error| causes(&error))
    }

    /// Gives it other limits.
    pub fn resize(&self, pool_size: u32, max_overflow: u32) {
        let size = pool_size.saturating_add(max_overflow);
        *self.limits.lock() = (pool_size, max_overflow);
        self.inner
            .resize(usize::try_from(size).unwrap_or(usize::MAX));
    }

    /// Closes its idle connections; how many.
    pub fn recycle(&self) -> u32 {
        let removed = self.inner.retain(|_, _| false).removed.len();
        u32::try_from(removed).unwrap_or(u32::MAX)
    }

    /// Puts the limits of `config` in force; the rest at the next start.
    pub fn configure(&self, config: &DatabaseConfig) {
        self.resize(config.pool_size, config.max_overflow);
    }

    /// Its name, the `pool` label of its metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Size and use now.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        let status = self.inner.status();
        let in_use = status.size.saturating_sub(status.available);
        let (pool_size, max_overflow) = *self.limits.lock();
        PoolSnapshot {
            name: self.name.clone(),
            size: pool_size.saturating_add(max_overflow),
            pool_size,
            max_overflow,
            open: u32::try_from(status.size).unwrap_or(u32::MAX),
            in_use: u32::try_from(in_use).unwrap_or(u32::MAX),
            ..PoolSnapshot::default()
        }
    }
}

/// An error and what caused it, on one line.
fn causes(error: &(dyn std::error::Error + 'static)) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        // Some libraries print their source themselves.
        if !line.contains(&text) {
            line += &format!(": {text}");
        }
        cause = error.source();
    }
    line
}
