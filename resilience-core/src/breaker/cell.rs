//! The shared memory of one breaker and the transitions of its state word.
//!
//! Cells live for ever and are used again: a permit can then hold a plain
//! reference, and a call touches no reference count. A shared count would cost
//! two contended adds a call and take the scaling over threads away. The
//! generation of a reused cell goes on, so a permit of its former life is
//! stale in the new one.

use std::time::Duration;

use jiff::Timestamp;
use parking_lot::Mutex;

use super::{
    config::BreakerConfig,
    journal::Journal,
    outcome::{ErrorClass, Outcome},
    probes::{Probe, Probes, Verdict},
    settings::{Breach, Settings, Shape},
    totals::Totals,
    window::{CountWindow, Mark, Tally, TimeWindow},
    word::Word,
};
use crate::{
    clock::Clock,
    snapshot::{BreakerEvent, BreakerSnapshot, CallTotals, Cause, State},
    sync::{
        AtomicU64,
        Ordering::{AcqRel, Acquire, Relaxed, Release},
    },
};

/// 128: the word is read by every call and must not share its line (nor the
/// line that is prefetched with it) with what calls write.
#[derive(Debug)]
#[repr(align(128))]
struct Lined<T>(T);

#[derive(Debug)]
pub(super) struct Cell {
    word: Lined<AtomicU64>,
    settings: Lined<Settings>,
    count: Lined<CountWindow>,
    time: Lined<TimeWindow>,
    probes: Probes,
    totals: Totals,
    clock: Clock,
    pub(super) journal: Mutex<Journal>,
}

/// What a permit remembers of its admission.
#[derive(Clone, Copy, Debug)]
pub(super) struct Admission {
    generation: u32,
    kind: Kind,
    /// When it was admitted, if calls are timed.
    started_ns: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    /// Admitted while closed.
    Call,
    /// Admitted while half-open.
    Probe(Probe),
    /// Admitted by a disabled breaker: leaves no trace.
    Untracked,
}

/// Who changes a breaker by hand, and why.
#[derive(Clone, Debug, Default)]
pub(super) struct ByHand {
    pub(super) actor: Option<String>,
    pub(super) reason: Option<String>,
}

/// What a change by hand found and did.
#[derive(Clone, Copy, Debug)]
pub(super) struct Changed {
    pub(super) before: State,
    pub(super) after: State,
    pub(super) generation: u32,
    pub(super) discarded: Tally,
}

/// Why a reset was not done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    Disabled,
    Moved { actual: u32 },
}

/// Everything an event needs besides the words.
struct Change {
    cause: Cause,
    window: Tally,
    breach: Option<Breach>,
    by: ByHand,
    /// How long it will stay open, for a change to open.
    wait_ms: Option<u64>,
}

