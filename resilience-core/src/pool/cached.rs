//! Answers of queries, kept for a while.
//!
//! One cache for all types, and not one for each: it stands beside the pool as
//! one thing with one bound in bytes, and a call names neither a type nor a
//! cache of its own. So answers are kept as `Any`, and their type is part of
//! the key: two queries that happen to choose the same key never meet.

use std::{
    any::{Any, TypeId},
    collections::HashMap,
    fmt,
    sync::Arc,
    time::Duration,
};

use parking_lot::RwLock;
use quick_cache::Equivalent;

use crate::{
    Clock,
    cache::{Cache, FetchError},
    snapshot::CacheSnapshot,
};

/// Keeps answers of queries for as long as the caller says, and asks the
/// database once however many want the same.
///
/// A handle: clones share the answers. Each process has its own, and it is
/// empty after a start.
///
/// # Example
///
/// ```no_run
/// use std::time::Duration;
/// use resilience_core::pool::{Pool, QueryCache};
///
/// # #[derive(Debug, thiserror::Error)]
/// # enum LoadError {
/// #     #[error("no connection")]
/// #     Pool(#[from] resilience_core::pool::PoolError),
/// #     #[error("the query failed")]
/// #     Query(#[from] resilience_core::pool::QueryError),
/// # }
/// async fn load_rates(pool: Pool) -> Result<Vec<(String, f64)>, LoadError> {
///     let client = pool.get().await?;
///     let rows = client.query("SELECT currency, rate FROM rates", &[]).await?;
///     Ok(rows.iter().map(|row| (row.get(0), row.get(1))).collect())
/// }
///
/// # async fn handler(pool: Pool) -> Result<(), Box<dyn std::error::Error>> {
/// let cache = QueryCache::new(64 << 20);
/// let ttl = Duration::from_secs(300);
/// let rates = cache.cached(ttl, "rates", || load_rates(pool.clone())).await?;
/// println!("{} rates", rates.len());
///
/// // After a change was committed:
/// cache.invalidate("rates");
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct QueryCache {
    answers: Cache<Key, Thing, Thing>,
    types: Arc<Types>,
}

/// An answer, or an error, of whatever type.
type Thing = dyn Any + Send + Sync;

/// What is known of the types that were asked for. As many as the program has
/// calls of [`QueryCache::cached`], so this is bounded by its code.
#[derive(Default)]
struct Types {
    /// Of the results that there may be answers of.
    seen: RwLock<Vec<TypeId>>,
    /// How answers are weighed, by their type.
    weighers: RwLock<HashMap<TypeId, Weigher>>,
}

type Weigher = Arc<dyn Fn(&Thing) -> usize + Send + Sync>;

/// What an answer holds on the heap if nobody says how much: a page of rows.
/// Rust cannot tell, and to count nothing would let a few large answers hold
/// many times the bound.
const ASSUMED_HEAP: usize = 1 << 10;

impl QueryCache {
    /// Holds at most `most_bytes` of answers, as they are weighed: see
    /// [`weigh`](Self::weigh).
    #[must_use]
    pub fn new(most_bytes: u64) -> Self {
        Self::with_clock(most_bytes, Clock::default())
    }

    /// The same with a clock of the caller's, for tests.
    #[must_use]
    pub fn with_clock(most_bytes: u64, clock: Clock) -> Self {
        let types = Arc::new(Types::default());
        let known = Arc::clone(&types);
        let weigh = move |key: &Key, answer: &Thing| {
            let heap = known.weigh(answer);
            key.name.len() + size_of_val(answer).saturating_add(heap)
        };
        Self {
            answers: Cache::with_clock(most_bytes, weigh, clock),
            types,
        }
    }

