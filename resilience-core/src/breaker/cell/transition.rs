//! How the state word changes, by itself and by hand.
//!
//! What the new generation needs is begun before the word is exchanged; the
//! books are kept afterwards, by the thread whose exchange succeeded.

use std::time::Duration;

use jiff::Timestamp;

use super::Cell;
use crate::{
    breaker::{
        config::BreakerConfig, journal::Journal, settings::Breach, window::Tally, word::Word,
    },
    snapshot::{BreakerEvent, Cause, State},
    sync::Ordering::{AcqRel, Acquire, Relaxed, Release},
};

/// Who changes a breaker by hand, and why.
#[derive(Clone, Debug, Default)]
pub(in crate::breaker) struct ByHand {
    pub(in crate::breaker) actor: Option<String>,
    pub(in crate::breaker) reason: Option<String>,
}

/// What a change by hand found and did.
#[derive(Clone, Copy, Debug)]
pub(in crate::breaker) struct Changed {
    pub(in crate::breaker) before: State,
    pub(in crate::breaker) after: State,
    pub(in crate::breaker) generation: u32,
    pub(in crate::breaker) discarded: Tally,
}

/// Why a reset was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::breaker) enum Refused {
    Disabled,
    Moved { actual: u32 },
}

/// Everything an event needs besides the words.
pub(super) struct Change {
    pub(super) cause: Cause,
    pub(super) window: Tally,
    pub(super) breach: Option<Breach>,
    pub(super) by: ByHand,
    /// How long it will stay open, for a change to open.
    pub(super) wait_ms: Option<u64>,
}

impl Change {
    pub(super) fn of(cause: Cause, window: Tally) -> Self {
        Self {
            cause,
            window,
            breach: None,
            by: ByHand::default(),
            wait_ms: None,
        }
    }
}

impl Cell {
    // ── transitions ──────────────────────────────────────────────────────

    pub(super) fn open(&self, word: Word, wait_ms: u64, mut change: Change) -> Option<Word> {
        let now_ns = self.clock.now_ns();
        let tick_ms = now_ns.div_ceil(1_000_000);
        let next = word.open_until(tick_ms.saturating_add(wait_ms));
        change.wait_ms = Some(next.deadline_ms().saturating_sub(tick_ms));
        // Before the exchange, so that whoever leaves open finds it. Two that
        // race to open store the same instant, give or take a tick.
        self.totals.opened_at_ms.store(now_ns / 1_000_000, Relaxed);
        self.transition(word, next, change)
    }

    /// Lets probes through; returns the word then in force.
    pub(super) fn half_open(&self, word: Word) -> Word {
        let next = word.half_open();
        self.probes.begin(next.generation());
        let change = Change::of(Cause::WaitElapsed, Tally::default());
        self.transition(word, next, change)
            .unwrap_or_else(|| self.load())
    }

    pub(super) fn close(&self, word: Word, change: Change) -> Option<Word> {
        let next = word.closed();
        self.count.0.begin(next.generation());
        self.transition(word, next, change)
    }

    /// Exchanges the word and, if it was this thread that did, keeps the books.
    fn transition(&self, from: Word, to: Word, change: Change) -> Option<Word> {
        // ordering: AcqRel. Releases the window or the probes that were begun
        // for the new generation; `load` acquires them.
        self.word
            .0
            .compare_exchange(from.0, to.0, AcqRel, Acquire)
            .ok()?;
        if from.state() == State::Open {
            let opened_ms = self.totals.opened_at_ms.load(Relaxed);
            let open_ms = self.now_ms().saturating_sub(opened_ms);
            self.totals.open_ms.fetch_add(open_ms, Relaxed);
        }
        self.write_down(from, to, change);
        Some(to)
    }

    fn write_down(&self, from: Word, to: Word, change: Change) {
        let (event, name, observer) = {
            let mut journal = self.journal.lock();
            let options = journal.config.options();
            let threshold_percent = change.breach.map(|breach| match breach {
                Breach::Failures => options.failure_rate_threshold,
                Breach::Slow => options.slow_call_rate_threshold,
            });
            let event = BreakerEvent {
                at: Timestamp::now(),
                from: from.state(),
                to: to.state(),
                cause: change.cause,
                generation: to.generation(),
                window: change.window,
                threshold_percent,
                classes: self.totals.classes(from.generation()),
                wait_ms: change.wait_ms,
                actor: change.by.actor,
                reason: change.by.reason,
            };
            journal.write(event.clone());
            (event, journal.name.clone(), journal.observer.clone())
        };
        // After the lock: an observer may read this breaker.
        if let Some(observer) = observer {
            observer(&event, &name);
        }
    }

