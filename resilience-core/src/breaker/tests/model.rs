//! The breaker again, as plainly as it can be said: one thread, vectors, no
//! atomics. What the real one does is compared with it, step by step.

use std::collections::VecDeque;

use super::*;
use crate::breaker::settings::BUCKETS;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Closed,
    HalfOpen,
    Open,
    Ramp,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    Call,
    Probe(usize),
    Observed,
    Untracked,
}

/// What the model remembers of a permit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ticket {
    generation: u32,
    kind: Kind,
    /// `None`: calls were not timed.
    began: Option<u64>,
}

#[derive(Clone, Copy, Debug)]
struct Call {
    at: u64,
    failure: bool,
    slow: bool,
}

#[derive(Clone, Copy, Debug)]
enum Slot {
    Flying { began: u64 },
    Done,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Success,
    Failure,
    Ignored,
    Dropped,
}

#[derive(Debug)]
pub(super) struct Model {
    pub(super) options: BreakerOptions,
    pub(super) now: u64,
    pub(super) phase: Phase,
    pub(super) generation: u32,
    pub(super) openings: u32,
    pub(super) overridden: Option<(OverrideKind, Option<u64>)>,
    pub(super) totals: crate::snapshot::CallTotals,
    deadline: Option<u64>,
    window: VecDeque<Call>,
    /// By when they began: calls of this generation that have not finished.
    running: Vec<u64>,
    last_quarter: Option<u64>,
    slots: Vec<Option<Slot>>,
    finished_probes: Vec<Call>,
    ramp_asked: u64,
}

/// Milliseconds of a setting.
fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap()
}

impl Model {
    pub(super) fn new(options: BreakerOptions) -> Self {
        Self {
            options,
            now: 0,
            phase: Phase::Closed,
            generation: 0,
            openings: 0,
            overridden: None,
            totals: crate::snapshot::CallTotals::default(),
            deadline: None,
            window: VecDeque::new(),
            running: Vec::new(),
            last_quarter: Some(0),
            slots: vec![None; 128],
            finished_probes: Vec::new(),
            ramp_asked: 0,
        }
    }

    fn mode(&self) -> Option<OverrideKind> {
        let configured = (!self.options.enabled).then_some(OverrideKind::Disabled);
        self.overridden.map(|(kind, _)| kind).or(configured)
    }

    pub(super) fn computed(&self) -> State {
        match self.phase {
            Phase::Closed => State::Closed,
            Phase::Open => State::Open,
            Phase::HalfOpen | Phase::Ramp => State::HalfOpen,
        }
    }

    pub(super) fn state(&self) -> State {
        match self.mode() {
            None => self.computed(),
            Some(OverrideKind::ForcedOpen) => State::Open,
            Some(_) => State::Closed,
        }
    }

    // ── transitions ──────────────────────────────────────────────────────

    fn enter(&mut self, phase: Phase, deadline: Option<u64>) {
        self.phase = phase;
        self.deadline = deadline;
        self.generation += 1;
        self.window.clear();
        self.running.clear();
        self.last_quarter = None;
        self.slots.fill(None);
        self.finished_probes.clear();
        if phase == Phase::Closed {
            self.openings = 0;
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "validated: 1 to 10"
    )]
    fn open(&mut self) {
        let mut wait = ms(self.options.wait_in_open);
        for _ in 0..self.openings {
            let multiplier = (self.options.wait_multiplier * 100.0) as u64;
            wait = (wait * multiplier / 100).min(ms(self.options.wait_max));
        }
        self.openings += 1;
        // A tick, so that it is strictly after the wait.
        self.enter(Phase::Open, Some(self.now + wait + 1));
    }

    fn half_open(&mut self) {
        let patience = self.options.half_open_max_wait;
        self.enter(
            Phase::HalfOpen,
            patience.map(|patience| self.now + ms(patience)),
        );
    }

    fn close_gradually(&mut self) {
        match self.options.ramp_up {
            None => self.enter(Phase::Closed, None),
            Some(ramp) => self.enter(Phase::Ramp, Some(self.now + ms(ramp))),
        }
    }

    fn is_due(&self) -> bool {
        self.deadline.is_some_and(|deadline| self.now >= deadline)
    }

