//! How a call went, or that it was given up.

use super::{Cell, TimeWindow, Word};
use crate::{
    breaker::{
        easy::Easy,
        outcome::Outcome,
        permit::{Admission, Kind, UNTIMED},
        probes::Probe,
        settings::Shape,
        totals::Stripe,
        window::{Mark, Recorded},
        word::is_newer,
    },
    stripes::Pen,
    sync::{
        AtomicU64,
        Ordering::{AcqRel, Relaxed},
    },
};

impl Cell {
    #[inline(always)]
    pub(in crate::breaker) fn record(&self, admission: Admission, outcome: Outcome) {
        let plain = outcome == Outcome::Success && admission.started_ns == UNTIMED;
        if plain && self.settings.0.counts_calls() {
            if !self.record_easily(admission.word) {
                self.record_at_length(admission, outcome);
            }
        } else if plain {
            // The clock before all else: what must survive its call is saved
            // around it.
            let now_ns = self.clock.now_ns();
            if !self.record_easily_at(admission.word, now_ns) {
                self.record_at_length(admission, outcome);
            }
        } else {
            self.record_at_length(admission, outcome);
        }
    }

    /// Counts a good call in a window of so many calls, if it may go the short way.
    #[inline]
    fn record_easily(&self, word: Word) -> bool {
        if let Some((own, pen)) = self.totals.stripes.own()
            && own.easy.is_for(word)
        {
            own.good.add(pen);
            return true;
        }
        false
    }

    /// The same in a window of so much time.
    #[inline]
    fn record_easily_at(&self, word: Word, now_ns: u64) -> bool {
        if let Some((own, pen)) = self.totals.stripes.own()
            && let Some(place) = own.easy.place_at(word, now_ns)
        {
            own.calls.add(pen, place);
            return true;
        }
        false
    }

    #[inline(never)]
    fn record_at_length(&self, admission: Admission, outcome: Outcome) {
        let word = admission.word;
        if word.flows() && outcome == Outcome::Success && word == self.load() {
            if admission.started_ns == UNTIMED {
                self.record_current(word, None, Mark::default());
            } else {
                self.record_timed(admission);
            }
        } else {
            self.record_unusual(admission, outcome);
        }
    }

    fn record_timed(&self, admission: Admission) {
        let now_ns = self.clock.now_ns();
        let place = self.totals.stripes.here();
        let slow = self.time(place, admission.started_ns, now_ns);
        self.finish(place, admission);
        let word = admission.word;
        let done = !slow
            && if self.settings.0.counts_calls() {
                self.record_easily(word)
            } else {
                self.record_easily_at(word, now_ns)
            };
        if !done {
            let failure = false;
            self.record_current(word, Some(now_ns), Mark { failure, slow });
        }
    }

    #[cold]
    fn record_unusual(&self, admission: Admission, outcome: Outcome) {
        let class = match outcome {
            Outcome::Success => None,
            Outcome::Failure(class) => Some(class),
            Outcome::Ignored => return self.ignore(admission),
        };
        if admission.kind() == Kind::Untracked {
            return;
        }
        let timed = admission.started_ns != UNTIMED;
        let place = self.totals.stripes.here();
        let slow = timed && self.time(place, admission.started_ns, self.clock.now_ns());
        let failure = class.is_some();
        let mark = Mark { failure, slow };
        if let Some(class) = class {
            self.totals.note_class(admission.generation(), class);
        }
        match admission.kind() {
            Kind::Call if admission.word == self.load() => {
                if failure {
                    // Before its call, so that successes, which are the
                    // difference, err low.
                    self.totals.window_failures.fetch_add(1, AcqRel);
                }
                if timed {
                    self.finish(place, admission);
                }
                self.record_current(admission.word, None, mark);
            }
            Kind::Call => self.count_stale(admission.generation(), mark),
            Kind::Probe(slot) => self.record_probe(admission, slot, mark),
            Kind::Observed => self.count_other(mark),
            Kind::Untracked => {}
        }
    }

    /// Times a call; whether it was slow.
    #[inline]
    fn time(&self, (stripe, pen): (&Stripe, Pen), started_ns: u64, now_ns: u64) -> bool {
        let elapsed_ns = now_ns.saturating_sub(started_ns);
        stripe.time(pen, elapsed_ns);
        let slow = elapsed_ns > self.settings.0.slow_ns();
        if slow {
            self.totals.slow.fetch_add(1, Relaxed);
        }
        slow
    }

