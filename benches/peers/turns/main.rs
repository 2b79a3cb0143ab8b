//! The rows of a full pool, `pool_checkout_64_on_8` and `pool_longest_wait_64_on_8` of
//! the summary, as JSON on the standard output: the members take turns.
//!
//! criterion measures one member for a second, then the next, and that decided nothing
//! here. The statement is a real one: of the time of an operation the server's
//! processes have the larger part, and with two workers and eight backends on the same
//! two processors whoever else wants one takes it from all of them. The same pool took
//! 12 µs for an operation on a machine of its own, 30 beside one compiler and 70 beside
//! several. And of two pools of deadpool's that took turns all the time one was up to 5 %
//! faster than the other, though both used the same processor time to a part in a
//! thousand; perhaps it is where the kernel puts workers and backends. So
//!
//! - a slice is short (some 30 ms), and the members take turns with them, in each order
//!   equally often. What is compared is slices of one turn: the ratio of a run is the
//!   median of the ratios of its turns;
//! - pools are made anew every other turn, in each order equally often too;
//! - there are two pools of deadpool's, and ours is compared with the mean of both. How
//!   far the ratio of those two is from one is what the row cannot tell;
//! - beside it stands the ratio of the processor time that this process has used, the
//!   server not included. Others on the machine hardly change it.
//!
//! Same work for all, in runtimes of the same kind, on the same server.
//!
//! `turns [--test] [FILTER]`: the rows whose name has that in it. With `--test` one turn:
//! whether it runs.
#![forbid(unsafe_code)]

mod crowd;
mod members;
mod row;

use std::io::{self, Write};

use resilience_examples::{PostgresOptions, TemporaryPostgres};
use serde_json::json;
use tokio::runtime::Builder;

use members::Members;
use row::Rows;

/// So often are pools made anew: a multiple of the orders of three.
const SETS: usize = 60;
/// So many turns has each set of pools.
const TURNS: usize = 2;
/// The slower pools have as many slices after each set of so many.
const OTHERS_EVERY: usize = 10;

fn main() -> io::Result<()> {
    let mut filter = String::new();
    let mut sets = SETS;
    for argument in std::env::args().skip(1) {
        match argument.as_str() {
            "--test" => sets = 1,
            flag if flag.starts_with("--") => {}
            name => name.clone_into(&mut filter),
        }
    }
    let wanted = row::NAMES.iter().any(|name| name.contains(&filter));
    if !wanted {
        return writeln!(io::stdout(), "{{}}");
    }
    if let Err(missing) = TemporaryPostgres::available() {
        eprintln!("SKIP: the rows of a full pool, pool_*_64_on_8 ({missing})");
        return writeln!(io::stdout(), "{{}}");
    }
    let rows = measure(sets)?;
    let report = json!({
        row::NAMES[0]: rows.throughput(),
        row::NAMES[1]: rows.longest_wait(),
    });
    writeln!(io::stdout(), "{report:#}")
}

fn measure(sets: usize) -> io::Result<Rows> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let server = runtime
        .block_on(TemporaryPostgres::start(PostgresOptions::default()))
        .expect("a PostgreSQL that is there can be started");
    let url = server.url();
    let mut rows = Rows::default();
    for set in 0..sets {
        let members = Members::build(&url, set);
        for turn in 0..TURNS {
            rows.add_turn(members.turn(set + turn));
        }
        rows.end_set();
        drop(members);
        if set % OTHERS_EVERY == 0 {
            rows.add_others(members::others(&url, TURNS));
        }
    }
    Ok(rows)
}
