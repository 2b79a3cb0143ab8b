//! What is to be written: the latest change of each key, bounded.

use std::{collections::HashMap, mem, time::Instant};

use bytes::Bytes;

use super::Change;
use crate::fallback::Record;

/// So many keys wait at most. Forgetting needs little room and must not be lost,
/// so twice as many may wait to be forgotten.
pub(super) const MOST_KEYS: usize = 16_384;
/// So many bytes of records and keys wait at most, in all.
pub(super) const MOST_BYTES: usize = 16 << 20;

/// What is to be done with a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    Keep { record: Record, useless_at_ms: u64 },
    Forget,
}

/// What waits to be written and what is being written.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Batch,
    /// Since when something waits.
    since: Option<Instant>,
    writing: Batch,
    /// Of both.
    bytes: usize,
    /// How often a key was forgotten or a prefix cleared.
    forgotten: u64,
}

/// The clears come first, then the wishes: a wish older than a clear of its prefix
/// is gone with it.
#[derive(Clone, Debug, Default)]
pub(super) struct Batch {
    /// Prefixes; as many as there are fallbacks, at most.
    pub(super) clears: Vec<Bytes>,
    pub(super) wishes: HashMap<Bytes, Wish>,
}

/// What somebody who reads must know before the store is asked.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Ahead {
    /// Nothing: the store knows best.
    Unknown,
    /// This will be there.
    Kept(Record),
    /// It will be gone.
    Gone,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.clears.is_empty() && self.wishes.is_empty()
    }

    fn ahead(&self, key: &[u8]) -> Ahead {
        match self.wishes.get(key) {
            Some(Wish::Keep { record, .. }) => Ahead::Kept(record.clone()),
            Some(Wish::Forget) => Ahead::Gone,
            None if self.clears(key) => Ahead::Gone,
            None => Ahead::Unknown,
        }
    }

    fn clears(&self, key: &[u8]) -> bool {
        self.clears.iter().any(|prefix| key.starts_with(prefix))
    }

    /// How many records wait.
    pub(super) fn records(&self) -> usize {
        let kept = |wish: &&Wish| matches!(wish, Wish::Keep { .. });
        self.wishes.values().filter(kept).count()
    }

    /// What a store is given, without what nobody would use any more.
    pub(super) fn changes(&self, now_ms: u64) -> Vec<Change> {
        let change = |(key, wish): (&Bytes, &Wish)| {
            let (record, useless_at_ms) = match wish {
                Wish::Keep { useless_at_ms, .. } if *useless_at_ms <= now_ms => return None,
                Wish::Keep {
                    record,
                    useless_at_ms,
                } => (Some(record.encode()), *useless_at_ms),
                Wish::Forget => (None, 0),
            };
            Some(Change {
                key: key.clone(),
                record,
                useless_at_ms,
            })
        };
        self.wishes.iter().filter_map(change).collect()
    }
}

impl Queue {
    /// Has a wish wait, in place of an older one of its key. `false` if there is no
    /// room for it: then nothing of the key waits.
    pub(super) fn put(&mut self, key: Bytes, wish: Wish) -> bool {
        self.forgotten += u64::from(wish == Wish::Forget);
        if let Some(older) = self.waiting.wishes.remove(&key) {
            self.bytes -= size(&key, &older);
        }
        let most = match wish {
            Wish::Keep { .. } => 1,
            Wish::Forget => 2,
        };
        let bytes = size(&key, &wish);
        let keys = self.waiting.wishes.len() + self.writing.wishes.len();
        if keys >= most * MOST_KEYS || self.bytes + bytes > most * MOST_BYTES {
            return false;
        }
        self.bytes += bytes;
        self.since.get_or_insert_with(Instant::now);
        self.waiting.wishes.insert(key, wish);
        true
    }

