//! The one connection: made when it is needed, lent to one question at a time.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use resilience_core::pool::diagnosis::{Diagnosis, DiagnosisError, Limit};
use tokio::{
    sync::{Semaphore, SemaphorePermit},
    task::JoinHandle,
    time,
};
use tokio_postgres::{Client, Config, NoTls, config::Host};

/// How long it may take until there is a connection, and before that until
/// those who asked first are done.
const CONNECT_WITHIN: Duration = Duration::from_secs(2);

/// The database of the service, if its URL was given. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Database {
    reserved: Option<Arc<Reserved>>,
}

#[derive(Debug)]
struct Reserved {
    config: Config,
    /// Whoever has it may use the connection. A lock held over the question
    /// would be the same, but for a deadline on the wait.
    turn: Semaphore,
    spare: Mutex<Option<Connection>>,
}

/// Why there is no connection to ask over.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoConnection {
    #[error("no database URL was given")]
    NotConfigured,
    #[error("others are asking")]
    Busy,
    #[error("there was no connection to it within {CONNECT_WITHIN:?}")]
    TimedOut,
    #[error("there is no connection to it")]
    Refused(#[source] tokio_postgres::Error),
}

#[derive(Debug)]
struct Connection {
    client: Client,
    /// What moves its bytes.
    task: JoinHandle<()>,
}

impl Drop for Connection {
    fn drop(&mut self) {
        // It would wait for answers that a frozen server owes.
        self.task.abort();
    }
}

impl Database {
    /// Connects when it is first asked.
    #[must_use]
    pub fn new(config: Option<Config>) -> Self {
        let reserve = |config| {
            Arc::new(Reserved {
                config,
                turn: Semaphore::new(1),
                spare: Mutex::new(None),
            })
        };
        Self {
            reserved: config.map(reserve),
        }
    }

    /// Takes the connection ahead of need: when the server has none left, it is
    /// too late. Failing now is no harm, the first question tries again.
    pub(crate) async fn reserve(&self) {
        if let Ok(lent) = self.lend().await {
            lent.give_back();
        }
    }

    /// Where it is, such as `app at db:5432 as api`; without the password.
    pub(crate) fn place(&self) -> String {
        let Some(reserved) = &self.reserved else {
            return "none".to_owned();
        };
        let config = &reserved.config;
        let hosts = config.get_hosts().iter().map(|host| match host {
            Host::Tcp(name) => name.clone(),
            Host::Unix(path) => path.display().to_string(),
        });
        let addresses = config.get_hostaddrs().iter().map(ToString::to_string);
        let hosts: Vec<_> = hosts.chain(addresses).collect();
        let user = config.get_user().unwrap_or("the default role");
        format!(
            "{} at {}:{} as {user}",
            config.get_dbname().unwrap_or(user),
            hosts.join(","),
            config.get_ports().first().unwrap_or(&5432),
        )
    }

    /// The connection, for one question.
    pub(crate) async fn lend(&self) -> Result<Lent<'_>, NoConnection> {
        let reserved = self.reserved.as_ref().ok_or(NoConnection::NotConfigured)?;
        let turn = time::timeout(CONNECT_WITHIN, reserved.turn.acquire()).await;
        let turn = match turn {
            Ok(Ok(turn)) => turn,
            Ok(Err(_)) | Err(_) => return Err(NoConnection::Busy),
        };
        let connection = time::timeout(CONNECT_WITHIN, reserved.connected())
            .await
            .map_err(|_| NoConnection::TimedOut)?
            .map_err(NoConnection::Refused)?;
        Ok(Lent {
            reserved,
            connection,
            _turn: turn,
        })
    }
}

impl Reserved {
    async fn connected(&self) -> Result<Connection, tokio_postgres::Error> {
        // Taken out: if the wait is given up, the connection goes with it.
        let spare = self.spare.lock().take();
        if let Some(spare) = spare
            && spare.client.check_connection().await.is_ok()
        {
            return Ok(spare);
        }
        let (client, connection) = self.config.connect(NoTls).await?;
        let task = tokio::spawn(async move {
            // Whoever asks next is told.
            let _ = connection.await;
        });
        Ok(Connection { client, task })
    }
}

/// The connection while somebody asks. Dropped, it is closed, since nobody knows
/// what it still has to answer.
pub(crate) struct Lent<'a> {
    reserved: &'a Reserved,
    connection: Connection,
    _turn: SemaphorePermit<'a>,
}

impl Lent<'_> {
    pub(crate) fn diagnosis(&self, limit: Limit) -> Diagnosis<'_> {
        Diagnosis::new(&self.connection.client).limit(limit)
    }

    /// Gives the connection back, unless it was lost.
    pub(crate) fn settle<T>(self, answer: Result<T, DiagnosisError>) -> Result<T, DiagnosisError> {
        let lost = answer.as_ref().is_err_and(DiagnosisError::lost_connection);
        if !lost {
            self.give_back();
        }
        answer
    }

    fn give_back(self) {
        let Self {
            reserved,
            connection,
            _turn,
        } = self;
        // Before the turn ends, so that the next one finds it.
        *reserved.spare.lock() = Some(connection);
    }
}
