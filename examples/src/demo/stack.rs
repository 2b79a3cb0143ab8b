//! The running processes.

use std::{
    env, fs,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::{Address, BREAKER, DemoError, Flags, Ground, ground::Programs};
use crate::{
    client::Client,
    postgres::{PostgresOptions, TemporaryPostgres},
    process::{ChildProcess, Program, WaitError, describe},
    scratch::Scratch,
};

/// The configuration that is used when none is given.
const CONFIG: &str = include_str!("../../config.yaml");
/// How long one process may take until it is ready.
const READY_WITHIN: Duration = Duration::from_secs(60);
/// How often it is asked.
const ASK: Duration = Duration::from_millis(50);

/// Everything the demo starts. Dropping it stops it all, those first that others
/// depend on last, and removes its files.
#[derive(Debug)]
pub struct Stack {
    // Dropped from top to bottom.
    sidecar: ChildProcess,
    api: ChildProcess,
    stub: ChildProcess,
    postgres: TemporaryPostgres,
    directory: Scratch,
    config: PathBuf,
    addresses: Addresses,
}

#[derive(Clone, Copy, Debug)]
struct Addresses {
    api: Address,
    stub: Address,
    admin: Address,
    health: Address,
}

impl Stack {
    /// Starts everything and waits until all of it is ready.
    ///
    /// # Errors
    ///
    /// [`DemoError`] with the last lines of whatever did not come up; nothing
    /// is left running then.
    pub async fn start(ground: Ground, flags: &Flags) -> Result<Self, DemoError> {
        let (addresses, programs) = release(ground);
        let directory =
            Scratch::create(&env::temp_dir(), "demo", |_| ()).map_err(DemoError::Directory)?;
        let run_dir = directory.path().join("run");
        fs::create_dir(&run_dir).map_err(DemoError::Directory)?;
        let config = match &flags.config {
            // The API runs in our directory, but a log line should say which.
            Some(path) => path.canonicalize().unwrap_or_else(|_| path.clone()),
            None => {
                let path = directory.path().join("config.yaml");
                fs::write(&path, CONFIG).map_err(DemoError::Directory)?;
                path
            }
        };
        let program = |path: &Path, name: &str| {
            Program::new(path)
                .label(name)
                .forward(flags.logs)
                .log_file(directory.path().join(format!("{name}.log")))
        };

        let stub = program(&programs.stub, "payment-stub")
            .arg("--listen")
            .arg(addresses.stub.to_string())
            .spawn()?;
        let postgres = TemporaryPostgres::start(PostgresOptions {
            database: "payments".to_owned(),
            port: flags.postgres_port,
            forward_log: flags.logs,
            ..PostgresOptions::default()
        })
        .await?;
        ready(&stub, &format!("{}/health", addresses.stub.url())).await?;
        let api = program(&programs.api, "payments-api")
            .args(["--listen", &addresses.api.to_string()])
            .args(["--database", &postgres.url()])
            .args(["--upstream", &addresses.stub.url()])
            .arg("--run-dir")
            .arg(&run_dir)
            .arg("--state-dir")
            .arg(directory.path().join("state"))
            .arg("--config")
            .arg(&config)
            .spawn()?;
        let sidecar = program(&programs.sidecar, "admin-sidecar")
            .arg("--run-dir")
            .arg(&run_dir)
            .args(["--admin-listen", &addresses.admin.to_string()])
            .args(["--public-listen", &addresses.health.to_string()])
            .env("ADMIN_DATABASE_URL", postgres.url())
            .spawn()?;
        ready(&api, &format!("{}/health/ready", addresses.api.url())).await?;
        ready(
            &sidecar,
            &format!("{}/health/ready", addresses.health.url()),
        )
        .await?;
        let state = format!(
            "{}/admin/circuit-breaker/{BREAKER}/state",
            addresses.admin.url()
        );
        ready(&sidecar, &state).await?;
        Ok(Self {
            sidecar,
            api,
            stub,
            postgres,
            directory,
            config,
            addresses,
        })
    }

    /// The payments API.
    #[must_use]
    pub fn api(&self) -> Address {
        self.addresses.api
    }

    /// The upstream.
    #[must_use]
    pub fn stub(&self) -> Address {
        self.addresses.stub
    }

    /// The admin API.
    #[must_use]
    pub fn admin(&self) -> Address {
        self.addresses.admin
    }

    /// The sidecar's health and metrics.
    #[must_use]
    pub fn health(&self) -> Address {
        self.addresses.health
    }

    /// The database.
    #[must_use]
    pub fn postgres(&self) -> &TemporaryPostgres {
        &self.postgres
    }

    /// The configuration in force; it may be edited.
    #[must_use]
    pub fn config(&self) -> &Path {
        &self.config
    }

    /// What the payments API logs.
    #[must_use]
    pub fn api_log(&self) -> PathBuf {
        self.directory.path().join("payments-api.log")
    }

    /// Waits until one of the processes has ended, which none should.
    pub async fn first_to_end(&self) -> WaitError {
        let mut look = tokio::time::interval(Duration::from_millis(100));
        loop {
            look.tick().await;
            let ours = [&self.sidecar, &self.api, &self.stub];
            for child in ours.into_iter().chain(self.postgres.server()) {
                if let Ok(Some(status)) = child.try_exit() {
                    child.last_words().await;
                    return child.error(format!("ended ({})", describe(status)));
                }
            }
        }
    }
}

/// Lets go of the ports, at the last moment.
fn release(ground: Ground) -> (Addresses, Programs) {
    let addresses = Addresses {
        api: ground.api,
        stub: ground.stub,
        admin: ground.admin,
        health: ground.health,
    };
    (addresses, ground.programs)
}

/// Waits until `url` answers 200, as long as `child` lives.
async fn ready(child: &ChildProcess, url: &str) -> Result<(), WaitError> {
    let client = Client::new(Duration::from_secs(2));
    let until = Instant::now() + READY_WITHIN;
    loop {
        let seen = match client.get(url).await {
            Ok(answer) if answer.status() == 200 => return Ok(()),
            Ok(answer) => format!(
                "{} from {url}: {}",
                answer.status(),
                String::from_utf8_lossy(answer.body()).trim()
            ),
            Err(error) => error.to_string(),
        };
        if let Ok(Some(status)) = child.try_exit() {
            child.last_words().await;
            return Err(child.error(format!("ended ({}) while starting", describe(status))));
        }
        if Instant::now() >= until {
            return Err(child.error(format!("was not ready within {READY_WITHIN:?}: {seen}")));
        }
        tokio::time::sleep(ASK).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Mode, Stub, StubOptions};

    fn sleeper(script: &str) -> ChildProcess {
        Program::new("/bin/sh")
            .args(["-c", script])
            .spawn()
            .unwrap()
    }

    #[tokio::test]
    async fn ready_waits_through_503_until_200() {
        let upstream = Stub::start(StubOptions::default()).await.unwrap();
        upstream.set_fault(Mode::Fail.into());
        let child = sleeper("exec sleep 1000");
        let url = format!("{}/health", upstream.url());
        let mend = async {
            while upstream.counts().failed < 2 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            upstream.set_fault(Mode::Ok.into());
        };
        let (outcome, ()) = tokio::join!(ready(&child, &url), mend);
        outcome.unwrap();
        assert!(upstream.counts().failed >= 2);
    }

    #[tokio::test]
    async fn a_child_that_ends_before_it_is_ready_is_named_with_its_last_lines() {
        let child = sleeper("echo no such table >&2; exit 78");
        let error = ready(&child, "http://127.0.0.1:1/").await.unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("sh ended (exit code 78) while starting"),
            "{text}"
        );
        assert!(text.contains("no such table"), "{text}");
    }
}
