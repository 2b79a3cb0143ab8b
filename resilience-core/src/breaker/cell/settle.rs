//! What the counts and the time say about a state, and the end of what was
//! armed: each looks, decides, and exchanges the word that it looked at.

use super::{Cell, Change, Phase, Word};
use crate::{
    breaker::{
        permit::UNTIMED, probes::Verdict, running::overdue, settings::Breach, window::Tally,
    },
    snapshot::{Cause, OverrideKind},
};

impl Cell {
    /// Does what is due at `now_ns`: an override or a wait that has ended, probes
    /// that have decided, calls that have been running for too long. Returns
    /// the word then in force if it is another.
    ///
    /// A call that asks may move an open circuit on; a mere look may not,
    /// unless it is configured to move on by itself.
    pub(super) fn settle(&self, word: Word, now_ns: u64, by_call: bool) -> Option<Word> {
        let now_ms = now_ns / 1_000_000;
        if let Some(mode) = word.mode() {
            if self.override_has_ended(now_ms)
                && let Some(next) = self.end_override(now_ms)
            {
                return Some(next);
            }
            if mode != OverrideKind::MetricsOnly {
                return None;
            }
        }
        let deadline_ms = word.deadline_ms();
        match word.phase() {
            Phase::Open => {
                let moves_on = by_call || self.settings.0.is_automatic();
                (moves_on && now_ms >= deadline_ms).then(|| self.half_open(word, now_ms))
            }
            Phase::HalfOpen if deadline_ms != 0 && now_ms >= deadline_ms => {
                let window = self.probes.tally(word.generation());
                let change = Change::of(Cause::HalfOpenTimeout, window);
                self.reopen(word, change);
                Some(self.load())
            }
            Phase::HalfOpen => self.decide(word, now_ns),
            Phase::Ramp if now_ms >= deadline_ms => {
                let change = Change::of(Cause::RampFinished, self.window(word, now_ns));
                self.close(word, change);
                Some(self.load())
            }
            // A call looks at these when it begins.
            Phase::Closed | Phase::Ramp if by_call => None,
            Phase::Closed | Phase::Ramp => self.judge_running(word, now_ns),
        }
    }

    /// Does what is due, as far as a look may; the word then in force.
    pub(super) fn settled(&self, now_ns: u64) -> Word {
        let mut word = self.load();
        // What is due may make more due.
        while let Some(next) = self.settle(word, now_ns, false) {
            word = next;
        }
        word
    }

    /// Leaves half-open if the probes say so; the word then in force.
    pub(super) fn decide(&self, word: Word, now_ns: u64) -> Option<Word> {
        let (generation, settings) = (word.generation(), &self.settings.0);
        let slow_running = self.slow_probes(generation, now_ns);
        let verdict = self.probes.verdict(
            generation,
            settings.permits(),
            settings.rates(),
            slow_running,
        );
        let window = self.probes.tally(generation);
        match verdict {
            Verdict::Wait => return None,
            Verdict::Close => {
                self.close_gradually(word, Change::of(Cause::ProbesSucceeded, window), now_ns);
            }
            Verdict::Reopen(breach) => {
                let change = Change {
                    breach: Some(breach),
                    slow_running,
                    ..Change::of(Cause::ProbesFailed, window)
                };
                self.reopen(word, change);
            }
        }
        Some(self.load())
    }

    /// Probes in flight that are slow already.
    pub(super) fn slow_probes(&self, generation: u32, now_ns: u64) -> u32 {
        let limit_ns = self.settings.0.slow_ns();
        if limit_ns == UNTIMED {
            return 0;
        }
        let slow_before_ms = now_ns.saturating_sub(limit_ns) / 1_000_000;
        self.probes.flying_since(generation, slow_before_ms)
    }

    /// Trips if the window, or what still runs, says so.
    #[cold]
    pub(super) fn judge(&self, word: Word, tally: Tally) {
        let rates = self.settings.0.rates();
        if tally.failures > 0
            && tally.calls >= rates.minimum()
            && let Some(Breach::Failures) = rates.breach(tally.calls, tally.failures, 0)
        {
            let change = Change {
                breach: Some(Breach::Failures),
                ..Change::of(Cause::FailureRate, tally)
            };
            self.reopen(word, change);
        } else if self.settings.0.slow_ns() != UNTIMED {
            let slow_running = self.slow_calls(word.generation(), self.clock.now_ns());
            self.judge_slow(word, tally, slow_running);
        }
    }

    /// Trips if calls that still run say so; the word then in force.
    #[cold]
    pub(super) fn judge_running(&self, word: Word, now_ns: u64) -> Option<Word> {
        // Before the running ones: see `finish`.
        let tally = self.window(word, now_ns);
        let slow_running = self.slow_calls(word.generation(), now_ns);
        if slow_running == 0 {
            return None;
        }
        self.judge_slow(word, tally, slow_running)
    }

    fn judge_slow(&self, word: Word, tally: Tally, slow_running: u32) -> Option<Word> {
        let rates = self.settings.0.rates();
        let calls = tally.calls.saturating_add(slow_running);
        let slow = tally.slow.saturating_add(slow_running);
        if calls < rates.minimum() {
            return None;
        }
        let breach = rates.breach(calls, 0, slow)?;
        let change = Change {
            breach: Some(breach),
            slow_running,
            ..Change::of(Cause::SlowCallRate, tally)
        };
        self.reopen(word, change);
        Some(self.load())
    }

    /// Calls of a closed or closing circuit that still run and are slow already.
    pub(super) fn slow_calls(&self, generation: u32, now_ns: u64) -> u32 {
        if self.settings.0.slow_ns() == UNTIMED {
            return 0;
        }
        let quarter = self.settings.0.quarters().number(now_ns);
        let running = self.totals.stripes.iter().map(|stripe| &stripe.running);
        overdue(running, generation, quarter)
    }
}
