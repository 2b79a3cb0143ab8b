//! How a subject's use of the heap is measured.

use std::{
    mem,
    sync::{Barrier, OnceLock},
    thread,
};

use resilience_benches::ours;
use resilience_core::{ByHand, CircuitBreaker};

use super::{heap, subject::Subject};

const THREADS: usize = 4;

/// Trips and resets, together 300 transitions: more than the flight recorder keeps.
const TRIPS: usize = 150;

/// Allocations a call of one thread, after a warm-up.
pub(super) fn allocations_per_call(subject: &impl Subject) -> f64 {
    const CALLS: u32 = 10_000;
    subject.call(1_000);
    let before = heap::allocations();
    subject.call(CALLS);
    let allocated = u32::try_from(heap::allocations() - before).expect("a few a call");
    f64::from(allocated) / f64::from(CALLS)
}

/// Bytes of one subject, the handle and what it holds on the heap: after it is made
/// or after all the calls of four threads, whichever is more.
///
/// What the process or a thread has once, whatever the number of breakers, is not
/// in it: another one is made and called before. Some of it comes at the first time
/// that two threads happen to meet, so this is the least of three.
pub(super) fn bytes<S: Subject>(calls_per_thread: u32, make: impl Fn() -> S) -> usize {
    (0..3)
        .map(|_| bytes_once(calls_per_thread, &make))
        .min()
        .expect("three")
}

fn bytes_once<S: Subject>(calls_per_thread: u32, make: impl Fn() -> S) -> usize {
    let first = make();
    let second = OnceLock::<S>::new();
    let (begin, finished, end) = (barrier(), barrier(), barrier());
    let work = || {
        first.call(1_000);
        begin.wait();
        second.wait().call(calls_per_thread);
        finished.wait();
        // Until the count is taken: the end of a thread gives back what it has.
        end.wait();
    };
    let held = thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(work);
        }
        begin.wait();
        let before = heap::bytes();
        let made = make();
        let after_making = heap::bytes();
        let subject = second.get_or_init(|| made);
        finished.wait();
        let after_calls = heap::bytes();
        end.wait();
        assert!(
            subject.flows(),
            "it stays closed, or else it counts no calls"
        );
        size_of::<S>() + after_making.max(after_calls).saturating_sub(before)
    });
    // Not dropped: ours would be used again for the next one, which then would
    // seem to need nothing.
    mem::forget((first, second));
    held
}

/// Bytes that 300 transitions add to a breaker of ours.
pub(super) fn bytes_of_transitions(breaker: CircuitBreaker) -> usize {
    let before = heap::bytes();
    for _ in 0..TRIPS {
        ours::trip(&breaker);
        breaker
            .reset(&ByHand::default())
            .expect("it is neither disabled nor asked for a generation");
    }
    let held = heap::bytes().saturating_sub(before);
    mem::forget(breaker);
    held
}

/// For the threads and the one that counts.
fn barrier() -> Barrier {
    Barrier::new(THREADS + 1)
}
