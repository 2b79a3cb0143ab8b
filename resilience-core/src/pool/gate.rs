//! Whether the server answers, and when to try again.
//!
//! Each caller that dials a dead server by itself makes a stampede of thousands of
//! dials a second, and another of logins when the server is back. Here one
//! dials and the others wait: after trouble one at a time, in steps that grow;
//! a few at once when all is well.

use std::time::{Duration, Instant};

use jiff::Timestamp;
use parking_lot::Mutex;

use super::dial::{ConnectError, ConnectErrorKind};
use crate::snapshot::{ConnectErrorSnapshot, ServerState};

/// Dials at once while the server is well: a backend takes the server some
/// milliseconds of one core to start.
const AT_ONCE: u32 = 4;
/// The pause after the first dial that failed.
const FIRST_PAUSE: Duration = Duration::from_millis(25);
/// The longest one. A server that is back is found this late at worst; fourteen
/// dials a second are nothing to it.
const LONGEST_PAUSE: Duration = Duration::from_millis(70);
/// So long after the pauses began anew for a server that is starting up, they do
/// not again: one that crashes while it starts is not dialled faster for it.
const ANEW_AT_MOST_EVERY: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Gate(Mutex<State>);

#[derive(Debug)]
struct State {
    server: ServerState,
    since: Timestamp,
    last_error: Option<(Timestamp, ConnectError)>,
    /// Dials that failed in a row, and when the last one did.
    failures: u32,
    failed_at: Instant,
    /// When the pauses last began anew.
    anew_at: Option<Instant>,
}

impl Gate {
    pub(super) fn new() -> Self {
        Self(Mutex::new(State {
            server: ServerState::Unknown,
            since: Timestamp::now(),
            last_error: None,
            failures: 0,
            failed_at: Instant::now(),
            anew_at: None,
        }))
    }

    /// How many may dial at once.
    pub(super) fn at_once(&self) -> u32 {
        match self.0.lock().server {
            ServerState::Up => AT_ONCE,
            ServerState::Unknown | ServerState::Down => 1,
        }
    }

    /// Why there is no connection to be had, if that is so.
    pub(super) fn why_down(&self) -> Option<ConnectError> {
        let state = self.0.lock();
        let (_, error) = state.last_error.as_ref()?;
        (state.server == ServerState::Down).then(|| error.clone())
    }

    /// A connection was lost: whether the server is there is to be seen.
    pub(super) fn suspect(&self) {
        let mut state = self.0.lock();
        if state.server == ServerState::Up {
            state.becomes(ServerState::Unknown);
        }
    }

    /// A connection was made. `true`: it had been down.
    pub(super) fn up(&self) -> bool {
        let mut state = self.0.lock();
        state.failures = 0;
        let was_down = state.server == ServerState::Down;
        state.becomes(ServerState::Up);
        was_down
    }

    /// A dial failed. `true`: it was not known to be down.
    pub(super) fn down(&self, error: &ConnectError) -> bool {
        let mut state = self.0.lock();
        state.failures = state.failures.saturating_add(1);
        state.failed_at = Instant::now();
        if state.begins_to_start(error) {
            state.failures = 1;
            state.anew_at = Some(state.failed_at);
        }
        state.last_error = Some((Timestamp::now(), error.clone()));
        let news = state.server != ServerState::Down;
        state.becomes(ServerState::Down);
        news
    }

    /// How long to wait before the next dial.
    pub(super) fn pause(&self) -> Duration {
        let state = self.0.lock();
        match state.failures {
            0 => Duration::ZERO,
            // Who comes long after the last one does not wait at all.
            failures => jittered(pause_after(failures)).saturating_sub(state.failed_at.elapsed()),
        }
    }

    /// Whether it answers, since when, and why it last did not.
    pub(super) fn picture(&self) -> (ServerState, Timestamp, Option<ConnectErrorSnapshot>) {
        let state = self.0.lock();
        let error = state.last_error.as_ref();
        let shown = error.map(|(at, error)| ConnectErrorSnapshot {
            at: *at,
            kind: error.kind().as_str().to_owned(),
            message: error.to_string(),
        });
        (state.server, state.since, shown)
    }
}

