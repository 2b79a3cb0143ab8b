//! A PostgreSQL pool that survives its database.
//!
//! What a caller gets, and from whom:
//!
//! - [`Pool::get`] waits for a connection in a fair queue (`queue.rs`), never longer
//!   than `pool_timeout`. An exhausted pool and a database that is down are
//!   different errors, and say what there is to say.
//! - While the server is down callers wait, and one prober dials (`gate.rs`,
//!   `dialer.rs`); when it is back they are served at once.
//! - [`Connection`] has the methods of `tokio_postgres::Client`; each statement is
//!   timed, has a deadline, and is cancelled on the server when it is given up.
//! - What a user leaves behind in a session is cleaned before the next user has it
//!   (`clean.rs`).
//! - Who holds connections, since when and with which statement is in the
//!   [snapshot](Pool::snapshot); who holds one for too long is in the log.
//!
//! The pool never sends a statement twice: one that may have reached the server is
//! the caller's to repeat.

mod address;
mod cached;
mod cancel;
mod checkout;
mod clean;
mod connection;
mod deadline;
mod desk;
pub mod diagnosis;
mod dial;
mod dialer;
mod error;
mod gate;
mod inner;
mod lazy;
mod operation;
mod picture;
mod prepared;
mod questions;
mod queue;
mod report;
mod session;
mod settings;
mod sql;
mod statement;
mod stats;
mod stream;
#[cfg(feature = "postgres-rustls")]
mod tls;
mod transaction;
mod watch;

use std::{
    future::Future,
    panic::Location,
    sync::{Arc, atomic::Ordering::Relaxed},
};

use parking_lot::Mutex;
use tokio_postgres::NoTls;

pub use cached::QueryCache;
pub use cancel::CancelStream;
pub use checkout::{Checkout, CheckoutFuture};
pub use connection::Connection;
pub use dial::{ConnectError, ConnectErrorKind, Tls};
pub use error::{Exhausted, PoolError, QueryError, Unreachable};
pub use lazy::{LazyConnection, PoolLayer, PoolService};
pub use prepared::Prepared;
pub use questions::PoolDiagnosis;
pub use sql::Sql;
pub use stream::{CopyOutStream, RowStream};
#[cfg(feature = "postgres-rustls")]
pub use tls::{RootsError, TlsRoots};
pub use transaction::{Transaction, TransactionBuilder};

use crate::{clock::Clock, config::DatabaseConfig, snapshot::PoolSnapshot};
use dial::{Over, Transport};
use inner::Inner;
use settings::{Settings, limits};

/// A pool of PostgreSQL connections. A handle: clones share the connections, and
/// those are closed with the last one.
#[derive(Clone, Debug)]
pub struct Pool {
    inner: Arc<Inner>,
    base: Arc<Base>,
}

/// What a configuration is laid over, and the one in force.
#[derive(Debug)]
struct Base {
    postgres: tokio_postgres::Config,
    config: Mutex<DatabaseConfig>,
}

impl Pool {
    /// A pool of the database at `url`, without TLS. Connections are made when
    /// they are needed, so this succeeds while the database is down.
    ///
    /// The URL may name several hosts and `target_session_attrs=read-write`: then
    /// a connection is made to the first that takes writes.
    ///
    /// # Errors
    ///
    /// [`PoolError::Url`].
    pub fn new(name: &str, url: &str, config: &DatabaseConfig) -> Result<Self, PoolError> {
        Self::with_tls(name, url, config, NoTls)
    }

    /// The same, over a TLS connector of tokio-postgres. Whether it is used,
    /// `sslmode` in the URL says. With the feature `postgres-rustls`,
    /// `Pool::with_rustls` brings one along; this one is for client certificates,
    /// or another library.
    ///
    /// # Errors
    ///
    /// [`PoolError::Url`].
    pub fn with_tls<T>(
        name: &str,
        url: &str,
        config: &DatabaseConfig,
        tls: T,
    ) -> Result<Self, PoolError>
    where
        T: Tls,
    {
        let postgres = url
            .parse()
            .map_err(|error: tokio_postgres::Error| PoolError::Url(error::causes(&error)))?;
        Ok(Self::build(
            name,
            postgres,
            config,
            Box::new(Over(tls)),
            Clock::precise(),
        ))
    }

    fn build(
        name: &str,
        postgres: tokio_postgres::Config,
        config: &DatabaseConfig,
        transport: Box<dyn Transport>,
        clock: Clock,
    ) -> Self {
        let settings = Settings::new(&postgres, config);
        let inner = Inner::new(name, limits(config), settings, transport, clock);
        Self {
            inner: Arc::new(inner),
            base: Arc::new(Base {
                postgres,
                config: Mutex::new(config.clone()),
            }),
        }
    }

    /// A connection; back in the pool when dropped.
    ///
    /// Remembers the line that calls it, for reports of leaks. Dropping the future
    /// leaves the queue and loses nothing.
    ///
    /// # Errors
    ///
    /// After `pool_timeout`: [`PoolError::Exhausted`] if the server answers,
    /// [`PoolError::Unreachable`] if not; the latter at once when waiting does not
    /// help, as with a password that the server refuses.
    #[track_caller]
    pub fn get(&self) -> impl Future<Output = Result<Connection, PoolError>> + Send + '_ {
        self.get_at(Location::caller())
    }

    fn get_at(
        &self,
        place: &'static Location<'static>,
    ) -> impl Future<Output = Result<Connection, PoolError>> + Send + '_ {
        self.inner.checkout(place)
    }

    /// Asks the database for an answer over a connection of the pool.
    ///
    /// # Errors
    ///
    /// What stood in the way, with its causes, as one line.
    pub async fn ping(&self) -> Result<(), String> {
        let connection = self.get().await.map_err(|error| error::causes(&error))?;
        connection
            .batch_execute("SELECT 1")
            .await
            .map_err(|error| error::causes(&error))
    }

    /// Changes the limits while the pool works. Connections that are out are not
    /// taken away: those above the new limit are closed when they are returned, and
    /// none is made until there is room.
    pub fn resize(&self, pool_size: u32, max_overflow: u32) {
        let limits = queue::Limits {
            pool_size: pool_size.max(1),
            max_overflow,
        };
        for session in self.inner.queue.resize(limits) {
            self.inner.end(session);
        }
        self.inner.want_more();
    }

    /// Replaces every connection: the idle ones at once, the others when they are
    /// returned. How many there are.
    pub fn recycle(&self) -> u32 {
        self.inner.epoch.fetch_add(1, Relaxed);
        let open = self.inner.queue.counts().open;
        for session in self.inner.queue.take_idle(|_| true) {
            self.inner.retire(session);
        }
        open
    }

    /// Puts other settings in force. Limits and deadlines hold from now on; what a
    /// connection is made with, from the next one on.
    pub fn configure(&self, config: &DatabaseConfig) {
        let before = std::mem::replace(&mut *self.base.config.lock(), config.clone());
        let settings = Settings::new(&self.base.postgres, config);
        self.inner.times.set(&settings);
        self.inner.settings.store(Arc::new(settings));
        // What was set by hand meanwhile stays, unless the file has changed.
        if limits(&before) != limits(config) {
            self.resize(config.pool_size, config.max_overflow);
        }
        if before.statement_timeout != config.statement_timeout {
            self.recycle();
        }
    }

    /// Its name, the `pool` label of its metrics.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// What there is to see of it now. Takes each lock for a moment.
    #[must_use]
    pub fn snapshot(&self) -> PoolSnapshot {
        self.inner.picture()
    }
}
