//! The server that a pool is tried on.

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    time::{Duration, Instant},
};

use resilience_examples::{PostgresOptions, TemporaryPostgres, postgres::StartError};
use tokio_postgres::{Client, NoTls};

use crate::subject::Failure;

/// How often a condition is looked at.
const LOOK: Duration = Duration::from_millis(2);

/// What kept a program from being run at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProgramError {
    #[error(transparent)]
    Server(#[from] StartError),
    #[error("the observer lost its connection")]
    Observer(#[from] tokio_postgres::Error),
    #[error("the pool could not be set up")]
    Pool(#[from] Failure),
    #[error("the proxy could not be started")]
    Proxy(#[from] io::Error),
    #[error("{what} did not come about within {within:?}")]
    TooLate {
        what: &'static str,
        within: Duration,
    },
}

/// A PostgreSQL that keeps what it has acknowledged.
pub(crate) struct Ground {
    pub(crate) postgres: TemporaryPostgres,
}

impl Ground {
    pub(crate) async fn start() -> Result<Self, ProgramError> {
        let postgres = TemporaryPostgres::start(PostgresOptions {
            durable: true,
            ..PostgresOptions::default()
        })
        .await?;
        Ok(Self { postgres })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.postgres.port()).into()
    }

    /// The URL of the server, or of what stands before it at `address`, under
    /// which the sessions of a pool are known by its name.
    pub(crate) fn url_at(&self, address: SocketAddr, name: &str) -> String {
        let ours = format!(":{}/", self.postgres.port());
        let theirs = format!(":{}/", address.port());
        let url = self.postgres.url().replacen(&ours, &theirs, 1);
        format!("{url}?application_name={name}")
    }

    /// A connection of our own, past every pool.
    pub(crate) async fn observer(&self) -> Result<Client, ProgramError> {
        Ok(connect(&self.url_at(self.address(), "observer")).await?)
    }

    /// Makes an empty table for the ids that the callers write.
    pub(crate) async fn empty_table(&self) -> Result<(), ProgramError> {
        let observer = self.observer().await?;
        // No key: an id that is written twice is to be found twice.
        let table = "DROP TABLE IF EXISTS written; CREATE TABLE written (id bigint NOT NULL)";
        Ok(observer.batch_execute(table).await?)
    }

    /// Starts the server again. Answers when a first connection was let in.
    pub(crate) async fn restart(&mut self) -> Result<Instant, ProgramError> {
        let url = self.url_at(self.address(), "observer");
        let let_in = async {
            while connect(&url).await.is_err() {
                tokio::time::sleep(LOOK).await;
            }
            Instant::now()
        };
        let (restarted, at) = tokio::join!(
            self.postgres.restart(),
            tokio::time::timeout(Duration::from_secs(60), let_in),
        );
        restarted?;
        at.map_err(|_| ProgramError::TooLate {
            what: "a connection after the restart",
            within: Duration::from_secs(60),
        })
    }
}

async fn connect(url: &str) -> Result<Client, tokio_postgres::Error> {
    let mut config: tokio_postgres::Config = url.parse()?;
    config.connect_timeout(Duration::from_secs(2));
    let (client, connection) = config.connect(NoTls).await?;
    // Ends when the client is dropped.
    tokio::spawn(connection);
    Ok(client)
}

/// Waits until it is so. Says whether it came to be within the deadline.
pub(crate) async fn until(deadline: Duration, condition: impl Fn() -> bool) -> bool {
    let end = Instant::now() + deadline;
    while !condition() {
        if Instant::now() >= end {
            return false;
        }
        tokio::time::sleep(LOOK).await;
    }
    true
}
