//! The demo's command line.

use std::{net::SocketAddr, path::PathBuf};

use clap::Parser;

/// Starts a payments service with everything around it, to break and to mend.
///
/// PostgreSQL, the payment provider's stub, the payments API and the admin
/// sidecar run until Ctrl-C; afterwards nothing is left running or lying about.
/// Any port may be 0, which picks a free one.
#[derive(Clone, Debug, Parser)]
#[command(name = "demo", version)]
pub struct Flags {
    /// Where the payments API listens.
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDRESS")]
    pub api: SocketAddr,
    /// Where the payment stub listens.
    #[arg(long, default_value = "127.0.0.1:8081", value_name = "ADDRESS")]
    pub stub: SocketAddr,
    /// Where the sidecar's admin API listens.
    #[arg(long, default_value = "127.0.0.1:9000", value_name = "ADDRESS")]
    pub admin: SocketAddr,
    /// Where the sidecar's health and metrics listen.
    #[arg(long, default_value = "0.0.0.0:9001", value_name = "ADDRESS")]
    pub health: SocketAddr,
    /// PostgreSQL's port on 127.0.0.1.
    #[arg(long, default_value_t = 0, value_name = "PORT")]
    pub postgres_port: u16,
    /// The payments API's configuration, read and watched where it is. Default:
    /// a copy of examples/config.yaml in the demo's own directory.
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print what the processes log, too.
    #[arg(long)]
    pub logs: bool,
}
