//! The answers in memory, as many as fit.
//!
//! quick_cache decides who goes. What it lacks is here: bytes that are bytes,
//! counts, and values that are let go when no lock is held.

use std::{borrow::Borrow, fmt, hash::Hash, mem::size_of, sync::Arc};

use ahash::RandomState;
use quick_cache::{Equivalent, Lifecycle, OptionsBuilder, Weighter, sync};

use crate::sync::{AtomicU64, Ordering::Relaxed};

/// An answer, since when it is known, and what it weighs.
pub struct Entry<V: ?Sized> {
    /// The answer.
    pub value: Arc<V>,
    /// When somebody began to ask for it, by the cache's clock: the answer may
    /// be younger and is not older. [`Lifetime::at`](super::Lifetime::at) says
    /// what it is still good for.
    pub stored_at_ns: u64,
    /// Bytes that are counted for it, never zero.
    pub weight: u64,
}

impl<V: ?Sized> Clone for Entry<V> {
    fn clone(&self) -> Self {
        Self {
            value: Arc::clone(&self.value),
            ..*self
        }
    }
}

impl<V: ?Sized> fmt::Debug for Entry<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Not the value: it may be large, and private.
        f.debug_struct("Entry")
            .field("stored_at_ns", &self.stored_at_ns)
            .field("weight", &self.weight)
            .finish_non_exhaustive()
    }
}

/// Entries by key, together never heavier than a number of bytes.
///
/// No method calls anything of the caller's but `Hash` and `Eq` of a key while
/// it holds a lock, and none drops a value then, since a value's `Drop` might
/// come back here. So whoever holds a lock of their own gets what has to go
/// handed out, as [`Gone`].
pub(crate) struct Memory<K, V: ?Sized> {
    entries: sync::Cache<K, Entry<V>, Weighed, RandomState, Leaving>,
    weigh: Weigh<K, V>,
    evictions: AtomicU64,
    too_large: AtomicU64,
}

type Weigh<K, V> = Box<dyn Fn(&K, &V) -> usize + Send + Sync>;

/// What a store has let go of: to be dropped where no lock is held.
pub(crate) type Gone<K, V> = Vec<(K, Entry<V>)>;

/// A shard of quick_cache gets no smaller than this, because nothing that does
/// not fit into a shard is kept.
const LEAST_SHARD: u64 = 4 << 20;

/// What quick_cache should expect of an entry. It sizes its memory of those
/// that were evicted by it, and may be wrong by far.
const EXPECTED_WEIGHT: u64 = 1 << 10;

