//! A small HTTP client: one request, one deadline, a bounded answer.

use std::{error::Error, fmt::Write as _, time::Duration};

use http::{Request, Response, header::CONTENT_TYPE};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};

/// Longest answer that is read.
const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ClientError {
    /// The request cannot be made of this.
    #[error("not a request: {0}")]
    Request(#[from] http::Error),
    /// Nobody accepted the connection.
    #[error("cannot connect to {url}: {cause}")]
    Connect {
        /// What was asked for.
        url: String,
        /// The chain of causes on one line.
        cause: String,
    },
    /// The connection broke before the answer was complete.
    #[error("no answer from {url}: {cause}")]
    Broken {
        /// What was asked for.
        url: String,
        /// The chain of causes on one line.
        cause: String,
    },
    /// The answer did not come in time.
    #[error("no answer from {url} within {deadline:?}")]
    Deadline {
        /// What was asked for.
        url: String,
        /// How long it was waited for.
        deadline: Duration,
    },
}

/// An HTTP/1.1 client that opens a connection for each request, as curl does:
/// what it sees is never an echo of a connection pooled earlier.
#[derive(Clone, Debug)]
pub struct Client {
    inner: HyperClient<HttpConnector, Full<Bytes>>,
    deadline: Duration,
}

impl Client {
    /// A client that waits at most so long for a whole answer.
    #[must_use]
    pub fn new(deadline: Duration) -> Self {
        let inner = HyperClient::builder(TokioExecutor::new())
            .pool_max_idle_per_host(0)
            .build_http();
        Self { inner, deadline }
    }

    /// GETs `url`.
    ///
    /// # Errors
    ///
    /// [`ClientError`]; an answer of any status is an answer.
    pub async fn get(&self, url: &str) -> Result<Response<Bytes>, ClientError> {
        let request = Request::get(url).body(Bytes::new())?;
        self.send(request).await
    }

    /// POSTs `json` to `url`.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn post(
        &self,
        url: &str,
        json: impl Into<Bytes>,
    ) -> Result<Response<Bytes>, ClientError> {
        let body = json.into();
        let mut request = Request::post(url);
        if !body.is_empty() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        self.send(request.body(body)?).await
    }

    /// Sends `request` as it is; its URI is a whole URL.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get).
    pub async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, ClientError> {
        let url = &request.uri().to_string();
        let request = request.map(Full::new);
        let answer = async {
            let response = self.inner.request(request).await.map_err(|error| {
                let (url, cause) = (url.to_owned(), chain(&error));
                if error.is_connect() {
                    ClientError::Connect { url, cause }
                } else {
                    ClientError::Broken { url, cause }
                }
            })?;
            let (head, body) = response.into_parts();
            let body = Limited::new(body, MAX_ANSWER)
                .collect()
                .await
                .map_err(|error| ClientError::Broken {
                    url: url.to_owned(),
                    cause: chain(&*error),
                })?;
            Ok(Response::from_parts(head, body.to_bytes()))
        };
        tokio::time::timeout(self.deadline, answer)
            .await
            .unwrap_or_else(|_| {
                Err(ClientError::Deadline {
                    url: url.to_owned(),
                    deadline: self.deadline,
                })
            })
    }
}

fn chain(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        let _ = write!(text, ": {cause}");
        next = cause.source();
    }
    text
}
