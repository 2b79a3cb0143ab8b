//! How a breaker takes over from the process before, and how a cell goes from
//! one breaker to the next.

use std::time::Duration;

use jiff::Timestamp;

use super::{Cell, Change, NEVER};
use crate::{
    breaker::{config::BreakerConfig, easy, journal::Journal},
    clock::ceil_ms,
    snapshot::{BreakerEvent, Cause, OverrideSnapshot},
    sync::Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// What the process before a restart left of a breaker.
#[derive(Clone, Debug, Default)]
pub(in crate::breaker) struct Former {
    /// The rest of its wait, if it was open.
    pub(in crate::breaker) open_for: Duration,
    /// How often it had opened in a row.
    pub(in crate::breaker) openings: u32,
    /// What was set by hand, if that has not ended meanwhile.
    pub(in crate::breaker) overridden: Option<OverrideSnapshot>,
    /// Its flight recorder, newest first.
    pub(in crate::breaker) events: Vec<BreakerEvent>,
}

impl Cell {
    /// Takes over what a process before left: an open circuit stays open for the
    /// rest of its wait, and never longer than it would now be configured to.
    pub(in crate::breaker) fn restore(&self, former: &Former, now: Timestamp) {
        self.journal.lock().continue_from(&former.events);
        let word = self.load();
        if word.flows() && !former.open_for.is_zero() {
            let openings = former.openings.max(1);
            let longest_ms = self.settings.0.longest_wait_ms(openings - 1);
            let tick_ms = self.clock.tick_ms();
            let left_ms = ceil_ms(former.open_for).min(longest_ms + tick_ms);
            let wait_ms = left_ms.saturating_sub(tick_ms);
            let tripped = former.events.iter().find(|event| event.changed_the_state());
            let window = tripped.map(|event| event.window).unwrap_or_default();
            self.open(word, wait_ms, openings, Change::of(Cause::Restored, window));
        }
        let Some(set) = &former.overridden else {
            return;
        };
        let rest = set.expires_at.map(|end| {
            // Should the wall clock have been set back: never longer than it
            // was set for.
            let rest = end.duration_since(now).min(end.duration_since(set.since));
            Duration::try_from(rest).unwrap_or_default()
        });
        if rest == Some(Duration::ZERO) {
            return;
        }
        let mut journal = self.journal.lock();
        let ends_ms = rest.map_or(NEVER, |rest| self.now_ms().saturating_add(ceil_ms(rest)));
        self.override_ends_ms.store(ends_ms, Relaxed);
        journal.overridden = Some(set.clone());
        let told = loop {
            let word = self.load();
            let next = word.with_mode(Some(set.kind));
            if self.exchange(word, next).is_some() {
                let change = Change {
                    actor: set.actor.clone(),
                    reason: set.reason.clone(),
                    expires_at: set.expires_at,
                    ..Change::of(Cause::Restored, super::Tally::default())
                };
                break self.write_down(&mut journal, word, next, change);
            }
        };
        drop(journal);
        told.tell();
    }

    /// The last handle is gone; permits may still be out.
    pub(in crate::breaker) fn retire(&self) {
        self.journal.lock().listeners.clear();
        // A new generation: what is still out is stale.
        let _ = self
            .word
            .0
            .fetch_update(AcqRel, Acquire, |word| Some(super::Word(word).closed().0));
        easy::forbid(&self.totals.stripes);
    }

    /// Makes a retired cell a new breaker.
    pub(in crate::breaker) fn reuse(&self, name: &str, config: BreakerConfig) {
        self.settings.0.store(&config);
        self.totals.restart(self.window_calls());
        self.override_ends_ms.store(NEVER, Relaxed);
        let mut journal = self.journal.lock();
        *journal = Journal::new(name, config);
        let next = self.load().with_mode(journal.mode()).started_anew();
        self.born.store(u64::from(next.generation()), Relaxed);
        self.count.0.begin(next.generation());
        self.word.0.store(next.0, Release);
    }
}
