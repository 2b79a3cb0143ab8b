//! The payment provider's stand-in as a process: see [`resilience_examples::stub`].
#![forbid(unsafe_code)]

use std::{error::Error, net::SocketAddr};

use clap::Parser;
use resilience_examples::{Stub, StubOptions, console::say};
use tokio::signal::unix::{SignalKind, signal};

/// An upstream that breaks on demand.
///
/// POST /fault {"mode": "ok|fail|slow|hang|refuse|flaky", "latency": "2s", "ratio": 0.5, "max_age": "5s"}
/// breaks and mends it; GET /fault shows the fault and what became of the requests.
#[derive(Debug, Parser)]
#[command(name = "payment-stub", version)]
struct Flags {
    /// Where to listen; port 0 picks a free one, and the first line says which.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    listen: SocketAddr,
    /// A second address for /fault alone. With it, `refuse` really closes the
    /// payment port; without, connections are accepted and reset.
    #[arg(long, value_name = "ADDRESS")]
    control: Option<SocketAddr>,
}

#[tokio::main]
async fn main() -> std::process::ExitCode {
    match run(Flags::parse()).await {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("payment-stub: {error}");
            std::process::ExitCode::FAILURE
        }
    }
}

async fn run(flags: Flags) -> Result<(), Box<dyn Error>> {
    // Before the first line: whoever has read it may send a signal.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stub = Stub::start(StubOptions {
        listen: flags.listen,
        control: flags.control,
    })
    .await?;
    say(format_args!("payment-stub listens on {}", stub.url()))?;
    if let Some(control) = stub.control() {
        say(format_args!(
            "payment-stub takes faults on http://{control}/fault"
        ))?;
    }
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    stub.stop().await;
    Ok(())
}
