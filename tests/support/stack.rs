//! PostgreSQL, an upstream that can be broken, the payments API and the sidecar.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use resilience_examples::{
    ChildProcess, Mode, PostgresOptions, Program, Stub, StubOptions, TemporaryPostgres,
    process::{Signal, find_binary},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{
    http::{Answer, get, post},
    lone::NO_FALLBACK,
    metrics::Metrics,
    wait::{SOON, eventually},
};

/// The breaker around the upstream.
pub const BREAKER: &str = "payment_api";

/// Trips on the fifth failure, and stays open for as long as a test needs.
const CONFIG: &str = "\
resilience:
  circuit_breaker:
    window: {calls: 10}
    minimum_calls: 5
    failure_rate_threshold: 50
    wait_in_open: 60s
    half_open_permits: 2
services:
  payment_api: {}
";

/// What to start, and how.
#[derive(Clone, Debug)]
pub struct StackBuilder {
    config: String,
    api: bool,
    sidecar: bool,
    api_args: Vec<String>,
    sidecar_args: Vec<String>,
}

/// The whole picture in real processes (the upstream alone is a task of the
/// test). Dropping it stops them all and removes their files.
#[derive(Debug)]
pub struct Stack {
    // Dropped from top to bottom.
    sidecar: Option<Sidecar>,
    api: Option<Api>,
    stub: Stub,
    postgres: TemporaryPostgres,
    builder: StackBuilder,
    directory: TempDir,
}

#[derive(Debug)]
struct Api {
    process: ChildProcess,
    url: String,
}

#[derive(Debug)]
struct Sidecar {
    process: ChildProcess,
    admin: String,
    public: String,
}

impl StackBuilder {
    /// The payments API's configuration. Default: a breaker that trips on the
    /// fifth failure and stays open for a minute.
    #[must_use]
    pub fn config(mut self, yaml: &str) -> Self {
        yaml.clone_into(&mut self.config);
        self
    }

    /// Does not start the payments API yet.
    #[must_use]
    pub fn without_api(mut self) -> Self {
        self.api = false;
        self
    }

    /// Does not start the sidecar yet.
    #[must_use]
    pub fn without_sidecar(mut self) -> Self {
        self.sidecar = false;
        self
    }

    /// One more argument of the payments API, at each start.
    #[must_use]
    pub fn api_arg(mut self, arg: &str) -> Self {
        self.api_args.push(arg.to_owned());
        self
    }

    /// One more argument of the sidecar, at each start.
    #[must_use]
    pub fn sidecar_arg(mut self, arg: &str) -> Self {
        self.sidecar_args.push(arg.to_owned());
        self
    }

    /// Starts it, and waits until all that was started is ready.
    ///
    /// # Panics
    ///
    /// If something does not start, with its last lines.
    pub async fn start(self) -> Stack {
        let directory = tempfile::tempdir().expect("a temporary directory");
        fs::write(directory.path().join("config.yaml"), &self.config).expect("can be written");
        fs::create_dir(directory.path().join("run")).expect("can be made");
        let stub = Stub::start(StubOptions::default())
            .await
            .expect("a port is free");
        let options = PostgresOptions {
            database: "payments".to_owned(),
            ..PostgresOptions::default()
        };
        let postgres = match TemporaryPostgres::start(options).await {
            Ok(postgres) => postgres,
            Err(error) => panic!("{error}"),
        };
        let (api, sidecar) = (self.api, self.sidecar);
        let mut stack = Stack {
            sidecar: None,
            api: None,
            stub,
            postgres,
            builder: self,
            directory,
        };
        if api {
            stack.start_api().await;
        }
        if sidecar {
            stack.start_sidecar().await;
        }
        if api && sidecar {
            stack.wait_for_condition("live").await;
        }
        stack
    }
}

/// Starting and stopping.
impl Stack {
    /// All of it, with settings to be changed.
    #[must_use]
    pub fn builder() -> StackBuilder {
        StackBuilder {
            config: CONFIG.to_owned(),
            api: true,
            sidecar: true,
            api_args: Vec::new(),
            sidecar_args: Vec::new(),
        }
    }

    /// All of it, ready.
    ///
    /// # Panics
    ///
    /// As [`StackBuilder::start`].
    pub async fn start() -> Self {
        Self::builder().start().await
    }

