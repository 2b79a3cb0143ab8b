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

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// Wall time of the slowest of so many threads that each make so many calls;
/// the start of the threads is not in it. Each thread has a processor of its own,
/// as far as there are enough.
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
    let run = |nth| {
        stay_on_processor(nth);
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
        let running: Vec<_> = (0..threads)
            .map(|nth| scope.spawn(move || run(nth)))
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("no call panics"))
            .fold(Duration::ZERO, Duration::max)
    })
}

/// Keeps this thread on the nth of its processors, if there are so many.
///
/// On a busy machine the scheduler is glad to run two threads in turns on one
/// processor, and then there is no contention to be measured. Where it cannot be
/// had, the numbers are less steady and no less true.
pub fn stay_on_processor(nth: usize) {
    let Ok(allowed) = sched_getaffinity(None) else {
        return;
    };
    let mut processors = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    if let Some(cpu) = processors.nth(nth) {
        let mut own = CpuSet::new();
        own.set(cpu);
        let _ = sched_setaffinity(None, &own);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{
        Mutex,
        atomic::{AtomicU64, Ordering::Relaxed},
    };

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

    #[test]
    fn two_threads_have_two_processors_where_there_are_two() {
        let mine = sched_getaffinity(None).expect("Linux tells a thread its processors");
        let given = Mutex::new(Vec::new());
        slowest(2, 1, || {
            let own = sched_getaffinity(None).expect("Linux tells a thread its processors");
            given.lock().unwrap().push(own);
            || ()
        });
        let given = given.into_inner().unwrap();
        assert_eq!(given.len(), 2);
        assert_eq!(given[0] != given[1], mine.count() > 1);
        let after = sched_getaffinity(None).expect("Linux tells a thread its processors");
        assert_eq!(after, mine, "the caller's own are as before");
    }
}
