//! The short way of a good call.
//!
//! While nothing bad is in the window, a good call has nothing to look at: it
//! is counted in its thread's stripe, and that is all. A thread may go that way
//! under one state word, and in a time window at one reading of the clock, once
//! a call of its own has found everything to be well. Whoever brings something
//! bad, or changes the state, forbids it to all threads.

use super::{totals::Stripe, word::Word};
use crate::{
    stripes::Stripes,
    sync::{
        AtomicU64,
        Ordering::{Relaxed, SeqCst},
        fence,
    },
};

/// One thread's leave to go the short way. Only its own thread gives it.
#[derive(Debug)]
pub(super) struct Easy {
    word: AtomicU64,
    now_ns: AtomicU64,
    place: AtomicU64,
}

/// An open circuit's word: no call goes the short way under it.
const NO_WORD: u64 = u64::MAX;

impl Default for Easy {
    fn default() -> Self {
        Self {
            // Zero would be the first word of a breaker.
            word: AtomicU64::new(NO_WORD),
            now_ns: AtomicU64::new(0),
            place: AtomicU64::new(0),
        }
    }
}

impl Easy {
    /// Whether a good call under `word` may go the short way.
    #[inline]
    pub(super) fn is_for(&self, word: Word) -> bool {
        self.word.load(Relaxed) == word.0
    }

    /// The bucket in which a good call under `word` at `now_ns` is counted, if it
    /// may go the short way: a coarse clock says the same for many calls, and
    /// the bucket need not be worked out for each.
    #[inline]
    pub(super) fn place_at(&self, word: Word, now_ns: u64) -> Option<usize> {
        let same = self.now_ns.load(Relaxed) == now_ns && self.is_for(word);
        #[expect(clippy::cast_possible_truncation, reason = "stored from a usize")]
        same.then(|| self.place.load(Relaxed) as usize)
    }

    /// Allows it, unless `still_well` says no: it is asked once the leave is
    /// there for [`forbid`] to find.
    pub(super) fn allow(
        &self,
        word: Word,
        now_ns: u64,
        place: usize,
        still_well: impl FnOnce() -> bool,
    ) {
        self.place.store(place as u64, Relaxed);
        self.now_ns.store(now_ns, Relaxed);
        self.word.store(word.0, Relaxed);
        // ordering: SeqCst fence. Pairs with the one in `forbid`: either that one
        // takes this leave away, or `still_well` sees what it was called for.
        fence(SeqCst);
        if !still_well() {
            self.word.store(NO_WORD, Relaxed);
        }
    }
}

/// Sends every thread the long way again. To be called once what forbids the
/// short one can be seen: it is also the fence between this and what is read next.
pub(super) fn forbid(stripes: &Stripes<Stripe>) {
    // ordering: SeqCst fence. Pairs with the one in `allow`.
    fence(SeqCst);
    for Stripe { easy, .. } in stripes.iter() {
        // Mostly it is forbidden already, and a look leaves the line with its owner.
        if easy.word.load(Relaxed) != NO_WORD {
            easy.word.store(NO_WORD, Relaxed);
        }
    }
}
