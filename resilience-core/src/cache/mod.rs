//! A bounded cache in memory that fetches each answer once.
//!
//! `freshness` says what an answer of some age is good for, `memory` holds as
//! many as fit, `flight` makes one fetch of many; here they are put together.

mod error;
pub(crate) mod flight;
mod freshness;
pub(crate) mod memory;
#[cfg(test)]
mod tests;

use std::{borrow::Borrow, fmt, hash::Hash, sync::Arc, time::Duration};

use quick_cache::Equivalent;

use crate::{
    clock::Clock,
    snapshot::CacheSnapshot,
    sync::{AtomicU64, Ordering::Relaxed},
};
use flight::{Flights, Turn};
use memory::Memory;

pub use error::FetchError;
pub use flight::Lost;
pub use freshness::{Freshness, Lifetime, age_ns};
pub use memory::Entry;

/// Answers by key, bounded in bytes, each fetched once however many ask for it.
///
/// A handle: clones share the answers. `E` is what a fetch fails with; it is
/// part of the type because all callers of one fetch get its error too.
///
/// An answer that is past its time stays until it is replaced or has to make
/// room, so that it is there when nothing better can be had: see
/// [`entry`](Self::entry). Errors are never stored.
///
/// # Cost
///
/// A fresh answer costs one read of the clock, one look into a table whose
/// shard is locked for reading meanwhile, and a clone of an [`Arc`]. A fetch
/// costs a task.
///
/// # Example
///
/// ```
/// use std::{convert::Infallible, time::Duration};
/// use resilience_core::cache::Cache;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let rates = Cache::<String, f64, Infallible>::new(1 << 20, |currency, _| currency.len());
/// let ttl = Duration::from_secs(300);
/// let rate = rates.get_or_fetch("EUR", ttl, || async { Ok(1.08) }).await?;
/// assert_eq!(*rate, 1.08);
/// // From the cache this time.
/// let rate = rates.get_or_fetch("EUR", ttl, || async { Ok(1.09) }).await?;
/// assert_eq!(*rate, 1.08);
/// # Ok(())
/// # }
/// ```
pub struct Cache<K, V: ?Sized, E: ?Sized> {
    shared: Arc<Shared<K, V>>,
    flights: Flights<K, Fetched<V, E>>,
}

/// What a fetch gives, weighed already.
type Fetched<V, E> = Result<Entry<V>, Arc<E>>;

struct Shared<K, V: ?Sized> {
    memory: Memory<K, V>,
    clock: Clock,
    counts: Counts,
}

/// How callers were served. On cache lines of their own (two, because they are
/// fetched in pairs): every hit writes here, and reads what lies beside it.
#[derive(Default)]
#[repr(align(128))]
struct Counts {
    hits: AtomicU64,
    misses: AtomicU64,
    coalesced: AtomicU64,
}

/// How long a fetch may take. Longer than a statement may wait for a connection
/// and then run by default (30 s each): whoever fetches has a deadline of their
/// own, and this one is for those who forgot.
pub(crate) const FETCH_WITHIN: Duration = Duration::from_secs(120);

