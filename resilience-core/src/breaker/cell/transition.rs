//! How the state word changes.
//!
//! What the new generation needs is begun before the word is exchanged; the
//! books are kept afterwards, by the thread whose exchange succeeded; those who
//! listen are told last, when nothing is locked.

use jiff::Timestamp;

use super::{Cell, Phase, Word};
use crate::{
    breaker::{
        easy,
        journal::{Journal, Observer},
        settings::Breach,
        window::Tally,
        word::is_newer,
    },
    snapshot::{BreakerEvent, Cause, State},
    sync::Ordering::{AcqRel, Acquire, Relaxed},
};

/// Everything an event needs besides the words.
#[derive(Clone, Debug)]
pub(super) struct Change {
    pub(super) cause: Cause,
    pub(super) window: Tally,
    pub(super) breach: Option<Breach>,
    pub(super) slow_running: u32,
    /// How long it will stay open, for a change to open.
    pub(super) wait_ms: Option<u64>,
    pub(super) actor: Option<String>,
    pub(super) reason: Option<String>,
    pub(super) expires_at: Option<Timestamp>,
    pub(super) detail: Option<String>,
}

impl Change {
    pub(super) fn of(cause: Cause, window: Tally) -> Self {
        Self {
            cause,
            window,
            breach: None,
            slow_running: 0,
            wait_ms: None,
            actor: None,
            reason: None,
            expires_at: None,
            detail: None,
        }
    }
}

/// An event that is written down and not yet told to those who listen.
#[must_use = "nobody has been told"]
pub(super) struct Told {
    event: BreakerEvent,
    name: std::sync::Arc<str>,
    listeners: Vec<Observer>,
}

impl Told {
    /// To be called without any lock: a listener may read or change the breaker.
    pub(super) fn tell(self) {
        for listener in self.listeners {
            // Its panic is its own, and has been printed: the caller whose call
            // happened to change the state has nothing to do with it.
            let listen = || listener(&self.event, &self.name);
            let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(listen));
        }
    }
}

impl Cell {
    /// Opens it, for longer if it has opened before without having closed.
    pub(super) fn reopen(&self, word: Word, change: Change) -> Option<Word> {
        let openings = self.openings(word);
        let wait_ms = self.settings.0.jittered_wait_ms(openings);
        self.open(word, wait_ms, openings + 1, change)
    }

    /// Opens it for more than `wait_ms`.
    pub(super) fn open(
        &self,
        word: Word,
        wait_ms: u64,
        openings: u32,
        change: Change,
    ) -> Option<Word> {
        // A tick on top: a coarse clock may have been a tick behind when it was
        // read, and the wait must be over, not almost.
        let tick_ms = self.clock.tick_ms();
        let from_ms = self.clock.now_ns().div_ceil(1_000_000);
        let next = word.open_until(from_ms.saturating_add(wait_ms).saturating_add(tick_ms));
        self.carry_openings(next, openings);
        let wait_ms = next.deadline_ms().saturating_sub(from_ms + tick_ms);
        let change = Change {
            wait_ms: Some(wait_ms),
            ..change
        };
        self.transition(word, next, change)
    }

    /// Lets probes through; the word then in force.
    pub(super) fn half_open(&self, word: Word, now_ms: u64) -> Word {
        let next = word.half_open(self.patience_ends_ms(now_ms));
        let change = Change::of(Cause::WaitElapsed, Tally::default());
        self.transition(word, next, change)
            .unwrap_or_else(|| self.load())
    }

    /// When the patience with probes that begin now ends; 0: never.
    pub(super) fn patience_ends_ms(&self, now_ms: u64) -> u64 {
        match self.settings.0.patience_ms() {
            0 => 0,
            patience_ms => now_ms.saturating_add(patience_ms),
        }
    }

    /// Closes it, by way of a growing share of the calls if so configured.
    pub(super) fn close_gradually(&self, word: Word, change: Change, now_ns: u64) -> Option<Word> {
        match self.settings.0.ramp_ms() {
            0 => self.close(word, change),
            ramp_ms => {
                let now_ms = now_ns / 1_000_000;
                let next = word.ramp_until(now_ms.saturating_add(ramp_ms));
                self.transition(word, next, change)
            }
        }
    }

    pub(super) fn close(&self, word: Word, change: Change) -> Option<Word> {
        self.transition(word, word.closed(), change)
    }

