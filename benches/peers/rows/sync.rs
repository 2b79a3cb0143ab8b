//! Rows of calls without a future: a permit and its outcome.
//!
//! failsafe, recloser and circuitbreaker-rs take part; the others have no such
//! API. Each of them has one kind of window, which stands in all rows.

use std::{hint::black_box, sync::atomic::AtomicU64};

use criterion::{Bencher, Criterion, measurement::WallTime};
use resilience_benches::ours;
use resilience_peers::{
    floor,
    peers::{circuitbreaker_rs, failsafe, recloser},
    sync::SyncBreaker,
    threads,
};

use super::Row;

/// One thread, an exact window of the last 100 calls, untimed. Beside it an
/// uncontended `fetch_add`.
pub(super) fn closed_count_1t(c: &mut Criterion) {
    let mut row = c.benchmark_group("closed_count_1t");
    let counter = AtomicU64::new(0);
    row.bench_function("floor", |b| b.iter(|| floor::count(black_box(&counter))));
    flows(&mut row, "ours", &ours::count());
    flows(&mut row, "recloser", &recloser::closed());
    flows(&mut row, "failsafe", &failsafe::closed());
    flows(&mut row, "circuitbreaker-rs", &circuitbreaker_rs::closed());
}

/// Two threads on one breaker, wall time of the slower; an exact window of the
/// last 100 calls, untimed. Beside it a contended `fetch_add`.
pub(super) fn closed_count_2t(c: &mut Criterion) {
    let mut row = c.benchmark_group("closed_count_2t");
    let counter = AtomicU64::new(0);
    row.bench_function("floor", |b| {
        on_threads(2, b, || floor::count(black_box(&counter)));
    });
    flows_on(2, &mut row, "ours", &ours::count());
    flows_on(2, &mut row, "recloser", &recloser::closed());
    flows_on(2, &mut row, "failsafe", &failsafe::closed());
    flows_on(
        2,
        &mut row,
        "circuitbreaker-rs",
        &circuitbreaker_rs::closed(),
    );
}

/// One thread, a window of a minute, untimed, default clock. Beside it one read
/// of the coarse clock.
pub(super) fn closed_time_1t(c: &mut Criterion) {
    let mut row = c.benchmark_group("closed_time_1t");
    row.bench_function("floor", |b| b.iter(floor::coarse_clock_ns));
    flows(&mut row, "ours", &ours::time());
    flows(&mut row, "failsafe", &failsafe::closed());
    flows(&mut row, "recloser", &recloser::closed());
    flows(&mut row, "circuitbreaker-rs", &circuitbreaker_rs::closed());
}

/// Two threads on one breaker, wall time of the slower; a window of a minute,
/// untimed, default clock. Beside it one read of the coarse clock in each thread.
///
/// Each member is measured on one thread too (`…_1t`), in the same loop: its
/// scaling is the throughput of two threads over that of one.
pub(super) fn closed_time_2t(c: &mut Criterion) {
    let mut row = c.benchmark_group("closed_time_2t");
    let (ours, failsafe, recloser, circuitbreaker_rs) = (
        ours::time(),
        failsafe::closed(),
        recloser::closed(),
        circuitbreaker_rs::closed(),
    );
    for (threads, suffix) in [(1, "_1t"), (2, "")] {
        let name = |member: &str| format!("{member}{suffix}");
        row.bench_function(name("floor"), |b| {
            on_threads(threads, b, floor::coarse_clock_ns);
        });
        flows_on(threads, &mut row, &name("ours"), &ours);
        flows_on(threads, &mut row, &name("failsafe"), &failsafe);
        flows_on(threads, &mut row, &name("recloser"), &recloser);
        let name = name("circuitbreaker-rs");
        flows_on(threads, &mut row, &name, &circuitbreaker_rs);
    }
}

/// One thread, an exact window of the last 100 calls, slow calls timed. Beside it
/// two reads of the coarse clock, which is the one that times them.
///
/// circuitbreaker-rs is the one peer here that times its calls.
pub(super) fn slow_call_1t(c: &mut Criterion) {
    let mut row = c.benchmark_group("slow_call_1t");
    row.bench_function("floor", |b| {
        b.iter(|| (floor::coarse_clock_ns(), floor::coarse_clock_ns()));
    });
    flows(&mut row, "ours", &ours::slow_call());
    flows(&mut row, "circuitbreaker-rs", &circuitbreaker_rs::closed());
}

/// One thread, a refusal. Beside it one read of the coarse clock.
pub(super) fn open_1t(c: &mut Criterion) {
    let mut row = c.benchmark_group("open_1t");
    row.bench_function("floor", |b| b.iter(floor::coarse_clock_ns));
    refuses(&mut row, "ours", &ours::open());
    refuses(&mut row, "recloser", &recloser::open());
    refuses(&mut row, "failsafe", &failsafe::open());
    refuses(&mut row, "circuitbreaker-rs", &circuitbreaker_rs::open());
}

// Before and after: a breaker that changed its state meanwhile would have been
// measured in another than the row says.

fn flows(row: &mut Row<'_>, name: &str, breaker: &impl SyncBreaker) {
    assert!(breaker.succeed(), "{name} is closed");
    row.bench_function(name, |b| b.iter(|| black_box(breaker).succeed()));
    assert!(breaker.succeed(), "{name} is closed");
}

fn flows_on(threads: usize, row: &mut Row<'_>, name: &str, breaker: &impl SyncBreaker) {
    assert!(breaker.succeed(), "{name} is closed");
    row.bench_function(name, |b| {
        on_threads(threads, b, || black_box(breaker).succeed());
    });
    assert!(breaker.succeed(), "{name} is closed");
}

fn refuses(row: &mut Row<'_>, name: &str, breaker: &impl SyncBreaker) {
    assert!(!breaker.succeed(), "{name} is open");
    row.bench_function(name, |b| b.iter(|| black_box(breaker).succeed()));
    assert!(!breaker.succeed(), "{name} is open");
}

fn on_threads<T>(threads: usize, b: &mut Bencher<'_, WallTime>, call: impl Fn() -> T + Sync) {
    b.iter_custom(|calls| {
        threads::slowest(threads, calls, || {
            || {
                black_box(call());
            }
        })
    });
}
