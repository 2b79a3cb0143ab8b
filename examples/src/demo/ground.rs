//! Whether everything is there, before anything is started.

use std::{
    fmt,
    fs::File,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    path::PathBuf,
};

use super::{DemoError, Flags};
use crate::{postgres::TemporaryPostgres, process::find_binary};

/// What the stack stands on. It holds the ports until it is used up, so that
/// ports picked for it differ from each other.
#[derive(Debug)]
pub struct Ground {
    /// The payments API's address.
    pub api: Address,
    /// The payment stub's address.
    pub stub: Address,
    /// The admin API's address.
    pub admin: Address,
    /// The address of the sidecar's health and metrics.
    pub health: Address,
    pub(super) programs: Programs,
    // A port that is picked here and given to a child is anybody's between our
    // letting go and the child's bind: see `ports`.
    _held: Vec<TcpListener>,
}

#[derive(Clone, Debug)]
pub(super) struct Programs {
    pub(super) api: PathBuf,
    pub(super) stub: PathBuf,
    pub(super) sidecar: PathBuf,
}

/// An address that one of the processes listens on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Address(SocketAddr);

impl Ground {
    /// Looks for the programs, for PostgreSQL, and whether the ports are free.
    ///
    /// # Errors
    ///
    /// [`DemoError`] for the first thing that is not as it must be.
    pub fn check(flags: &Flags) -> Result<Self, DemoError> {
        let programs = Programs {
            api: find_binary("payments-api")?,
            stub: find_binary("payment-stub")?,
            sidecar: find_binary("admin-sidecar")?,
        };
        if let Some(path) = &flags.config {
            File::open(path).map_err(|source| DemoError::Config {
                path: path.clone(),
                source,
            })?;
        }
        let mut held = Vec::new();
        let mut take = |what, flag, address: SocketAddr| {
            let listener = TcpListener::bind(address);
            match listener.and_then(|held| Ok((held.local_addr()?, held))) {
                Ok((address, listener)) => {
                    held.push(listener);
                    Ok(Address(address))
                }
                Err(source) => Err(DemoError::Taken {
                    what,
                    address,
                    flag,
                    source,
                }),
            }
        };
        let api = take("payments-api", "--api", flags.api)?;
        let stub = take("payment-stub", "--stub", flags.stub)?;
        let admin = take("admin-sidecar", "--admin", flags.admin)?;
        let health = take("admin-sidecar", "--health", flags.health)?;
        if flags.postgres_port != 0 {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, flags.postgres_port));
            take("PostgreSQL", "--postgres-port", address)?;
        }
        TemporaryPostgres::available()?;
        Ok(Self {
            api,
            stub,
            admin,
            health,
            programs,
            _held: held,
        })
    }
}

impl Address {
    /// `http://…` as a client on this machine reaches it, without a slash at
    /// the end: one that listens everywhere is reached on loopback.
    #[must_use]
    pub fn url(self) -> String {
        let mut reached = self.0;
        if reached.ip().is_unspecified() {
            reached.set_ip(IpAddr::V4(Ipv4Addr::LOCALHOST));
        }
        format!("http://{reached}")
    }

    /// The same with `localhost`, as the runbook writes it, where that is the
    /// same.
    #[must_use]
    pub fn local_url(self) -> String {
        self.url().replace("//127.0.0.1:", "//localhost:")
    }
}

/// As it is given to a program that is to listen there.
impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
