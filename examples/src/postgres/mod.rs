//! A PostgreSQL server of one's own, gone without a trace when it is dropped.
//!
//! It runs in a temporary directory, listens on a Unix socket there and on a
//! free port of 127.0.0.1, and lets everybody in who reaches those (`trust`).
//! As root it runs as another user, because the server refuses root.

mod cluster;
mod directory;
mod error;
mod installation;
mod template;
mod tree;

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio_postgres::NoTls;

use crate::{
    ports::free_port,
    process::{ChildProcess, Program, Signal},
};
use directory::Directory;
pub use error::StartError;
use installation::Installation;

/// The superuser that `initdb` makes, with a database of the same name; it has
/// no password.
const USER: &str = "postgres";
/// The database that new ones are copied from; it is there before ours is.
const TEMPLATE1: &str = "template1";
/// How often a server that is starting is knocked at.
const KNOCK: Duration = Duration::from_millis(10);
/// How often another port is tried when somebody took ours in between.
const PORT_TRIES: usize = 5;

/// How to start a [`TemporaryPostgres`].
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// Name of its database, the only one beside `template1`. Default: `app`.
    pub database: String,
    /// Keep what is committed through a crash of the *machine*: fsync and
    /// synchronous commits. Without, the last half second of commits may be
    /// lost even to a SIGKILL of the server. Default: `false`, it is thrown
    /// away anyhow.
    pub durable: bool,
    /// The port; 0 picks a free one. Default: 0.
    pub port: u16,
    /// Settings of `postgresql.conf`, such as `("max_connections", "20")`.
    pub settings: Vec<(String, String)>,
    /// Print the server's log to our stderr. Default: `false`.
    pub forward_log: bool,
    /// How long it may take until it answers. Default: 60 s, which a loaded
    /// machine needs.
    pub start_deadline: Duration,
}

impl Default for PostgresOptions {
    fn default() -> Self {
        Self {
            database: "app".to_owned(),
            durable: false,
            port: 0,
            settings: Vec::new(),
            forward_log: false,
            start_deadline: Duration::from_secs(60),
        }
    }
}

/// A running PostgreSQL. Dropping it stops it at once and removes its files,
/// on a panic as well; if this process is killed, the kernel tells the server
/// to quit, and the next start removes the files. The one thing that can be
/// left is a server that was [frozen](Self::freeze) when we were killed.
///
/// Dropping blocks for some tens of milliseconds.
#[derive(Debug)]
pub struct TemporaryPostgres {
    // Dropped first: the server before its files.
    server: Option<ChildProcess>,
    installation: Installation,
    directory: Directory,
    options: PostgresOptions,
    port: u16,
}

/// What a server is started for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Purpose {
    /// To be used by whom the options come from.
    Use,
    /// To make the cluster ready, alike for everybody.
    Prepare,
}

impl TemporaryPostgres {
    /// Whether there is a PostgreSQL here that could be started, and which:
    /// its version and where its programs are.
    ///
    /// # Errors
    ///
    /// [`StartError`]: what is missing and how to install it.
    pub fn available() -> Result<(u32, PathBuf), StartError> {
        let found = Installation::find()?;
        Ok((found.major, found.bin))
    }

    /// Makes a cluster, starts a server on it and waits until it answers; in
    /// all some tenths of a second. The first one after a build, and every one in a
    /// program that does not run from cargo's target directory, takes a second
    /// or two: there is none to copy then.
    ///
    /// # Errors
    ///
    /// [`StartError`], with the server's last lines where it said any. Nothing
    /// is left behind.
    pub async fn start(options: PostgresOptions) -> Result<Self, StartError> {
        let installation = Installation::find()?;
        let directory = Directory::create(installation.account)?;
        let mut postgres = Self {
            server: None,
            port: options.port,
            installation,
            directory,
            options,
        };
        postgres.fill().await?;
        postgres.launch(Purpose::Use).await?;
        Ok(postgres)
    }

    /// `postgres://…`, for a client on 127.0.0.1.
    #[must_use]
    pub fn url(&self) -> String {
        self.url_of(&self.options.database)
    }

    /// The same as `key=value` pairs.
    #[must_use]
    pub fn config_string(&self) -> String {
        format!(
            "host=127.0.0.1 port={} user={USER} dbname={}",
            self.port, self.options.database
        )
    }

    /// Its port on 127.0.0.1; stays the same through restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The directory of its Unix socket, for `psql -h`.
    #[must_use]
    pub fn socket_dir(&self) -> PathBuf {
        self.directory.socket()
    }

    /// Everything it has on disk is below this directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// The server's process, for as long as it runs.
    #[must_use]
    pub fn server(&self) -> Option<&ChildProcess> {
        self.server.as_ref()
    }

    /// Stops it as an administrator would (`fast`): connections are ended,
    /// then everything is written. Does nothing when it does not run.
    ///
    /// # Errors
    ///
    /// [`StartError::Stop`] when it has not ended after ten seconds; it is
    /// killed then.
    pub async fn stop(&mut self) -> Result<(), StartError> {
        let Some(server) = self.server.take() else {
            return Ok(());
        };
        tree::signal(server.pid(), Signal::CONT);
        // It may have ended by itself a moment ago, which is as good.
        let _ = server.signal(Signal::INT);
        let outcome = server.wait_exit(Duration::from_secs(10)).await;
        if outcome.is_err() {
            tree::kill(&server);
        }
        outcome.map(drop).map_err(StartError::Stop)
    }