    /// One thing that is due, if there is one.
    fn settle(&mut self, by_call: bool) -> bool {
        if let Some((_, Some(ends))) = self.overridden
            && self.now >= ends
        {
            self.without_override();
            return true;
        }
        if matches!(
            self.mode(),
            Some(OverrideKind::Disabled | OverrideKind::ForcedOpen)
        ) {
            return false;
        }
        match self.phase {
            Phase::Open if (by_call || self.options.automatic_half_open) && self.is_due() => {
                self.half_open();
                true
            }
            Phase::HalfOpen if self.is_due() => {
                self.open();
                true
            }
            Phase::HalfOpen => self.decide(),
            Phase::Ramp if self.is_due() => {
                self.enter(Phase::Closed, None);
                true
            }
            Phase::Closed | Phase::Ramp if !by_call => self.judge_running(),
            _ => false,
        }
    }

    pub(super) fn look(&mut self) {
        while self.settle(false) {}
    }

    // ── judging ──────────────────────────────────────────────────────────

    fn minimum(&self) -> usize {
        let minimum = match self.options.window {
            Window::Calls(calls) => self.options.minimum_calls.min(calls),
            Window::Time(_) => self.options.minimum_calls,
        };
        minimum as usize
    }

    fn reached(part: usize, whole: usize, percent: f64) -> bool {
        part > 0 && part as f64 * 100.0 >= percent * whole as f64
    }

    fn held(&self) -> Vec<Call> {
        match self.options.window {
            Window::Calls(_) => self.window.iter().copied().collect(),
            Window::Time(time) => {
                let bucket = ms(time) / u64::from(BUCKETS);
                let epoch = |at: u64| at / bucket + u64::from(BUCKETS);
                let young = |call: &&Call| epoch(call.at) + u64::from(BUCKETS) > epoch(self.now);
                self.window.iter().filter(young).copied().collect()
            }
        }
    }

    pub(super) fn tally(&self) -> (usize, usize, usize) {
        let calls = match self.phase {
            Phase::Open => Vec::new(),
            Phase::HalfOpen => self.finished_probes.clone(),
            Phase::Closed | Phase::Ramp => self.held(),
        };
        let count = |of: fn(&Call) -> bool| calls.iter().filter(|call| of(call)).count();
        (
            calls.len(),
            count(|call| call.failure),
            count(|call| call.slow),
        )
    }

    fn quarter(&self, at: u64) -> Option<u64> {
        // In microseconds: a limit of 1 ms has quarters of 250 µs.
        let limit = self.options.slow_call_duration?;
        Some(at * 1_000 / u64::try_from(limit.as_micros() / 4).unwrap())
    }

    /// Seen when the fifth quarter after the one in which they began has begun.
    pub(super) fn slow_running(&self) -> usize {
        if matches!(
            self.mode(),
            Some(OverrideKind::Disabled | OverrideKind::ForcedOpen)
        ) {
            return 0;
        }
        match (self.phase, self.quarter(self.now)) {
            (Phase::Closed | Phase::Ramp, Some(now)) => {
                let overdue = |at: &&u64| self.quarter(**at).unwrap() + 5 <= now;
                self.running.iter().filter(overdue).count()
            }
            (Phase::HalfOpen, Some(_)) => self.slow_probes(),
            _ => 0,
        }
    }

    fn slow_probes(&self) -> usize {
        let Some(limit) = self.options.slow_call_duration else {
            return 0;
        };
        let before = self.now.saturating_sub(ms(limit));
        let slow =
            |slot: &&Option<Slot>| matches!(slot, Some(Slot::Flying { began }) if *began < before);
        self.slots.iter().filter(slow).count()
    }

    fn judge(&mut self) {
        let (calls, failures, _) = self.tally();
        let threshold = self.options.failure_rate_threshold;
        if calls >= self.minimum() && Self::reached(failures, calls, threshold) {
            self.open();
        } else {
            self.judge_slow();
        }
    }

    fn judge_slow(&mut self) -> bool {
        if self.options.slow_call_duration.is_none() {
            return false;
        }
        let running = self.slow_running();
        let (calls, _, slow) = self.tally();
        let (calls, slow) = (calls + running, slow + running);
        let threshold = self.options.slow_call_rate_threshold;
        let breach = calls >= self.minimum() && Self::reached(slow, calls, threshold);
        if breach {
            self.open();
        }
        breach
    }

    fn judge_running(&mut self) -> bool {
        self.slow_running() > 0 && self.judge_slow()
    }