    /// Notes that a timed call is no longer running. Before its outcome goes
    /// into a window: whoever finds it there no longer finds it running.
    #[inline]
    fn finish(&self, (stripe, pen): (&Stripe, Pen), admission: Admission) {
        let Admission { word, started_ns } = admission;
        if !stripe.running.finish_easily(pen, word, started_ns) {
            let quarter = self.settings.0.quarters().number(started_ns);
            stripe.running.finish(pen, word.generation(), quarter);
        }
    }

    /// Records a call of the generation that is in force; `now_ns` if somebody
    /// has looked at the clock already.
    fn record_current(&self, word: Word, now_ns: Option<u64>, mark: Mark) {
        let (stripes, generation) = (&self.totals.stripes, word.generation());
        match self.settings.0.shape() {
            Shape::Calls(size) => {
                let recorded = self.count.0.record(stripes, generation, size, mark);
                self.weigh(word, recorded, |easy| {
                    easy.allow(word, 0, 0, || {
                        self.load() == word && self.count.0.is_healthy(generation)
                    });
                });
            }
            Shape::Buckets(pieces) => {
                let now_ns = now_ns.unwrap_or_else(|| self.clock.now_ns());
                let recorded = self.time.0.record(stripes, word, pieces, now_ns, mark);
                self.weigh(word, recorded, |easy| {
                    let place = TimeWindow::place(pieces, now_ns);
                    easy.allow(word, now_ns, place, || {
                        self.load() == word && self.time.0.is_healthy(generation, pieces, now_ns)
                    });
                });
            }
        }
    }

    /// Looks at what a window holds after a call. If nothing bad, this thread's
    /// next good calls may go the short way.
    fn weigh(&self, word: Word, recorded: Recorded, allow: impl FnOnce(&Easy)) {
        match recorded {
            Recorded::Healthy => {
                if let Some((own, _)) = self.totals.stripes.own() {
                    allow(&own.easy);
                }
            }
            Recorded::Holds(tally) => self.judge(word, tally),
            // Its index is spent in the later window, and counts there as the
            // call that it was; only the rates of that window ignore it.
            Recorded::TooLate => {
                self.totals.stale.fetch_add(1, Relaxed);
            }
        }
    }

    fn record_probe(&self, admission: Admission, slot: u8, mark: Mark) {
        let (word, generation) = (self.load(), admission.generation());
        let in_time = word.generation() == generation;
        if !in_time || !self.probes.finish(probe(admission, slot), mark) {
            return self.count_stale(generation, mark);
        }
        self.count_other(mark);
        self.decide(word, self.clock.now_ns());
    }

    pub(in crate::breaker) fn cancel(&self, admission: Admission) {
        self.without_outcome(admission, &self.totals.cancelled);
    }

    fn ignore(&self, admission: Admission) {
        self.without_outcome(admission, &self.totals.ignored);
    }

    fn without_outcome(&self, admission: Admission, total: &AtomicU64) {
        match admission.kind() {
            Kind::Untracked => return,
            Kind::Probe(slot) => {
                self.probes.release(probe(admission, slot));
            }
            Kind::Call if admission.started_ns != UNTIMED && admission.word == self.load() => {
                self.finish(self.totals.stripes.here(), admission);
            }
            Kind::Call | Kind::Observed => {}
        }
        if self.is_of_this_life(admission.generation()) {
            total.fetch_add(1, Relaxed);
        }
    }

    #[cold]
    fn count_stale(&self, generation: u32, mark: Mark) {
        if self.is_of_this_life(generation) {
            self.totals.stale.fetch_add(1, Relaxed);
            self.count_other(mark);
        }
    }

    /// Whether a permit is this breaker's, and not of one that had the cell before.
    fn is_of_this_life(&self, generation: u32) -> bool {
        let born = u32::try_from(self.born.load(Relaxed)).unwrap_or(0);
        !is_newer(born, generation)
    }

    fn count_other(&self, mark: Mark) {
        let count = if mark.failure {
            &self.totals.other_failures
        } else {
            &self.totals.other_successes
        };
        count.fetch_add(1, Relaxed);
    }
}

/// The probe that a permit stands for.
fn probe(admission: Admission, slot: u8) -> Probe {
    Probe::new(
        slot,
        admission.generation(),
        admission.started_ns / 1_000_000,
    )
}