    /// Has a prefix cleared; what waits of it is gone.
    pub(super) fn clear(&mut self, prefix: Bytes) {
        self.forgotten += 1;
        let bytes = &mut self.bytes;
        self.waiting.wishes.retain(|key, wish| {
            let stays = !key.starts_with(&prefix);
            if !stays {
                *bytes -= size(key, wish);
            }
            stays
        });
        self.since.get_or_insert_with(Instant::now);
        if !self.waiting.clears.contains(&prefix) {
            self.waiting.clears.push(prefix);
        }
    }

    /// What will be there for a key when all is written.
    pub(super) fn ahead(&self, key: &[u8]) -> Ahead {
        match self.waiting.ahead(key) {
            Ahead::Unknown => self.writing.ahead(key),
            known => known,
        }
    }

    /// How often anything was forgotten. Whoever reads and finds it moved may hold
    /// what was forgotten, and written, meanwhile.
    pub(super) const fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Takes all that waits, to be written. It stays readable until
    /// [`done`](Self::done).
    pub(super) fn take(&mut self) -> Batch {
        debug_assert!(self.writing.is_empty(), "there is one writer");
        self.since = None;
        self.writing = mem::take(&mut self.waiting);
        self.writing.clone()
    }

    /// What was taken is written, or, if `failed`, waits again, unless it was
    /// overtaken meanwhile.
    pub(super) fn done(&mut self, failed: bool) {
        let Batch { clears, wishes } = mem::take(&mut self.writing);
        for (key, wish) in wishes {
            let overtaken = self.waiting.ahead(&key) != Ahead::Unknown;
            if failed && !overtaken {
                self.waiting.wishes.insert(key, wish);
            } else {
                self.bytes -= size(&key, &wish);
            }
        }
        if failed {
            for prefix in clears {
                if !self.waiting.clears.contains(&prefix) {
                    self.waiting.clears.push(prefix);
                }
            }
        }
    }

    /// Whether nothing waits and nothing is being written.
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.writing.is_empty()
    }

    /// Whether so much waits that it is better written now.
    pub(super) fn is_half_full(&self) -> bool {
        self.waiting.wishes.len() >= MOST_KEYS / 2 || self.bytes >= MOST_BYTES / 2
    }

    /// Since when the oldest wish waits that has not failed yet.
    pub(super) fn since(&self) -> Option<Instant> {
        self.since
    }

    /// Whether something waits.
    pub(super) fn has_work(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Records that wait or are being written.
    pub(super) fn records(&self) -> usize {
        self.waiting.records() + self.writing.records()
    }
}

