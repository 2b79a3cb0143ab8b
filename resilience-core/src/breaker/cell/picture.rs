//! One breaker as others see it.

use super::{Cell, Phase, Word};
use crate::{
    snapshot::{BreakerSnapshot, CallTotals, OverrideKind, State},
    sync::Ordering::Relaxed,
};

impl Cell {
    /// The state that callers meet.
    pub(in crate::breaker) fn state(&self) -> State {
        self.settled(self.clock.now_ns()).effective()
    }

    /// The calls since the breaker was made.
    pub(in crate::breaker) fn totals(&self) -> CallTotals {
        let totals = &self.totals;
        CallTotals {
            success: totals.successes(self.window_calls()),
            failure: totals.failures(),
            ignored: totals.ignored.load(Relaxed),
            rejected: totals.rejected(),
            cancelled: totals.cancelled.load(Relaxed),
            slow: totals.slow.load(Relaxed),
            stale: totals.stale.load(Relaxed),
        }
    }

    /// Whether there is nothing more to say of it than its totals.
    pub(in crate::breaker) fn is_plainly_closed(&self) -> bool {
        self.settled(self.clock.now_ns()).flows()
    }

    pub(in crate::breaker) fn snapshot(&self) -> BreakerSnapshot {
        let now_ns = self.clock.now_ns();
        let word = self.settled(now_ns);
        let (phase, generation) = (word.phase(), word.generation());
        let now_ms = now_ns / 1_000_000;
        let totals = &self.totals;
        let open_now_ms = if word.effective() == State::Open {
            now_ms.saturating_sub(totals.opened_at_ms.load(Relaxed))
        } else {
            0
        };
        let journal = self.journal.lock();
        BreakerSnapshot {
            name: journal.name.to_string(),
            state: word.effective(),
            computed_state: phase.state(),
            overridden: journal.overridden.clone(),
            enabled: journal.config.options().enabled,
            generation,
            since: journal.since(),
            retry_after_ms: (phase == Phase::Open)
                .then(|| word.deadline_ms().saturating_sub(now_ms)),
            ramp_percent: (phase == Phase::Ramp).then(|| self.ramp_percent(word, now_ms)),
            openings: self.openings(word),
            window: self.window(word, now_ns),
            slow_running: self.slow_running(word, now_ns),
            probes_in_flight: if phase == Phase::HalfOpen {
                self.probes.flying(generation)
            } else {
                0
            },
            totals: self.totals(),
            durations: totals.durations(),
            transitions: journal.transitions(),
            open_ms_total: totals.open_ms_total(open_now_ms),
            events: journal.events(),
            config: journal.settings.clone(),
        }
    }

    /// Calls or probes that still run and are slow already.
    fn slow_running(&self, word: Word, now_ns: u64) -> u32 {
        let generation = word.generation();
        match (word.mode(), word.phase()) {
            (Some(OverrideKind::Disabled | OverrideKind::ForcedOpen), _) | (_, Phase::Open) => 0,
            (_, Phase::HalfOpen) => self.slow_probes(generation, now_ns),
            (_, Phase::Closed | Phase::Ramp) => self.slow_calls(generation, now_ns),
        }
    }
}