    fn decide(&mut self) -> bool {
        let (calls, failures, slow) = self.tally();
        let needed = self.minimum().min(self.options.half_open_permits as usize);
        let failed = Self::reached(failures, calls, self.options.failure_rate_threshold);
        let dragged = Self::reached(slow, calls, self.options.slow_call_rate_threshold);
        if calls >= needed {
            if failed || dragged {
                self.open();
            } else {
                self.close_gradually();
            }
            return true;
        }
        let running = self.slow_probes();
        let threshold = self.options.slow_call_rate_threshold;
        let breach =
            calls + running >= needed && Self::reached(slow + running, calls + running, threshold);
        if breach {
            self.open();
        }
        breach
    }

    // ── calls ────────────────────────────────────────────────────────────

    /// A ticket, or for how long it is refused.
    pub(super) fn acquire(&mut self) -> Result<Ticket, u64> {
        while self.settle(true) {}
        let ticket = |kind, model: &Self| Ticket {
            generation: model.generation,
            kind,
            began: Some(model.now),
        };
        match self.mode() {
            Some(OverrideKind::Disabled) => return Ok(ticket(Kind::Untracked, self)),
            Some(OverrideKind::ForcedOpen) => {
                self.totals.rejected += 1;
                let ends = self.overridden.and_then(|(_, ends)| ends);
                let wait = ms(self.options.wait_in_open);
                return Err(ends.map_or(wait, |ends| ends - self.now));
            }
            _ => {}
        }
        let refused_for = match self.phase {
            Phase::Closed => return Ok(self.begin()),
            Phase::Ramp => {
                let length = ms(self.options.ramp_up.unwrap_or_default()).max(1);
                let left = self.deadline.unwrap().saturating_sub(self.now).min(length);
                let percent = 100 - left * 90 / length;
                let asked = self.ramp_asked % 100;
                self.ramp_asked += 1;
                if asked * percent % 100 < percent {
                    return Ok(self.begin());
                }
                0
            }
            Phase::Open => self.deadline.unwrap() - self.now,
            Phase::HalfOpen => {
                let permits = self.options.half_open_permits as usize;
                let lease = ms(self.options.probe_lease);
                let free = |slot: &Option<Slot>| match slot {
                    None => true,
                    Some(Slot::Flying { began }) => began + lease <= self.now,
                    Some(Slot::Done) => false,
                };
                if let Some(slot) = self.slots[..permits].iter().position(free) {
                    self.slots[slot] = Some(Slot::Flying { began: self.now });
                    return Ok(ticket(Kind::Probe(slot), self));
                }
                0
            }
        };
        if self.mode() == Some(OverrideKind::MetricsOnly) {
            return Ok(ticket(Kind::Observed, self));
        }
        self.totals.rejected += 1;
        Err(refused_for)
    }

    fn begin(&mut self) -> Ticket {
        let timed = self.options.slow_call_duration.is_some();
        let ticket = Ticket {
            generation: self.generation,
            kind: Kind::Call,
            began: timed.then_some(self.now),
        };
        if timed {
            self.running.push(self.now);
            // The first call of a quarter looks at those that still run.
            let quarter = self.quarter(self.now);
            if self.last_quarter != quarter {
                self.last_quarter = quarter;
                self.judge_running();
            }
        }
        ticket
    }

    fn no_longer_running(&mut self, ticket: &Ticket) {
        if let Some(began) = ticket.began
            && let Some(place) = self.running.iter().position(|at| *at == began)
        {
            self.running.remove(place);
        }
    }

    /// The slot of a probe that still has it.
    fn slot_of(&self, ticket: &Ticket) -> Option<usize> {
        let Kind::Probe(slot) = ticket.kind else {
            return None;
        };
        let current = ticket.generation == self.generation;
        let mine =
            matches!(self.slots[slot], Some(Slot::Flying { began }) if Some(began) == ticket.began);
        (current && mine).then_some(slot)
    }