    /// Exchanges the word and, if it was this thread that did, keeps the books.
    fn transition(&self, from: Word, to: Word, change: Change) -> Option<Word> {
        self.exchange(from, to)?;
        let told = self.write_down(&mut self.journal.lock(), from, to, change);
        told.tell();
        Some(to)
    }

    /// Makes what the new generation counts in and exchanges the word.
    pub(super) fn exchange(&self, from: Word, to: Word) -> Option<()> {
        let (was_open, is_open) = (
            from.effective() == State::Open,
            to.effective() == State::Open,
        );
        match to.phase() {
            Phase::Closed | Phase::Ramp => self.count.0.begin(to.generation()),
            Phase::HalfOpen => self.probes.begin(to.generation()),
            Phase::Open => {}
        }
        if to.phase() != Phase::Closed {
            // Unless the caller has: opening once more is one more.
            self.carry_openings(to, self.openings(from));
        }
        if is_open && !was_open {
            // Before the exchange, so that whoever leaves open finds it. Two that
            // race to open store the same instant, give or take a tick.
            self.totals.opened_at_ms.store(self.now_ms(), Relaxed);
        }
        // ordering: AcqRel. Releases the window or the probes that were begun
        // for the new generation; `load` acquires them.
        self.word
            .0
            .compare_exchange(from.0, to.0, AcqRel, Acquire)
            .ok()?;
        easy::forbid(&self.totals.stripes);
        #[cfg(feature = "tower")]
        if is_open {
            self.parking.wake_all();
        }
        if was_open && !is_open {
            let opened_ms = self.totals.opened_at_ms.load(Relaxed);
            let open_ms = self.now_ms().saturating_sub(opened_ms);
            self.totals.open_ms.fetch_add(open_ms, Relaxed);
        }
        Some(())
    }

    /// Writes an event; its listeners are to be told when the journal is free.
    pub(super) fn write_down(
        &self,
        journal: &mut Journal,
        from: Word,
        to: Word,
        change: Change,
    ) -> Told {
        let options = journal.config.options();
        let threshold_percent = change.breach.map(|breach| match breach {
            Breach::Failures => options.failure_rate_threshold,
            Breach::Slow => options.slow_call_rate_threshold,
        });
        let by_hand = from.mode() != to.mode();
        let state = |word: Word| {
            if by_hand {
                word.effective()
            } else {
                word.phase().state()
            }
        };
        let event = BreakerEvent {
            at: Timestamp::now(),
            from: state(from),
            to: state(to),
            cause: change.cause,
            generation: to.generation(),
            window: change.window,
            threshold_percent,
            classes: self.totals.classes(from.generation()),
            slow_running: change.slow_running,
            wait_ms: change.wait_ms,
            mode: to.mode(),
            expires_at: change.expires_at,
            actor: change.actor,
            reason: change.reason,
            detail: change.detail,
        };
        journal.write(event.clone());
        Told {
            event,
            name: journal.name.clone(),
            listeners: journal
                .listeners
                .iter()
                .map(|(_, call)| call.clone())
                .collect(),
        }
    }

    // ── openings in a row ────────────────────────────────────────────────

    /// How often it has opened since it was last closed.
    pub(super) fn openings(&self, word: Word) -> u32 {
        // A closed circuit has none, whatever a thread that lost has left here.
        if word.phase() == Phase::Closed {
            return 0;
        }
        let seen = self.openings.load(Acquire);
        if seen >> 32 == u64::from(word.generation()) {
            u32::try_from(seen & u64::from(u32::MAX)).unwrap_or(u32::MAX)
        } else {
            0
        }
    }

    /// Before the exchange that enters `next`, so that whoever finds the word
    /// finds its count.
    pub(super) fn carry_openings(&self, next: Word, openings: u32) {
        let generation = next.generation();
        // ordering: Relaxed. `exchange` releases it.
        let _ = self.openings.fetch_update(Relaxed, Relaxed, |seen| {
            let newer = is_newer(generation, u32::try_from(seen >> 32).unwrap_or(0));
            newer.then(|| u64::from(generation) << 32 | u64::from(openings))
        });
    }

    pub(super) fn now_ms(&self) -> u64 {
        self.clock.now_ns() / 1_000_000
    }
}
