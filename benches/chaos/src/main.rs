//! Outages of a real PostgreSQL under a pool, ours beside others: what their
//! callers see, and what becomes of their work.
//!
//! `make chaos` runs it. A target that is missed is printed and is no failure of
//! the program, unless that is asked for: times are those of a machine that may
//! be busy.
#![forbid(unsafe_code)]

mod crowd;
mod figures;
mod ground;
mod programs;
mod run;
mod subject;

use std::{
    error::Error,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::Parser;

use crate::{
    figures::Figures,
    run::{Extent, Outcome},
};

/// Outages of a real PostgreSQL under resilience-core's pool and under others.
#[derive(Debug, Parser)]
struct Flags {
    /// Where the summary is written.
    #[arg(long, default_value = "target/chaos")]
    out: PathBuf,
    /// One short outage and a few hundred sessions, ours and one peer; the summary
    /// is `short.json`.
    #[arg(long)]
    short: bool,
    /// Only these pools: ours, deadpool, bb8, sqlx.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Fail when ours misses a target.
    #[arg(long)]
    strict: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    match chaos(&flags).await {
        Ok(missed) if flags.strict && missed > 0 => {
            eprintln!("chaos: {missed} targets are missed");
            ExitCode::FAILURE
        }
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("chaos: {}", chain(error.as_ref()));
            ExitCode::FAILURE
        }
    }
}

/// Says how many targets are missed.
async fn chaos(flags: &Flags) -> Result<usize, Box<dyn Error>> {
    let mut extent = if flags.short {
        Extent::short()
    } else {
        Extent::whole()
    };
    if !flags.only.is_empty() {
        extent.subjects = Extent::whole().subjects;
        extent
            .subjects
            .retain(|name| flags.only.iter().any(|only| only == name));
    }
    let Outcome {
        figures,
        notes,
        broken,
    } = run::run(&extent).await;
    let file = if flags.short {
        "short.json"
    } else {
        "summary.json"
    };
    let path = write(&flags.out, file, &figures)?;
    let mut out = io::stdout().lock();
    writeln!(
        out,
        "\nTimes in ms. The first success is the median of {} outages with our pool, of {} with another.\n\n{}",
        runs(&extent).0,
        runs(&extent).1,
        figures.table(&extent.subjects),
    )?;
    for note in notes {
        writeln!(out, "{note}")?;
    }
    writeln!(out, "\n{}", path.display())?;
    if let Some((name, error)) = broken.into_iter().next() {
        return Err(format!("{name} did not get to the end: {}", chain(&error)).into());
    }
    Ok(figures.iter().filter(|figure| !figure.is_met()).count())
}

/// How many outages a median is of.
fn runs(extent: &Extent) -> (usize, usize) {
    let refused = extent.outages.first().map_or((1, 1), |first| first.refused);
    (refused.0.max(1), refused.1.max(1))
}

fn write(directory: &Path, file: &str, figures: &Figures) -> io::Result<PathBuf> {
    fs::create_dir_all(directory)?;
    let path = directory.join(file);
    fs::write(&path, format!("{:#}\n", figures.json()))?;
    Ok(path)
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
