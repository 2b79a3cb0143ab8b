//! Stores beyond this process: a file for one machine, Redis for a fleet.
//!
//! [`SecondLevel`] is what a fallback sees: it never waits to write and never long
//! to read, and it never fails. Behind it, `queue` holds what is to be written,
//! `writer` is the thread that writes it, and `health` counts and says once what
//! goes wrong. A [`Store`] only stores.

#[cfg(feature = "fallback-file")]
mod file;
mod health;
mod queue;
#[cfg(feature = "fallback-redis")]
mod redis;
mod second;
mod writer;

use std::{fmt, future::Future, pin::Pin, time::Duration};

use bytes::Bytes;

#[cfg(feature = "fallback-file")]
pub use self::file::{FileStore, OpenError};
#[cfg(feature = "fallback-redis")]
pub use self::redis::{RedisRoots, RedisStore, RedisStoreError};
pub use second::SecondLevel;

/// What a store does, when it is done.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps records by key beyond this process.
///
/// It says what failed, and who uses it counts that and goes on without it. It
/// sets no pace and retries nothing: [`SecondLevel`] does.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// `file` or `redis`: the label in metrics and logs.
    fn kind(&self) -> &'static str;

    /// Where it is: a path, or host and port. Never with a password.
    fn place(&self) -> String;

    /// The record of a key. It is asked on the way of a request: it must not block,
    /// and it is dropped when it takes too long.
    fn read(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>>;

    /// The record of a key, for the thread that writes, to see whether it is still
    /// what was written. This and all below are asked there, one at a time: they may
    /// block, and end by themselves within seconds.
    fn read_again(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>> {
        self.read(key)
    }

    /// Makes all of these changes, or says that it may not have. How many records
    /// it has written: fewer than were given if some are too large for it.
    fn write(&self, changes: &[Change]) -> StoreFuture<'_, u64>;

    /// Forgets every key that begins with `prefix`; how many those were.
    fn clear(&self, prefix: &[u8]) -> StoreFuture<'_, u64>;
}

/// A change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Whose.
    pub key: Bytes,
    /// The record that it has from now on; `None`: it has none any more.
    pub record: Option<Bytes>,
    /// From then on nobody uses the record, in milliseconds since 1970: the store
    /// may drop it.
    pub useless_at_ms: u64,
}

/// Why a store did not do what it was asked for.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// It did not answer in time.
    #[error("the {store} store did not answer within {within:?}")]
    TooSlow {
        /// Which.
        store: &'static str,
        /// How long it had.
        within: Duration,
    },
    /// It was not asked, because it has failed too often lately.
    #[error("the {store} store was not asked: Circuit is open")]
    NotAsked {
        /// Which.
        store: &'static str,
    },
    /// It failed.
    #[error("the {store} store failed: {message}")]
    Failed {
        /// Which.
        store: &'static str,
        /// What it said, on one line.
        message: String,
    },
}

impl StoreError {
    /// The one place where it becomes a label: `timeout`, `open` or `failed`.
    #[must_use]
    pub const fn label(&self) -> &'static str {
        match self {
            Self::TooSlow { .. } => "timeout",
            Self::NotAsked { .. } => "open",
            Self::Failed { .. } => "failed",
        }
    }
}

/// The wall clock, in milliseconds since 1970.
fn now_ms() -> u64 {
    u64::try_from(jiff::Timestamp::now().as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
