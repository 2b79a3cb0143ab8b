//! The second level: a store as the request path sees it.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;

use super::{
    Store, StoreError,
    health::{Health, count},
    queue::{Ahead, Wish},
    writer::Shared,
};
use crate::{
    BreakerConfig, BreakerOptions, CircuitBreaker, ErrorClass, Window,
    fallback::{Key, Record},
    snapshot::StoreSnapshot,
};

/// How long a read may take. A timer of tokio ends up to a millisecond late, and a
/// machine at work later, so a request waits at most five for a store, whatever that
/// does.
pub(super) const READ_WITHIN: Duration = Duration::from_millis(3);

/// A store behind the memory of all fallbacks. A handle: clones share it.
///
/// Reading costs a request at most 5 ms, and almost nothing while the store is
/// known to be down: a circuit breaker of its own, `fallback_file` or
/// `fallback_redis`, sees to that. Writing never waits: a thread writes what has
/// changed 200 ms later, all at once, and again until it can. What has no room to
/// wait is counted. Nothing here fails; [`snapshot`](Self::snapshot) says what went
/// wrong, and the log says it once.
///
/// When the last handle is dropped, the thread writes what waits and ends.
/// [`flush`](Self::flush) is for a program that ends before.
#[derive(Clone, Debug)]
pub struct SecondLevel {
    handle: Arc<Handle>,
}

/// Ends the writer when it is gone.
#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    breaker: CircuitBreaker,
    read_within: Duration,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl SecondLevel {
    /// Puts it before a store, and starts the thread that writes.
    ///
    /// # Panics
    ///
    /// If the operating system gives no thread.
    #[must_use]
    pub fn new(store: impl Store) -> Self {
        Self::with_deadline(store, READ_WITHIN)
    }

    /// The same with another time than 3 ms that a read may take: a request waits so
    /// long for a store that does not answer, and a millisecond more.
    ///
    /// # Panics
    ///
    /// If the operating system gives no thread.
    #[must_use]
    pub fn with_deadline(store: impl Store, read_within: Duration) -> Self {
        let breaker = CircuitBreaker::new(&format!("fallback_{}", store.kind()), breaker_config());
        let shared = Shared::start(Arc::new(store));
        Self {
            handle: Arc::new(Handle {
                shared,
                breaker,
                read_within,
            }),
        }
    }

    /// `file` or `redis`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        self.handle.shared.store.kind()
    }

    /// The circuit breaker before its reads, `fallback_file` or `fallback_redis`.
    ///
    /// A service's `Resilience` shows those of its own stores with
    /// its other breakers, under that name: in metrics, in the black box and in the
    /// admin API, where they can be reset and overridden. Forced open, the store is left
    /// alone: answers come from memory, and are still written.
    #[must_use]
    pub fn breaker(&self) -> &CircuitBreaker {
        &self.handle.breaker
    }

    /// What the fallback `name` has stored for a key, if the store says so in time
    /// and it can be read. Never fails: what went wrong is counted.
    ///
    /// What waits to be written is read from there.
    pub async fn read(&self, name: &str, key: &Key) -> Option<Record> {
        let Shared {
            queue,
            health,
            store,
            place,
            ..
        } = &*self.handle.shared;
        let stored_key = stored_key(name, key);
        let (ahead, forgotten) = {
            let queue = queue.lock();
            (queue.ahead(&stored_key), queue.forgotten())
        };
        match ahead {
            Ahead::Kept(record) => return tally(health, Some(record)),
            Ahead::Gone => return tally(health, None),
            Ahead::Unknown => {}
        }
        let read = self.ask(store.as_ref(), &stored_key).await;
        health.read(read.as_ref().map(|_| ()), place);
        let record = read.ok()?.and_then(|bytes| match Record::decode(&bytes) {
            Ok(record) => Some(record),
            Err(error) => {
                count(&health.unreadable, 1);
                tracing::debug!(place, "{name} has {error}; it is skipped");
                None
            }
        });
        // Overtaken while it was on its way.
        let record = {
            let queue = queue.lock();
            match queue.ahead(&stored_key) {
                Ahead::Kept(newer) => Some(newer),
                Ahead::Gone => None,
                Ahead::Unknown => record.filter(|_| queue.forgotten() == forgotten),
            }
        };
        tally(health, record)
    }

    /// Has a record written soon, and never waits. `useless_at_ms` is when nobody
    /// uses it any more, in milliseconds since 1970.
    pub fn keep(&self, name: &str, key: &Key, record: Record, useless_at_ms: u64) {
        let wish = Wish::Keep {
            record,
            useless_at_ms,
        };
        self.handle.shared.put(stored_key(name, key), wish);
    }

    /// Has a key forgotten soon.
    pub fn forget(&self, name: &str, key: &Key) {
        let shared = &self.handle.shared;
        shared.put(stored_key(name, key), Wish::Forget);
    }

    /// Has everything of a fallback forgotten soon, what waits to be written too.
    pub fn clear(&self, name: &str) {
        self.handle.shared.clear(prefix(name));
    }

    /// Has all that waits written now, and waits for that, `within` at most: for the
    /// end of a program. Whether all was written. Blocks the thread.
    pub fn flush(&self, within: Duration) -> bool {
        self.handle.shared.flush(within)
    }

    /// What it has done.
    #[must_use]
    pub fn snapshot(&self) -> StoreSnapshot {
        let shared = &self.handle.shared;
        let mut picture = StoreSnapshot {
            kind: self.kind().to_owned(),
            place: shared.place.clone(),
            pending: shared.queue.lock().records() as u64,
            ..StoreSnapshot::default()
        };
        shared.health.fill(&mut picture);
        picture
    }

    async fn ask(&self, store: &dyn Store, key: &[u8]) -> Result<Option<Bytes>, StoreError> {
        let Ok(permit) = self.handle.breaker.try_acquire() else {
            return Err(StoreError::NotAsked {
                store: store.kind(),
            });
        };
        // Dropped by a caller that is gone, the permit counts as cancelled.
        match tokio::time::timeout(self.handle.read_within, store.read(key)).await {
            Ok(Ok(found)) => {
                permit.success();
                Ok(found)
            }
            Ok(Err(error)) => {
                permit.failure(class(&error));
                Err(error)
            }
            Err(_) => {
                let error = StoreError::TooSlow {
                    store: store.kind(),
                    within: self.handle.read_within,
                };
                permit.failure(ErrorClass::TIMEOUT);
                Err(error)
            }
        }
    }
}

