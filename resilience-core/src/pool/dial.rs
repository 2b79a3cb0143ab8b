//! Makes connections, within a deadline, and says why one could not be made.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use tokio_postgres::{
    CancelToken, Client, Config, Socket,
    error::SqlState,
    tls::{MakeTlsConnect, TlsConnect},
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What runs a connection until it ends.
pub(super) type Driver = Boxed<Result<(), tokio_postgres::Error>>;

/// How the server is reached: with which TLS, if any. One indirect call a dial or
/// a cancellation spares every type of the pool a parameter.
pub(super) trait Transport: Send + Sync {
    fn connect(&self, config: &Config) -> Boxed<Result<(Client, Driver), tokio_postgres::Error>>;
    fn cancel(&self, token: CancelToken) -> Boxed<Result<(), tokio_postgres::Error>>;
}

/// Over a connector of tokio-postgres.
pub(super) struct Over<T>(pub(super) T);

impl<T> Transport for Over<T>
where
    T: MakeTlsConnect<Socket> + Clone + Send + Sync + 'static,
    T::Stream: Send + 'static,
    T::TlsConnect: Send + Sync,
    <T::TlsConnect as TlsConnect<Socket>>::Future: Send,
{
    fn connect(&self, config: &Config) -> Boxed<Result<(Client, Driver), tokio_postgres::Error>> {
        let (config, tls) = (config.clone(), self.0.clone());
        Box::pin(async move {
            let (client, connection) = config.connect(tls).await?;
            let driver: Driver = Box::pin(connection);
            Ok((client, driver))
        })
    }

    fn cancel(&self, token: CancelToken) -> Boxed<Result<(), tokio_postgres::Error>> {
        let tls = self.0.clone();
        Box::pin(async move { token.cancel_query(tls).await })
    }
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

/// Connects within `deadline`; all hosts of the configuration together.
pub(super) async fn dial(
    transport: &dyn Transport,
    config: &Config,
    deadline: Duration,
) -> Result<(Client, Driver), ConnectError> {
    match tokio::time::timeout(deadline, transport.connect(config)).await {
        Ok(Ok(connected)) => Ok(connected),
        Ok(Err(error)) => Err(ConnectError::from(error)),
        Err(_) => Err(ConnectError::timeout(deadline)),
    }
}

/// Why no connection could be made.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct ConnectError {
    kind: ConnectErrorKind,
    message: String,
    #[source]
    source: Option<Arc<tokio_postgres::Error>>,
}

/// What kind of reason it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConnectErrorKind {
    /// Nobody listens there, or the host cannot be reached.
    Refused,
    /// The server does not take the user, the password or the database.
    Auth,
    /// The server has all the connections that it takes (`53300`).
    TooManyConnections,
    /// The server is starting, stopping or recovering (`57P03`).
    StartingUp,
    /// No answer within `connect_timeout`.
    Timeout,
    /// The TLS handshake failed, or the server has none.
    Tls,
    /// Anything else.
    Other,
}

impl ConnectErrorKind {
    /// As in metrics, logs and JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::Auth => "auth",
            Self::TooManyConnections => "too_many_connections",
            Self::StartingUp => "starting_up",
            Self::Timeout => "timeout",
            Self::Tls => "tls",
            Self::Other => "other",
        }
    }

    /// Whether waiting may help: a server that says no to a password will say it
    /// again.
    pub(super) const fn may_pass(self) -> bool {
        !matches!(self, Self::Auth | Self::Tls)
    }
}

impl fmt::Display for ConnectErrorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl ConnectError {
    /// What kind of reason it was.
    #[must_use]
    pub const fn kind(&self) -> ConnectErrorKind {
        self.kind
    }

    pub(super) fn timeout(after: Duration) -> Self {
        Self {
            kind: ConnectErrorKind::Timeout,
            message: format!("no answer within {after:?}"),
            source: None,
        }
    }
}

impl From<tokio_postgres::Error> for ConnectError {
    fn from(error: tokio_postgres::Error) -> Self {
        Self {
            kind: kind_of(&error),
            message: super::error::causes(&error),
            source: Some(Arc::new(error)),
        }
    }
}

fn kind_of(error: &tokio_postgres::Error) -> ConnectErrorKind {
    if let Some(code) = error.code() {
        return match *code {
            SqlState::TOO_MANY_CONNECTIONS => ConnectErrorKind::TooManyConnections,
            SqlState::CANNOT_CONNECT_NOW | SqlState::ADMIN_SHUTDOWN | SqlState::CRASH_SHUTDOWN => {
                ConnectErrorKind::StartingUp
            }
            SqlState::INVALID_PASSWORD
            | SqlState::INVALID_AUTHORIZATION_SPECIFICATION
            | SqlState::INVALID_CATALOG_NAME
            | SqlState::INSUFFICIENT_PRIVILEGE => ConnectErrorKind::Auth,
            _ => ConnectErrorKind::Other,
        };
    }
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::TimedOut => ConnectErrorKind::Timeout,
                _ => ConnectErrorKind::Refused,
            };
        }
        cause = error.source();
    }
    let said = error.to_string();
    if said.contains("TLS") {
        ConnectErrorKind::Tls
    } else if said.contains("password") || said.contains("authentication") {
        // The client's own checks, such as a password that is missing.
        ConnectErrorKind::Auth
    } else if error.is_closed() {
        ConnectErrorKind::Refused
    } else {
        ConnectErrorKind::Other
    }
}