impl<K, V> Memory<K, V>
where
    K: Eq + Hash + Clone,
    V: ?Sized,
{
    /// What an entry costs beside the bytes that the caller weighs: its place
    /// in the table, of which up to half are empty, and the counts of an `Arc`.
    /// Counted for each, so that entries without a weight fill it up too.
    const OVERHEAD: usize = 2 * (size_of::<K>() + size_of::<Entry<V>>() + 21) + 16;

    /// Holds at most `most_bytes`; `weigh` says how many bytes a key and a value
    /// take on the heap.
    pub(crate) fn new(
        most_bytes: u64,
        weigh: impl Fn(&K, &V) -> usize + Send + Sync + 'static,
    ) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let room = usize::try_from(most_bytes / LEAST_SHARD).unwrap_or(usize::MAX);
        // Rounded down: quick_cache would round up, and make smaller ones.
        let shards = 1 << room.min(4 * cores).max(1).ilog2();
        // quick_cache rounds the part of each shard up, and would hold a few
        // bytes too many.
        let most_bytes = most_bytes - most_bytes % shards;
        let shards = usize::try_from(shards).expect("few times the cores");
        let expected = usize::try_from(most_bytes / EXPECTED_WEIGHT).unwrap_or(usize::MAX);
        let options = OptionsBuilder::new()
            .weight_capacity(most_bytes)
            .estimated_items_capacity(expected.max(1))
            .shards(shards)
            .build()
            .expect("capacity and number of entries are given");
        // Hashed with a secret of the process: keys come from outside.
        let hasher = RandomState::new();
        Self {
            entries: sync::Cache::with_options(options, Weighed, hasher, Leaving),
            weigh: Box::new(weigh),
            evictions: AtomicU64::new(0),
            too_large: AtomicU64::new(0),
        }
    }

    /// The entry of a key. For the duration of a look the shard is locked for
    /// reading.
    #[inline]
    pub(crate) fn get<Q>(&self, key: &Q) -> Option<Entry<V>>
    where
        Q: Hash + Equivalent<K> + ?Sized,
    {
        self.entries.get(key)
    }

    /// What would be stored.
    pub(crate) fn entry(&self, key: &K, value: Arc<V>, stored_at_ns: u64) -> Entry<V> {
        let bytes = (self.weigh)(key, &value);
        Self::weighed(value, stored_at_ns, bytes)
    }

    /// The same, of something that has been weighed: `bytes` are those that its key
    /// and it take on the heap.
    pub(crate) fn weighed(value: Arc<V>, stored_at_ns: u64, bytes: usize) -> Entry<V> {
        let weight = bytes.saturating_add(Self::OVERHEAD);
        Entry {
            value,
            stored_at_ns,
            weight: u64::try_from(weight).unwrap_or(u64::MAX),
        }
    }

    /// Stores it in place of the one of the same key, if it fits. One that does
    /// not fit is counted, and its key has no entry any more.
    #[must_use = "drop it where no lock is held"]
    pub(crate) fn insert(&self, key: &K, entry: Entry<V>) -> Gone<K, V> {
        let mut gone = Gone::new();
        let value = Arc::clone(&entry.value);
        self.entries
            .insert_with_lifecycle(key.clone(), entry, &mut gone);
        // All that leaves goes the same way: the new one if it is too large, the
        // one in whose place it comes, and those that make room.
        for (left, entry) in &gone {
            if Arc::ptr_eq(&entry.value, &value) {
                self.too_large.fetch_add(1, Relaxed);
            } else if left != key {
                self.evictions.fetch_add(1, Relaxed);
            }
        }
        gone
    }

    #[must_use = "drop it where no lock is held"]
    pub(crate) fn remove<Q>(&self, key: &Q) -> Option<(K, Entry<V>)>
    where
        K: Borrow<Q>,
        Q: Hash + Eq + ?Sized,
    {
        self.entries.remove(key)
    }

    /// Takes everything out that was there when it began.
    #[must_use = "drop it where no lock is held"]
    pub(crate) fn drain(&self) -> Gone<K, V> {
        self.entries.drain().collect()
    }

    /// Holds at most so much from now on; what does not fit any more is let go, and
    /// not counted.
    #[cfg(feature = "fallback")]
    pub(crate) fn resize(&self, most_bytes: u64) {
        let shards = self.entries.num_shards() as u64;
        // Rounded down, as in `new`.
        self.entries.set_capacity(most_bytes - most_bytes % shards);
    }

    /// All that is there, cloned one by one, each under the lock of its shard.
    #[cfg(feature = "fallback")]
    pub(crate) fn each(&self) -> impl Iterator<Item = (K, Entry<V>)> {
        self.entries.iter()
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.entries.weight()
    }

    pub(crate) fn most_bytes(&self) -> u64 {
        self.entries.capacity()
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// How many had to make room for others.
    pub(crate) fn evictions(&self) -> u64 {
        self.evictions.load(Relaxed)
    }

    /// How many were not stored because they did not fit.
    pub(crate) fn too_large(&self) -> u64 {
        self.too_large.load(Relaxed)
    }
}

/// Reads the weight that was noted: quick_cache asks for it under its lock, and
/// it must not change.
#[derive(Clone)]
struct Weighed;

impl<K, V: ?Sized> Weighter<K, Entry<V>> for Weighed {
    fn weight(&self, _: &K, entry: &Entry<V>) -> u64 {
        entry.weight
    }
}

/// Keeps what leaves until the lock is free. quick_cache's own keeps two, and
/// drops the rest under its lock.
#[derive(Clone)]
struct Leaving;

impl<K, V: ?Sized> Lifecycle<K, Entry<V>> for Leaving {
    type RequestState = Gone<K, V>;