/// What a wish needs of the room.
fn size(key: &Bytes, wish: &Wish) -> usize {
    match wish {
        // The kind is a few letters; the rest of a record is of a fixed size.
        Wish::Keep { record, .. } => key.len() + record.payload.len(),
        Wish::Forget => key.len(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fallback::Terms;

    fn keep(payload: &'static str) -> Wish {
        Wish::Keep {
            record: Record {
                asked_at_ms: 0,
                terms: Terms::default(),
                kind: "text/1".into(),
                payload: payload.into(),
            },
            useless_at_ms: 1_000,
        }
    }

    /// What will be there, as text.
    fn ahead(queue: &Queue, key: &str) -> String {
        match queue.ahead(key.as_bytes()) {
            Ahead::Unknown => "unknown".to_owned(),
            Ahead::Kept(record) => String::from_utf8(record.payload.to_vec()).unwrap(),
            Ahead::Gone => "gone".to_owned(),
        }
    }

    #[test]
    fn the_latest_wish_of_a_key_is_what_will_be_there_also_while_it_is_written() {
        let mut queue = Queue::default();
        assert_eq!(ahead(&queue, "a"), "unknown");
        assert!(queue.put("a".into(), keep("one")));
        assert!(queue.put("a".into(), keep("two")));
        assert_eq!((ahead(&queue, "a").as_str(), queue.records()), ("two", 1));
        assert_eq!(queue.take().wishes.len(), 1);
        assert_eq!(ahead(&queue, "a"), "two");
        assert!(queue.put("a".into(), Wish::Forget));
        assert_eq!(ahead(&queue, "a"), "gone");
        queue.done(false);
        assert_eq!(ahead(&queue, "a"), "gone");
        queue.take();
        queue.done(false);
        assert_eq!(ahead(&queue, "a"), "unknown");
        assert!(queue.is_empty());
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn a_batch_that_failed_waits_again_but_for_what_has_overtaken_it() {
        let mut queue = Queue::default();
        for key in ["a\0same", "a\0newer", "a\0forgotten", "b\0cleared"] {
            queue.put(key.into(), keep("old"));
        }
        queue.take();
        queue.put("a\0newer".into(), keep("new"));
        queue.put("a\0forgotten".into(), Wish::Forget);
        queue.clear("b\0".into());
        queue.done(true);
        assert_eq!(ahead(&queue, "a\0same"), "old");
        assert_eq!(ahead(&queue, "a\0newer"), "new");
        assert_eq!(ahead(&queue, "a\0forgotten"), "gone");
        assert_eq!(ahead(&queue, "b\0cleared"), "gone");
        let again = queue.take();
        assert_eq!((again.wishes.len(), again.clears.len()), (3, 1));
        queue.done(false);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn a_clear_takes_what_waits_and_not_what_comes_after_it() {
        let mut queue = Queue::default();
        queue.put("a\0x".into(), keep("old"));
        queue.put("ab\0x".into(), keep("another's"));
        queue.clear("a\0".into());
        assert_eq!(ahead(&queue, "a\0x"), "gone");
        assert_eq!(ahead(&queue, "a\0never seen"), "gone");
        assert_eq!(ahead(&queue, "ab\0x"), "another's");
        queue.put("a\0x".into(), keep("new"));
        assert_eq!(ahead(&queue, "a\0x"), "new");
        // A failure in between changes nothing of the order.
        queue.take();
        queue.done(true);
        assert_eq!(ahead(&queue, "a\0x"), "new");
        let batch = queue.take();
        assert_eq!(batch.clears, ["a\0"]);
        assert_eq!(batch.wishes.len(), 2);
    }

    #[test]
    fn it_is_bounded_in_keys_and_in_bytes_and_forgetting_still_has_room_then() {
        let mut queue = Queue::default();
        let key = |number: usize| Bytes::from(number.to_string());
        for number in 0..MOST_KEYS {
            assert!(queue.put(key(number), keep("x")));
        }
        assert!(!queue.put("one more".into(), keep("x")));
        assert!(queue.put(key(7), keep("y")), "in place of the older one");
        assert!(queue.put("one more".into(), Wish::Forget));

        let mut queue = Queue::default();
        let half = Bytes::from(vec![0; MOST_BYTES / 2]);
        let large = |key: &'static str| {
            let Wish::Keep { mut record, .. } = keep("") else {
                unreachable!()
            };
            record.payload = half.clone();
            let useless_at_ms = 1_000;
            (
                key.into(),
                Wish::Keep {
                    record,
                    useless_at_ms,
                },
            )
        };
        let (first, wish) = large("");
        assert!(queue.put(first, wish));
        assert!(queue.is_half_full());
        queue.take();
        let (second, wish) = large("b");
        assert!(!queue.put(second, wish), "what is being written counts");
        queue.done(false);
        assert_eq!(queue.bytes, 0);
    }

    #[test]
    fn what_nobody_would_use_any_more_is_not_written() {
        let mut queue = Queue::default();
        queue.put("kept".into(), keep("x"));
        queue.put("forgotten".into(), Wish::Forget);
        let batch = queue.take();
        assert_eq!(batch.changes(999).len(), 2);
        let late = batch.changes(1_000);
        assert_eq!((late.len(), &late[0].record), (1, &None));
    }
}
