//! One payments-api, with what it needs around it: a database, an upstream
//! that runs in this process, a run directory, and, if wanted, a sidecar.

use std::{
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    time::{Duration, Instant},
};

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use resilience_examples::{
    ChildProcess, Mode, PostgresOptions, Program, Stub, StubOptions, TemporaryPostgres,
    process::find_binary,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
};

/// What comes within moments may take this long on a busy machine.
pub const SOON: Duration = Duration::from_secs(20);

/// A changed file is in force within this: it is looked at once a second, and
/// the rest is for a busy machine.
pub const RELOADED: Duration = Duration::from_secs(5);

/// One answer takes at most this long.
const ANSWER: Duration = Duration::from_secs(30);

/// The breaker of the payments API.
pub const BREAKER: &str = "/admin/circuit-breaker/payment_api";

/// The fallback of the payments API.
pub const FALLBACK: &str = "/admin/fallback/payment_api";

/// Turns the fallback off, whatever the file says: most tests are about what it would
/// stand in for.
pub(crate) const NO_FALLBACK: (&str, &str) = ("APP__FALLBACK__ENABLED", "false");

/// Quick to trip: five failed calls open it, for long.
pub const QUICK: &str = "\
resilience:
  circuit_breaker:
    window: {calls: 10}
    minimum_calls: 5
    wait_in_open: 60s
services:
  payment_api: {}
";

/// Asks again and again until there is an answer.
///
/// # Panics
///
/// When there is none before the deadline.
pub async fn eventually<T>(
    what: &str,
    deadline: Duration,
    mut ask: impl AsyncFnMut() -> Option<T>,
) -> T {
    let until = Instant::now() + deadline;
    loop {
        if let Some(answer) = ask().await {
            return answer;
        }
        assert!(Instant::now() < until, "not within {deadline:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// The value of the one series that begins with these letters, such as
/// `circuit_breaker_state{service="payment_api"}`.
#[must_use]
pub fn metric(text: &str, series: &str) -> Option<f64> {
    let mut values = text
        .lines()
        .filter_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
    let value = values.next();
    assert!(
        values.next().is_none(),
        "{series} is there twice in:\n{text}"
    );
    value
}

/// A database, an upstream and a directory of one's own.
#[derive(Debug)]
pub struct Ground {
    /// The upstream.
    pub stub: Stub,
    /// The database.
    pub postgres: TemporaryPostgres,
    dir: TempDir,
}

impl Ground {
    /// Starts database and upstream.
    ///
    /// # Panics
    ///
    /// When one of them does not start.
    pub async fn start() -> Self {
        Self::with(PostgresOptions::default()).await
    }

    /// The same with a database as one wants it.
    ///
    /// # Panics
    ///
    /// When one of them does not start.
    pub async fn with(options: PostgresOptions) -> Self {
        Self {
            stub: Stub::start(StubOptions::default()).await.expect("a stub"),
            postgres: TemporaryPostgres::start(options)
                .await
                .expect("a PostgreSQL"),
            dir: directory(),
        }
    }

    /// A file in the directory; not made yet.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the directory.
    pub fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, text).expect("a file");
        path
    }

    /// The run directory that API and sidecar share unless told otherwise.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.path("run")
    }

    /// A payments-api on this ground, to be started.
    #[must_use]
    pub fn api(&self) -> Start<'_> {
        Start {
            ground: self,
            run_dir: self.run_dir(),
            config: None,
            drills: false,
            fallback: false,
            env: Vec::new(),
        }
    }

    /// Starts a sidecar, and waits until it says where it listens.
    ///
    /// # Panics
    ///
    /// When it does not.
    pub async fn sidecar(&self, more: &[&str]) -> Sidecar {
        let mut program = Program::new(find_binary("admin-sidecar").expect("it is built"))
            .arg("--run-dir")
            .arg(self.run_dir())
            .args(["--public-listen", "127.0.0.1:0"])
            .args(more.iter().copied());
        if !more.contains(&"--admin-listen") {
            program = program.args(["--admin-listen", "127.0.0.1:0"]);
        }
        let child = program.spawn().expect("a sidecar");
        let line = child.wait_for_line("listening admin=", SOON).await;
        let line = line.expect("it listens");
        let after = |key: &str| -> SocketAddr {
            let found = line.split(' ').find_map(|word| word.strip_prefix(key));
            let address: SocketAddr = found.expect(key).parse().expect(key);
            (std::net::Ipv4Addr::LOCALHOST, address.port()).into()
        };
        let (admin, public) = (after("admin="), after("public="));
        Sidecar {
            admin: Door::Tcp(admin),
            public: Door::Tcp(public),
            child,
        }
    }

    /// Breaks the upstream (`fail`) and calls it until the circuit is open.
    ///
    /// # Panics
    ///
    /// When it does not open.
    pub async fn trip(&self, api: &Api) {
        self.stub.set_fault(Mode::Fail.into());
        eventually("the circuit opens", SOON, async || {
            let answer = api.get("/rates/EUR").await;
            (answer.status == 503).then_some(())
        })
        .await;
    }
}

