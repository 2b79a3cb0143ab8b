//! The whole picture on one machine: PostgreSQL, an upstream that breaks on
//! demand, the payments API and the sidecar beside it.
//!
//! First the [`Ground`] is looked over: ports, programs, PostgreSQL. Only when
//! all is there is the [`Stack`] started on it.

mod events;
mod flags;
mod ground;
mod guide;
mod stack;

use std::{io, path::PathBuf, time::Duration};

pub use events::{Event, Events};
pub use flags::Flags;
pub use ground::{Address, Ground};
pub use stack::Stack;

use crate::{
    console::say,
    postgres::StartError,
    process::{BinaryNotFound, SpawnError, WaitError},
};

/// Name of the breaker around the upstream.
pub const BREAKER: &str = "payment_api";

/// How often transitions are asked for.
const LOOK: Duration = Duration::from_millis(250);

/// Why the demo does not run, or no longer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DemoError {
    /// Somebody else listens there.
    #[error(
        "{what} needs {address}, which is taken ({source}); stop what listens there (`ss -ltnp`), or choose another with {flag}"
    )]
    Taken {
        /// Who needs it.
        what: &'static str,
        /// The address.
        address: std::net::SocketAddr,
        /// The flag that changes it.
        flag: &'static str,
        /// What the operating system says.
        source: io::Error,
    },
    /// One of our programs has not been built.
    #[error(transparent)]
    NotBuilt(#[from] BinaryNotFound),
    /// PostgreSQL is missing or did not start.
    #[error(transparent)]
    Postgres(#[from] StartError),
    /// A program did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// A program ended, or did not get ready.
    #[error(transparent)]
    Child(#[from] WaitError),
    /// The configuration file cannot be read.
    #[error("cannot read the configuration {}: {source}", path.display())]
    Config {
        /// Which.
        path: PathBuf,
        /// What the operating system says.
        source: io::Error,
    },
    /// A temporary file cannot be written.
    #[error("cannot use the temporary directory: {0}")]
    Directory(#[source] io::Error),
    /// Nobody reads our output any more.
    #[error("cannot write to stdout: {0}")]
    Output(#[source] io::Error),
}

/// Starts everything, says how to play with it, and shows what the breaker does
/// until one of the processes ends. Dropping the future stops them all.
///
/// # Errors
///
/// [`DemoError`]; it never returns anything else.
pub async fn run(flags: &Flags) -> Result<std::convert::Infallible, DemoError> {
    let ground = Ground::check(flags)?;
    say("Starting PostgreSQL, payment-stub, payments-api and admin-sidecar …")
        .map_err(DemoError::Output)?;
    let stack = Stack::start(ground, flags).await?;
    say(guide::text(&stack)).map_err(DemoError::Output)?;
    tokio::select! {
        error = stack.first_to_end() => Err(error.into()),
        error = show_events(&stack) => Err(DemoError::Output(error)),
    }
}

/// Prints each transition until stdout is closed.
async fn show_events(stack: &Stack) -> io::Error {
    let mut events = Events::new(&stack.admin().url());
    let mut look = tokio::time::interval(LOOK);
    look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        look.tick().await;
        for line in events.next_lines().await {
            if let Err(error) = say(line) {
                return error;
            }
        }
    }
}
