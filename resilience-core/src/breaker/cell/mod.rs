//! The shared memory of one breaker, and what a call does with it.
//!
//! Cells live for ever and are used again: a permit can then hold a plain
//! reference, and a call touches no reference count. A shared count would cost
//! two contended adds a call and take the scaling over threads away. The
//! generation of a reused cell goes on, so a permit of its former life is
//! stale in the new one.

mod by_hand;
mod life;
mod picture;
mod settle;
mod transition;

pub(super) use life::Former;

#[cfg(feature = "tower")]
use super::parking::Parking;
use super::{
    config::BreakerConfig,
    error::Rejected,
    journal::Journal,
    line::Lined,
    outcome::Outcome,
    permit::{Admission, Kind, UNTIMED},
    probes::{Probe, Probes},
    settings::{Settings, Shape},
    stripes::Pen,
    totals::{Stripe, Totals},
    window::{CountWindow, Mark, Recorded, Tally, TimeWindow},
    word::{Phase, Word, is_newer},
};
use crate::{
    clock::Clock,
    snapshot::OverrideKind,
    sync::{
        AtomicU64, Mutex,
        Ordering::{AcqRel, Acquire, Relaxed},
    },
};
use transition::Change;

#[derive(Debug)]
pub(in crate::breaker) struct Cell {
    /// Read by every call: it must not share a line with what others write.
    word: Lined<AtomicU64>,
    settings: Lined<Settings>,
    count: Lined<CountWindow>,
    time: Lined<TimeWindow>,
    probes: Probes,
    totals: Totals,
    /// `generation << 32 | openings in a row`, of a circuit that is not closed.
    openings: AtomicU64,
    /// When an override ends, in milliseconds of the clock; all ones: never.
    override_ends_ms: AtomicU64,
    /// How many calls a closing circuit was asked for.
    ramp_asked: AtomicU64,
    /// The first generation of this life of the cell.
    born: AtomicU64,
    clock: Clock,
    pub(in crate::breaker) journal: Mutex<Journal>,
    #[cfg(feature = "tower")]
    pub(in crate::breaker) parking: Parking,
}

const NEVER: u64 = u64::MAX;

impl Cell {
    pub(in crate::breaker) fn new(name: &str, config: BreakerConfig, clock: Clock) -> Self {
        let settings = Settings::new(&config);
        let journal = Journal::new(name, config);
        let first = Word::first(journal.mode());
        Self {
            word: Lined(AtomicU64::new(first.0)),
            settings: Lined(settings),
            count: Lined(CountWindow::new()),
            time: Lined(TimeWindow::new()),
            probes: Probes::new(),
            totals: Totals::new(),
            openings: AtomicU64::new(0),
            override_ends_ms: AtomicU64::new(NEVER),
            ramp_asked: AtomicU64::new(0),
            born: AtomicU64::new(u64::from(first.generation())),
            clock,
            journal: Mutex::new(journal),
            #[cfg(feature = "tower")]
            parking: Parking::new(),
        }
    }

    // ── asking ───────────────────────────────────────────────────────────

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
    fn ramp_percent(&self, word: Word, now_ms: u64) -> u8 {
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

    // ── telling ──────────────────────────────────────────────────────────

    #[inline]
    pub(in crate::breaker) fn record(&self, admission: Admission, outcome: Outcome) {
        let word = admission.word;
        if word.flows() && outcome == Outcome::Success && word == self.load() {
            if admission.started_ns == UNTIMED {
                self.record_current(word, Mark::default());
            } else {
                self.record_timed(admission);
            }
        } else {
            self.record_unusual(admission, outcome);
        }
    }

    #[inline(never)]
    fn record_timed(&self, admission: Admission) {
        let now_ns = self.clock.now_ns();
        let place = self.totals.stripes.here();
        let slow = self.time(place, admission.started_ns, now_ns);
        self.finish(place, admission);
        let (word, mark) = (
            admission.word,
            Mark {
                failure: false,
                slow,
            },
        );
        match self.settings.0.shape() {
            Shape::Calls(size) => {
                let recorded = self.count.0.record(word.generation(), size, mark);
                self.weigh(word, recorded);
            }
            Shape::Buckets(_) if !slow => self.record_good_at(word, now_ns),
            Shape::Buckets(_) => self.record_in_time(word, now_ns, mark),
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
                self.record_current(admission.word, mark);
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

    /// Records a call of the generation that is in force.
    #[inline]
    fn record_current(&self, word: Word, mark: Mark) {
        match self.settings.0.shape() {
            Shape::Calls(size) => {
                let recorded = self.count.0.record(word.generation(), size, mark);
                self.weigh(word, recorded);
            }
            Shape::Buckets(_) if mark.is_good() => self.record_good_in_time(word),
            Shape::Buckets(_) => self.record_in_time(word, self.clock.now_ns(), mark),
        }
    }

    // The clock before all else: what must survive its call is saved around it.
    #[inline]
    fn record_good_in_time(&self, word: Word) {
        self.record_good_at(word, self.clock.now_ns());
    }

    #[inline]
    fn record_good_at(&self, word: Word, now_ns: u64) {
        if let Some((own, pen)) = self.totals.stripes.own()
            && own.calls.record_good(pen, word, now_ns)
        {
            return;
        }
        self.record_in_time(word, now_ns, Mark::default());
    }

    #[inline(never)]
    fn record_in_time(&self, word: Word, now_ns: u64, mark: Mark) {
        if let Shape::Buckets(pieces) = self.settings.0.shape() {
            let stripes = &self.totals.stripes;
            let recorded = self.time.0.record(stripes, word, pieces, now_ns, mark);
            self.weigh(word, recorded);
        }
    }

    /// Looks at what a window holds after a call.
    #[inline]
    fn weigh(&self, word: Word, recorded: Recorded) {
        match recorded {
            Recorded::Healthy => {}
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

    // ── reading ──────────────────────────────────────────────────────────

    #[inline]
    fn load(&self) -> Word {
        // ordering: Acquire. Pairs with `exchange`.
        Word(self.word.0.load(Acquire))
    }

    pub(in crate::breaker) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn window(&self, word: Word, now_ns: u64) -> Tally {
        let generation = word.generation();
        match (word.phase(), self.settings.0.shape()) {
            (Phase::Open, _) => Tally::default(),
            (Phase::HalfOpen, _) => self.probes.tally(generation),
            (_, Shape::Calls(size)) => self.count.0.tally(generation, size),
            (_, Shape::Buckets(pieces)) => {
                let stripes = &self.totals.stripes;
                self.time.0.tally(stripes, generation, pieces, now_ns)
            }
        }
    }

    fn window_calls(&self) -> u64 {
        self.count.0.calls_ever() + self.time.0.calls_ever(&self.totals.stripes)
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