    // ── changes by hand ──────────────────────────────────────────────────

    pub(in crate::breaker) fn reset(
        &self,
        by: &ByHand,
        if_generation: Option<u32>,
        dry_run: bool,
    ) -> Result<Changed, Refused> {
        loop {
            let word = self.load();
            if word.is_disabled() {
                return Err(Refused::Disabled);
            }
            let actual = word.generation();
            if if_generation.is_some_and(|expected| expected != actual) {
                return Err(Refused::Moved { actual });
            }
            let discarded = self.window_to_discard(word);
            let changed = |after: Word| Changed {
                before: word.state(),
                after: after.state(),
                generation: after.generation(),
                discarded,
            };
            if dry_run {
                return Ok(changed(word));
            }
            let change = Change {
                by: by.clone(),
                ..Change::of(Cause::Reset, discarded)
            };
            if let Some(closed) = self.close(word, change) {
                return Ok(changed(closed));
            }
        }
    }

    /// What a reset throws away: the window, the probes, or, while open, the
    /// window that opened it.
    fn window_to_discard(&self, word: Word) -> Tally {
        match word.state() {
            State::Open => {
                let journal = self.journal.lock();
                journal
                    .last_opening()
                    .map(|event| event.window)
                    .unwrap_or_default()
            }
            State::Closed | State::HalfOpen => self.window(word),
        }
    }

    /// Puts new settings in force. The state and the window stay, unless the
    /// window has another shape: then it starts empty.
    pub(in crate::breaker) fn configure(&self, config: BreakerConfig) {
        let enabled = config.options().enabled;
        let shape = self.settings.0.shape();
        self.settings.0.store(&config);
        let reshaped = shape != self.settings.0.shape();
        self.journal.lock().config = config;
        loop {
            let word = self.load();
            let change = Change::of(Cause::Config, self.window(word));
            let done = match (enabled, word.is_disabled()) {
                (false, false) => self.transition(word, word.disabled(), change),
                (true, true) => self.close(word, change),
                (true, false) if reshaped && word.state() == State::Closed => {
                    self.close(word, change)
                }
                _ => return,
            };
            if done.is_some() {
                return;
            }
        }
    }

    /// Takes over an open circuit of the process before a restart: it stays
    /// open for `remaining`, and never longer than it would now be configured to.
    pub(in crate::breaker) fn restore_open(&self, remaining: Duration, events: &[BreakerEvent]) {
        self.journal.lock().continue_from(events);
        let word = self.load();
        if !word.flows() || remaining.is_zero() {
            return;
        }
        let wait_ms = crate::clock::ceil_ms(remaining).min(self.settings.0.wait_ms());
        let window = events.first().map(|event| event.window).unwrap_or_default();
        self.open(word, wait_ms, Change::of(Cause::Restored, window));
    }

    // ── lives ────────────────────────────────────────────────────────────

    /// The last handle is gone; permits may still be out.
    pub(in crate::breaker) fn retire(&self) {
        self.journal.lock().observer = None;
        loop {
            let word = self.load();
            // A disabled cell in a new generation: what is still out is stale.
            let next = word.disabled();
            if self
                .word
                .0
                .compare_exchange(word.0, next.0, AcqRel, Acquire)
                .is_ok()
            {
                return;
            }
        }
    }

    /// Makes a retired cell a new breaker.
    pub(in crate::breaker) fn reuse(&self, name: &str, config: BreakerConfig) {
        self.settings.0.store(&config);
        self.totals.restart(self.window_calls());
        let enabled = config.options().enabled;
        *self.journal.lock() = Journal::new(name, config);
        if enabled {
            let next = self.load().closed();
            self.count.0.begin(next.generation());
            self.word.0.store(next.0, Release);
        }
    }
}
