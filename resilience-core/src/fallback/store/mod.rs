//! Stores beyond this process: a file for one machine, Redis for a fleet.

mod second;

use std::{fmt, future::Future, pin::Pin};

use bytes::Bytes;

pub use second::SecondLevel;

/// What a store does, when it is done.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send + 'a>>;

/// Keeps records by key beyond this process.
///
/// A store never waits longer than its own deadline, and says what failed: who
/// uses it counts that and goes on without it.
pub trait Store: fmt::Debug + Send + Sync + 'static {
    /// `file` or `redis`: the label in metrics and logs.
    fn kind(&self) -> &'static str;

    /// The record of a key.
    fn read(&self, key: &[u8]) -> StoreFuture<'_, Option<Bytes>>;

    /// Makes all of these changes, or says that it may not have.
    fn write(&self, changes: Vec<Change>) -> StoreFuture<'_, ()>;

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
        /// Its deadline.
        within: std::time::Duration,
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