    fn on_evict(&self, gone: &mut Self::RequestState, key: K, entry: Entry<V>) {
        gone.push((key, entry));
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Weak;

    use super::*;

    type Texts = Memory<Vec<u8>, String>;

    fn texts(most_bytes: u64) -> Texts {
        Memory::new(most_bytes, |key: &Vec<u8>, value: &String| {
            key.len() + value.len()
        })
    }

    fn put(memory: &Texts, key: &[u8], value: &str) {
        let key = key.to_vec();
        let entry = memory.entry(&key, Arc::new(value.to_owned()), 0);
        drop(memory.insert(&key, entry));
    }

    fn read(memory: &Texts, key: &[u8]) -> Option<String> {
        memory.get(key).map(|entry| entry.value.to_string())
    }

    #[test]
    fn keys_of_any_bytes_and_length_are_apart() {
        let memory = texts(64 << 20);
        let keys: [&[u8]; 6] = [b"", b"\0", b"\0\0", b"\xff\xfe", b"a\nb", &[7; 100_000]];
        for (number, key) in keys.iter().enumerate() {
            put(&memory, key, &number.to_string());
        }
        for (number, key) in keys.iter().enumerate() {
            assert_eq!(read(&memory, key), Some(number.to_string()));
        }
        assert_eq!(memory.len(), keys.len());
    }

    #[test]
    fn it_never_holds_more_bytes_than_it_may_and_counts_who_went() {
        let memory = texts(100_000);
        for number in 0..1_000 {
            put(&memory, format!("{number}").as_bytes(), &"x".repeat(1_000));
            assert!(memory.bytes() <= 100_000, "{} bytes", memory.bytes());
        }
        assert!(memory.len() > 50, "{} entries", memory.len());
        assert_eq!(memory.evictions() + memory.len() as u64, 1_000);
        assert_eq!(memory.too_large(), 0);
    }

    #[test]
    fn values_without_a_weight_fill_it_up_too() {
        let memory: Memory<u64, ()> = Memory::new(10_000, |_, ()| 0);
        for key in 0..10_000 {
            let entry = memory.entry(&key, Arc::new(()), 0);
            assert!(entry.weight > 0);
            drop(memory.insert(&key, entry));
        }
        assert!(memory.len() < 200, "{} entries", memory.len());
    }

    #[test]
    fn a_value_in_place_of_another_is_no_eviction() {
        let memory = texts(100_000);
        put(&memory, b"rate", "1.08");
        put(&memory, b"rate", "1.09");
        assert_eq!(read(&memory, b"rate").as_deref(), Some("1.09"));
        assert_eq!((memory.len(), memory.evictions()), (1, 0));
    }

    #[test]
    fn one_that_is_too_large_is_counted_and_takes_the_older_one_of_its_key_away() {
        let memory = texts(100_000);
        put(&memory, b"rate", "1.08");
        put(&memory, b"other", "1");
        put(&memory, b"rate", &"x".repeat(100_000));
        assert_eq!(read(&memory, b"rate"), None);
        assert_eq!(read(&memory, b"other").as_deref(), Some("1"));
        assert_eq!((memory.too_large(), memory.evictions()), (1, 0));
    }

    #[test]
    fn a_value_of_megabytes_fits_however_many_cores_there_are() {
        let memory = texts(16 << 20);
        put(&memory, b"report", &"x".repeat(3 << 20));
        assert!(read(&memory, b"report").is_some());
    }

    #[test]
    fn a_weight_beyond_all_numbers_is_too_large_and_nothing_worse() {
        let memory: Memory<u8, ()> = Memory::new(u64::MAX, |_, ()| usize::MAX);
        drop(memory.insert(&1, memory.entry(&1, Arc::new(()), 0)));
        drop(memory.insert(&2, memory.entry(&2, Arc::new(()), 0)));
        assert_eq!((memory.len(), memory.too_large()), (0, 2));
    }

    /// Looks into the memory it was in when it goes.
    struct LooksBack(Weak<Memory<u8, LooksBack>>);

    impl Drop for LooksBack {
        fn drop(&mut self) {
            if let Some(memory) = self.0.upgrade() {
                for key in 0..=u8::MAX {
                    drop(memory.get(&key));
                }
            }
        }
    }

    #[test]
    fn a_value_that_goes_may_use_the_memory_it_was_in() {
        let memory = Arc::new(Memory::new(1_000, |_: &u8, _: &LooksBack| 0));
        for key in 0..100 {
            let value = Arc::new(LooksBack(Arc::downgrade(&memory)));
            drop(memory.insert(&key, memory.entry(&key, value, 0)));
        }
        assert!(memory.evictions() > 50);
        // Many at a time, and all.
        let gone = memory.remove(&99);
        drop(gone);
        drop(memory.drain());
        assert_eq!(memory.len(), 0);
    }
}
