//! What each thread has given lately, ready to be given again.
//!
//! Most hits of most services are for a few answers, and most of what a hit costs is to find
//! the answer, to read its headers, and to meet other threads at the counts of its handles.
//! So a thread that gives the same answer for the second time in a row keeps the response.
//! It may give a clone of it for as long as the shelf has not changed at all, which one load
//! tells; as long as it has not, a look would find the same.
//!
//! Answers that are kept like this may be gone from memory: for each thread a few that are
//! small, which nobody is given.

use std::sync::Arc;

use http::Response;
use parking_lot::Mutex;

use super::{
    CacheStatus, FallbackBody, Given, age,
    key::Named,
    stored::{HttpStored, memory},
};
use crate::{
    fallback::{flow::Again, shelf::Found},
    stripes::Stripes,
};

/// So many a thread.
const SLOTS: usize = 8;

/// And none that is larger.
const MOST_BYTES: usize = 16 << 10;

/// Those of all threads. Threads that have no stripe of their own go without.
pub(super) struct Hot(Stripes<Mutex<[Slot; SLOTS]>>);

#[derive(Default)]
struct Slot {
    /// Where the answer is that was found last: only an address, to compare it.
    seen: usize,
    ready: Option<Box<Ready>>,
}

/// A response.
struct Ready {
    named: Own,
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

/// The seconds in `Age` and `Cache-Status`.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Told {
    age_s: u64,
    ttl_s: i64,
}

impl Hot {
    pub(super) fn new() -> Self {
        Self(Stripes::new())
    }

    /// The response to what is named, if this thread has it, the shelf is still of that version, and
    /// it is fresh and younger than that.
    #[inline(always)]
    pub(super) fn again<B>(
        &self,
        named: &Named<'_>,
        version: u64,
        now_ns: u64,
        max_age_ns: u64,
        status: &CacheStatus,
    ) -> Option<Response<FallbackBody<B>>> {
        let (slots, _) = self.0.own()?;
        // Nobody else ever has it: its stripe is this thread's.
        let mut slots = slots.try_lock()?;
        let ready = slots[place(named)].ready.as_mut()?;
        if ready.again.version != version || !ready.named.is(named) {
            return None;
        }
        let age_ns = ready.found.age_ns(now_ns);
        if age_ns >= ready.again.fresh_ns.min(max_age_ns) {
            return None;
        }
        ready.tell(age_ns, status);
        Some(ready.given.response())
    }

    /// An answer was found, and would be found again.
    pub(super) fn note(
        &self,
        named: &Named<'_>,
        found: &Found<HttpStored>,
        again: Again,
        now_ns: u64,
        status: &CacheStatus,
    ) {
        let Some(mut slots) = self.0.own().and_then(|(slots, _)| slots.try_lock()) else {
            return;
        };
        let slot = &mut slots[place(named)];
        let same = |ready: &&mut Box<Ready>| {
            Arc::ptr_eq(&ready.found.value, &found.value) && ready.named.is(named)
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
        slot.ready = Ready::new(named, found, again, now_ns, status).map(Box::new);
    }
}

/// By the end: it is what answers of one service differ by.
#[inline]
fn place(named: &Named<'_>) -> usize {
    let end = named.target.as_bytes().last_chunk();
    let end = end.map_or(0, |end| u64::from_le_bytes(*end));
    let mixed = end.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 61;
    usize::try_from(mixed).expect("three bits")
}

impl Ready {
    fn new(
        named: &Named<'_>,
        found: &Found<HttpStored>,
        again: Again,
        now_ns: u64,
        status: &CacheStatus,
    ) -> Option<Self> {
        let told = Told::at(found.age_ns(now_ns), again.fresh_ns);
        if found.value.value.weight() > MOST_BYTES {
            return None;
        }
        let given = told.given(found, status);
        // They would be shared, and few answers have any.
        given.trailers.is_none().then(|| Self {
            named: Own::of(named),
            found: found.clone(),
            again,
            told,
            given,
        })
    }

    #[inline]
    fn tell(&mut self, age_ns: u64, status: &CacheStatus) {
        let told = Told::at(age_ns, self.again.fresh_ns);
        if told != self.told {
            self.given = told.given(&self.found, status);
            self.told = told;
        }
    }
}

impl Told {
    #[inline]
    fn at(age_ns: u64, fresh_ns: u64) -> Self {
        let ms = |ns: u64| i64::try_from(ns / 1_000_000).unwrap_or(i64::MAX);
        Self {
            age_s: age_ns / 1_000_000_000,
            ttl_s: (ms(fresh_ns) - ms(age_ns)).div_euclid(1_000),
        }
    }

    #[cold]
    fn given(self, found: &Found<HttpStored>, status: &CacheStatus) -> Given {
        Given::aged(
            memory(Arc::clone(&found.value)),
            age(self.age_s),
            status.fresh(self.ttl_s),
        )
    }
}