    /// Kills the server and all its backends (SIGKILL), as the kernel does
    /// when memory runs out. Does nothing when it does not run.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            tree::kill(&server);
        }
    }

    /// Starts it again on the same data and the same port, however it ended.
    /// One that still runs is stopped first.
    ///
    /// # Errors
    ///
    /// [`StartError`], as [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<(), StartError> {
        self.stop().await?;
        self.launch(Purpose::Use).await
    }

    /// Stops the server and all its backends in their tracks (SIGSTOP): its
    /// port still accepts, nothing answers, as on a machine that hangs.
    pub fn freeze(&self) {
        if let Some(server) = &self.server {
            // The server first, so that no new backend appears behind us.
            tree::signal(server.pid(), Signal::STOP);
        }
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        if let Some(server) = &self.server {
            tree::signal(server.pid(), Signal::CONT);
        }
    }

    fn url_of(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    /// Starts the server and waits until it answers.
    async fn launch(&mut self, purpose: Purpose) -> Result<(), StartError> {
        // Once it has a port it keeps it: its clients know that one.
        let choose = self.port == 0;
        let mut tries = if choose { PORT_TRIES } else { 1 };
        loop {
            if choose {
                self.port = free_port().map_err(StartError::Port)?;
            } else {
                self.wait_for_port().await?;
            }
            let server = self.spawn_server(purpose)?;
            match self.wait_ready(&server, purpose).await {
                Ok(()) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(error) => {
                    tree::kill(&server);
                    tries -= 1;
                    let taken = server
                        .lines()
                        .iter()
                        .any(|line| line.contains("already in use"));
                    if tries == 0 || !taken {
                        return Err(error);
                    }
                }
            }
        }
    }

    /// Waits while the kernel still holds our port. Backends that were just
    /// killed are gone in a moment; a stranger's server is not.
    async fn wait_for_port(&self) -> Result<(), StartError> {
        let until = Instant::now() + Duration::from_secs(2);
        loop {
            match TcpListener::bind((Ipv4Addr::LOCALHOST, self.port)) {
                Ok(_) => return Ok(()),
                Err(source) if Instant::now() >= until => {
                    return Err(StartError::PortTaken {
                        port: self.port,
                        source,
                    });
                }
                Err(_) => tokio::time::sleep(KNOCK).await,
            }
        }
    }

    fn spawn_server(&self, purpose: Purpose) -> Result<ChildProcess, StartError> {
        let mut settings = vec![
            ("listen_addresses", "127.0.0.1".to_owned()),
            ("port", self.port.to_string()),
            (
                "unix_socket_directories",
                self.directory.socket().display().to_string(),
            ),
            // Below the data directory instead of /dev/shm, where a SIGKILL
            // would leave it for good.
            ("dynamic_shared_memory_type", "mmap".to_owned()),
        ];
        if !self.options.durable || purpose == Purpose::Prepare {
            for key in ["fsync", "synchronous_commit", "full_page_writes"] {
                settings.push((key, "off".to_owned()));
            }
        }
        if self.installation.has_statements {
            settings.push(("shared_preload_libraries", "pg_stat_statements".to_owned()));
        }
        // The caller's come last: the last one holds.
        let given = match purpose {
            Purpose::Use => self.options.settings.as_slice(),
            Purpose::Prepare => &[],
        };
        let given = given
            .iter()
            .map(|(key, value)| (key.as_str(), value.clone()));
        let mut program = self
            .program("postgres")
            .arg("-D")
            .arg(self.directory.data());
        for (key, value) in settings.into_iter().chain(given) {
            program = program.arg("-c").arg(format!("{key}={value}"));
        }
        Ok(program
            .label("postgresql")
            .forward(self.options.forward_log)
            .spawn()?)
    }

    /// Connects again and again until it is let in.
    async fn wait_ready(&self, server: &ChildProcess, purpose: Purpose) -> Result<(), StartError> {
        let until = Instant::now() + self.options.start_deadline;
        let url = match purpose {
            Purpose::Use => self.url(),
            Purpose::Prepare => self.url_of(TEMPLATE1),
        };
        loop {
            if let Ok(Some(status)) = server.try_exit() {
                server.last_words().await;
                let how = crate::process::describe(status);
                return Err(StartError::Server(
                    server.error(format!("ended ({how}) while starting")),
                ));
            }
            if connect(&url).await.is_ok() {
                return Ok(());
            }
            if Instant::now() >= until {
                let waited = self.options.start_deadline;
                return Err(StartError::Server(
                    server.error(format!("did not answer within {waited:?}")),
                ));
            }
            tokio::time::sleep(KNOCK).await;
        }
    }

    fn program(&self, name: &str) -> Program {
        Program::new(self.installation.bin.join(name))
            .account(self.installation.account)
            .directory(self.directory.path())
            // Messages in English: they are searched.
            .env("LC_ALL", "C")
            // SIGQUIT is "immediate shutdown": it ends its own children and
            // gives back its shared memory, which a SIGKILL would not.
            .stop_signal(Signal::QUIT)
            .death_signal_quit()
    }
}

impl Drop for TemporaryPostgres {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            tree::signal(server.pid(), Signal::CONT);
            let _ = server.stop_with(Signal::QUIT, Duration::from_secs(2));
            tree::kill(&server);
        }
    }
}

async fn connect(url: &str) -> Result<tokio_postgres::Client, tokio_postgres::Error> {
    let mut config: tokio_postgres::Config = url.parse()?;
    config.connect_timeout(Duration::from_secs(2));
    let (client, connection) = config.connect(NoTls).await?;
    // Ends when the client is dropped.
    tokio::spawn(connection);
    Ok(client)
}

#[cfg(test)]
mod tests;