impl<K, V, E> Cache<K, V, E>
where
    K: Eq + Hash + Clone + Send + Sync + 'static,
    V: Send + Sync + ?Sized + 'static,
    E: Send + Sync + ?Sized + 'static,
{
    /// Holds at most `most_bytes`.
    ///
    /// `weigh` says how many bytes a key and a value take on the heap; the cache
    /// adds what it needs itself for each. An answer that is heavier than all
    /// of the cache, or than about 4 MiB of a larger one, is handed out and not
    /// stored ([`CacheSnapshot::too_large`]).
    #[must_use]
    pub fn new(most_bytes: u64, weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static) -> Self {
        Self::with_clock(most_bytes, weigh, Clock::default())
    }

    /// The same with a clock of the caller's, for tests.
    #[must_use]
    pub fn with_clock(
        most_bytes: u64,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
        clock: Clock,
    ) -> Self {
        let shared = Shared {
            memory: Memory::new(most_bytes, weigh),
            clock,
            counts: Counts::default(),
        };
        Self {
            shared: Arc::new(shared),
            flights: Flights::new(),
        }
    }

    /// The answer of a key: the stored one while it is younger than `ttl`, and
    /// else what `fetch` gives, which is then stored.
    ///
    /// Callers that ask for a key while it is being fetched wait for that fetch.
    /// It runs in a task of its own: it goes on when those who wait for it are
    /// cancelled, the first one included, and what it gives is stored all the
    /// same. `fetch` itself is called by the caller who has to, and by no other.
    /// It may take 120 s. While 4,096 fetches run, a caller that has to fetch
    /// does it for itself, as if there were no cache.
    ///
    /// `ttl` belongs to who asks and not to what is stored, so another one is
    /// in force at once. An answer is as old as the moment at which its fetch
    /// began.
    ///
    /// # Errors
    ///
    /// [`FetchError::Failed`] with the error of the fetch, [`FetchError::Lost`]
    /// if it panicked, took too long, or its runtime was shut down. What was
    /// stored before stays: see [`entry`](Self::entry).
    ///
    /// # Panics
    ///
    /// When it has to fetch outside of a tokio runtime with time enabled, and if
    /// `fetch` panics before it has made its future.
    pub async fn get_or_fetch<Q, F, Fut>(
        &self,
        key: &Q,
        ttl: Duration,
        fetch: F,
    ) -> Result<Arc<V>, FetchError<E>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ToOwned<Owned = K> + ?Sized,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<V, E>> + Send + 'static,
        V: Sized,
        E: Sized,
    {
        let fetch = || {
            let fetched = fetch();
            async { fetched.await.map(Arc::new).map_err(Arc::new) }
        };
        self.get_or_fetch_shared(key, || key.to_owned(), ttl, fetch)
            .await
    }

    /// The same for keys that are looked up as something else than they are
    /// stored as, and for answers without a size.
    pub(crate) async fn get_or_fetch_shared<Q, F, Fut>(
        &self,
        key: &Q,
        to_key: impl FnOnce() -> K,
        ttl: Duration,
        fetch: F,
    ) -> Result<Arc<V>, FetchError<E>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<Arc<V>, Arc<E>>> + Send + 'static,
    {
        let now_ns = self.shared.clock.now_ns();
        let lifetime = Lifetime::fresh_only(ttl);
        if let Some(entry) = self.shared.fresh(key, lifetime, now_ns) {
            self.shared.counts.hits.fetch_add(1, Relaxed);
            return Ok(entry.value);
        }
        // Asked again under the lock: what was fetched meanwhile is there now.
        let known = |key: &K| Some(Ok(self.shared.fresh(key, lifetime, now_ns)?));
        let fetched = match self.flights.turn(to_key(), known) {
            Turn::Known(fetched) => {
                self.shared.counts.hits.fetch_add(1, Relaxed);
                Ok(fetched)
            }
            Turn::Wait(wait) => {
                self.shared.counts.coalesced.fetch_add(1, Relaxed);
                wait.answer().await
            }
            Turn::Alone => {
                self.shared.counts.misses.fetch_add(1, Relaxed);
                // Not stored: only a run that is known can be set apart when its
                // key is invalidated.
                return fetch().await.map_err(FetchError::Failed);
            }
            Turn::Lead(lead) => {
                self.shared.counts.misses.fetch_add(1, Relaxed);
                let fetch = in_span(fetch());
                let (weigher, store) = (Arc::clone(&self.shared), Arc::clone(&self.shared));
                let key = lead.key().clone();
                let run = async move {
                    let value = fetch.await?;
                    Ok(weigher.memory.entry(&key, value, now_ns))
                };
                let keep = move |key: &K, fetched: &Fetched<V, E>| {
                    let entry = fetched.as_ref().ok()?;
                    Some(store.memory.insert(key, entry.clone()))
                };
                lead.run(FETCH_WITHIN, run, keep).answer().await
            }
        };
        match fetched {
            Ok(Ok(entry)) => Ok(entry.value),
            Ok(Err(error)) => Err(FetchError::Failed(error)),
            Err(why) => Err(FetchError::Lost(why)),
        }
    }

    /// What is stored for a key, however old it is: the last good answer. Counts
    /// as nothing.
    #[must_use]
    pub fn entry<Q>(&self, key: &Q) -> Option<Entry<V>>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.shared.memory.get(key)
    }

    /// Forgets a key. Whoever asks after this returns gets an answer that was
    /// fetched after it was called: a fetch that runs meanwhile answers those
    /// who wait for it, and is not stored. So call it *after* a change is
    /// committed.
    pub fn invalidate<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let gone = self.flights.without(key, || self.shared.memory.remove(key));
        drop(gone);
    }

    /// Forgets everything, as [`invalidate`](Self::invalidate) forgets a key.
    pub fn clear(&self) {
        let gone = self.flights.without_any(|| self.shared.memory.drain());
        drop(gone);
    }

    /// What it holds and what it has done.
    #[must_use]
    pub fn snapshot(&self) -> CacheSnapshot {
        let memory = &self.shared.memory;
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        CacheSnapshot {
            hits: self.shared.counts.hits.load(Relaxed),
            misses: self.shared.counts.misses.load(Relaxed),
            coalesced: self.shared.counts.coalesced.load(Relaxed),
            fetching: number(self.flights.len()),
            evictions: memory.evictions(),
            too_large: memory.too_large(),
            entries: number(memory.len()),
            bytes: memory.bytes(),
            most_bytes: memory.most_bytes(),
        }
    }
}

impl<K, V> Shared<K, V>
where
    K: Eq + Hash + Clone,
    V: ?Sized,
{
    #[inline]
    fn fresh<Q>(&self, key: &Q, lifetime: Lifetime, now_ns: u64) -> Option<Entry<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        let entry = self.memory.get(key)?;
        (lifetime.at(entry.stored_at_ns, now_ns) == Freshness::Fresh).then_some(entry)
    }
}

/// A task has no span unless it is given one, and what a fetch logs belongs to
/// the request that began it.
#[cfg(feature = "log")]
fn in_span<F: Future>(fetch: F) -> impl Future<Output = F::Output> {
    tracing::Instrument::in_current_span(fetch)
}

#[cfg(not(feature = "log"))]
fn in_span<F: Future>(fetch: F) -> F {
    fetch
}

// By hand: to derive it asks the same of `K`, `V` and `E`.
impl<K, V: ?Sized, E: ?Sized> Clone for Cache<K, V, E> {
    fn clone(&self) -> Self {
        Self {
            shared: Arc::clone(&self.shared),
            flights: self.flights.clone(),
        }
    }
}

impl<K, V: ?Sized, E: ?Sized> fmt::Debug for Cache<K, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cache").finish_non_exhaustive()
    }
}
