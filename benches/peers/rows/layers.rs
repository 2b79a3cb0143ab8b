//! Rows of calls through a tower layer, around a service that is always ready.
//!
//! A call is `poll_ready`, `call` and a poll of the future: by hand on one thread, by
//! a runtime where there are two. Measured is the guarded service, and the bare one
//! beside it (`bare`): the summary takes it off, so that its numbers are what the
//! layer adds. A future that is boxed is the layer's own cost.
//!
//! circuitbreaker-rs has no future to poll here. tower's own `Timeout` and
//! `ConcurrencyLimit` stand beside them for scale. The floors are those of the
//! same rows without a future.

use std::{
    hint::{black_box, spin_loop},
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed},
    },
    task::{Context, Waker},
    time::{Duration, Instant},
};

use criterion::Criterion;
use resilience_benches::{
    drive::{self, Request, Upstream},
    ours,
};
use resilience_core::CircuitBreaker;
use resilience_peers::{
    floor,
    peers::{failsafe, recloser, seatbelt, tower_resilience},
    threads,
};
use tick::Clock;
use tokio::{
    runtime::{Builder, Runtime},
    task::yield_now,
};
use tower::{Service, limit::ConcurrencyLimit, timeout::Timeout};

use super::Row;

/// One thread; an exact window of the last 100 calls, untimed. Beside it an
/// uncontended `fetch_add`.
pub(super) fn tower_closed_1t(c: &mut Criterion) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut row = c.benchmark_group("tower_closed_1t");
    let counter = AtomicU64::new(0);
    row.bench_function("floor", |b| b.iter(|| floor::count(black_box(&counter))));
    one_thread(&mut row, "bare", Upstream, true);
    one_thread(&mut row, "ours", ours::layered(ours::count()), true);
    let clock = Clock::new_tokio();
    one_thread(&mut row, "seatbelt", seatbelt::closed(&clock), true);
    let peer = tower_resilience::closed();
    one_thread(&mut row, "tower-resilience-circuitbreaker", peer, true);
    let peer = failsafe::Guarded::new(failsafe::closed());
    one_thread(&mut row, "failsafe", peer, true);
    let peer = recloser::Guarded::new(recloser::closed());
    one_thread(&mut row, "recloser", peer, true);
    one_thread(&mut row, "timeout", timeout(), true);
    one_thread(&mut row, "concurrency_limit", concurrency_limit(), true);
}

/// Two workers of a runtime, each with a task and its clone of the service, wall time
/// of the slower; an exact window of the last 100 calls, untimed. Beside it a
/// contended `fetch_add`.
///
/// In a real runtime, for what waiting for a contended lock costs there.
pub(super) fn tower_closed_mt(c: &mut Criterion) {
    closed_mt(c, "tower_closed_mt", ours::count());
}

/// The same with a time window, whose threads share nothing that they write.
pub(super) fn tower_closed_mt_time(c: &mut Criterion) {
    closed_mt(c, "tower_closed_mt_time", ours::time());
}

fn closed_mt(c: &mut Criterion, name: &str, ours: CircuitBreaker) {
    let workers = two_workers_runtime();
    let _entered = workers.enter();
    let mut row = c.benchmark_group(name);
    let counter = AtomicU64::new(0);
    row.bench_function("floor", |b| {
        b.iter_custom(|calls| {
            threads::slowest(2, calls, || {
                || {
                    black_box(floor::count(black_box(&counter)));
                }
            })
        });
    });
    two_workers(&workers, &mut row, "bare", &Upstream);
    two_workers(&workers, &mut row, "ours", &ours::layered(ours));
    let peer = seatbelt::closed(&Clock::new_tokio());
    two_workers(&workers, &mut row, "seatbelt", &peer);
    let peer = tower_resilience::closed();
    two_workers(&workers, &mut row, "tower-resilience-circuitbreaker", &peer);
    let peer = failsafe::Guarded::new(failsafe::closed());
    two_workers(&workers, &mut row, "failsafe", &peer);
    let peer = recloser::Guarded::new(recloser::closed());
    two_workers(&workers, &mut row, "recloser", &peer);
    two_workers(&workers, &mut row, "timeout", &timeout());
    let scale = concurrency_limit();
    two_workers(&workers, &mut row, "concurrency_limit", &scale);
}

