//! Calls that have begun and not finished, by when they began: a call that
//! still runs past the slow-call limit is slow already.
//!
//! A call is added where it begins and taken off where it finishes, each on the
//! stripe of the thread that is there, so that a stripe's count may well be
//! negative: only sums over the stripes mean something. Calls are held by the
//! quarter of the limit in which they began; those that are older than the
//! ring of quarters are folded into one count.

use super::{
    pieces::Pieces,
    word::{Word, is_newer},
};
use crate::{
    stripes::Pen,
    sync::{
        AtomicU64,
        Ordering::{Acquire, Relaxed},
    },
};

/// Quarters in the ring: a power of two, so that a mask finds the slot.
const SLOTS: usize = 8;

/// A quarter that lies this far back began longer ago than the limit.
const OVERDUE_AGE: u64 = 5;

/// The pieces that `start` and `finish` reckon in, for a limit in nanoseconds.
pub(super) fn quarters(limit: std::time::Duration) -> Pieces {
    Pieces::of(limit / 4)
}

/// One stripe's part.
#[derive(Debug)]
pub(super) struct Running {
    /// `tag << 32 | count`, the count signed; by quarter.
    slots: [AtomicU64; SLOTS],
    /// The same for all quarters that have left the ring; its tag has no quarter.
    older: AtomicU64,
    /// The clock's reading when a call last began here, the state word, and the
    /// quarter: as in the time window, what a coarse clock says of many calls
    /// is worked out once. Only of a stripe with one writer.
    last_ns: AtomicU64,
    last_word: AtomicU64,
    last_quarter: AtomicU64,
}

/// No word of a circuit whose calls are timed.
const NO_WORD: u64 = u64::MAX;

impl Default for Running {
    fn default() -> Self {
        Self {
            slots: Default::default(),
            older: AtomicU64::new(0),
            last_ns: AtomicU64::new(0),
            // Zero would be the first word of a breaker at the clock's origin.
            last_word: AtomicU64::new(NO_WORD),
            last_quarter: AtomicU64::new(0),
        }
    }
}

impl Running {
    /// Adds a call that begins at `now_ns`, if another has just begun here.
    #[inline]
    pub(super) fn start_easily(&self, pen: Pen, word: Word, now_ns: u64) -> bool {
        self.add_easily(pen, word, now_ns, 1)
    }

    /// Takes off a call that began at `began_ns`, if none has begun here since.
    #[inline]
    pub(super) fn finish_easily(&self, pen: Pen, word: Word, began_ns: u64) -> bool {
        self.add_easily(pen, word, began_ns, -1)
    }

    #[inline]
    fn add_easily(&self, pen: Pen, word: Word, began_ns: u64, by: i32) -> bool {
        // The same word, so the same generation and the same limit; the same
        // reading, so the slot's tag is the one that the last call gave it.
        let easy = pen.is_alone()
            && self.last_ns.load(Relaxed) == began_ns
            && self.last_word.load(Relaxed) == word.0;
        if easy {
            let slot = &self.slots[index(self.last_quarter.load(Relaxed))];
            let seen = slot.load(Relaxed);
            // One writer: it cannot fail.
            let _ = pen.replace(slot, seen, plus(seen, by));
        }
        easy
    }

    /// Remembers when a call began here, for those that begin or finish next.
    pub(super) fn remember(&self, pen: Pen, word: Word, now_ns: u64, quarter: u64) {
        if pen.is_alone() {
            self.last_ns.store(now_ns, Relaxed);
            self.last_word.store(word.0, Relaxed);
            self.last_quarter.store(quarter, Relaxed);
        }
    }

    /// Adds a call that begins now. `true`: the first of a new quarter here, a
    /// good moment to look at [`overdue`].
    #[inline]
    pub(super) fn start(&self, pen: Pen, generation: u32, quarter: u64) -> bool {
        let slot = &self.slots[index(quarter)];
        let seen = slot.load(Relaxed);
        if seen >> 32 == tag(generation, quarter) && pen.replace(slot, seen, plus(seen, 1)).is_ok()
        {
            return false;
        }
        self.change(pen, generation, quarter, 1);
        true
    }

