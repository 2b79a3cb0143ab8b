//! The admin sidecar's process.
#![forbid(unsafe_code)]

use std::process::ExitCode;

use admin_sidecar::{Args, Settings, Sidecar, StartError, serve};
use clap::Parser;
use resilience_core::log::{self, LogOptions};

/// EX_CONFIG of sysexits.h: starting again will not help.
const WRONG_SETTINGS: u8 = 78;

fn main() -> ExitCode {
    let args = match Args::try_parse() {
        Ok(args) => args,
        Err(error) => {
            // A closed pipe is no reason to fail: `--help | head`.
            let _ = error.print();
            return match error.use_stderr() {
                true => ExitCode::from(WRONG_SETTINGS),
                false => ExitCode::SUCCESS,
            };
        }
    };
    let settings = match Settings::try_from(args) {
        Ok(settings) => settings,
        Err(error) => {
            eprintln!("admin-sidecar: {}", chain(&error));
            return ExitCode::from(WRONG_SETTINGS);
        }
    };
    // Nobody was first: this is the beginning of the process.
    let _ = log::init(LogOptions::new("admin-sidecar"));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        // Enough to answer while one is busy; the service needs the rest.
        .worker_threads(2)
        .max_blocking_threads(8)
        .enable_all()
        .build();
    let result = match runtime {
        Ok(runtime) => {
            let result = runtime.block_on(run(&settings));
            // A read of a hung disk must not keep the process.
            runtime.shutdown_background();
            result
        }
        Err(error) => Err(error.into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("admin-sidecar: {}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn run(settings: &Settings) -> Result<(), StartError> {
    let signal = serve::stop_signal()?;
    let sidecar = Sidecar::bind(settings).await?;
    tracing::info!(
        run_dir = %settings.run_dir().display(),
        "listening admin={} public={}",
        sidecar.admin_addr()?,
        sidecar.public_addr()?
    );
    sidecar
        .run(async {
            let signal = signal.await;
            tracing::info!("stopping: {signal}");
        })
        .await;
    tracing::info!("stopped");
    Ok(())
}

/// An error and what led to it, on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        line.push_str(": ");
        line.push_str(&error.to_string());
        source = error.source();
    }
    line
}
