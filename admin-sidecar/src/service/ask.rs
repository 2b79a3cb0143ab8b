//! One question to the service over its socket, bounded in time and size.

use std::{io, path::Path, time::Duration};

use axum::body::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::{net::UnixStream, sync::Semaphore, task::JoinHandle, time};

/// No snapshot comes near it; one that does is not a snapshot.
const MAX_ANSWER: u64 = resilience_core::control::blackbox::LARGEST;

/// How many connections to the service may be open at once.
const MAX_CONNECTIONS: usize = 16;

/// Asks one service.
#[derive(Debug)]
pub(crate) struct Asker {
    timeout: Duration,
    places: Semaphore,
}

/// What it answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) body: Bytes,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum AskError {
    /// Nobody listens, or whoever did hung up.
    #[error("nobody answers at the socket")]
    Absent(#[source] io::Error),
    /// Connected or not, nothing came in time. A stopped process is like this:
    /// the kernel accepts for it.
    #[error("no answer in time")]
    Silent,
    /// Something is wrong with the socket or with what came out of it.
    #[error("{0}")]
    Broken(String),
}

impl Asker {
    pub(crate) fn new(timeout: Duration) -> Self {
        Self {
            timeout,
            places: Semaphore::new(MAX_CONNECTIONS),
        }
    }

    /// The deadline of one question.
    pub(crate) fn timeout(&self) -> Duration {
        self.timeout
    }

    /// The deadline covers the wait for a place, connecting, writing, reading.
    pub(crate) async fn ask(
        &self,
        socket: &Path,
        request: Request<Bytes>,
    ) -> Result<Answer, AskError> {
        let asking = async {
            let _place = self.places.acquire().await.map_err(|_| AskError::Silent)?;
            exchange(socket, request).await
        };
        time::timeout(self.timeout, asking)
            .await
            .unwrap_or(Err(AskError::Silent))
    }
}

async fn exchange(socket: &Path, request: Request<Bytes>) -> Result<Answer, AskError> {
    let stream = UnixStream::connect(socket)
        .await
        .map_err(|error| match error.kind() {
            io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => AskError::Absent(error),
            // The queue of a listener that accepts no more is full.
            io::ErrorKind::WouldBlock => AskError::Silent,
            _ => AskError::Broken(format!("cannot connect to {}: {error}", socket.display())),
        })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(&error))?;
    // Ends with the question, answered or not.
    let _connection = AbortOnDrop(tokio::spawn(connection));

    let mut request = request.map(Full::new);
    request
        .headers_mut()
        .insert(header::HOST, HeaderValue::from_static("localhost"));
    let response = sender
        .send_request(request)
        .await
        .map_err(|error| broken(&error))?;
    let status = response.status();
    let body = Limited::new(
        response.into_body(),
        usize::try_from(MAX_ANSWER).unwrap_or(usize::MAX),
    )
    .collect()
    .await
    .map_err(|error| match error.downcast::<hyper::Error>() {
        Ok(error) => broken(&error),
        Err(_) => AskError::Broken(format!("the answer is larger than {MAX_ANSWER} bytes")),
    })?
    .to_bytes();
    Ok(Answer { status, body })
}

fn broken(error: &hyper::Error) -> AskError {
    let hung_up = error.is_incomplete_message() || error.is_canceled() || error.is_closed();
    let source = std::error::Error::source(error).and_then(|s| s.downcast_ref::<io::Error>());
    let reset = source.is_some_and(|source| {
        matches!(
            source.kind(),
            io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe
        )
    });
    if hung_up || reset {
        AskError::Absent(io::Error::other(error.to_string()))
    } else {
        AskError::Broken(format!("the answer is not HTTP: {error}"))
    }
}

struct AbortOnDrop<T>(JoinHandle<T>);

impl<T> Drop for AbortOnDrop<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}