/// One thread; a refusal. Beside it one read of the coarse clock.
///
/// Nothing is taken off here: a layer that refuses does not call the service.
pub(super) fn tower_open_1t(c: &mut Criterion) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut row = c.benchmark_group("tower_open_1t");
    let mut context = Context::from_waker(Waker::noop());
    row.bench_function("floor", |b| b.iter(floor::coarse_clock_ns));
    one_thread(&mut row, "ours", ours::layered(ours::open()), false);
    let peer = seatbelt::open(&Clock::new_tokio(), &mut context);
    one_thread(&mut row, "seatbelt", peer, false);
    let peer = tower_resilience::open(&mut context);
    one_thread(&mut row, "tower-resilience-circuitbreaker", peer, false);
    let peer = failsafe::Guarded::new(failsafe::open());
    one_thread(&mut row, "failsafe", peer, false);
    let peer = recloser::Guarded::new(recloser::open());
    one_thread(&mut row, "recloser", peer, false);
}

/// `succeeds` before and after: a breaker that changed its state meanwhile would
/// have been measured in another than the row says.
fn one_thread<S: Service<Request>>(row: &mut Row<'_>, name: &str, mut service: S, succeeds: bool) {
    let mut context = Context::from_waker(Waker::noop());
    let mut call = || drive::call(&mut service, black_box(Request::Succeed), &mut context);
    assert_eq!(call(), succeeds, "{name}");
    row.bench_function(name, |b| b.iter(&mut call));
    assert_eq!(call(), succeeds, "{name}");
}

fn two_workers<S>(workers: &Runtime, row: &mut Row<'_>, name: &str, service: &S)
where
    S: Service<Request, Future: Send> + Clone + Send + 'static,
{
    let succeeds = || workers.block_on(drive::answer(&mut service.clone(), Request::Succeed));
    assert!(succeeds(), "{name}");
    row.bench_function(name, |b| {
        b.iter_custom(|calls| {
            let here = Arc::new(AtomicUsize::new(0));
            let tasks = [(); 2].map(|()| {
                let task = calls_of_a_worker(service.clone(), calls, Arc::clone(&here));
                workers.spawn(task)
            });
            workers.block_on(async {
                let mut slowest = Duration::ZERO;
                for task in tasks {
                    slowest = slowest.max(task.await.expect("no call panics"));
                }
                slowest
            })
        });
    });
    assert!(succeeds(), "{name}");
}

async fn calls_of_a_worker<S>(mut service: S, calls: u64, here: Arc<AtomicUsize>) -> Duration
where
    S: Service<Request>,
{
    meet(&here).await;
    let begun = Instant::now();
    for _ in 0..calls {
        black_box(drive::answer(&mut service, black_box(Request::Succeed)).await);
    }
    begun.elapsed()
}

/// Returns when both tasks run at the same time. A runtime is free to run them in
/// turns on one worker, so each waits for the other without giving its worker away,
/// and gives it away now and then, for the other may be queued behind it.
async fn meet(here: &AtomicUsize) {
    // ordering: Relaxed. The tasks share nothing that this count would publish.
    loop {
        if here.fetch_add(1, Relaxed) == 1 {
            return;
        }
        for _ in 0..10_000 {
            if here.load(Relaxed) == 2 {
                return;
            }
            spin_loop();
        }
        if here.compare_exchange(1, 0, Relaxed, Relaxed).is_err() {
            return;
        }
        yield_now().await;
    }
}

fn timeout() -> Timeout<Upstream> {
    Timeout::new(Upstream, Duration::from_secs(3600))
}

fn concurrency_limit() -> ConcurrencyLimit<Upstream> {
    ConcurrencyLimit::new(Upstream, 1_000)
}

/// Entered and never run: `Timeout` and seatbelt's clock ask for one that is there.
fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing that could be missing")
}

/// Each worker with a processor of its own.
fn two_workers_runtime() -> Runtime {
    let started = AtomicUsize::new(0);
    Builder::new_multi_thread()
        .worker_threads(2)
        .on_thread_start(move || {
            threads::stay_on_processor(started.fetch_add(1, Relaxed));
        })
        .enable_time()
        .build()
        .expect("two threads are to be had")
}
