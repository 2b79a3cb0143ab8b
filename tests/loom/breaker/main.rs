//! Every interleaving of a few threads at one breaker, as far as loom's bound on
//! preemptions reaches.
//!
//! `scripts/loom.sh` builds this with `--cfg loom`, which puts loom's atomics and
//! locks under `resilience_core::sync`. Threads are few and calls fewer: each
//! atomic operation is a place where another thread may go on. What is looked
//! at after the threads have ended costs nothing.
#![cfg(loom)]

mod by_hand;
mod probes;
mod windows;

use std::time::Duration;

use loom::thread;
use resilience_core::{
    BreakerConfig, BreakerOptions, ByHand, CircuitBreaker, Clock, ErrorClass, ManualClock, Permit,
    Window,
    snapshot::{BreakerSnapshot, Cause, OverrideKind, State},
};

const WAIT: Duration = Duration::from_millis(10);
const LEASE: Duration = Duration::from_millis(5);

/// Two failures of two calls open it; one probe decides.
fn options() -> BreakerOptions {
    BreakerOptions {
        window: Window::Calls(2),
        minimum_calls: 2,
        failure_rate_threshold: 100.0,
        slow_call_duration: None,
        wait_in_open: WAIT,
        half_open_permits: 1,
        probe_lease: LEASE,
        ..BreakerOptions::default()
    }
}

fn breaker(options: BreakerOptions) -> (CircuitBreaker, ManualClock) {
    let (clock, hand) = Clock::manual();
    let config = BreakerConfig::try_from(options).unwrap();
    (CircuitBreaker::with_clock("model", config, clock), hand)
}

fn opened() -> (CircuitBreaker, ManualClock) {
    let (breaker, hand) = breaker(options());
    for _ in 0..2 {
        breaker.try_acquire().unwrap().failure(ErrorClass::OTHER);
    }
    (breaker, hand)
}

/// Runs the model with at most `preemptions` of them, and as many threads as it
/// starts.
fn model(preemptions: usize, run: impl Fn() + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    // A snapshot alone reads some hundred cells.
    builder.max_branches = 20_000;
    builder.check(run);
}

/// Does `a` and `b` at once.
fn at_once<A: Send + 'static, B: Send + 'static>(
    a: impl FnOnce() -> A + Send + 'static,
    b: impl FnOnce() -> B + Send + 'static,
) -> (A, B) {
    let other = thread::spawn(b);
    let a = a();
    (a, other.join().unwrap())
}

/// Does all three at once.
fn three_at_once<A: Send + 'static, B: Send + 'static, C: Send + 'static>(
    a: impl FnOnce() -> A + Send + 'static,
    b: impl FnOnce() -> B + Send + 'static,
    c: impl FnOnce() -> C + Send + 'static,
) -> (A, B, C) {
    let third = thread::spawn(c);
    let (a, b) = at_once(a, b);
    (a, b, third.join().unwrap())
}

fn causes(snapshot: &BreakerSnapshot) -> Vec<Cause> {
    let mut causes: Vec<_> = snapshot.events.iter().map(|event| event.cause).collect();
    causes.reverse();
    causes
}

fn fail(permit: Permit) {
    permit.failure(ErrorClass::OTHER);
}