    /// Says how many bytes an answer of type `T` takes on the heap; without it,
    /// 1 KiB is assumed. Called once for each answer that is stored, in the
    /// task that fetched it.
    ///
    /// # Example
    ///
    /// ```
    /// use resilience_core::pool::QueryCache;
    ///
    /// let cache = QueryCache::new(64 << 20)
    ///     .weigh(|page: &String| page.capacity())
    ///     .weigh(|names: &Vec<String>| {
    ///         names.iter().map(|name| size_of::<String>() + name.capacity()).sum()
    ///     });
    /// # let _ = cache;
    /// ```
    #[must_use]
    pub fn weigh<T: Any>(self, heap: impl Fn(&T) -> usize + Send + Sync + 'static) -> Self {
        let weigher =
            move |answer: &Thing| heap(answer.downcast_ref().expect("it is found by this type"));
        let mut weighers = self.types.weighers.write();
        let former = weighers.insert(TypeId::of::<T>(), Arc::new(weigher));
        drop(weighers);
        // What it had captured goes when the lock is free.
        drop(former);
        self
    }

    /// The stored answer of `key` while it is younger than `ttl`, and else what
    /// `fetch` gives, which is then stored.
    ///
    /// Callers that ask for the same while it is being fetched wait for that
    /// fetch. It runs in a task of its own, so no caller that is cancelled ends
    /// it for the others; and it owns what it needs, hence the `pool.clone()`,
    /// which is made only if it has to run. It may take 120 s.
    ///
    /// Whatever an answer depends on belongs in the key, which may be any
    /// bytes: `format!("orders:{user}:{page}")`. The types `T` and `E` are part
    /// of it too. An answer is as old as the moment at which its fetch began.
    ///
    /// # Errors
    ///
    /// [`FetchError::Failed`] with the error of the fetch, which all who waited
    /// get and nothing stores, so that the next caller asks the database again;
    /// [`FetchError::Lost`] if the fetch panicked, took too long, or its runtime
    /// was shut down.
    ///
    /// # Panics
    ///
    /// When it has to fetch outside of a tokio runtime with time enabled.
    pub async fn cached<T, E, F, Fut>(
        &self,
        ttl: Duration,
        key: impl AsRef<[u8]>,
        fetch: F,
    ) -> Result<Arc<T>, FetchError<E>>
    where
        T: Send + Sync + 'static,
        E: Send + Sync + 'static,
        F: FnOnce() -> Fut,
        Fut: Future<Output = Result<T, E>> + Send + 'static,
    {
        let look_for = LookFor {
            result: TypeId::of::<Result<T, E>>(),
            name: key.as_ref(),
        };
        let to_key = || {
            // Before the fetch begins, so that `invalidate` knows of it.
            self.types.saw(look_for.result);
            Key {
                result: look_for.result,
                name: look_for.name.into(),
            }
        };
        let fetch = || {
            let fetched = fetch();
            async {
                match fetched.await {
                    Ok(answer) => Ok(Arc::new(answer) as Arc<Thing>),
                    Err(error) => Err(Arc::new(error) as Arc<Thing>),
                }
            }
        };
        let answer = self
            .answers
            .get_or_fetch_shared(&look_for, to_key, ttl, fetch)
            .await;
        match answer {
            Ok(answer) => Ok(answer.downcast().expect(SAME_TYPE)),
            Err(FetchError::Failed(error)) => {
                Err(FetchError::Failed(error.downcast().expect(SAME_TYPE)))
            }
            Err(FetchError::Lost(why)) => Err(FetchError::Lost(why)),
        }
    }

    /// Forgets what is stored for a key, of whatever type. Whoever asks after
    /// this returns gets an answer that was fetched after it was called, also
    /// when a fetch runs meanwhile; so call it *after* the change is committed.
    ///
    /// It reaches this process only: the other replicas keep theirs until `ttl`.
    pub fn invalidate(&self, key: impl AsRef<[u8]>) {
        let name: Arc<[u8]> = key.as_ref().into();
        let seen = self.types.seen.read().clone();
        for result in seen {
            let name = Arc::clone(&name);
            self.answers.invalidate(&Key { result, name });
        }
    }

    /// Forgets everything, as [`invalidate`](Self::invalidate) forgets a key.
    pub fn clear(&self) {
        self.answers.clear();
    }

