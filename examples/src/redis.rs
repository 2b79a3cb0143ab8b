//! A Redis server of one's own, gone without a trace when it is dropped.
//!
//! It runs in a temporary directory, listens on a free port of 127.0.0.1, and keeps
//! nothing on disk unless it is told to.

use std::{
    env, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    ports::free_port,
    process::{ChildProcess, Program, Signal, SpawnError, WaitError, find_in_path},
    scratch::Scratch,
};

/// Names of the program: Redis, or what became of its free part.
const PROGRAMS: [&str; 2] = ["redis-server", "valkey-server"];
/// How often a server that is starting is knocked at.
const KNOCK: Duration = Duration::from_millis(10);
/// How long one knock may take: a server that reads its file does not answer.
const KNOCK_WITHIN: Duration = Duration::from_secs(1);
/// How often another port is tried when somebody took ours in between.
const PORT_TRIES: usize = 5;
/// How long it may take to start or to stop, on a loaded machine.
const WITHIN: Duration = Duration::from_secs(30);

/// How to start a [`TemporaryRedis`].
#[derive(Clone, Debug, Default)]
pub struct RedisOptions {
    /// What clients have to know. Default: nothing.
    pub password: Option<String>,
    /// Settings of `redis.conf`, such as `("maxmemory", "2mb")`.
    pub settings: Vec<(String, String)>,
    /// Print the server's log to our stderr. Default: `false`.
    pub forward_log: bool,
}

/// A running Redis. Dropping it stops it at once and removes its files, on a panic
/// as well; if this process is killed, so is the server.
#[derive(Debug)]
pub struct TemporaryRedis {
    // Dropped first: the server before its files.
    server: Option<ChildProcess>,
    directory: Scratch,
    program: PathBuf,
    options: RedisOptions,
    port: u16,
}

