//! The answers of one type, and the runs that fetch them.
//!
//! Each run that keeps something does so under one lock, the one of the flights,
//! and so does each purge: what is forgotten does not come back by a call that
//! was under way.

use std::{
    any::Any,
    fmt,
    sync::{
        Arc,
        atomic::{
            AtomicU64,
            Ordering::{Acquire, Relaxed, Release},
        },
    },
};

use parking_lot::Mutex;

use super::{Key, Record, Terms, flow::Ran, handle::Inner, rules::Limits, rules::Rules};
use crate::{
    cache::{
        age_ns,
        flight::Flights,
        memory::{Entry, Gone, Memory},
    },
    line::Lined,
    snapshot::CacheSnapshot,
};

/// An answer with what must be known to use it again. There are many of them, so it
/// is small beside its value.
pub(crate) struct Kept<V> {
    pub(crate) value: V,
    /// How old it was when it was asked for, in milliseconds; 49 days are as good
    /// as for ever.
    aged_ms: u32,
    fresh_for: u32,
    stale_while_revalidate: u32,
    stale_if_error: u32,
    never_stale: bool,
    /// Whether it only says where the answer is.
    pub(crate) note: bool,
}

/// Stands for nothing said. A time that is as long is cut by a second.
const NOTHING_SAID: u32 = u32::MAX;

impl<V> Kept<V> {
    pub(crate) fn new(value: V, terms: &Terms, aged_ms: u64, note: bool) -> Self {
        let said = |seconds: Option<u32>| seconds.map_or(NOTHING_SAID, |s| s.min(NOTHING_SAID - 1));
        Self {
            value,
            aged_ms: u32::try_from(aged_ms).unwrap_or(u32::MAX),
            fresh_for: said(terms.fresh_for),
            stale_while_revalidate: said(terms.stale_while_revalidate),
            stale_if_error: said(terms.stale_if_error),
            never_stale: terms.never_stale,
            note,
        }
    }

    /// One that is not kept.
    pub(crate) fn passing(value: V) -> Arc<Self> {
        Arc::new(Self::new(value, &Terms::default(), 0, false))
    }

    /// What it is good for under these rules, at which age.
    #[inline]
    pub(crate) fn limits(&self, rules: Rules) -> Limits {
        let said = |seconds: u32| (seconds != NOTHING_SAID).then_some(seconds);
        rules.limits(&Terms {
            age: 0,
            fresh_for: said(self.fresh_for),
            stale_while_revalidate: said(self.stale_while_revalidate),
            stale_if_error: said(self.stale_if_error),
            never_stale: self.never_stale,
        })
    }
}

/// What is in memory under a key.
pub(crate) type Found<V> = Entry<Kept<V>>;

impl<V> Found<V> {
    /// Its age at a reading of the clock.
    #[inline]
    pub(crate) fn age_ns(&self, now_ns: u64) -> u64 {
        let aged_ns = u64::from(self.value.aged_ms) * 1_000_000;
        age_ns(self.stored_at_ns, now_ns).saturating_add(aged_ns)
    }
}

/// The answers of one type of one service.
pub(crate) struct Shelf<V> {
    memory: Memory<Key, Kept<V>>,
    pub(super) flights: Flights<Key, Arc<Ran<V>>>,
    /// Counts changes, of what is stored and of the settings.
    version: Lined<AtomicU64>,
    marks: Marks,
    oldest: Mutex<Option<Oldest>>,
}

#[derive(Clone, Copy)]
struct Oldest {
    looked_at_ns: u64,
    /// Its age then.
    age_ns: Option<u64>,
}

/// For so long it is not looked for again.
const LOOK_AGAIN_NS: u64 = 60_000_000_000;

/// What a run changes, all at one time.
pub(super) struct Changes<V> {
    /// Only if this is still there: the answer is found by it.
    pub(super) only_with: Option<(Key, Found<V>)>,
    pub(super) puts: Vec<Put<V>>,
    pub(super) removes: Option<Key>,
}