fn directory() -> TempDir {
    tempfile::Builder::new()
        .prefix("resilience-test-")
        .tempdir()
        .expect("a temporary directory")
}

/// How to start a payments-api.
#[derive(Clone, Debug)]
pub struct Start<'a> {
    ground: &'a Ground,
    run_dir: PathBuf,
    config: Option<PathBuf>,
    drills: bool,
    fallback: bool,
    env: Vec<(String, String)>,
}

impl Start<'_> {
    /// Its configuration file. Default: none.
    #[must_use]
    pub fn config(mut self, path: impl Into<PathBuf>) -> Self {
        self.config = Some(path.into());
        self
    }

    /// Its run directory. Default: that of the ground.
    #[must_use]
    pub fn run_dir(mut self, path: impl Into<PathBuf>) -> Self {
        self.run_dir = path.into();
        self
    }

    /// Serves the drills, which do it harm.
    #[must_use]
    pub fn drills(mut self) -> Self {
        self.drills = true;
        self
    }

    /// Its fallback is as its configuration says. Default: off.
    #[must_use]
    pub fn fallback(mut self) -> Self {
        self.fallback = true;
        self
    }

    /// One environment variable.
    #[must_use]
    pub fn env(mut self, key: &str, value: &str) -> Self {
        self.env.push((key.to_owned(), value.to_owned()));
        self
    }

    /// Starts it, and waits until it is ready.
    ///
    /// # Panics
    ///
    /// When it does not get there.
    pub async fn start(self) -> Api {
        let log = self.run_dir.with_extension("log");
        let mut program = Program::new(find_binary("payments-api").expect("it is built"))
            .args(["--listen", "127.0.0.1:0"])
            .args(["--database", &self.ground.postgres.url()])
            .args(["--upstream", &self.ground.stub.url()])
            .arg("--run-dir")
            .arg(&self.run_dir)
            .arg("--state-dir")
            .arg(self.run_dir.with_extension("state"))
            .log_file(&log);
        if !self.fallback {
            program = program.env(NO_FALLBACK.0, NO_FALLBACK.1);
        }
        if let Some(config) = &self.config {
            program = program.arg("--config").arg(config);
        }
        if self.drills {
            program = program.arg("--allow-drills");
        }
        for (key, value) in self.env {
            program = program.env(key, value);
        }
        let child = program.spawn().expect("a payments-api");
        let line = child.wait_for_line("listening on http://", SOON).await;
        let line = line.expect("it listens");
        let address = line.rsplit("http://").next().and_then(|a| a.parse().ok());
        let api = Api {
            door: Door::Tcp(address.expect("an address")),
            socket: Door::Unix(self.run_dir.join("payments-api.sock")),
            log,
            child,
        };
        eventually("the API is ready", SOON, async || {
            (api.get("/health/ready").await.status == 200).then_some(())
        })
        .await;
        api
    }
}

/// A running payments-api.
#[derive(Debug)]
pub struct Api {
    /// Its own port.
    pub door: Door,
    /// Its control socket.
    pub socket: Door,
    /// Everything it printed.
    pub log: PathBuf,
    /// Its process.
    pub child: ChildProcess,
}

impl Api {
    /// GETs from its own port.
    pub async fn get(&self, path: &str) -> Answer {
        self.door.get(path).await
    }

    /// The one series of its `/metrics`.
    ///
    /// # Panics
    ///
    /// When it is not there.
    pub async fn metric(&self, series: &str) -> f64 {
        let text = self.get("/metrics").await.text();
        metric(&text, series).unwrap_or_else(|| panic!("no {series} in:\n{text}"))
    }

    /// Value and origin of a setting of the breaker.
    pub async fn setting(&self, key: &str) -> (String, String) {
        let detail = self.socket.get(BREAKER).await;
        setting(&detail.json()["config"], key)
    }

    /// Its log lines that contain all of these, once there are so many: a line
    /// may come through the pipe after the answer that it is about.
    ///
    /// # Panics
    ///
    /// When there are more, or fewer for long.
    pub async fn logged(&self, count: usize, with: &[&str]) -> Vec<String> {
        let what = format!("{count} lines with {with:?} of {}", self.log.display());
        let lines = eventually(&what, SOON, async || {
            let lines = self.lines(with);
            (lines.len() >= count).then_some(lines)
        })
        .await;
        assert_eq!(lines.len(), count, "{with:?}: {lines:?}");
        lines
    }

    /// Its log lines so far that contain all of these.
    #[must_use]
    pub fn lines(&self, with: &[&str]) -> Vec<String> {
        let mut lines = self.child.lines();
        lines.retain(|line| with.iter().all(|word| line.contains(word)));
        lines
    }
}

