//! The memory that breakers and fallbacks use: `allocs_closed`, `allocs_open` and `bytes` of the
//! summary, as JSON on the standard output.
//!
//! Beside `bytes`, which is of the default sizes, stand what the largest window
//! needs (`bytes_largest_window`, the last 10,000 calls) and what a full flight
//! recorder adds (`bytes_flight_recorder`): those depend on the settings and on the
//! transitions, not on the traffic.
//!
//! `fallback_bytes` and `fallback_coalesce` are in there too, counts both.
//!
//! Each member's number is the largest of its ways to be used: without a future
//! and through a layer, each of our windows, slow calls timed and not. Counts and
//! bytes are the same on a busy machine as on an idle one, but for what several
//! threads do at the same time.
//!
//! With `--test`, few calls: whether it runs.
#![forbid(unsafe_code)]

mod fallback;
mod heap;
mod measure;
mod subject;

use std::{
    collections::BTreeMap,
    io::{self, Write},
    task::{Context, Waker},
};

use resilience_benches::ours;
use resilience_core::CircuitBreaker;
use resilience_peers::peers::{circuitbreaker_rs, failsafe, recloser, seatbelt, tower_resilience};
use serde_json::{Value, json};
use tick::Clock;

use measure::{allocations_per_call, bytes, bytes_of_transitions};
use subject::{Layered, Plain};

const OUR_CLOSED: [fn() -> CircuitBreaker; 4] = [
    ours::count,
    ours::time,
    ours::slow_call,
    ours::time_slow_call,
];

fn main() -> io::Result<()> {
    heap::check_that_it_counts();
    let only_whether = std::env::args().any(|flag| flag == "--test");
    let (calls_per_thread, answers) = match only_whether {
        true => (1_000, 1_000),
        false => (250_000, 100_000),
    };
    // In runtimes of their own, so before one is entered.
    let fallback_bytes = fallback::bytes_held(answers);
    let fallback_coalesce = fallback::calls_for_a_thousand();
    // Entered for seatbelt's clock, and never run.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let _entered = runtime.enter();
    let clock = Clock::new_tokio();

    let report = json!({
        "allocs_closed": allocs_closed(&clock),
        "allocs_open": allocs_open(&clock),
        "bytes": bytes_closed(&clock, calls_per_thread),
        "bytes_largest_window": bytes_largest_window(calls_per_thread),
        "bytes_flight_recorder": bytes_flight_recorder(),
        "fallback_coalesce": fallback_coalesce,
        "fallback_bytes": fallback_bytes,
    });
    writeln!(io::stdout(), "{report:#}")
}

fn allocs_closed(clock: &Clock) -> Value {
    let mut row = Row::default();
    for make in OUR_CLOSED {
        row.add("ours", allocations_per_call(&Plain(make())));
        row.add(
            "ours",
            allocations_per_call(&Layered(ours::layered(make()))),
        );
    }
    row.add("failsafe", allocations_per_call(&Plain(failsafe::closed())));
    let layered = Layered(failsafe::Guarded::new(failsafe::closed()));
    row.add("failsafe", allocations_per_call(&layered));
    row.add("recloser", allocations_per_call(&Plain(recloser::closed())));
    let layered = Layered(recloser::Guarded::new(recloser::closed()));
    row.add("recloser", allocations_per_call(&layered));
    let plain = Plain(circuitbreaker_rs::closed());
    row.add("circuitbreaker-rs", allocations_per_call(&plain));
    let layered = Layered(seatbelt::closed(clock));
    row.add("seatbelt", allocations_per_call(&layered));
    let layered = Layered(tower_resilience::closed());
    row.add(TOWER_RESILIENCE, allocations_per_call(&layered));
    row.into_json()
}

fn allocs_open(clock: &Clock) -> Value {
    let mut context = Context::from_waker(Waker::noop());
    let mut row = Row::default();
    row.add("ours", allocations_per_call(&Plain(ours::open())));
    let layered = Layered(ours::layered(ours::open()));
    row.add("ours", allocations_per_call(&layered));
    row.add("failsafe", allocations_per_call(&Plain(failsafe::open())));
    let layered = Layered(failsafe::Guarded::new(failsafe::open()));
    row.add("failsafe", allocations_per_call(&layered));
    row.add("recloser", allocations_per_call(&Plain(recloser::open())));
    let layered = Layered(recloser::Guarded::new(recloser::open()));
    row.add("recloser", allocations_per_call(&layered));
    let plain = Plain(circuitbreaker_rs::open());
    row.add("circuitbreaker-rs", allocations_per_call(&plain));
    let layered = Layered(seatbelt::open(clock, &mut context));
    row.add("seatbelt", allocations_per_call(&layered));
    let layered = Layered(tower_resilience::open(&mut context));
    row.add(TOWER_RESILIENCE, allocations_per_call(&layered));
    row.into_json()
}

fn bytes_closed(clock: &Clock, calls: u32) -> Value {
    let mut row = Row::default();
    for make in OUR_CLOSED {
        row.add("ours", bytes(calls, || Plain(make())));
    }
    row.add("failsafe", bytes(calls, || Plain(failsafe::closed())));
    row.add("recloser", bytes(calls, || Plain(recloser::closed())));
    let make = || Plain(circuitbreaker_rs::closed());
    row.add("circuitbreaker-rs", bytes(calls, make));
    row.add(
        "seatbelt",
        bytes(calls, || Layered(seatbelt::closed(clock))),
    );
    let make = || Layered(tower_resilience::closed());
    row.add(TOWER_RESILIENCE, bytes(calls, make));
    row.into_json()
}

fn bytes_largest_window(calls: u32) -> Value {
    let mut row = Row::default();
    row.add("ours", bytes(calls, || Plain(ours::largest_count())));
    row.into_json()
}

/// What the last 256 transitions take; no peer keeps them.
fn bytes_flight_recorder() -> Value {
    let mut row = Row::default();
    for make in OUR_CLOSED {
        row.add("ours", bytes_of_transitions(make()));
    }
    row.into_json()
}

const TOWER_RESILIENCE: &str = "tower-resilience-circuitbreaker";

/// The largest number of each member.
#[derive(Default)]
struct Row(BTreeMap<&'static str, Value>);

impl Row {
    fn add(&mut self, member: &'static str, number: impl Into<Value>) {
        let number = number.into();
        let largest = self.0.entry(member).or_insert_with(|| number.clone());
        if number.as_f64() > largest.as_f64() {
            *largest = number;
        }
    }

    fn into_json(mut self) -> Value {
        json!({"ours": self.0.remove("ours"), "peers": self.0})
    }
}