impl Change {
    fn of(cause: Cause, window: Tally) -> Self {
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
    pub(super) fn new(name: &str, config: BreakerConfig, clock: Clock) -> Self {
        let first = if config.options().enabled {
            Word::INITIAL
        } else {
            Word::INITIAL.disabled()
        };
        Self {
            word: Lined(AtomicU64::new(first.0)),
            settings: Lined(Settings::new(&config)),
            count: Lined(CountWindow::new()),
            time: Lined(TimeWindow::new()),
            probes: Probes::new(),
            totals: Totals::new(),
            clock,
            journal: Mutex::new(Journal::new(name, config)),
        }
    }

    // ── calls ────────────────────────────────────────────────────────────

    #[inline]
    pub(super) fn try_acquire(&self) -> Result<Admission, Duration> {
        let word = self.load();
        if word.flows() {
            Ok(self.admit(word.generation(), Kind::Call))
        } else {
            self.try_acquire_unusual(word)
        }
    }

    fn try_acquire_unusual(&self, mut word: Word) -> Result<Admission, Duration> {
        loop {
            if word.flows() {
                return Ok(self.admit(word.generation(), Kind::Call));
            }
            if word.is_disabled() {
                return Ok(self.admit(word.generation(), Kind::Untracked));
            }
            if word.state() == State::Open {
                // The word first, the clock second: a deadline read later than
                // the time could seem to be in the future of its own circuit.
                let now_ns = self.clock.now_ns();
                let deadline_ns = word.deadline_ms() * 1_000_000;
                if now_ns < deadline_ns {
                    self.totals.rejected.fetch_add(1, Relaxed);
                    return Err(Duration::from_nanos(deadline_ns - now_ns));
                }
                word = self.half_open(word);
                continue;
            }
            let generation = word.generation();
            let (permits, lease) = (self.settings.0.permits(), self.settings.0.lease_ms());
            if let Some(probe) = self
                .probes
                .acquire(generation, permits, self.now_ms(), lease)
            {
                return Ok(self.admit(generation, Kind::Probe(probe)));
            }
            // No slot: perhaps because the last outcome came in under settings
            // that asked for more probes than those in force now.
            match self.decide(word) {
                Some(next) => word = next,
                None => {
                    self.totals.rejected.fetch_add(1, Relaxed);
                    return Err(Duration::ZERO);
                }
            }
        }
    }

    /// The time left of an open circuit, if a call would be refused right now.
    /// Changes nothing.
    #[cfg(feature = "tower")]
    pub(super) fn refusal(&self) -> Option<Duration> {
        let word = self.load();
        if word.state() != State::Open {
            return None;
        }
        let left_ns = (word.deadline_ms() * 1_000_000).saturating_sub(self.clock.now_ns());
        (left_ns > 0).then(|| Duration::from_nanos(left_ns))
    }

    /// Refuses a call; the time left of an open circuit.
    #[cfg(feature = "tower")]
    pub(super) fn refuse(&self) -> Duration {
        self.totals.rejected.fetch_add(1, Relaxed);
        self.refusal().unwrap_or_default()
    }

    #[inline]
    fn admit(&self, generation: u32, kind: Kind) -> Admission {
        let started_ns = self.settings.0.slow_ns().map(|_| self.clock.now_ns());
        Admission {
            generation,
            kind,
            started_ns,
        }
    }

    #[inline]
    pub(super) fn record(&self, admission: Admission, outcome: Outcome) {
        let class = match outcome {
            Outcome::Success => None,
            Outcome::Failure(class) => Some(class),
            Outcome::Ignored => return self.ignore(admission),
        };
        if matches!(admission.kind, Kind::Untracked) {
            return;
        }
        let slow = admission
            .started_ns
            .is_some_and(|started_ns| self.time(started_ns));
        let mark = Mark {
            failure: class.is_some(),
            slow,
        };
        match admission.kind {
            Kind::Call => self.record_call(admission.generation, mark, class),
            Kind::Probe(probe) => self.record_probe(admission.generation, probe, mark, class),
            Kind::Untracked => {}
        }
    }

    /// Times a call; whether it was slow.
    fn time(&self, started_ns: u64) -> bool {
        let elapsed_ns = self.clock.now_ns().saturating_sub(started_ns);
        self.totals.time(elapsed_ns);
        let slow = self
            .settings
            .0
            .slow_ns()
            .is_some_and(|limit| elapsed_ns > limit);
        if slow {
            self.totals.slow.fetch_add(1, Relaxed);
        }
        slow
    }

    #[inline]
    fn record_call(&self, generation: u32, mark: Mark, class: Option<ErrorClass>) {
        let word = self.load();
        if word.generation() != generation {
            return self.count_stale(mark);
        }
        if let Some(class) = class {
            self.totals.window_failures.fetch_add(1, AcqRel);
            self.totals.note_class(generation, class);
        }
        let recorded = match self.settings.0.shape() {
            Shape::Calls(size) => match self.count.0.record(generation, size, mark) {
                Some(tally) => Some(tally),
                // Its index is spent in the later window, and counts there as the
                // call that it was; only the rates of that window ignore it.
                None => {
                    self.totals.stale.fetch_add(1, Relaxed);
                    return;
                }
            },
            Shape::Buckets { bucket_ms } => {
                self.time
                    .0
                    .record(generation, bucket_ms, self.clock.now_ns(), mark)
            }
        };
        if let Some(tally) = recorded
            && (tally.failures > 0 || tally.slow > 0)
        {
            self.judge(word, tally);
        }
    }

    /// Trips if the window says so.
    fn judge(&self, word: Word, tally: Tally) {
        let rates = self.settings.0.rates();
        if tally.calls < rates.minimum() {
            return;
        }
        if let Some(breach) = rates.breach(tally.calls, tally.failures, tally.slow) {
            let cause = match breach {
                Breach::Failures => Cause::FailureRate,
                Breach::Slow => Cause::SlowCallRate,
            };
            let change = Change {
                breach: Some(breach),
                ..Change::of(cause, tally)
            };
            self.open(word, self.settings.0.wait_ms(), change);
        }
    }

    fn record_probe(&self, generation: u32, probe: Probe, mark: Mark, class: Option<ErrorClass>) {
        if let Some(class) = class {
            self.totals.note_class(generation, class);
        }
        let counted = self.probes.finish(probe, mark);
        if !counted {
            return self.count_stale(mark);
        }
        self.count_other(mark);
        let word = self.load();
        if word.generation() == generation {
            self.decide(word);
        }
    }

    /// Leaves half-open if the finished probes say so; the word then in force.
    fn decide(&self, word: Word) -> Option<Word> {
        let generation = word.generation();
        let settings = &self.settings.0;
        let window = self.probes.tally(generation);
        match self
            .probes
            .verdict(generation, settings.permits(), settings.rates())
        {
            Verdict::Wait => None,
            Verdict::Close => {
                self.close(word, Change::of(Cause::ProbesSucceeded, window));
                Some(self.load())
            }
            Verdict::Reopen(breach) => {
                let change = Change {
                    breach: Some(breach),
                    ..Change::of(Cause::ProbesFailed, window)
                };
                self.open(word, settings.wait_ms(), change);
                Some(self.load())
            }
        }
    }

    pub(super) fn cancel(&self, admission: Admission) {
        match admission.kind {
            Kind::Untracked => return,
            Kind::Probe(probe) => {
                self.probes.release(probe);
            }
            Kind::Call => {}
        }
        self.totals.cancelled.fetch_add(1, Relaxed);
    }

    fn ignore(&self, admission: Admission) {
        match admission.kind {
            Kind::Untracked => return,
            Kind::Probe(probe) => {
                self.probes.release(probe);
            }
            Kind::Call => {}
        }
        self.totals.ignored.fetch_add(1, Relaxed);
    }

    fn count_stale(&self, mark: Mark) {
        self.totals.stale.fetch_add(1, Relaxed);
        self.count_other(mark);
    }

    fn count_other(&self, mark: Mark) {
        let count = if mark.failure {
            &self.totals.other_failures
        } else {
            &self.totals.other_successes
        };
        count.fetch_add(1, Relaxed);
    }

    // ── transitions ──────────────────────────────────────────────────────

    fn open(&self, word: Word, wait_ms: u64, mut change: Change) -> Option<Word> {
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
    fn half_open(&self, word: Word) -> Word {
        let next = word.half_open();
        self.probes.begin(next.generation());
        let change = Change::of(Cause::WaitElapsed, Tally::default());
        self.transition(word, next, change)
            .unwrap_or_else(|| self.load())
    }

    fn close(&self, word: Word, change: Change) -> Option<Word> {
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

    pub(super) fn reset(
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
    pub(super) fn configure(&self, config: BreakerConfig) {
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
    pub(super) fn restore_open(&self, remaining: Duration, events: &[BreakerEvent]) {
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
    pub(super) fn retire(&self) {
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
    pub(super) fn reuse(&self, name: &str, config: BreakerConfig) {
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

    // ── reading ──────────────────────────────────────────────────────────

    #[inline]
    fn load(&self) -> Word {
        // ordering: Acquire. Pairs with `transition`.
        Word(self.word.0.load(Acquire))
    }

    pub(super) fn state(&self) -> State {
        self.load().state()
    }

    fn now_ms(&self) -> u64 {
        self.clock.now_ns() / 1_000_000
    }

    pub(super) fn clock(&self) -> &Clock {
        &self.clock
    }

    fn window(&self, word: Word) -> Tally {
        let generation = word.generation();
        match (word.state(), self.settings.0.shape()) {
            (State::Open, _) => Tally::default(),
            (State::HalfOpen, _) => self.probes.tally(generation),
            (State::Closed, Shape::Calls(size)) => self.count.0.tally(generation, size),
            (State::Closed, Shape::Buckets { bucket_ms }) => {
                self.time
                    .0
                    .tally(generation, bucket_ms, self.clock.now_ns())
            }
        }
    }

    fn window_calls(&self) -> u64 {
        self.count.0.calls_ever() + self.time.0.calls_ever()
    }

    pub(super) fn snapshot(&self) -> BreakerSnapshot {
        let word = self.load();
        let now_ms = self.now_ms();
        let open = word.state() == State::Open;
        let totals = &self.totals;
        let open_now_ms = if open {
            now_ms.saturating_sub(totals.opened_at_ms.load(Relaxed))
        } else {
            0
        };
        let journal = self.journal.lock();
        BreakerSnapshot {
            name: journal.name.to_string(),
            state: word.state(),
            enabled: !word.is_disabled(),
            generation: word.generation(),
            since: journal.since(),
            retry_after_ms: open.then(|| word.deadline_ms().saturating_sub(now_ms)),
            window: self.window(word),
            probes_in_flight: match word.state() {
                State::HalfOpen => self.probes.flying(word.generation()),
                State::Closed | State::Open => 0,
            },
            totals: CallTotals {
                success: totals.successes(self.window_calls()),
                failure: totals.failures(),
                ignored: totals.ignored.load(Relaxed),
                rejected: totals.rejected.load(Relaxed),
                cancelled: totals.cancelled.load(Relaxed),
                slow: totals.slow.load(Relaxed),
                stale: totals.stale.load(Relaxed),
            },
            durations: totals.durations(),
            transitions: journal.transitions(),
            open_ms_total: totals.open_ms_total(open_now_ms),
            events: journal.events(),
            config: journal.settings.clone(),
        }
    }
}
