//! Rows of a fallback, around an HTTP service that answers at once.
//!
//! A call is `poll_ready`, `call`, a poll, and the drop of the answer. Requests are
//! made before and not measured: who calls has one. Their end is taken off the hits:
//! it is what `bare` costs, a service that answers with nothing.

use std::{
    cell::LazyCell,
    hint::black_box,
    sync::Mutex,
    task::{Context, Waker},
    time::{Duration, Instant},
};

use criterion::{Criterion, SamplingMode};
use http::{Method, Request, Response, StatusCode};
use resilience_benches::ours as breakers;
use resilience_core::{
    CircuitBreakerLayer,
    fallback::{
        Fallback, Served, Source,
        store::{RedisRoots, RedisStore, SecondLevel},
    },
};
use resilience_examples::{RedisOptions, TemporaryRedis};
use resilience_peers::{
    caches::{self, Body, Origin, ask, at_once, keeps_for, request},
    threads,
};
use tokio::{
    runtime::{Builder, Runtime},
    task::unconstrained,
};
use tower::{Layer, Service};

use super::Row;

/// Requests that are made ahead: few enough to stay in the cache of a processor.
const AHEAD: u64 = 32;

/// Questions of `fallback_hit_many`, asked in turn: far more than a thread remembers.
const MANY: usize = 1_000;

/// Misses of which the longest is looked for, in `fallback_redis_frozen`.
const MISSES: usize = 100;

/// All rows of the fallback.
pub(super) fn rows(c: &mut Criterion) {
    hit(c, "fallback_hit_1t", 1, 1);
    hit(c, "fallback_hit_2t", 2, 1);
    hit(c, "fallback_hit_many", 1, MANY);
    stale_open(c);
    pass(c, "fallback_pass", &Method::HEAD);
    pass(c, "fallback_pass_post", &Method::POST);
    redis_frozen(c);
}

fn eur() -> Request<Body> {
    asked(0)
}

fn asked(number: usize) -> Request<Body> {
    request(
        Method::GET,
        &format!("/rates/EUR?on=2026-01-31&for={number}"),
    )
}

/// So many questions, in turn.
fn in_turn(questions: usize) -> impl FnMut() -> Request<Body> {
    let mut numbers = (0..questions).cycle();
    move || asked(numbers.next().expect("there is one"))
}

/// A fresh answer of 1 KiB with four headers, the same for all threads; wall time of
/// the slower one.
fn hit(c: &mut Criterion, name: &str, threads: usize, questions: usize) {
    let runtime = current_thread();
    let mut row = c.benchmark_group(name);
    row.bench_function("bare", |b| {
        b.iter_custom(|calls| slowest(threads, calls, questions, || Origin::EMPTY));
    });
    let of = (threads, questions);
    let ours = caches::ours(caches::fallback(), Origin::USUAL);
    hits(&mut row, "ours", of, &runtime, ours);
    let peer = caches::tower_resilience(2 * MANY, Origin::USUAL);
    hits(&mut row, "tower-resilience-cache", of, &runtime, peer);
    let peer = caches::moka(2 * MANY as u64, Origin::USUAL);
    hits(&mut row, "moka", of, &runtime, peer);
}

fn hits<S, B>(
    row: &mut Row<'_>,
    name: &str,
    (threads, questions): (usize, usize),
    runtime: &Runtime,
    mut service: S,
) where
    S: Service<Request<Body>, Response = Response<B>> + Clone + Send,
{
    for number in 0..questions {
        let answer = runtime.block_on(ask(&mut service, asked(number)));
        answer.expect(name);
    }
    let mut context = Context::from_waker(Waker::noop());
    let hit = at_once(&mut service, eur(), &mut context).expect("it is there");
    assert_eq!(hit.headers()["content-type"], "application/json", "{name}");
    let service = Mutex::new(service);
    let own = || service.lock().expect("nobody panics").clone();
    row.bench_function(name, |b| {
        b.iter_custom(|calls| slowest(threads, calls, questions, own));
    });
}

/// Of so many threads that each make so many calls with a clone of their own.
fn slowest<S: Service<Request<Body>>>(
    threads: usize,
    calls: u64,
    questions: usize,
    own: impl Fn() -> S + Sync,
) -> Duration {
    let slowest = Mutex::new(Duration::ZERO);
    threads::slowest(threads, 1, || {
        let mut service = own();
        let slowest = &slowest;
        move || {
            let took = called(&mut service, calls, in_turn(questions));
            let mut slowest = slowest.lock().expect("nobody panics");
            *slowest = took.max(*slowest);
        }
    });
    slowest.into_inner().expect("nobody panics")
}

/// The time that so many calls take which need no runtime.
fn called<S: Service<Request<Body>>>(
    service: &mut S,
    calls: u64,
    mut make: impl FnMut() -> Request<Body>,
) -> Duration {
    let mut context = Context::from_waker(Waker::noop());
    let mut took = Duration::ZERO;
    let mut ahead = Vec::new();
    let mut left = calls;
    while left > 0 {
        let now = left.min(AHEAD);
        ahead.extend((0..now).map(|_| make()));
        let begun = Instant::now();
        for request in ahead.drain(..) {
            black_box(at_once(service, black_box(request), &mut context));
        }
        took += begun.elapsed();
        left -= now;
    }
    took
}