    /// Takes off a call that began in `quarter`.
    #[inline]
    pub(super) fn finish(&self, pen: Pen, generation: u32, quarter: u64) {
        let slot = &self.slots[index(quarter)];
        let seen = slot.load(Relaxed);
        if seen >> 32 != tag(generation, quarter)
            || pen.replace(slot, seen, plus(seen, -1)).is_err()
        {
            self.change(pen, generation, quarter, -1);
        }
    }

    #[cold]
    fn change(&self, pen: Pen, generation: u32, quarter: u64, by: i32) {
        let slot = &self.slots[index(quarter)];
        let wanted = tag(generation, quarter);
        let mut seen = slot.load(Relaxed);
        loop {
            let held = seen >> 32;
            let (of, since) = (held >> QUARTER_BITS, held & QUARTER_MASK);
            let same_generation = of == wanted >> QUARTER_BITS;
            if !same_generation && of.wrapping_sub(wanted >> QUARTER_BITS) & 0xFF < 0x80 {
                // A thread that was held up: its generation is over.
                return;
            }
            let later = since.wrapping_sub(quarter) & QUARTER_MASK;
            if same_generation && later != 0 && later < QUARTER_MASK / 2 {
                // The ring has moved on past this quarter.
                return self.fold(pen, generation, by);
            }
            let takes_over = held != wanted;
            let next = if takes_over {
                plus(wanted << 32, by)
            } else {
                plus(seen, by)
            };
            match pen.replace(slot, seen, next) {
                Ok(()) => {
                    // After the slot: a reader that takes `older` first may miss
                    // what is on its way, and never counts it twice.
                    if takes_over && same_generation {
                        self.fold(pen, generation, count(seen));
                    }
                    return;
                }
                Err(actual) => seen = actual,
            }
        }
    }

    fn fold(&self, pen: Pen, generation: u32, by: i32) {
        if by == 0 {
            return;
        }
        let mut seen = self.older.load(Relaxed);
        loop {
            let of = generation_of(seen);
            if is_newer(of, generation) {
                return;
            }
            let next = if of == generation {
                plus(seen, by)
            } else {
                plus(u64::from(generation) << 32, by)
            };
            match pen.replace(&self.older, seen, next) {
                Ok(()) => return,
                Err(actual) => seen = actual,
            }
        }
    }

    fn overdue(&self, generation: u32, quarter: u64) -> i64 {
        // ordering: Acquire, and before the slots: see `change`.
        let older = self.older.load(Acquire);
        let mut sum = 0;
        if older >> 32 == u64::from(generation) {
            sum += i64::from(count(older));
        }
        for slot in &self.slots {
            let seen = slot.load(Acquire);
            let (of, since) = (seen >> 32 >> QUARTER_BITS, seen >> 32 & QUARTER_MASK);
            let age = quarter.wrapping_sub(since) & QUARTER_MASK;
            // Half of the numbers are the past, the other half the future of a
            // reader whose clock reading is older than the writer's.
            let overdue = (OVERDUE_AGE..=QUARTER_MASK / 2).contains(&age);
            if of == tag(generation, 0) >> QUARTER_BITS && overdue {
                sum += i64::from(count(seen));
            }
        }
        sum
    }
}

/// How many calls of `generation` began longer ago than the limit and still
/// run. May see a call up to a quarter of the limit late, never early.
pub(super) fn overdue<'a>(
    stripes: impl Iterator<Item = &'a Running>,
    generation: u32,
    quarter: u64,
) -> u32 {
    let sum: i64 = stripes
        .map(|running| running.overdue(generation, quarter))
        .sum();
    u32::try_from(sum.max(0)).unwrap_or(u32::MAX)
}

const QUARTER_BITS: u32 = 24;
const QUARTER_MASK: u64 = (1 << QUARTER_BITS) - 1;

/// 8 bits of generation over 24 of quarter. They come round after 256
/// generations, or after an hour with the shortest limit: by then a call that
/// was never finished counts as one that began just now, for a quarter.
#[inline]
fn tag(generation: u32, quarter: u64) -> u64 {
    u64::from(generation & 0xFF) << QUARTER_BITS | quarter & QUARTER_MASK
}

