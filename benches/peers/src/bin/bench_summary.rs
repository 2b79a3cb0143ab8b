//! Sums up a run of the benches: `bench_summary DIRECTORY`.
//!
//! Prints the table and writes `summary.json` into the directory, which is
//! `target/bench` for `make bench`. Fails only if there is nothing to sum up.
#![forbid(unsafe_code)]

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use resilience_peers::summary::{json, read, rounds, table};

fn main() -> ExitCode {
    let Some(directory) = std::env::args_os().nth(1) else {
        eprintln!("usage: bench_summary DIRECTORY");
        return ExitCode::from(2);
    };
    match sum_up(Path::new(&directory)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("bench_summary: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

fn sum_up(directory: &Path) -> Result<(), Box<dyn Error>> {
    let rows = read(directory)?;
    let rounds = rounds(directory)?.len();
    let file = directory.join("summary.json");
    fs::write(&file, format!("{:#}\n", json(&rows)))?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "Times: ns a call and thread (pool_*: benches/README.md), the median of {rounds} \
         rounds of this run. Believe the ratios.\n\n{}\n{}",
        table(&rows),
        file.display(),
    )?;
    Ok(())
}

/// An error and what was behind it, in one line.
fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    text
}
