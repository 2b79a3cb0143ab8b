//! The second level: a store as the request path sees it.

use std::sync::Arc;

use super::Store;
use crate::{
    fallback::{Key, Record},
    snapshot::StoreSnapshot,
};

/// A store behind the memory of all fallbacks. A handle: clones share it.
#[derive(Clone, Debug)]
pub struct SecondLevel {
    store: Arc<dyn Store>,
}

impl SecondLevel {
    /// Puts it before a store.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self {
            store: Arc::new(store),
        }
    }

    /// `file` or `redis`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.store.kind()
    }

    /// What the fallback `name` has stored for a key, if the store says so in time
    /// and it can be read. Never fails: what went wrong is counted.
    #[expect(clippy::unused_async, reason = "not built yet")]
    pub(crate) async fn read(&self, name: &str, key: &Key) -> Option<Record> {
        let _ = (name, key);
        None
    }

    /// Has a record written soon, and never waits. `useless_at_ms` is when nobody
    /// uses it any more, in milliseconds since 1970.
    pub(crate) fn keep(&self, name: &str, key: &Key, record: Record, useless_at_ms: u64) {
        let _ = (name, key, record, useless_at_ms);
    }

    /// Has a key forgotten soon.
    pub(crate) fn forget(&self, name: &str, key: &Key) {
        let _ = (name, key);
    }

    /// Has everything of a fallback forgotten soon, what waits to be written too.
    pub(crate) fn clear(&self, name: &str) {
        let _ = name;
    }

    /// What it has done.
    #[must_use]
    pub fn snapshot(&self) -> StoreSnapshot {
        StoreSnapshot {
            kind: self.kind().to_owned(),
            ..StoreSnapshot::default()
        }
    }
}