/// Why a Redis could not be started or stopped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RedisStartError {
    /// There is no server on this machine.
    #[error(
        "no `redis-server` and no `valkey-server` found; on Debian or Ubuntu: `apt-get install redis-server`"
    )]
    NotInstalled,
    /// There is no directory or no port for it.
    #[error("no directory or no port for a Redis: {0}")]
    Io(#[from] io::Error),
    /// Its program did not start.
    #[error(transparent)]
    Spawn(#[from] SpawnError),
    /// It did not come up, or not down.
    #[error(transparent)]
    Server(#[from] WaitError),
}

impl TemporaryRedis {
    /// Whether there is a server here that could be started, and where.
    ///
    /// # Errors
    ///
    /// [`RedisStartError::NotInstalled`].
    pub fn available() -> Result<PathBuf, RedisStartError> {
        PROGRAMS
            .into_iter()
            .find_map(find_in_path)
            .ok_or(RedisStartError::NotInstalled)
    }

    /// Starts a server and waits until it answers, some hundredths of a second.
    ///
    /// # Errors
    ///
    /// [`RedisStartError`], with the server's last lines where it said any. Nothing
    /// is left behind.
    pub async fn start(options: RedisOptions) -> Result<Self, RedisStartError> {
        let mut redis = Self {
            server: None,
            directory: Scratch::create(&env::temp_dir(), "redis", |_| ())?,
            program: Self::available()?,
            options,
            port: 0,
        };
        redis.launch().await?;
        Ok(redis)
    }

    /// `redis://…` with its password, for a client on 127.0.0.1.
    #[must_use]
    pub fn url(&self) -> String {
        let login = match &self.options.password {
            Some(password) => format!(":{password}@"),
            None => String::new(),
        };
        format!("redis://{login}127.0.0.1:{}", self.port)
    }

    /// Its port on 127.0.0.1; stays the same through restarts.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Everything it has on disk is below this directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// Kills it (SIGKILL). Does nothing when it does not run.
    pub fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            let _ = server.signal(Signal::KILL);
        }
    }

    /// Starts it again on the same port, however it ended. One that still runs is
    /// killed first.
    ///
    /// # Errors
    ///
    /// [`RedisStartError`], as [`start`](Self::start).
    pub async fn restart(&mut self) -> Result<(), RedisStartError> {
        self.kill();
        self.launch().await
    }

    /// Stops it in its tracks (SIGSTOP): its port still accepts, nothing answers.
    pub fn freeze(&self) {
        self.signal(Signal::STOP);
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) {
        self.signal(Signal::CONT);
    }

    /// Sends a command as one types it, such as `FLUSHALL`, and gives the first line
    /// of the answer.
    ///
    /// # Errors
    ///
    /// The operating system's, and one for a server that does not answer in time.
    pub async fn command(&self, command: &str) -> io::Result<String> {
        let asked = async {
            let mut stream = TcpStream::connect(("127.0.0.1", self.port)).await?;
            let mut text = String::new();
            if let Some(password) = &self.options.password {
                text.push_str(&format!("AUTH {password}\r\n"));
            }
            text.push_str(command);
            text.push_str("\r\nQUIT\r\n");
            stream.write_all(text.as_bytes()).await?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await?;
            let answer = String::from_utf8_lossy(&answer).into_owned();
            let logged_in = usize::from(self.options.password.is_some());
            Ok(answer.lines().nth(logged_in).unwrap_or_default().to_owned())
        };
        tokio::time::timeout(KNOCK_WITHIN, asked)
            .await
            .map_err(|_| io::Error::from(io::ErrorKind::TimedOut))?
    }

    fn signal(&self, signal: Signal) {
        if let Some(server) = &self.server {
            // It may have ended by itself, which a test will see.
            let _ = server.signal(signal);
        }
    }

    async fn launch(&mut self) -> Result<(), RedisStartError> {
        // Once it has a port it keeps it: its clients know that one.
        let choose = self.port == 0;
        let mut tries = if choose { PORT_TRIES } else { 1 };
        loop {
            if choose {
                self.port = free_port()?;
            }
            let server = self.spawn()?;
            match self.wait_ready(&server).await {
                Ok(()) => {
                    self.server = Some(server);
                    return Ok(());
                }
                Err(error) => {
                    tries -= 1;
                    let taken = error.to_string().contains("already in use");
                    if tries == 0 || !taken {
                        return Err(error.into());
                    }
                }
            }
        }
    }

    fn spawn(&self) -> Result<ChildProcess, SpawnError> {
        let mut program = Program::new(&self.program)
            .label("redis")
            .directory(self.directory.path())
            .forward(self.options.forward_log)
            .args(["--port", &self.port.to_string(), "--bind", "127.0.0.1"])
            .args(["--daemonize", "no", "--save", "", "--appendonly", "no"])
            .arg("--dir")
            .arg(self.directory.path());
        if let Some(password) = &self.options.password {
            program = program.args(["--requirepass", password]);
        }
        // The caller's come last: the last one holds.
        for (key, value) in &self.options.settings {
            program = program.arg(format!("--{key}")).arg(value);
        }
        program.spawn()
    }

    async fn wait_ready(&self, server: &ChildProcess) -> Result<(), WaitError> {
        let until = Instant::now() + WITHIN;
        loop {
            if let Ok(Some(status)) = server.try_exit() {
                server.last_words().await;
                let how = crate::process::describe(status);
                return Err(server.error(format!("ended ({how}) while starting")));
            }
            if self.command("PING").await.is_ok_and(|said| said == "+PONG") {
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(server.error(format!("did not answer within {WITHIN:?}")));
            }
            tokio::time::sleep(KNOCK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_redis_answers_keeps_its_port_and_leaves_nothing_behind() {
        let options = RedisOptions {
            password: Some("secret".to_owned()),
            ..RedisOptions::default()
        };
        let mut redis = TemporaryRedis::start(options).await.unwrap();
        let (port, directory) = (redis.port(), redis.directory().to_owned());
        assert_eq!(redis.command("SET key value").await.unwrap(), "+OK");
        redis.freeze();
        assert!(redis.command("GET key").await.is_err());
        redis.thaw();
        assert_eq!(redis.command("EXISTS key").await.unwrap(), ":1");
        redis.restart().await.unwrap();
        assert_eq!(redis.port(), port);
        assert_eq!(redis.command("EXISTS key").await.unwrap(), ":0");
        drop(redis);
        assert!(!directory.exists());
        assert!(TcpStream::connect(("127.0.0.1", port)).await.is_err());
    }
}
