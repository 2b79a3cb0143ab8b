//! What the stub knows: the fault in force and what became of the requests.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::Serialize;
use tokio::sync::watch;

use super::{Fault, Mode};

/// Requests by what became of them, those for `/fault` left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Answered at once.
    pub answered: u64,
    /// Answered late, or being so.
    pub delayed: u64,
    /// Answered 503.
    pub failed: u64,
    /// Left without an answer.
    pub hung: u64,
    /// Reset.
    pub reset: u64,
}

/// What is to become of one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    Answer,
    Delay(std::time::Duration),
    Fail,
    Hang,
    Reset,
}

#[derive(Debug)]
pub(super) struct State {
    fault: watch::Sender<Fault>,
    // Held for a few additions.
    tally: Mutex<Tally>,
}

#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    /// Failures that `flaky` owes, 0 to 1.
    owed: f64,
}

impl Default for State {
    fn default() -> Self {
        Self {
            fault: watch::Sender::new(Fault::default()),
            tally: Mutex::default(),
        }
    }
}

impl State {
    pub(super) fn fault(&self) -> Fault {
        *self.fault.borrow()
    }

    pub(super) fn watch(&self) -> watch::Receiver<Fault> {
        self.fault.subscribe()
    }

    pub(super) fn set_fault(&self, fault: Fault) {
        self.tally().owed = 0.0;
        self.fault.send_replace(fault);
    }

    pub(super) fn counts(&self) -> Counts {
        self.tally().counts
    }

    /// Decides about the next request, and counts it.
    ///
    /// `flaky` spreads its failures as Bresenham spreads the steps of a line:
    /// each request adds the ratio to what is owed, and fails when that makes a
    /// whole one. Half is `answered, failed, answered, failed`: the same in
    /// every run, never a lucky streak, so a test can count on it.
    pub(super) fn next(&self) -> Fate {
        let fault = self.fault();
        let mut tally = self.tally();
        let fate = match fault.mode {
            Mode::Ok => Fate::Answer,
            Mode::Fail => Fate::Fail,
            Mode::Slow => Fate::Delay(fault.latency),
            Mode::Hang => Fate::Hang,
            Mode::Refuse => Fate::Reset,
            Mode::Flaky => {
                tally.owed += fault.ratio.get();
                // A hair below one, so that ten times a tenth is a whole.
                if tally.owed > 1.0 - 1e-9 {
                    tally.owed -= 1.0;
                    Fate::Fail
                } else {
                    Fate::Answer
                }
            }
        };
        let counts = &mut tally.counts;
        *match fate {
            Fate::Answer => &mut counts.answered,
            Fate::Delay(_) => &mut counts.delayed,
            Fate::Fail => &mut counts.failed,
            Fate::Hang => &mut counts.hung,
            Fate::Reset => &mut counts.reset,
        } += 1;
        fate
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        // A panic while it was held leaves nothing half done.
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
