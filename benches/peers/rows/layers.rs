//! Rows of calls through a tower layer, around a service that is always ready.
//!
//! A call is `poll_ready`, `call` and a poll of the future, by hand; only a future
//! that waits for a lock is polled again. Measured is the guarded service, and the
//! bare one beside it (`bare`): the summary takes it off, so that its numbers are
//! what the layer adds. A future that is boxed is the layer's own cost.
//!
//! circuitbreaker-rs has no future to poll here. tower's own `Timeout` and
//! `ConcurrencyLimit` stand beside them for scale. The floors are those of the
//! same rows without a future.

use std::{
    hint::black_box,
    sync::atomic::AtomicU64,
    task::{Context, Waker},
    time::Duration,
};

use criterion::Criterion;
use resilience_benches::{
    drive::{self, Request, Upstream},
    ours,
};
use resilience_peers::{
    floor,
    peers::{failsafe, recloser, seatbelt, tower_resilience},
    threads,
};
use tick::Clock;
use tokio::runtime::{Builder, Runtime};
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

/// Two threads, each with its clone of the service, wall time of the slower; an
/// exact window of the last 100 calls, untimed. Beside it a contended `fetch_add`.
pub(super) fn tower_closed_mt(c: &mut Criterion) {
    let runtime = runtime();
    let _entered = runtime.enter();
    let mut row = c.benchmark_group("tower_closed_mt");
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
    two_threads(&runtime, &mut row, "bare", &Upstream);
    two_threads(&runtime, &mut row, "ours", &ours::layered(ours::count()));
    let peer = seatbelt::closed(&Clock::new_tokio());
    two_threads(&runtime, &mut row, "seatbelt", &peer);
    let peer = tower_resilience::closed();
    two_threads(&runtime, &mut row, "tower-resilience-circuitbreaker", &peer);
    let peer = failsafe::Guarded::new(failsafe::closed());
    two_threads(&runtime, &mut row, "failsafe", &peer);
    let peer = recloser::Guarded::new(recloser::closed());
    two_threads(&runtime, &mut row, "recloser", &peer);
    two_threads(&runtime, &mut row, "timeout", &timeout());
    let scale = concurrency_limit();
    two_threads(&runtime, &mut row, "concurrency_limit", &scale);
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

fn two_threads<S>(runtime: &Runtime, row: &mut Row<'_>, name: &str, service: &S)
where
    S: Service<Request> + Clone + Sync,
{
    let call = |service: &mut S, context: &mut Context<'_>| {
        drive::call(service, black_box(Request::Succeed), context)
    };
    let succeeds = || {
        call(
            &mut service.clone(),
            &mut Context::from_waker(Waker::noop()),
        )
    };
    assert!(succeeds(), "{name}");
    row.bench_function(name, |b| {
        b.iter_custom(|calls| {
            threads::slowest(2, calls, || {
                let entered = runtime.enter();
                let mut service = service.clone();
                let mut context = Context::from_waker(Waker::noop());
                move || {
                    let _stays = &entered;
                    black_box(call(&mut service, &mut context));
                }
            })
        });
    });
    assert!(succeeds(), "{name}");
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
