//! `make demo`: see [`resilience_examples::demo`].
#![forbid(unsafe_code)]

use std::{io, process::ExitCode};

use clap::Parser;
use resilience_examples::{
    console::say,
    demo::{self, DemoError, Flags},
};
use tokio::signal::unix::{SignalKind, signal};

#[tokio::main]
async fn main() -> ExitCode {
    let flags = Flags::parse();
    let outcome = tokio::select! {
        // Signals first: they are handled before the first process is started.
        biased;
        asked = told_to_stop() => match asked {
            Ok(()) => {
                // By now the other branch is dropped, and everything with it.
                let _ = say("\nStopped. Nothing is left running.");
                return ExitCode::SUCCESS;
            }
            Err(error) => {
                eprintln!("demo: cannot listen for signals: {error}");
                return ExitCode::FAILURE;
            }
        },
        outcome = demo::run(&flags) => outcome,
    };
    let Err(error) = outcome;
    match &error {
        // `demo | head`: the reader has had enough.
        DemoError::Output(cause) if cause.kind() == io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        _ => {
            eprintln!("demo: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Returns on Ctrl-C, on SIGTERM, and when the terminal is closed.
async fn told_to_stop() -> io::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
        _ = hangup.recv() => {}
    }
    Ok(())
}