impl State {
    /// Nobody listened, and now a server says that it is starting up: it will be
    /// there in a moment, so the pauses are short again.
    fn begins_to_start(&self, error: &ConnectError) -> bool {
        let last = self.last_error.as_ref().map(|(_, last)| last.kind());
        last == Some(ConnectErrorKind::Refused)
            && error.kind() == ConnectErrorKind::StartingUp
            && self
                .anew_at
                .is_none_or(|at| self.failed_at.duration_since(at) >= ANEW_AT_MOST_EVERY)
    }

    fn becomes(&mut self, server: ServerState) {
        if self.server != server {
            self.server = server;
            self.since = Timestamp::now();
        }
    }
}

/// A fifth more each time.
fn pause_after(failures: u32) -> Duration {
    let mut pause = FIRST_PAUSE;
    for _ in 1..failures.min(16) {
        pause = (pause * 6 / 5).min(LONGEST_PAUSE);
    }
    pause
}

/// A tenth more at most, so that replicas do not dial in step, and never less, so
/// that the dials of a second stay below fifteen.
fn jittered(pause: Duration) -> Duration {
    pause + pause.mul_f64(fastrand::f64() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> ConnectError {
        ConnectError::timeout(Duration::from_secs(1))
    }

    #[test]
    fn after_trouble_one_dials_at_a_time() {
        let gate = Gate::new();
        assert_eq!(gate.at_once(), 1, "nobody knows yet");
        assert!(!gate.up());
        assert_eq!(gate.at_once(), AT_ONCE);
        gate.suspect();
        assert_eq!((gate.at_once(), gate.why_down().is_some()), (1, false));
        assert!(gate.down(&failed()));
        assert!(!gate.down(&failed()), "that is known");
        assert_eq!((gate.at_once(), gate.why_down().is_some()), (1, true));
        assert!(gate.up());
        assert_eq!(gate.at_once(), AT_ONCE);
        let (server, _, error) = gate.picture();
        assert_eq!(server, ServerState::Up);
        assert_eq!(error.unwrap().kind, "timeout");
    }

    #[test]
    fn the_first_second_has_at_most_45_dials_and_each_later_one_at_most_15() {
        for jitter in [1.0, 1.1] {
            let (mut at, mut dials) = (0.0, vec![0.0]);
            for failures in 1..200 {
                at += pause_after(failures).as_secs_f64() * jitter;
                dials.push(at);
            }
            let within = |from: f64| {
                let second = from..from + 1.0;
                dials.iter().filter(|at| second.contains(*at)).count()
            };
            assert!(within(0.0) <= 45);
            for second in [1.0, 2.0, 5.5] {
                assert!(within(second) <= 15);
            }
        }
        assert!((0..1_000).all(|_| jittered(LONGEST_PAUSE) <= LONGEST_PAUSE.mul_f64(1.1)));
    }

    #[test]
    fn a_server_that_begins_to_start_is_dialled_in_short_steps_once() {
        let failed = ConnectError::of_kind;
        let gate = Gate::new();
        let failures = || gate.0.lock().failures;
        for _ in 0..20 {
            gate.down(&failed(ConnectErrorKind::Refused));
        }
        gate.down(&failed(ConnectErrorKind::StartingUp));
        assert_eq!(failures(), 1);
        gate.down(&failed(ConnectErrorKind::StartingUp));
        assert_eq!(failures(), 2, "it is still starting");
        // It crashes while it starts, over and over.
        gate.down(&failed(ConnectErrorKind::Refused));
        gate.down(&failed(ConnectErrorKind::StartingUp));
        assert_eq!(failures(), 4);
    }

    #[test]
    fn the_first_dial_waits_for_nothing() {
        let gate = Gate::new();
        assert_eq!(gate.pause(), Duration::ZERO);
        gate.down(&failed());
        assert!(gate.pause() > Duration::ZERO);
        gate.up();
        assert_eq!(gate.pause(), Duration::ZERO);
    }
}