fn tally(health: &Health, record: Option<Record>) -> Option<Record> {
    let counter = match record {
        Some(_) => &health.read_hits,
        None => &health.read_misses,
    };
    counter.fetch_add(1, Relaxed);
    record
}

fn class(error: &StoreError) -> ErrorClass {
    match error {
        StoreError::TooSlow { .. } => ErrorClass::TIMEOUT,
        _ => ErrorClass::OTHER,
    }
}

/// The name, a NUL, which no name contains, and the key.
fn stored_key(name: &str, key: &Key) -> Bytes {
    [name.as_bytes(), b"\0", key.as_bytes()].concat().into()
}

fn prefix(name: &str) -> Bytes {
    [name.as_bytes(), b"\0"].concat().into()
}

/// Opens when half of the last ten reads failed, and looks again every second: a
/// frozen store costs some requests 3 ms, and then one a second.
fn breaker_config() -> BreakerConfig {
    let options = BreakerOptions {
        window: Window::Calls(10),
        minimum_calls: 5,
        wait_in_open: Duration::from_secs(1),
        wait_jitter: 20.0,
        automatic_half_open: true,
        half_open_permits: 1,
        // Longer than any read may take.
        slow_call_duration: None,
        probe_lease: Duration::from_secs(1),
        ..BreakerOptions::default()
    };
    BreakerConfig::try_from(options).expect("within what is allowed")
}