    /// Starts the payments API, on another port each time, and waits until it
    /// is ready.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start_api(&mut self) {
        self.spawn_api().await;
        let url = format!("{}/health/ready", self.api_url());
        eventually(SOON, async || match get(&url).await {
            answer if answer.status() == 200 => Ok(()),
            answer => Err(format!("{answer:?}")),
        })
        .await;
    }

    /// Starts the payments API and waits only until it listens.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn spawn_api(&mut self) {
        let process = program("payments-api")
            .args(["--listen", "127.0.0.1:0"])
            .args(["--database", &self.postgres.url()])
            .args(["--upstream", &self.stub.url()])
            .arg("--run-dir")
            .arg(self.run_dir())
            .arg("--config")
            .arg(self.config_path())
            .arg("--state-dir")
            .arg(self.directory.path().join("state"))
            // So that every call goes to the upstream, and every failure to the caller.
            .env(NO_FALLBACK.0, NO_FALLBACK.1)
            .args(&self.builder.api_args)
            .spawn()
            .expect("it is built");
        let line = wait_for_line(&process, "listening on http://").await;
        let url = word_after(&line, "listening on ");
        self.api = Some(Api { process, url });
    }

    /// Starts the sidecar, on other ports each time.
    ///
    /// # Panics
    ///
    /// If it does not start.
    pub async fn start_sidecar(&mut self) {
        let process = program("admin-sidecar")
            .arg("--run-dir")
            .arg(self.run_dir())
            .args(["--admin-listen", "127.0.0.1:0"])
            .args(["--public-listen", "127.0.0.1:0"])
            .args(&self.builder.sidecar_args)
            .spawn()
            .expect("it is built");
        let line = wait_for_line(&process, "listening admin=").await;
        let url = |key| format!("http://{}", word_after(&line, key));
        let (admin, public) = (url(" admin="), url(" public="));
        self.sidecar = Some(Sidecar {
            process,
            admin,
            public,
        });
    }

    /// Stops the payments API gently.
    ///
    /// # Panics
    ///
    /// If it does not end with exit code 0.
    pub async fn stop_api(&mut self) {
        let api = self.api.take().expect("it runs");
        end(&api.process, Signal::TERM, Some(0)).await;
    }

    /// Kills the payments API.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub async fn kill_api(&mut self) {
        let api = self.api.take().expect("it runs");
        end(&api.process, Signal::KILL, None).await;
    }

    /// Stops the sidecar gently.
    ///
    /// # Panics
    ///
    /// If it does not end with exit code 0.
    pub async fn stop_sidecar(&mut self) {
        let sidecar = self.sidecar.take().expect("it runs");
        end(&sidecar.process, Signal::TERM, Some(0)).await;
    }

    /// Kills the sidecar.
    ///
    /// # Panics
    ///
    /// If it does not run.
    pub async fn kill_sidecar(&mut self) {
        let sidecar = self.sidecar.take().expect("it runs");
        end(&sidecar.process, Signal::KILL, None).await;
    }
}

/// The parts.
impl Stack {
    /// The payments API's process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn api(&self) -> &ChildProcess {
        &self.api.as_ref().expect("it runs").process
    }

    /// The sidecar's process.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn sidecar(&self) -> &ChildProcess {
        &self.sidecar.as_ref().expect("it runs").process
    }

    /// The upstream.
    #[must_use]
    pub fn stub(&self) -> &Stub {
        &self.stub
    }

    /// The database, to be stopped and started.
    pub fn postgres(&mut self) -> &mut TemporaryPostgres {
        &mut self.postgres
    }

    /// `http://…` of the payments API.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn api_url(&self) -> &str {
        &self.api.as_ref().expect("it runs").url
    }

    /// `http://…` of the sidecar's admin API.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn admin_url(&self) -> &str {
        &self.sidecar.as_ref().expect("it runs").admin
    }

    /// `http://…` of the sidecar's health and metrics.
    ///
    /// # Panics
    ///
    /// If it does not run.
    #[must_use]
    pub fn public_url(&self) -> &str {
        &self.sidecar.as_ref().expect("it runs").public
    }

    /// Where socket, black box and audit log are.
    #[must_use]
    pub fn run_dir(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// The payments API's configuration file.
    #[must_use]
    pub fn config_path(&self) -> PathBuf {
        self.directory.path().join("config.yaml")
    }

    /// Replaces the configuration file as an editor does: at once.
    ///
    /// # Panics
    ///
    /// If it cannot be written.
    pub fn write_config(&self, yaml: &str) {
        let next = self.directory.path().join("config.yaml.next");
        fs::write(&next, yaml).expect("can be written");
        fs::rename(&next, self.config_path()).expect("can be replaced");
    }

    /// A directory for the test's own files, removed with the rest.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }
}

/// Questions.
impl Stack {
    /// A call of the payments API that goes to the upstream, and to nothing else.
    pub async fn rate(&self) -> Answer {
        get(format!("{}/rates/EUR", self.api_url())).await
    }

