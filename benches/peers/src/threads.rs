//! Wall time of calls that several threads make at the same time.

use std::{
    hint::spin_loop,
    sync::atomic::{
        AtomicUsize,
        Ordering::{AcqRel, Acquire},
    },
    thread,
    time::{Duration, Instant},
};

/// Wall time of the slowest of so many threads that each make so many calls;
/// the start of the threads is not in it.
///
/// `prepare` runs once in each thread and gives what that thread calls, for
/// instance its own clone of a service.
///
/// # Panics
///
/// If a call panics.
pub fn slowest<P, C>(threads: usize, calls: u64, prepare: P) -> Duration
where
    P: Fn() -> C + Sync,
    C: FnMut(),
{
    let ready = AtomicUsize::new(0);
    let run = || {
        let mut call = prepare();
        // ordering: AcqRel and Acquire, so that what the others prepared happened
        // before the first call of any.
        ready.fetch_add(1, AcqRel);
        // Spins: a thread that slept would come late to a race that is over soon.
        while ready.load(Acquire) < threads {
            spin_loop();
        }
        let begun = Instant::now();
        for _ in 0..calls {
            call();
        }
        begun.elapsed()
    };
    thread::scope(|scope| {
        let others: Vec<_> = (1..threads).map(|_| scope.spawn(run)).collect();
        let own = run();
        others
            .into_iter()
            .map(|other| other.join().expect("no call panics"))
            .fold(own, Duration::max)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use super::*;

    #[test]
    fn each_thread_prepares_once_and_makes_all_the_calls() {
        let (prepared, called) = (AtomicU64::new(0), AtomicU64::new(0));
        let took = slowest(3, 1_000, || {
            prepared.fetch_add(1, Relaxed);
            || {
                called.fetch_add(1, Relaxed);
            }
        });
        assert_eq!((prepared.into_inner(), called.into_inner()), (3, 3_000));
        assert!(took > Duration::ZERO);
    }
}
