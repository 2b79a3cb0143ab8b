//! Instructions of 1,000 calls, counted by valgrind's callgrind: the same on a busy
//! machine as on an idle one, which makes them a test where wall time is none.
//!
//! Each is counted after a warm-up, with its loop. A count above its ceiling
//! fails: see [`ceilings`]. What it leaves out: the cost of a cache miss, of
//! contention, and of the kernel (under valgrind each read of the clock is a system
//! call, of which only the way there is counted).
#![allow(missing_docs)] // what gungraun's macros make has none

use std::{
    hint::black_box,
    task::{Context, Waker},
};

use gungraun::{Callgrind, EventKind, LibraryBenchmarkConfig, prelude::*};
use resilience_benches::{
    ceilings,
    drive::{self, Request, Upstream},
    ours,
};
use resilience_core::{CircuitBreaker, CircuitBreakerService, ErrorsFail};

type Layered = CircuitBreakerService<Upstream, ErrorsFail>;

/// So many, so that an instruction more a call is a thousand more in the count.
const CALLS: u32 = 1_000;

fn calls(breaker: &CircuitBreaker) {
    for _ in 0..CALLS {
        if let Ok(permit) = black_box(breaker).try_acquire() {
            permit.success();
        }
    }
}

fn layered_calls(service: &mut Layered) {
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..CALLS {
        black_box(drive::call(
            service,
            black_box(Request::Succeed),
            &mut context,
        ));
    }
}

// What a thread or a breaker does once is not what a call costs.
fn warm(breaker: CircuitBreaker) -> CircuitBreaker {
    calls(&breaker);
    breaker
}

fn warm_layered(breaker: CircuitBreaker) -> Layered {
    let mut service = ours::layered(breaker);
    layered_calls(&mut service);
    service
}

fn at_most(name: &str) -> LibraryBenchmarkConfig {
    let mut callgrind = Callgrind::with_args(["--cache-sim=no"]);
    if let Some(ceiling) = ceilings::ceiling(name) {
        callgrind.hard_limits([(EventKind::Ir, ceiling)]);
    }
    let mut config = LibraryBenchmarkConfig::default();
    config.tool(callgrind);
    config
}

// The breaker is given back, so that its end is not counted.

#[library_benchmark]
#[bench::closed_count(args = (warm(ours::count())), config = at_most("closed_count"))]
#[bench::closed_time(args = (warm(ours::time())), config = at_most("closed_time"))]
#[bench::slow_call(args = (warm(ours::slow_call())), config = at_most("slow_call"))]
#[bench::open(args = (warm(ours::open())), config = at_most("open"))]
fn sync(breaker: CircuitBreaker) -> CircuitBreaker {
    calls(&breaker);
    breaker
}

#[library_benchmark]
#[bench::tower_closed(args = (warm_layered(ours::count())), config = at_most("tower_closed"))]
#[bench::tower_open(args = (warm_layered(ours::open())), config = at_most("tower_open"))]
fn layer(mut service: Layered) -> Layered {
    layered_calls(&mut service);
    service
}

library_benchmark_group!(name = instructions, benchmarks = [sync, layer]);
main!(library_benchmark_groups = instructions);
