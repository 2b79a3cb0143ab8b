//! Whether a call may be made.

use super::{Cell, NEVER, Phase, Word};
use crate::{
    breaker::{
        error::Rejected,
        permit::{Admission, UNTIMED},
    },
    snapshot::OverrideKind,
    sync::Ordering::Relaxed,
};

impl Cell {
    // What is in line here and in `record` is all of a call that nobody times and
    // of a refusal: a call to a function that reads the clock costs a fifth of
    // the reading on top.

    #[inline(always)]
    pub(in crate::breaker) fn try_acquire(&self) -> Result<Admission, Rejected> {
        let word = self.load();
        if word.flows() {
            return Ok(self.admit_call(word));
        }
        if word.refuses() {
            // The word first, the clock second: a deadline read later than the
            // time could seem to be in the future of its own circuit.
            let now_ns = self.clock.now_ns();
            let deadline_ns = word.deadline_ms() * 1_000_000;
            if now_ns < deadline_ns && self.totals.reject_alone() {
                return Err(Rejected::new(deadline_ns - now_ns));
            }
        }
        self.try_acquire_unusual()
    }

    /// The same, for where refusals are rare: smaller in line.
    #[cfg(feature = "tower")]
    #[inline]
    pub(in crate::breaker) fn try_acquire_mostly_closed(&self) -> Result<Admission, Rejected> {
        let word = self.load();
        if word.flows() {
            Ok(self.admit_call(word))
        } else {
            self.try_acquire_unusual()
        }
    }

    #[inline]
    fn admit_call(&self, word: Word) -> Admission {
        let started_ns = if self.settings.0.slow_ns() == UNTIMED {
            UNTIMED
        } else {
            self.start(word)
        };
        Admission::call(word, started_ns)
    }

    /// Notes that a timed call begins; when.
    #[inline(never)]
    fn start(&self, word: Word) -> u64 {
        let now_ns = self.clock.now_ns();
        match self.totals.stripes.own() {
            Some((stripe, pen)) if stripe.running.start_easily(pen, word, now_ns) => now_ns,
            _ => self.start_unusual(word, now_ns),
        }
    }

    #[inline(never)]
    fn start_unusual(&self, word: Word, now_ns: u64) -> u64 {
        let quarter = self.settings.0.quarters().number(now_ns);
        let (stripe, pen) = self.totals.stripes.here();
        let first_of_quarter = stripe.running.start(pen, word.generation(), quarter);
        stripe.running.remember(pen, word, now_ns, quarter);
        if first_of_quarter {
            self.judge_running(word, now_ns);
        }
        now_ns
    }

    #[cold]
    fn try_acquire_unusual(&self) -> Result<Admission, Rejected> {
        let mut word = self.load();
        loop {
            let now_ns = self.clock.now_ns();
            if let Some(next) = self.settle(word, now_ns, true) {
                word = next;
                continue;
            }
            let generation = word.generation();
            match word.mode() {
                Some(OverrideKind::Disabled) => return Ok(Admission::past(word, now_ns)),
                Some(OverrideKind::ForcedOpen) => {
                    self.totals.reject();
                    return Err(Rejected::new(self.forced_for_ns(now_ns)));
                }
                None | Some(OverrideKind::MetricsOnly) => {}
            }
            let refused_for_ns = match word.phase() {
                Phase::Closed => return Ok(self.admit_call(word)),
                Phase::Ramp if self.is_of_the_share(word, now_ns) => {
                    return Ok(self.admit_call(word));
                }
                Phase::Ramp => 0,
                Phase::Open => (word.deadline_ms() * 1_000_000).saturating_sub(now_ns),
                Phase::HalfOpen => {
                    let settings = &self.settings.0;
                    let (permits, lease) = (settings.permits(), settings.lease_ms());
                    let now_ms = now_ns / 1_000_000;
                    if let Some(probe) = self.probes.acquire(generation, permits, now_ms, lease) {
                        return Ok(Admission::probe(word, probe.slot, now_ns));
                    }
                    0
                }
            };
            if word.mode() == Some(OverrideKind::MetricsOnly) {
                return Ok(Admission::past(word, now_ns));
            }
            self.totals.reject();
            return Err(Rejected::new(refused_for_ns));
        }
    }

    /// Whether a closing circuit lets this call through: so many of each
    /// hundred, spread evenly.
    fn is_of_the_share(&self, word: Word, now_ns: u64) -> bool {
        let percent = u64::from(self.ramp_percent(word, now_ns / 1_000_000));
        // ordering: Relaxed. A count that publishes nothing.
        let asked = self.ramp_asked.fetch_add(1, Relaxed) % 100;
        asked * percent % 100 < percent
    }

    /// From 10 to 100, as the time goes on.
    pub(super) fn ramp_percent(&self, word: Word, now_ms: u64) -> u8 {
        let length = self.settings.0.ramp_ms().max(1);
        let left = word.deadline_ms().saturating_sub(now_ms).min(length);
        let percent = 100 - left * 90 / length;
        u8::try_from(percent).unwrap_or(100)
    }

    /// How long a call that finds the circuit forced open may wait: until the
    /// override ends, or, if it has no end, as long as the circuit would wait.
    fn forced_for_ns(&self, now_ns: u64) -> u64 {
        let ends_ms = self.override_ends_ms.load(Relaxed);
        if ends_ms == NEVER {
            self.settings.0.wait_ms(0) * 1_000_000
        } else {
            ends_ms.saturating_mul(1_000_000).saturating_sub(now_ns)
        }
    }

    /// Whether a call would be refused right now, whatever the inner service
    /// says, and for how long. Changes nothing.
    #[cfg(feature = "tower")]
    #[inline]
    pub(in crate::breaker) fn refusal(&self) -> Option<Rejected> {
        let word = self.load();
        if word.flows() {
            return None;
        }
        self.refusal_of(word)
    }

    #[cfg(feature = "tower")]
    #[inline(never)]
    fn refusal_of(&self, word: Word) -> Option<Rejected> {
        if word.effective() != crate::snapshot::State::Open {
            return None;
        }
        let now_ns = self.clock.now_ns();
        let left_ns = if word.refuses() {
            (word.deadline_ms() * 1_000_000).saturating_sub(now_ns)
        } else if self.override_has_ended(now_ns / 1_000_000) {
            0
        } else {
            self.forced_for_ns(now_ns)
        };
        (left_ns > 0).then(|| Rejected::new(left_ns))
    }

    /// Counts a call as refused that was not even asked for.
    #[cfg(feature = "tower")]
    pub(in crate::breaker) fn refuse(&self) {
        self.totals.reject();
    }
}