    /// A call of the payments API that goes to database and upstream.
    pub async fn pay(&self) -> Answer {
        let payment = r#"{"user_id": 7, "amount_cents": 1250, "currency": "EUR"}"#;
        post(format!("{}/payments", self.api_url()), payment).await
    }

    /// GETs a path of the sidecar's admin listener.
    pub async fn admin(&self, path: &str) -> Answer {
        get(format!("{}{path}", self.admin_url())).await
    }

    /// GETs a path of the sidecar's read-only listener.
    pub async fn public(&self, path: &str) -> Answer {
        get(format!("{}{path}", self.public_url())).await
    }

    /// GETs what is below the breaker at the sidecar: `state`, `explain`, …
    pub async fn breaker(&self, what: &str) -> Answer {
        self.admin(&format!("/admin/circuit-breaker/{BREAKER}/{what}"))
            .await
    }

    /// The breaker in full.
    pub async fn detail(&self) -> Answer {
        self.admin(&format!("/admin/circuit-breaker/{BREAKER}"))
            .await
    }

    /// Resets the breaker as the runbook does: no body, no header.
    pub async fn reset(&self) -> Answer {
        let url = format!("{}/admin/circuit-breaker/{BREAKER}/reset", self.admin_url());
        post(url, "").await
    }

    /// The flight recorder, newest first.
    ///
    /// # Panics
    ///
    /// If there is none.
    pub async fn events(&self) -> Vec<Value> {
        let answer = self.breaker("events").await;
        match &answer.json()["events"] {
            Value::Array(events) => events.clone(),
            _ => panic!("{answer:?}"),
        }
    }

    /// What the payments API's own port shows.
    pub async fn api_metrics(&self) -> Metrics {
        Metrics::read(&get(format!("{}/metrics", self.api_url())).await.text())
    }

    /// What the sidecar shows.
    pub async fn metrics(&self) -> Metrics {
        Metrics::read(&self.public("/metrics").await.text())
    }

    /// Waits until the breaker is in that state, and the sidecar tells it of a
    /// living service.
    pub async fn wait_for_state(&self, state: &str) -> Answer {
        eventually(SOON, async || match self.breaker("state").await {
            answer if answer.status() != 200 => Err(format!("{answer:?}")),
            answer if answer.json()["state"] == state => Ok(answer),
            answer => Err(format!("{answer:?}")),
        })
        .await
    }

    /// Waits until the sidecar sees the service so.
    pub async fn wait_for_condition(&self, condition: &str) -> Answer {
        eventually(SOON, async || match self.breaker("state").await {
            answer if answer.header("x-service-condition") == Some(condition) => Ok(answer),
            answer => Err(format!("{answer:?}")),
        })
        .await
    }

    /// Breaks the upstream and calls it until the circuit is open.
    ///
    /// # Panics
    ///
    /// If a call that goes through is anything but a failure.
    pub async fn break_upstream(&self) {
        self.stub.set_fault(Mode::Fail.into());
        eventually(SOON, async || match self.rate().await {
            answer if answer.status() == 503 => Ok(()),
            answer => {
                assert_eq!(answer.status(), 502, "{answer:?}");
                Err(format!("{answer:?}"))
            }
        })
        .await;
        // Any replica's answer may be a hundredth of a second old.
        self.wait_for_state("OPEN").await;
    }

    /// Mends the upstream.
    pub fn mend_upstream(&self) {
        self.stub.set_fault(Mode::Ok.into());
    }
}

fn program(name: &str) -> Program {
    match find_binary(name) {
        Ok(path) => Program::new(path).grace(Duration::from_secs(2)),
        Err(error) => panic!("{error}"),
    }
}

async fn wait_for_line(process: &ChildProcess, pattern: &str) -> String {
    match process.wait_for_line(pattern, SOON).await {
        Ok(line) => line,
        Err(error) => panic!("{error}"),
    }
}

/// `http://…` in `… listening on http://… …`.
fn word_after(line: &str, before: &str) -> String {
    let rest = line.split_once(before).map_or("", |(_, rest)| rest);
    let word = rest.split_whitespace().next();
    word.unwrap_or_else(|| panic!("nothing follows `{before}` in: {line}"))
        .to_owned()
}

/// Without blocking: the upstream is a task on this very thread.
async fn end(process: &ChildProcess, signal: Signal, code: Option<i32>) {
    process.signal(signal).expect("it runs");
    match process.wait_exit(SOON).await {
        Ok(status) => assert_eq!(status.code(), code, "{}: {status}", process.label()),
        Err(error) => panic!("{error}"),
    }
}
