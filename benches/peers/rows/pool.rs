//! Rows of a pool on a real PostgreSQL, started once for all of them, and only if
//! one of them is asked for.
//!
//! The floor is deadpool-postgres, which does the least of all: what ours does more
//! (who holds what, for how long, what must be cleaned, deadlines, counts) is
//! what its difference pays for.

use std::{
    cell::LazyCell,
    hint::black_box,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use criterion::{Criterion, SamplingMode};
use resilience_examples::{PostgresOptions, TemporaryPostgres};
use resilience_peers::pools::{Bb8, Deadpool, Ours, Session, Sqlx, Subject};
use tokio::{
    runtime::{Builder, Runtime},
    task::{JoinSet, unconstrained},
};

use super::Row;

/// So many tasks share [`CONNECTIONS`].
const TASKS: usize = 64;
const CONNECTIONS: u32 = 8;
/// The longest wait is one of so many: a hundred a task. More waits have a longer
/// longest one, so the number is part of what is measured.
const WAITS: u64 = 6_400;

/// All rows of the pool.
pub(super) fn rows(c: &mut Criterion) {
    if let Err(missing) = TemporaryPostgres::available() {
        eprintln!("SKIP: the rows of the pool, pool_* ({missing})");
        return;
    }
    let [one, two] = [one_thread(), two_workers()];
    // Lazily, and so below for the pools: criterion's filter is asked only when a
    // member is to be measured.
    let server = LazyCell::new(|| {
        one.block_on(TemporaryPostgres::start(PostgresOptions::default()))
            .expect("a PostgreSQL that is there can be started")
    });
    let url = || server.url();
    checkout_1t(c, &one, &url);
    checkout_64_on_8(c, &two, &url);
    longest_wait_64_on_8(c, &two, &url);
}

/// To get an idle connection and give it back, on one thread.
fn checkout_1t(c: &mut Criterion, runtime: &Runtime, url: &dyn Fn() -> String) {
    let mut row = c.benchmark_group("pool_checkout_1t");
    checkouts::<Deadpool>(&mut row, "floor", runtime, url);
    checkouts::<Ours>(&mut row, "ours", runtime, url);
    checkouts::<Bb8>(&mut row, "bb8", runtime, url);
    checkouts::<Sqlx>(&mut row, "sqlx", runtime, url);
}

fn checkouts<S: Subject>(
    row: &mut Row<'_>,
    name: &str,
    runtime: &Runtime,
    url: &dyn Fn() -> String,
) {
    let pool = LazyCell::new(|| {
        runtime.block_on(async {
            let pool = S::build(&url(), None);
            drop(pool.get().await);
            pool
        })
    });
    row.bench_function(name, |b| {
        b.iter_custom(|calls| {
            let pool = &*pool;
            // Entered once around all of them, and not sent through the scheduler
            // now and then, as tokio's budget would have it after so many locks:
            // neither is the pool's.
            runtime.block_on(unconstrained(async {
                let begun = Instant::now();
                for _ in 0..calls {
                    drop(black_box(pool.get().await));
                }
                begun.elapsed()
            }))
        });
    });
}

/// Wall time of one operation of 64 tasks on 8 connections: get, a prepared
/// `SELECT 1`, give back. Its inverse is the throughput.
fn checkout_64_on_8(c: &mut Criterion, workers: &Runtime, url: &dyn Fn() -> String) {
    let mut row = c.benchmark_group("pool_checkout_64_on_8");
    row.sampling_mode(SamplingMode::Flat);
    throughput::<Deadpool>(&mut row, "floor", workers, url);
    throughput::<Ours>(&mut row, "ours", workers, url);
    throughput::<Bb8>(&mut row, "bb8", workers, url);
    throughput::<Sqlx>(&mut row, "sqlx", workers, url);
}

fn throughput<S: Subject>(
    row: &mut Row<'_>,
    name: &str,
    workers: &Runtime,
    url: &dyn Fn() -> String,
) {
    let pool = LazyCell::new(|| full::<S>(workers, url));
    row.bench_function(name, |b| {
        b.iter_custom(|operations| {
            let pool = &*pool;
            let begun = Instant::now();
            black_box(workers.block_on(crowd(pool, operations)));
            begun.elapsed()
        });
    });
}

/// The longest of 6,400 waits for a connection in the same crowd; beside it, as the
/// floor, the wait that one in a hundred of deadpool's exceeds.
fn longest_wait_64_on_8(c: &mut Criterion, workers: &Runtime, url: &dyn Fn() -> String) {
    let mut row = c.benchmark_group("pool_longest_wait_64_on_8");
    row.sampling_mode(SamplingMode::Flat).sample_size(10);
    waits::<Deadpool>(&mut row, "floor", workers, url, 99);
    waits::<Ours>(&mut row, "ours", workers, url, 100);
    waits::<Deadpool>(&mut row, "deadpool-postgres", workers, url, 100);
    waits::<Bb8>(&mut row, "bb8", workers, url, 100);
    waits::<Sqlx>(&mut row, "sqlx", workers, url, 100);
}

fn waits<S: Subject>(
    row: &mut Row<'_>,
    name: &str,
    workers: &Runtime,
    url: &dyn Fn() -> String,
    percent: usize,
) {
    let pool = LazyCell::new(|| full::<S>(workers, url));
    row.bench_function(name, |b| {
        // criterion divides by the number of crowds: a sample is their mean.
        b.iter_custom(|crowds| {
            let crowd = |_| at(percent, workers.block_on(crowd(&*pool, WAITS)));
            (0..crowds).map(crowd).sum()
        });
    });
}

/// A pool that has all its connections, each with the statement prepared.
fn full<S: Subject>(workers: &Runtime, url: &dyn Fn() -> String) -> S {
    workers.block_on(async {
        let pool = S::build(&url(), Some(CONNECTIONS));
        let mut all = Vec::new();
        for _ in 0..CONNECTIONS {
            let mut session = pool.get().await;
            session.select_one().await;
            all.push(session);
        }
        pool
    })
}

/// All tasks together make so many operations: the waits for a connection, those
/// of one task after those of another.
async fn crowd<S: Subject>(pool: &S, operations: u64) -> Vec<Duration> {
    let begun = Arc::new(AtomicU64::new(0));
    let mut tasks = JoinSet::new();
    for _ in 0..TASKS {
        let (pool, begun) = (pool.clone(), Arc::clone(&begun));
        tasks.spawn(async move {
            let mut waits = Vec::new();
            // ordering: Relaxed. A count and nothing else.
            // Shared, so that no task is done while others have much to do: the
            // crowd is whole until the end, and who is starved waits that long.
            while begun.fetch_add(1, Relaxed) < operations {
                let asked = Instant::now();
                let mut session = pool.get().await;
                waits.push(asked.elapsed());
                session.select_one().await;
            }
            waits
        });
    }
    tasks.join_all().await.concat()
}

/// The wait that so many in a hundred do not exceed; zero of none.
fn at(percent: usize, mut waits: Vec<Duration>) -> Duration {
    waits.sort_unstable();
    let place = (waits.len() * percent).div_ceil(100);
    waits
        .get(place.saturating_sub(1))
        .copied()
        .unwrap_or_default()
}

fn one_thread() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime is to be had")
}

/// Not kept on their processors, as in the rows of layers: the server's processes
/// need those as well.
fn two_workers() -> Runtime {
    Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("two threads are to be had")
}