#[inline]
#[expect(clippy::cast_possible_truncation, reason = "less than the slots")]
fn index(quarter: u64) -> usize {
    quarter as usize & (SLOTS - 1)
}

const fn generation_of(word: u64) -> u32 {
    (word >> 32) as u32
}

/// The count in a word.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "the low half is meant")]
const fn count(word: u64) -> i32 {
    word as u32 as i32
}

/// The word with `by` more in its count; a count below zero does not borrow
/// from the tag.
#[inline]
#[expect(clippy::cast_sign_loss, reason = "kept as its bits")]
const fn plus(word: u64, by: i32) -> u64 {
    word >> 32 << 32 | count(word).wrapping_add(by) as u32 as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{stripes::Stripes, sync::Ordering::SeqCst};

    fn sum(stripes: &Stripes<Running>, generation: u32, quarter: u64) -> u32 {
        overdue(stripes.iter(), generation, quarter)
    }

    #[test]
    fn a_call_is_overdue_once_its_quarter_lies_a_whole_limit_back() {
        let stripes: Stripes<Running> = Stripes::new();
        let (running, pen) = stripes.here();
        assert!(running.start(pen, 3, 100));
        assert!(!running.start(pen, 3, 100));
        assert_eq!(sum(&stripes, 3, 104), 0);
        assert_eq!(sum(&stripes, 3, 105), 2);
        running.finish(pen, 3, 100);
        assert_eq!(sum(&stripes, 3, 105), 1);
        assert_eq!(sum(&stripes, 4, 105), 0);
    }

    #[test]
    fn a_reader_whose_clock_is_behind_sees_nothing_overdue() {
        let stripes: Stripes<Running> = Stripes::new();
        let (running, pen) = stripes.here();
        running.start(pen, 0, 101);
        assert_eq!(sum(&stripes, 0, 100), 0);
    }

    #[test]
    fn calls_that_have_left_the_ring_stay_overdue_until_they_finish() {
        let stripes: Stripes<Running> = Stripes::new();
        let (running, pen) = stripes.here();
        running.start(pen, 0, 10);
        for quarter in 11..200 {
            running.start(pen, 0, quarter);
            running.finish(pen, 0, quarter);
        }
        assert_eq!(sum(&stripes, 0, 200), 1);
        running.finish(pen, 0, 10);
        assert_eq!(sum(&stripes, 0, 200), 0);
    }

    #[test]
    fn calls_that_begin_and_finish_on_different_threads_cancel_out() {
        let stripes: Stripes<Running> = Stripes::new();
        let (running, pen) = stripes.here();
        for quarter in 0..50 {
            running.start(pen, 0, quarter);
        }
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let (running, pen) = stripes.here();
                (0..50).for_each(|quarter| running.finish(pen, 0, quarter));
            });
        });
        assert_eq!(sum(&stripes, 0, 1_000), 0);
    }

    #[test]
    fn what_comes_late_from_an_older_generation_changes_nothing() {
        let stripes: Stripes<Running> = Stripes::new();
        let (running, pen) = stripes.here();
        running.start(pen, 7, 10);
        running.start(pen, 6, 10);
        running.finish(pen, 6, 2);
        assert_eq!(sum(&stripes, 7, 100), 1);
    }

    #[test]
    fn nor_does_it_where_the_ring_has_moved_on() {
        let stripes: Stripes<Running> = Stripes::new();
        let (running, pen) = stripes.here();
        // Each second one takes the place of the first and folds it.
        for (generation, quarter) in [(6, 11), (6, 19), (7, 10), (7, 18)] {
            running.start(pen, generation, quarter);
        }
        running.finish(pen, 6, 11);
        assert_eq!(sum(&stripes, 7, 100), 2);
    }

    #[test]
    fn threads_that_share_a_stripe_lose_nothing() {
        let running = Running::default();
        let pen = Pen::shared();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for call in 0..10_000 {
                        running.start(pen, 0, call / 100);
                        if call % 100 != 0 {
                            running.finish(pen, 0, call / 100);
                        }
                    }
                });
            }
        });
        assert_eq!(running.overdue(0, 1_000), 4 * 100);
        assert_ne!(running.older.load(SeqCst), 0);
    }
}