    pub(super) fn end(&mut self, ticket: Ticket, how: How) {
        if ticket.kind == Kind::Untracked {
            return;
        }
        let current = ticket.generation == self.generation;
        if matches!(how, How::Ignored | How::Dropped) {
            if ticket.kind == Kind::Call && current {
                self.no_longer_running(&ticket);
            }
            if let Some(slot) = self.slot_of(&ticket) {
                self.slots[slot] = None;
            }
            match how {
                How::Ignored => self.totals.ignored += 1,
                _ => self.totals.cancelled += 1,
            }
            return;
        }
        let failure = how == How::Failure;
        let limit = self.options.slow_call_duration.map(ms);
        let slow = match (ticket.began, limit) {
            (Some(began), Some(limit)) => self.now - began > limit,
            _ => false,
        };
        self.totals.slow += u64::from(slow);
        match failure {
            true => self.totals.failure += 1,
            false => self.totals.success += 1,
        }
        let call = Call {
            at: self.now,
            failure,
            slow,
        };
        match ticket.kind {
            Kind::Call if current => {
                self.no_longer_running(&ticket);
                self.window.push_back(call);
                if let Window::Calls(size) = self.options.window {
                    let surplus = self.window.len().saturating_sub(size as usize);
                    self.window.drain(..surplus);
                }
                let (_, failures, slow) = self.tally();
                if failures + slow > 0 {
                    self.judge();
                }
            }
            Kind::Probe(_) => match self.slot_of(&ticket) {
                Some(slot) => {
                    self.slots[slot] = Some(Slot::Done);
                    self.finished_probes.push(call);
                    self.decide();
                }
                None => self.totals.stale += 1,
            },
            Kind::Call => self.totals.stale += 1,
            Kind::Observed | Kind::Untracked => {}
        }
    }

    // ── by hand ──────────────────────────────────────────────────────────

    pub(super) fn reset(&mut self) -> bool {
        self.look();
        let refused = matches!(
            self.mode(),
            Some(OverrideKind::Disabled | OverrideKind::ForcedOpen)
        );
        if !refused {
            self.enter(Phase::Closed, None);
        }
        !refused
    }

    pub(super) fn set_override(&mut self, kind: OverrideKind, lasts: Option<u64>) {
        self.look();
        let openings = self.openings;
        self.enter(self.phase, self.deadline);
        // An override is no recovery.
        self.openings = openings;
        self.overridden = Some((kind, lasts.map(|lasts| self.now + lasts)));
    }

    pub(super) fn enable(&mut self) -> bool {
        self.look();
        let removes = self.overridden.is_some();
        if removes {
            self.without_override();
        }
        removes
    }

    fn without_override(&mut self) {
        self.overridden = None;
        let openings = self.openings;
        let deadline = match self.phase {
            Phase::Closed | Phase::Open => self.deadline,
            Phase::HalfOpen => self
                .options
                .half_open_max_wait
                .map(|wait| self.now + ms(wait)),
            Phase::Ramp => Some(self.now + self.options.ramp_up.map_or(0, ms)),
        };
        self.enter(self.phase, deadline);
        self.openings = openings;
    }

    pub(super) fn configure(&mut self, options: BreakerOptions) {
        self.look();
        if options == self.options {
            return;
        }
        let mode = self.mode();
        let old = std::mem::replace(&mut self.options, options);
        let same_places = old.window == self.options.window
            && old.slow_call_duration == self.options.slow_call_duration;
        if self.mode() != mode {
            let (phase, deadline, openings) = (self.phase, self.deadline, self.openings);
            match self.mode() {
                None => self.enter(Phase::Closed, None),
                Some(_) => {
                    self.enter(phase, deadline);
                    self.openings = openings;
                }
            }
        } else if matches!(self.phase, Phase::Closed | Phase::Ramp) && !same_places {
            let now = self.now;
            let kept: Vec<Call> = match (old.window, self.options.window) {
                (Window::Calls(_), Window::Calls(size)) => {
                    let surplus = self.window.len().saturating_sub(size as usize);
                    self.window.drain(..surplus);
                    self.window.iter().copied().collect()
                }
                (Window::Time(time), Window::Time(_)) => {
                    // As old as the bucket that they were in.
                    let bucket = ms(time) / u64::from(BUCKETS);
                    let age = |at: u64| now / bucket - at / bucket;
                    self.window
                        .iter()
                        .filter(|call| age(call.at) < u64::from(BUCKETS))
                        .map(|call| Call {
                            at: now.saturating_sub(age(call.at) * bucket),
                            ..*call
                        })
                        .collect()
                }
                _ => Vec::new(),
            };
            let (phase, deadline, openings) = (self.phase, self.deadline, self.openings);
            self.enter(phase, deadline);
            self.openings = openings;
            self.window.extend(kept);
        }
    }
}