pub(super) struct Put<V> {
    pub(super) key: Key,
    pub(super) found: Found<V>,
    /// For the second level, with when nobody uses it any more.
    pub(super) record: Option<(Record, u64)>,
}

impl<V> Default for Changes<V> {
    fn default() -> Self {
        Self {
            only_with: None,
            puts: Vec::new(),
            removes: None,
        }
    }
}

/// What has to be dropped when the lock is free.
pub(super) type Left<V> = Gone<Key, Kept<V>>;

impl<V> Shelf<V>
where
    V: Send + Sync + 'static,
{
    pub(super) fn new(most_bytes: u64) -> Self {
        Self {
            // Each is weighed by who makes it.
            memory: Memory::new(most_bytes, |_, _| 0),
            flights: Flights::new(),
            version: Lined::default(),
            marks: Marks::default(),
            oldest: Mutex::new(None),
        }
    }

    /// How often anything has changed.
    #[inline]
    pub(super) fn version(&self) -> u64 {
        // ordering: Acquire. Pairs with the Release of `changed`: who sees a version sees
        // all that was changed before it.
        self.version.0.load(Acquire)
    }

    /// What is in memory under a key, of whatever age.
    #[inline]
    pub(crate) fn find(&self, key: &[u8]) -> Option<Found<V>> {
        self.memory.get(key)
    }

    /// What would be put under a key; `bytes` are those that the value has on the
    /// heap.
    pub(super) fn found(&self, key: &Key, kept: Kept<V>, bytes: usize, at_ns: u64) -> Found<V> {
        // The counts of two `Arc`s.
        let own = size_of::<Kept<V>>() + 2 * 16;
        let bytes = bytes
            .saturating_add(key.as_bytes().len())
            .saturating_add(own);
        Memory::<Key, Kept<V>>::weighed(Arc::new(kept), at_ns, bytes)
    }

    /// Makes the changes. Under the lock of the flights only.
    pub(super) fn make(&self, inner: &Inner, changes: &Changes<V>) -> Left<V> {
        let mut left = Left::new();
        // A failed run changes nothing, and who looks again for that finds the same.
        if changes.puts.is_empty() && changes.removes.is_none() {
            return left;
        }
        if let Some((key, note)) = &changes.only_with {
            let there = self.find(key.as_bytes());
            if !there.is_some_and(|there| Arc::ptr_eq(&there.value, &note.value)) {
                return left;
            }
        }
        for Put { key, found, record } in &changes.puts {
            left.append(&mut self.memory.insert(key, found.clone()));
            if let (Some((record, useless_at_ms)), Some(second)) = (record, &inner.second) {
                second.keep(&inner.name, key, record.clone(), *useless_at_ms);
            }
        }
        if let Some(key) = &changes.removes {
            left.extend(self.memory.remove(key));
            if let Some(second) = &inner.second {
                second.forget(&inner.name, key);
            }
        }
        self.changed();
        left
    }

    /// The mark of a key now, for [`make_unless_forgotten`](Self::make_unless_forgotten).
    pub(super) fn mark(&self, key: &Key) -> u64 {
        self.marks.of(key).load(Relaxed)
    }

    /// Makes the changes of a run that no flight knows of, unless its key was
    /// forgotten since it had that mark.
    pub(super) fn make_unless_forgotten(
        &self,
        inner: &Inner,
        key: &Key,
        mark: u64,
        changes: &Changes<V>,
    ) {
        let left = self
            .flights
            .meanwhile(|| (self.mark(key) == mark).then(|| self.make(inner, changes)));
        drop(left);
    }

    /// Forgets a key; what is on its way to it is not kept.
    pub(crate) fn forget(&self, inner: &Inner, key: &Key) {
        let left = self.flights.without(key, || {
            // Under the lock, under which it is compared.
            self.marks.of(key).fetch_add(1, Relaxed);
            let changes = Changes {
                removes: Some(key.clone()),
                ..Changes::default()
            };
            self.make(inner, &changes)
        });
        drop(left);
    }
}