    /// What it holds and what it has done.
    #[must_use]
    pub fn snapshot(&self) -> CacheSnapshot {
        self.answers.snapshot()
    }
}

impl fmt::Debug for QueryCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueryCache").finish_non_exhaustive()
    }
}

const SAME_TYPE: &str = "its type is part of its key";

impl Types {
    fn saw(&self, result: TypeId) {
        if !self.seen.read().contains(&result) {
            let mut seen = self.seen.write();
            // Another may have been faster.
            if !seen.contains(&result) {
                seen.push(result);
            }
        }
    }

    fn weigh(&self, answer: &Thing) -> usize {
        // Copied first: it is the caller's code, and may come back here.
        let weigher = self.weighers.read().get(&answer.type_id()).cloned();
        weigher.map_or(ASSUMED_HEAP, |weigh| weigh(answer))
    }
}

/// What an answer is stored under.
#[derive(Clone, PartialEq, Eq, Hash)]
struct Key {
    /// Of the whole `Result`, so that an error is of the type that is expected
    /// too.
    result: TypeId,
    name: Arc<[u8]>,
}

/// The same borrowed, so that a hit copies no key.
#[derive(Clone, Copy, Hash)]
struct LookFor<'a> {
    // In the order of `Key`: they must hash alike.
    result: TypeId,
    name: &'a [u8],
}

impl Equivalent<Key> for LookFor<'_> {
    fn equivalent(&self, key: &Key) -> bool {
        self.result == key.result && *self.name == *key.name
    }
}

#[cfg(test)]
mod tests {
    use std::{
        convert::Infallible,
        sync::atomic::{AtomicU64, Ordering::SeqCst},
    };

    use tokio::sync::Semaphore;
    use tokio_test::{assert_pending, task};

    use super::*;

    const TTL: Duration = Duration::from_secs(300);

    fn cache() -> QueryCache {
        QueryCache::new(1 << 20)
    }

    /// Asks for a number; `fresh` is what the database would say.
    async fn number(cache: &QueryCache, key: impl AsRef<[u8]>, fresh: u64) -> u64 {
        let fetch = || async move { Ok::<_, Infallible>(fresh) };
        *cache.cached(TTL, key, fetch).await.unwrap()
    }

    async fn text(cache: &QueryCache, key: &str, fresh: &'static str) -> String {
        let fetch = || async move { Ok::<_, Infallible>(fresh.to_owned()) };
        cache.cached(TTL, key, fetch).await.unwrap().to_string()
    }

    #[tokio::test]
    async fn an_answer_is_kept_until_its_ttl() {
        let (clock, hand) = Clock::manual();
        let cache = QueryCache::with_clock(1 << 20, clock);
        assert_eq!(number(&cache, "orders", 1).await, 1);
        hand.advance(TTL - Duration::from_nanos(1));
        assert_eq!(number(&cache, "orders", 2).await, 1);
        hand.advance(Duration::from_nanos(1));
        assert_eq!(number(&cache, "orders", 3).await, 3);
        let seen = cache.snapshot();
        assert_eq!((seen.hits, seen.misses, seen.entries), (1, 2, 1));
    }

    #[tokio::test]
    async fn keys_are_any_bytes() {
        let cache = cache();
        let keys: [&[u8]; 5] = [b"", b"\0", b"\0\0", b"\xff\xfe", &[7; 10_000]];
        for (fresh, key) in (0..).zip(keys) {
            assert_eq!(number(&cache, key, fresh).await, fresh);
        }
        for (stored, key) in (0..).zip(keys) {
            assert_eq!(number(&cache, key, 99).await, stored);
        }
    }

    #[tokio::test]
    async fn two_types_under_one_key_never_meet_and_are_forgotten_together() {
        let cache = cache();
        for _ in 0..2 {
            assert_eq!(number(&cache, "orders", 7).await, 7);
            assert_eq!(text(&cache, "orders", "seven").await, "seven");
        }
        assert_eq!(number(&cache, "users", 1).await, 1);
        cache.invalidate("orders");
        assert_eq!(number(&cache, "orders", 8).await, 8);
        assert_eq!(text(&cache, "orders", "eight").await, "eight");
        assert_eq!(number(&cache, "users", 2).await, 1);
        cache.clear();
        assert_eq!(number(&cache, "users", 2).await, 2);
    }

