//! What each thread has given lately, ready to be given again.
//!
//! Most hits of most services are for a few answers, and most of what a hit costs is to find
//! the answer, to read its headers, and to meet other threads at the counts of its handles.
//! So a thread that gives the same answer for the second time in a row keeps the response.
//! It may give a clone of it for as long as the shelf has not changed at all, which one load
//! tells; as long as it has not, a look would find the same.
//!
//! Answers that are kept like this may be gone from memory, and their layer too: for each
//! thread a few that are small, which nobody is given.

use std::{
    cell::RefCell,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
};

use http::Response;

use super::{
    CacheStatus, FallbackBody, Given, age,
    key::Named,
    stored::{HttpStored, memory},
};
use crate::fallback::{
    Key,
    flow::{Again, Spare},
    rules::Use,
    shelf::{Found, Kept},
};

/// So many a thread, of all layers.
const SLOTS: usize = 16;

/// And none that is larger.
const MOST_BYTES: usize = 16 << 10;

thread_local! {
    static OWN: RefCell<[Slot; SLOTS]> = const { RefCell::new([const { Slot::EMPTY }; SLOTS]) };
}

/// Those of one layer.
pub(super) struct Hot {
    /// No other has it, ever.
    number: u64,
}

/// What may be given again.
pub(super) enum Warm<B> {
    Nothing,
    /// At once.
    Fresh(Response<FallbackBody<B>>),
    /// If the call of that key fails: see [`Hot::stale`].
    Spare(Key, Spare<HttpStored>, Place),
}

/// Where it is in its thread.
#[derive(Clone, Copy)]
pub(super) struct Place(usize);

struct Slot {
    /// Where the answer is that was found last: only an address, to compare it.
    seen: usize,
    ready: Option<Box<Ready>>,
}

impl Slot {
    const EMPTY: Self = Self {
        seen: 0,
        ready: None,
    };
}

/// A response.
struct Ready {
    /// Of its layer.
    hot: u64,
    named: Own,
    key: Key,
    found: Found<HttpStored>,
    again: Again,
    given: Given,
    /// What its headers say.
    told: Told,
}

/// What it was named by, to the letter: whoever names it otherwise has to look.
struct Own {
    scheme: Box<str>,
    authority: Box<[u8]>,
    target: Box<str>,
}

impl Own {
    fn of(named: &Named<'_>) -> Self {
        Self {
            scheme: named.scheme.into(),
            authority: named.authority.into(),
            target: named.target.into(),
        }
    }

    /// One layer asks for one identity, or for all.
    #[inline]
    fn is(&self, named: &Named<'_>) -> bool {
        *self.target == *named.target
            && *self.authority == *named.authority
            && *self.scheme == *named.scheme
    }
}

/// The seconds in `Age`, and in `Cache-Status` of a fresh one.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    age_s: u64,
    ttl_s: Option<i64>,
}

