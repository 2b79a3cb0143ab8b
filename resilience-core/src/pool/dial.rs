//! Makes connections, within a deadline, and says why one could not be made.

use std::{fmt, future::Future, io, pin::Pin, sync::Arc, time::Duration};

use tokio_postgres::{
    CancelToken, Client, Config, Socket,
    error::SqlState,
    tls::{MakeTlsConnect, TlsConnect},
};

use super::{
    address::{self, Address},
    cancel::CancelStream,
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// What runs a connection until it ends.
pub(super) type Driver = Boxed<Result<(), tokio_postgres::Error>>;

/// How a server is reached: with which TLS, if any. One indirect call a dial or
/// a cancellation spares every type of the pool a parameter.
pub(super) trait Transport: Send + Sync {
    /// Connects to the one server of `config`.
    fn connect(&self, config: Config) -> Boxed<Result<(Client, Driver), tokio_postgres::Error>>;

    /// Has the server at `address` give up what runs on a session. Once that is
    /// over, it hits nothing that the session does later; `false`: it may yet.
    fn cancel(&self, address: Address, token: CancelToken) -> Boxed<bool>;
}

/// Over a connector of tokio-postgres.
pub(super) struct Over<T>(pub(super) T);

impl<T: Tls> Transport for Over<T> {
    fn connect(&self, config: Config) -> Boxed<Result<(Client, Driver), tokio_postgres::Error>> {
        let tls = self.0.clone();
        Box::pin(async move {
            let (client, connection) = config.connect(tls).await?;
            let driver: Driver = Box::pin(connection);
            Ok((client, driver))
        })
    }

    fn cancel(&self, address: Address, token: CancelToken) -> Boxed<bool> {
        let mut tls = self.0.clone();
        Box::pin(async move {
            let Ok(stream) = CancelStream::connect(&address).await else {
                // The server has not heard of it, and never will.
                return true;
            };
            let name = &address.host_name;
            let tls = MakeTlsConnect::<CancelStream>::make_tls_connect(&mut tls, name).ok();
            match tls {
                Some(tls) => token.cancel_query_raw(stream, tls).await.is_ok(),
                None => true,
            }
        })
    }
}

/// A TLS connector that a pool can use, such as tokio-postgres' `NoTls` or the one of
/// `tokio-postgres-rustls`: for connections and for cancellations.
pub trait Tls: TlsOver<Socket> + TlsOver<CancelStream> + Clone + Send + Sync + 'static {}

impl<T> Tls for T where T: TlsOver<Socket> + TlsOver<CancelStream> + Clone + Send + Sync + 'static {}

/// A TLS connector of one kind of stream, all of whose parts another thread may have.
pub trait TlsOver<S>:
    MakeTlsConnect<S, Stream: Send + 'static, TlsConnect: TlsConnect<S, Future: Send> + Send>
{
}

impl<S, T> TlsOver<S> for T where
    T: MakeTlsConnect<S, Stream: Send + 'static, TlsConnect: TlsConnect<S, Future: Send> + Send>
{
}

impl fmt::Debug for dyn Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Transport")
    }
}

/// Connects to the first server that lets us within `deadline`, which they share.
pub(super) async fn dial(
    transport: &dyn Transport,
    config: &Config,
    deadline: Duration,
) -> Result<(Client, Driver, Address), ConnectError> {
    let within = tokio::time::timeout(deadline, dial_each(transport, config, deadline));
    within
        .await
        .unwrap_or_else(|_| Err(ConnectError::timeout(deadline)))
}

async fn dial_each(
    transport: &dyn Transport,
    config: &Config,
    deadline: Duration,
) -> Result<(Client, Driver, Address), ConnectError> {
    let servers = address::each(config)
        .await
        .map_err(|error| ConnectError::unknown_host(&error))?;
    let each = deadline / u32::try_from(servers.len()).unwrap_or(1).max(1);
    let mut failure = ConnectError::timeout(deadline);
    for (config, address) in servers {
        match tokio::time::timeout(each, transport.connect(config)).await {
            Ok(Ok((client, driver))) => return Ok((client, driver, address)),
            Ok(Err(error)) => failure = error.into(),
            Err(_) => failure = ConnectError::timeout(each),
        }
    }
    Err(failure)
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

    fn unknown_host(error: &io::Error) -> Self {
        Self {
            kind: ConnectErrorKind::Refused,
            message: error.to_string(),
            source: None,
        }
    }

    #[cfg(test)]
    pub(super) fn of_kind(kind: ConnectErrorKind) -> Self {
        Self {
            kind,
            message: kind.to_string(),
            source: None,
        }
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
    // The library's own words for its own kind, which it keeps to itself.
    let said = error.to_string();
    let in_handshake = said.contains("TLS");
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        if let Some(io) = error.downcast_ref::<io::Error>() {
            return match io.kind() {
                io::ErrorKind::TimedOut => ConnectErrorKind::Timeout,
                // What was said is at fault, and it will be said again. A line that
                // breaks in the middle of a handshake is an outage like any other.
                io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput if in_handshake => {
                    ConnectErrorKind::Tls
                }
                _ => ConnectErrorKind::Refused,
            };
        }
        cause = error.source();
    }
    if in_handshake {
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