/// Value and origin of the setting `key` in a list of them.
///
/// # Panics
///
/// When there is not just one.
#[must_use]
pub fn setting(list: &Value, key: &str) -> (String, String) {
    let all = list.as_array().expect("a list of settings");
    let mut found = all.iter().filter(|setting| setting["key"] == key);
    let one = found.next().unwrap_or_else(|| panic!("no {key} in {list}"));
    assert!(found.next().is_none(), "{key} is there twice in {list}");
    let text = |name: &str| one[name].as_str().expect("a text").to_owned();
    (text("value"), text("origin"))
}

/// A running sidecar.
#[derive(Debug)]
pub struct Sidecar {
    /// The admin listener.
    pub admin: Door,
    /// The public listener.
    pub public: Door,
    /// Its process.
    pub child: ChildProcess,
}

/// Where somebody listens.
#[derive(Clone, Debug)]
pub enum Door {
    /// A port.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

impl Door {
    /// The port's address.
    ///
    /// # Panics
    ///
    /// On a socket.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        match self {
            Self::Tcp(address) => *address,
            Self::Unix(path) => panic!("{} is no port", path.display()),
        }
    }

    /// GETs.
    pub async fn get(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], "").await
    }

    /// POSTs no body and no headers, as the runbook does.
    pub async fn post(&self, path: &str) -> Answer {
        self.ask(Method::POST, path, &[], "").await
    }

    /// POSTs JSON.
    pub async fn post_json(&self, path: &str, body: &str) -> Answer {
        let json = [("Content-Type", "application/json")];
        self.ask(Method::POST, path, &json, body).await
    }

    /// Asks over a connection of its own; `Host` is right unless given.
    ///
    /// # Panics
    ///
    /// When there is no whole answer in time.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let what = format!("{method} {path} of {self:?}");
        let asked = self.try_ask(method, path, headers, body);
        match tokio::time::timeout(ANSWER, asked).await {
            Ok(Ok(answer)) => answer,
            Ok(Err(error)) => panic!("{what}: {error}"),
            Err(_) => panic!("{what}: no answer within {ANSWER:?}"),
        }
    }

    async fn try_ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, Box<dyn std::error::Error>> {
        let mut request = Request::builder().method(method).uri(path);
        if !headers.iter().any(|(name, _)| *name == "Host") {
            request = request.header(
                header::HOST,
                match self {
                    Self::Tcp(address) => address.to_string(),
                    Self::Unix(_) => "localhost".to_owned(),
                },
            );
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Full::new(Bytes::from(body.to_owned())))?;
        match self {
            Self::Tcp(address) => exchange(TcpStream::connect(address).await?, request).await,
            Self::Unix(path) => exchange(UnixStream::connect(path).await?, request).await,
        }
    }
}

async fn exchange(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    request: Request<Full<Bytes>>,
) -> Result<Answer, Box<dyn std::error::Error>> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    // Ends with `sender`.
    tokio::spawn(connection);
    let (head, body) = sender.send_request(request).await?.into_parts();
    Ok(Answer {
        status: head.status.as_u16(),
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
    })
}

/// A whole answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// When it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("no JSON: {self:?}"))
    }

    /// A header, empty when it is not there.
    #[must_use]
    pub fn header(&self, name: &str) -> &str {
        let value = self.headers.get(name);
        value.map_or("", |value| value.to_str().expect("a readable header"))
    }

    /// The members of an `application/problem+json` with this status that says
    /// what was wrong and what to do.
    ///
    /// # Panics
    ///
    /// When it is anything else.
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        assert_eq!(
            self.header("content-type"),
            "application/problem+json",
            "{self:?}"
        );
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        let code = StatusCode::from_u16(status).expect("a status");
        if problem["type"] == "about:blank" {
            assert_eq!(
                problem["title"],
                code.canonical_reason().expect("known"),
                "{problem}"
            );
        }
        for member in ["title", "detail", "advice"] {
            let said = problem[member].as_str().unwrap_or_default();
            assert!(!said.is_empty(), "no {member} in {problem}");
        }
        problem
    }
}

/// Runs one of our programs to its end, its two streams apart.
///
/// # Panics
///
/// When it does not end in time.
pub async fn run_to_end(name: &str, args: &[&str], env: &[(&str, &str)]) -> Output {
    let binary = find_binary(name).expect("it is built");
    output(
        tokio::process::Command::new(binary)
            .args(args)
            .envs(env.iter().copied()),
    )
    .await
    .unwrap_or_else(|error| panic!("{name} {args:?}: {error}"))
}

/// Runs a line of shell in `directory`, and gives what it printed.
///
/// # Panics
///
/// When it fails.
pub async fn shell(directory: &Path, script: &str) -> String {
    let mut command = tokio::process::Command::new("sh");
    command.args(["-c", script]).current_dir(directory);
    let done = output(&mut command).await.expect(script);
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{script}: {}", text(&done.stderr));
    text(&done.stdout)
}

async fn output(command: &mut tokio::process::Command) -> io::Result<Output> {
    command.stdin(Stdio::null()).kill_on_drop(true);
    tokio::time::timeout(SOON, command.output())
        .await
        .map_err(|_| io::Error::other("it did not end in time"))?
}
