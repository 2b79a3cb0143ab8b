//! Why there is no server.

use std::{io, path::PathBuf};

use crate::process::{SpawnError, WaitError};

/// Why a PostgreSQL could not be started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// There is no server on this machine.
    #[error(
        "no PostgreSQL server of version {wanted} or newer found{}; on Debian or Ubuntu: `apt-get install postgresql`",
        found.as_ref().map(|(major, bin)| format!(" (only {major} in {})", bin.display())).unwrap_or_default()
    )]
    NotInstalled {
        /// The oldest version that will do.
        wanted: u32,
        /// The newest one there is.
        found: Option<(u32, PathBuf)>,
    },
    /// We are root, the server refuses root, and there is nobody else.
    #[error(
        "PostgreSQL refuses to run as root, and there is neither a user `postgres` nor `nobody` to run it as"
    )]
    NoAccount,
    /// The temporary directory cannot be made or used.
    #[error("cannot use {} for a temporary database: {problem}", path.display())]
    Directory {
        /// Which directory.
        path: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// A program did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// The cluster could not be made.
    #[error(transparent)]
    Initialise(WaitError),
    /// The server did not come up.
    #[error(transparent)]
    Server(WaitError),
    /// The server did not go down.
    #[error(transparent)]
    Stop(WaitError),
    /// No port is free.
    #[error("no free port")]
    Port(#[source] io::Error),
    /// The port that was asked for, or that it had before, is in use.
    #[error("port {port} for PostgreSQL cannot be had: {source}")]
    PortTaken {
        /// Which.
        port: u16,
        /// What the operating system says.
        source: io::Error,
    },
    /// The server runs, and refuses what makes it ready for use.
    #[error("PostgreSQL could not be set up: {}", explain(.0))]
    Setup(#[from] tokio_postgres::Error),
}

fn explain(error: &tokio_postgres::Error) -> String {
    match error.as_db_error() {
        Some(server) => server.message().to_owned(),
        None => error.to_string(),
    }
}
