//! The row of a pool that is not full, on a real PostgreSQL that is started only if it
//! is asked for. Those of a full one are in `turns/`.
//!
//! The floor is deadpool-postgres, which does the least of all: what ours does more
//! (who holds what, for how long, what must be cleaned, deadlines, counts) is
//! what its difference pays for.

use std::{cell::LazyCell, hint::black_box, time::Instant};

use criterion::Criterion;
use resilience_examples::{PostgresOptions, TemporaryPostgres};
use resilience_peers::pools::{Bb8, Deadpool, Ours, Sqlx, Subject};
use tokio::{
    runtime::{Builder, Runtime},
    task::unconstrained,
};

use super::Row;

/// To get an idle connection and give it back.
pub(super) fn rows(c: &mut Criterion) {
    if let Err(missing) = TemporaryPostgres::available() {
        eprintln!("SKIP: the rows of the pool, pool_checkout_1t ({missing})");
        return;
    }
    let one = one_thread();
    // Lazily, and so below for the pools: criterion's filter is asked only when a
    // member is to be measured.
    let server = LazyCell::new(|| {
        one.block_on(TemporaryPostgres::start(PostgresOptions::default()))
            .expect("a PostgreSQL that is there can be started")
    });
    let url = || server.url();
    checkout_1t(c, &one, &url);
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
        // Out here: the server may have to be started, in a runtime too.
        let url = url();
        runtime.block_on(async {
            let pool = S::build(&url, None);
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

fn one_thread() -> Runtime {
    Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime is to be had")
}