    #[tokio::test]
    async fn two_types_under_one_key_do_not_meet_while_they_are_fetched() {
        let cache = cache();
        let gate = Arc::new(Semaphore::new(0));
        let open = || {
            let gate = Arc::clone(&gate);
            async move { drop(gate.acquire().await) }
        };
        let slow_number = cache.cached(TTL, "orders", || {
            let open = open();
            async {
                open.await;
                Ok::<u64, Infallible>(7)
            }
        });
        let slow_error = cache.cached(TTL, "orders", || {
            let open = open();
            async {
                open.await;
                Err::<u64, String>("refused".to_owned())
            }
        });
        let mut slow_number = task::spawn(Box::pin(slow_number));
        let mut slow_error = task::spawn(Box::pin(slow_error));
        assert_pending!(slow_number.poll());
        assert_pending!(slow_error.poll());
        assert_eq!(cache.snapshot().fetching, 2);
        gate.add_permits(1);
        assert_eq!(*slow_number.into_inner().await.unwrap(), 7);
        let Err(FetchError::Failed(error)) = slow_error.into_inner().await else {
            panic!("an answer from nowhere")
        };
        assert_eq!(*error, "refused");
    }

    #[tokio::test]
    async fn what_is_invalidated_while_it_is_fetched_is_not_stored() {
        let cache = cache();
        let gate = Arc::new(Semaphore::new(0));
        let fetch = || {
            let gate = Arc::clone(&gate);
            async move {
                drop(gate.acquire().await);
                Ok::<u64, Infallible>(1)
            }
        };
        let mut before = task::spawn(Box::pin(cache.cached(TTL, "orders", fetch)));
        assert_pending!(before.poll());
        cache.invalidate("orders");
        gate.add_permits(1);
        assert_eq!(*before.into_inner().await.unwrap(), 1);
        assert_eq!(number(&cache, "orders", 2).await, 2);
    }

    #[tokio::test]
    async fn an_error_is_not_stored() {
        let cache = cache();
        let down = || async { Err::<u64, _>("down") };
        assert!(cache.cached(TTL, "orders", down).await.is_err());
        let up = || async { Ok::<u64, &str>(1) };
        assert_eq!(*cache.cached(TTL, "orders", up).await.unwrap(), 1);
    }

    #[tokio::test]
    async fn a_hit_does_not_call_the_fetch() {
        let cache = cache();
        let asked = AtomicU64::new(0);
        for _ in 0..3 {
            let fetch = || {
                asked.fetch_add(1, SeqCst);
                async { Ok::<_, Infallible>(7_u64) }
            };
            cache.cached(TTL, "orders", fetch).await.unwrap();
        }
        assert_eq!(asked.into_inner(), 1);
    }

    #[tokio::test]
    async fn an_answer_weighs_what_its_weigher_says_and_a_kibibyte_without() {
        let plain = cache();
        text(&plain, "orders", "seven").await;
        let unweighed = plain.snapshot().bytes;
        assert!(unweighed > 1_024 + 24, "{unweighed} bytes");

        let weighed = cache().weigh(|_: &String| 5_000);
        text(&weighed, "orders", "seven").await;
        assert_eq!(weighed.snapshot().bytes, unweighed - 1_024 + 5_000);
        // Another type's weigher is not asked.
        weighed.clear();
        number(&weighed, "orders", 7).await;
        assert!(weighed.snapshot().bytes < 2_000);
    }

    #[tokio::test]
    async fn a_weigher_may_use_the_cache() {
        let cache = cache();
        let inner = cache.clone();
        let cache = cache.weigh(move |_: &String| {
            drop(inner.clone().weigh(|_: &u64| 1));
            inner.invalidate("other");
            1
        });
        assert_eq!(text(&cache, "orders", "seven").await, "seven");
    }
}
