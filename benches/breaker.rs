//! What a call through the breaker costs, beside the floor of the machine.
//!
//! Each number is wall time per permit and outcome, thread start excluded.
//! Wall time is noisy: believe ratios of numbers from one run. Slow-call timing
//! is off where the name does not say otherwise; `manual` clocks are not used.

use std::{
    hint::black_box,
    sync::{
        Barrier,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use criterion::{Criterion, criterion_group, criterion_main};
use resilience_core::{
    BreakerConfig, BreakerOptions, CircuitBreaker, CircuitBreakerLayer, Clock, ErrorClass, Window,
};
use tower::{Layer, Service, service_fn};

fn breaker(options: BreakerOptions) -> CircuitBreaker {
    let config = BreakerConfig::try_from(options).expect("valid");
    CircuitBreaker::new("bench", config)
}

fn untimed() -> BreakerOptions {
    BreakerOptions {
        slow_call_duration: None,
        ..BreakerOptions::default()
    }
}

fn time_window() -> BreakerOptions {
    BreakerOptions {
        window: Window::Time(Duration::from_secs(60)),
        ..untimed()
    }
}

fn opened() -> CircuitBreaker {
    let breaker = breaker(untimed());
    while let Ok(permit) = breaker.try_acquire() {
        permit.failure(ErrorClass::TIMEOUT);
    }
    breaker
}

/// Nothing but the instructions that a call cannot do without.
fn floor(c: &mut Criterion) {
    let mut group = c.benchmark_group("floor");
    let counter = AtomicU64::new(0);
    group.bench_function("fetch_add_1t", |b| {
        b.iter(|| black_box(&counter).fetch_add(1, Relaxed))
    });
    let clock = Clock::default();
    group.bench_function("coarse_clock", |b| b.iter(|| black_box(&clock).now_ns()));
    group.bench_function("fetch_add_2t", |b| {
        b.iter_custom(|iterations| {
            two_threads(iterations, || {
                black_box(&counter).fetch_add(1, Relaxed);
            })
        });
    });
    group.finish();
}

/// A permit and its success, on one breaker.
fn closed(c: &mut Criterion) {
    let mut group = c.benchmark_group("closed");
    for (name, options) in [
        ("count", untimed()),
        ("time", time_window()),
        ("slow_call", BreakerOptions::default()),
    ] {
        let breaker = breaker(options);
        let call = || {
            if let Ok(permit) = black_box(&breaker).try_acquire() {
                permit.success();
            }
        };
        group.bench_function(format!("{name}_1t"), |b| b.iter(call));
        group.bench_function(format!("{name}_2t"), |b| {
            b.iter_custom(|iterations| two_threads(iterations, call));
        });
    }
    group.finish();
}

/// A refusal.
fn open(c: &mut Criterion) {
    let breaker = opened();
    c.bench_function("open/1t", |b| {
        b.iter(|| black_box(&breaker).try_acquire().is_err())
    });
}

/// A call of a service that is ready, with and without the layer: the
/// difference is what the layer adds.
fn layer(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    let echo = service_fn(|n: u64| std::future::ready(Ok::<_, std::io::Error>(n)));
    let mut group = c.benchmark_group("tower");
    let mut bare = echo;
    group.bench_function("bare", |b| {
        b.iter(|| runtime.block_on(bare.call(black_box(1))).is_ok());
    });
    for (name, breaker) in [("closed", breaker(untimed())), ("open", opened())] {
        let mut guarded = CircuitBreakerLayer::new(breaker).layer(echo);
        group.bench_function(name, |b| {
            b.iter(|| {
                runtime.block_on(async {
                    std::future::poll_fn(|cx| guarded.poll_ready(cx))
                        .await
                        .is_ok()
                        && guarded.call(black_box(1)).await.is_ok()
                })
            });
        });
    }
    group.finish();
}

/// Wall time of the slower of two threads that each make all the calls.
fn two_threads(iterations: u64, call: impl Fn() + Sync) -> Duration {
    let start = Barrier::new(2);
    let run = || {
        start.wait();
        let begun = Instant::now();
        for _ in 0..iterations {
            call();
        }
        begun.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        run().max(other.join().expect("no call panics"))
    })
}

criterion_group!(benches, floor, closed, open, layer);
criterion_main!(benches);