/// The circuit is open, and the last good answer is given. No peer does that.
///
/// In a runtime of one thread, for the call is made in it.
fn stale_open(c: &mut Criterion) {
    let runtime = current_thread();
    let mut row = c.benchmark_group("fallback_stale_open");
    let service = LazyCell::new(|| {
        let breaker = breakers::count();
        let guarded = CircuitBreakerLayer::http(breaker.clone()).layer(Origin::USUAL);
        let fallback = Fallback::new("rates", &keeps_for("1ms"));
        let mut service = caches::ours(fallback, guarded);
        runtime
            .block_on(ask(&mut service, eur()))
            .expect("it answers");
        breakers::trip(&breaker);
        // Until it is older than its millisecond, on the coarse clock too.
        std::thread::sleep(Duration::from_millis(20));
        service
    });
    let one = || runtime.block_on(ask(&mut service.clone(), eur()));
    row.bench_function("ours", |b| {
        assert_eq!(source(&one().expect("it answers")), Some(Source::Stale));
        b.iter_custom(|calls| {
            let mut service = service.clone();
            // Not sent through the scheduler now and then, as tokio's budget would
            // have it after so many waits.
            runtime.block_on(unconstrained(async {
                let mut took = Duration::ZERO;
                let mut ahead = Vec::new();
                let mut left = calls;
                while left > 0 {
                    let now = left.min(AHEAD);
                    ahead.extend((0..now).map(|_| eur()));
                    let begun = Instant::now();
                    for request in ahead.drain(..) {
                        black_box(ask(&mut service, black_box(request)).await);
                    }
                    took += begun.elapsed();
                    left -= now;
                }
                took
            }))
        });
        assert_eq!(source(&one().expect("it answers")), Some(Source::Stale));
    });
}

fn source<B>(response: &Response<B>) -> Option<Source> {
    let served = response.extensions().get::<Served>()?;
    Some(served.source())
}

/// What the layer adds to a call that is none of its business, or that only makes it
/// forget something. Its answers are empty, so that the bare service costs little.
fn pass(c: &mut Criterion, name: &str, method: &Method) {
    let make = || request(method.clone(), "/rates/EUR");
    let mut row = c.benchmark_group(name);
    let mut bare = Origin::EMPTY;
    row.bench_function("bare", |b| {
        b.iter_custom(|calls| called(&mut bare, calls, make));
    });
    let fallback = caches::fallback();
    let mut ours = caches::ours(fallback.clone(), Origin::EMPTY);
    row.bench_function("ours", |b| {
        b.iter_custom(|calls| called(&mut ours, calls, make));
    });
    let mut context = Context::from_waker(Waker::noop());
    let passed = at_once(&mut ours, make(), &mut context).expect("it answers");
    assert_eq!(passed.status(), StatusCode::OK);
    assert_eq!(fallback.snapshot().cache.entries, 0);
}

/// The longest of a hundred calls, each for what is not stored, from the moment that
/// Redis is frozen: what one of them waits for it before the upstream is asked.
///
/// Its floor is the same without Redis.
fn redis_frozen(c: &mut Criterion) {
    if let Err(missing) = TemporaryRedis::available() {
        eprintln!("SKIP: fallback_redis_frozen ({missing})");
        return;
    }
    let runtime = Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("two threads are to be had");
    let mut row = c.benchmark_group("fallback_redis_frozen");
    row.sampling_mode(SamplingMode::Flat).sample_size(10);
    row.bench_function("floor", |b| {
        b.iter_custom(|times| {
            (0..times)
                .map(|_| runtime.block_on(longest_miss(&caches::fallback(), || ())))
                .sum()
        });
    });
    let redis = LazyCell::new(|| {
        runtime
            .block_on(TemporaryRedis::start(RedisOptions::default()))
            .expect("a Redis that is there can be started")
    });
    row.bench_function("ours", |b| {
        b.iter_custom(|times| {
            let redis = &*redis;
            let once = |_| {
                let longest = runtime.block_on(async {
                    let store = RedisStore::new(&redis.url(), &RedisRoots::System);
                    let second = SecondLevel::new(store.expect("it is a URL"));
                    let fallback = Fallback::builder("rates", &keeps_for("1h"));
                    let fallback = fallback.second_level(second).build();
                    longest_miss(&fallback, || redis.freeze()).await
                });
                redis.thaw();
                longest
            };
            (0..times).map(once).sum()
        });
    });
}

async fn longest_miss(fallback: &Fallback, freeze: impl FnOnce()) -> Duration {
    let mut service = caches::ours(fallback.clone(), Origin::USUAL);
    // It is connected then.
    for warm in 0..10 {
        let path = format!("/rates/EUR?on=2025-01-{warm:02}");
        let answer = ask(&mut service, request(Method::GET, &path)).await;
        answer.expect("it answers");
    }
    freeze();
    let mut longest = Duration::ZERO;
    for number in 0..MISSES {
        let request = request(Method::GET, &format!("/rates/EUR?number={number}"));
        let asked = Instant::now();
        let answer = ask(&mut service, request).await.expect("it answers");
        longest = longest.max(asked.elapsed());
        assert_eq!(source(&answer), Some(Source::Live));
    }
    longest
}

fn current_thread() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime is to be had")
}