impl Hot {
    pub(super) fn new() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        // ordering: Relaxed. A number and nothing else.
        let number = NEXT.fetch_add(1, Relaxed);
        Self { number }
    }

    /// What this thread has of what is named, if the shelf is still of that version and it
    /// is younger than that.
    #[inline(always)]
    pub(super) fn again<B>(
        &self,
        named: &Named<'_>,
        version: u64,
        now_ns: u64,
        max_age_ns: u64,
        status: &CacheStatus,
    ) -> Warm<B> {
        let place = self.place(named);
        let again = |slots: &RefCell<[Slot; SLOTS]>| {
            let mut slots = slots.borrow_mut();
            let ready = slots[place.0].ready.as_mut()?;
            let there =
                ready.hot == self.number && ready.again.version == version && ready.named.is(named);
            let age_ns = ready.found.age_ns(now_ns);
            if !there || age_ns >= max_age_ns {
                return None;
            }
            let limits = ready.again.limits;
            if age_ns < limits.fresh_ns {
                ready.tell(Told::fresh(age_ns, limits.fresh_ns), status);
                return Some(Warm::Fresh(ready.given.response()));
            }
            if limits.at(age_ns) != Use::OnFailure {
                return None;
            }
            let spare = Spare::of(ready.found.clone(), version);
            Some(Warm::Spare(ready.key.clone(), spare, place))
        };
        // Not while the thread ends.
        OWN.try_with(again).ok().flatten().unwrap_or(Warm::Nothing)
    }

    /// The response with an answer that stands in for a failure, if it is at that place.
    #[inline]
    pub(super) fn stale<B>(
        &self,
        place: Place,
        kept: &Arc<Kept<HttpStored>>,
        age_s: u64,
        status: &CacheStatus,
    ) -> Option<Response<FallbackBody<B>>> {
        let stale = |slots: &RefCell<[Slot; SLOTS]>| {
            let mut slots = slots.borrow_mut();
            let ready = slots[place.0].ready.as_mut()?;
            if ready.hot != self.number || !Arc::ptr_eq(&ready.found.value, kept) {
                return None;
            }
            ready.tell(Told { age_s, ttl_s: None }, status);
            Some(ready.given.response())
        };
        OWN.try_with(stale).ok().flatten()
    }

    /// An answer was found, and would be found again.
    pub(super) fn note(
        &self,
        named: &Named<'_>,
        key: &[u8],
        found: &Found<HttpStored>,
        again: Again,
        now_ns: u64,
        status: &CacheStatus,
    ) {
        let place = self.place(named);
        let note = |slots: &RefCell<[Slot; SLOTS]>| {
            let mut slots = slots.borrow_mut();
            let slot = &mut slots[place.0];
            let same = |ready: &&mut Box<Ready>| {
                ready.hot == self.number
                    && Arc::ptr_eq(&ready.found.value, &found.value)
                    && ready.named.is(named)
            };
            if let Some(ready) = slot.ready.as_mut().filter(same) {
                // Something else has changed.
                ready.again = again;
                return;
            }
            let seen = Arc::as_ptr(&found.value).addr();
            if slot.seen != seen {
                slot.seen = seen;
                return;
            }
            let told = Told::fresh(found.age_ns(now_ns), again.limits.fresh_ns);
            let ready = Ready::new(self.number, named, key, found, again, told, status);
            slot.ready = ready.map(Box::new);
        };
        // If the thread ends, there is nothing to be kept.
        let _ = OWN.try_with(note);
    }

    /// By the end: it is what answers of one service differ by.
    #[inline]
    fn place(&self, named: &Named<'_>) -> Place {
        let end = named.target.as_bytes().last_chunk();
        let end = end.map_or(0, |end| u64::from_le_bytes(*end));
        let mixed = (end ^ self.number).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 60;
        Place(usize::try_from(mixed).expect("four bits"))
    }
}

impl Ready {
    fn new(
        hot: u64,
        named: &Named<'_>,
        key: &[u8],
        found: &Found<HttpStored>,
        again: Again,
        told: Told,
        status: &CacheStatus,
    ) -> Option<Self> {
        if found.value.value.weight() > MOST_BYTES {
            return None;
        }
        let given = told.given(found, status);
        // They would be shared, and few answers have any.
        given.trailers.is_none().then(|| Self {
            hot,
            named: Own::of(named),
            key: key.into(),
            found: found.clone(),
            again,
            told,
            given,
        })
    }

    #[inline]
    fn tell(&mut self, told: Told, status: &CacheStatus) {
        if told != self.told {
            self.given = told.given(&self.found, status);
            self.told = told;
        }
    }
}

impl Told {
    #[inline]
    fn fresh(age_ns: u64, fresh_ns: u64) -> Self {
        let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
        let ttl_s = (ms(fresh_ns) - ms(age_ns)).div_euclid(1_000);
        Self {
            age_s: age_ns / 1_000_000_000,
            ttl_s: Some(ttl_s),
        }
    }

    #[cold]
    fn given(self, found: &Found<HttpStored>, status: &CacheStatus) -> Given {
        let status = match self.ttl_s {
            Some(ttl_s) => status.fresh(ttl_s),
            None => status.instead_of(None),
        };
        Given::aged(memory(Arc::clone(&found.value)), age(self.age_s), status)
    }
}