/// A shelf whatever its types are.
pub(super) trait AnyShelf: Any + Send + Sync {
    /// Forgets everything, and does `also` before anything can be kept again. How
    /// many there were.
    fn purge(&self, also: &dyn Fn()) -> u64;
    fn resize(&self, most_bytes: u64);
    /// Settings have changed, too.
    fn changed(&self);
    fn add_to(&self, picture: &mut CacheSnapshot);
    fn oldest_ms(&self, now_ns: u64) -> Option<u64>;
    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync>;
}

impl<V> AnyShelf for Shelf<V>
where
    V: Send + Sync + 'static,
{
    fn purge(&self, also: &dyn Fn()) -> u64 {
        let left = self.flights.without_any(|| {
            self.marks.all();
            let left = self.memory.drain();
            self.changed();
            also();
            left
        });
        *self.oldest.lock() = None;
        left.iter().filter(|(_, found)| !found.value.note).count() as u64
    }

    fn resize(&self, most_bytes: u64) {
        if most_bytes != self.memory.most_bytes() {
            self.memory.resize(most_bytes);
        }
    }

    fn changed(&self) {
        // ordering: Release. After the change that it tells of.
        self.version.0.fetch_add(1, Release);
    }

    fn add_to(&self, picture: &mut CacheSnapshot) {
        let number = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
        picture.fetching += number(self.flights.len());
        picture.evictions += self.memory.evictions();
        picture.too_large += self.memory.too_large();
        picture.entries += number(self.memory.len());
        picture.bytes += self.memory.bytes();
        picture.most_bytes += self.memory.most_bytes();
    }

    fn oldest_ms(&self, now_ns: u64) -> Option<u64> {
        if self.memory.len() == 0 {
            return None;
        }
        // Held while it looks: one look is enough for all who ask.
        let mut oldest = self.oldest.lock();
        let known = oldest.filter(|known| age_ns(known.looked_at_ns, now_ns) < LOOK_AGAIN_NS);
        let known = known
            .filter(|known| known.age_ns.is_some())
            .unwrap_or_else(|| {
                let answers = self.memory.each().filter(|(_, found)| !found.value.note);
                Oldest {
                    looked_at_ns: now_ns,
                    age_ns: answers.map(|(_, found)| found.age_ns(now_ns)).max(),
                }
            });
        *oldest = Some(known);
        drop(oldest);
        let since_ns = age_ns(known.looked_at_ns, now_ns);
        Some(known.age_ns?.saturating_add(since_ns) / 1_000_000)
    }

    fn into_any(self: Arc<Self>) -> Arc<dyn Any + Send + Sync> {
        self
    }
}

impl<V> fmt::Debug for Shelf<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Shelf").finish_non_exhaustive()
    }
}

/// How often keys were forgotten, many keys to a count: a run that no flight knows
/// of keeps nothing if the count of its key has moved. That another key moved it
/// costs an answer that is not kept, once.
#[derive(Debug)]
struct Marks([AtomicU64; 64]);

impl Default for Marks {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; 64])
    }
}

impl Marks {
    /// By the end of the key, by which keys differ.
    fn of(&self, key: &Key) -> &AtomicU64 {
        let bytes = key.as_bytes();
        let end = match bytes.last_chunk() {
            Some(end) => u64::from_le_bytes(*end),
            None => bytes
                .iter()
                .fold(0, |end, &byte| end << 8 | u64::from(byte)),
        };
        let mixed = end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58;
        &self.0[usize::try_from(mixed).expect("six bits")]
    }

    fn all(&self) {
        for mark in &self.0 {
            mark.fetch_add(1, Relaxed);
        }
    }
}
