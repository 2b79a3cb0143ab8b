//! Requests as curl makes them, and answers one can look into.

use std::{
    fmt,
    time::{Duration, Instant},
};

use http::{Request, Response, StatusCode};
use hyper::body::Bytes;
use resilience_examples::client::{Client, ClientError};
use serde_json::Value;

use crate::wait::SOON;

/// An answer, and how long it took.
#[derive(Clone)]
pub struct Answer {
    /// From before the connection was opened until the last byte was read.
    pub took: Duration,
    asked: String,
    response: Response<Bytes>,
}

/// Shows all of it: it stands in the message of a failed assertion.
impl fmt::Debug for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} → {} after {:?}",
            self.asked,
            self.status(),
            self.took
        )?;
        for (name, value) in self.response.headers() {
            writeln!(f, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))?;
        }
        write!(f, "\n{}", self.text())
    }
}

/// GETs `url`.
///
/// # Panics
///
/// Without an answer.
pub async fn get(url: impl AsRef<str>) -> Answer {
    let url = url.as_ref();
    match try_get(url, SOON).await {
        Ok(answer) => answer,
        Err(error) => panic!("GET {url}: {error}"),
    }
}

/// POSTs `json`, which may be empty, to `url`.
///
/// # Panics
///
/// Without an answer.
pub async fn post(url: impl AsRef<str>, json: impl Into<Bytes>) -> Answer {
    let (url, body) = (url.as_ref(), json.into());
    let mut request = Request::post(url);
    if !body.is_empty() {
        request = request.header("content-type", "application/json");
    }
    send(request.body(body).expect("a URL")).await
}

/// Sends any request.
///
/// # Panics
///
/// Without an answer.
pub async fn send(request: Request<Bytes>) -> Answer {
    let asked = format!("{} {}", request.method(), request.uri());
    match exchange(request, SOON).await {
        Ok(answer) => answer,
        Err(error) => panic!("{asked}: {error}"),
    }
}

/// GETs `url` where there may be no answer.
///
/// # Errors
///
/// [`ClientError`] when there is none within `deadline`.
pub async fn try_get(url: &str, deadline: Duration) -> Result<Answer, ClientError> {
    exchange(Request::get(url).body(Bytes::new())?, deadline).await
}

async fn exchange(request: Request<Bytes>, deadline: Duration) -> Result<Answer, ClientError> {
    let asked = format!("{} {}", request.method(), request.uri());
    let client = Client::new(deadline);
    let begun = Instant::now();
    let response = client.send(request).await?;
    Ok(Answer {
        took: begun.elapsed(),
        asked,
        response,
    })
}

impl Answer {
    /// Its status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.response.status()
    }

    /// A header's text, if it is there.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.response.headers().get(name)?.to_str().ok()
    }

    /// The body as text.
    #[must_use]
    pub fn text(&self) -> String {
        String::from_utf8_lossy(self.response.body()).into_owned()
    }

    /// The body as JSON.
    ///
    /// # Panics
    ///
    /// If it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        match serde_json::from_slice(self.response.body()) {
            Ok(value) => value,
            Err(error) => panic!("no JSON, {error}: {self:?}"),
        }
    }

    /// Itself, if it has that status and came within half a second.
    ///
    /// # Panics
    ///
    /// Otherwise.
    pub fn in_time(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{self:?}");
        assert!(self.took < Duration::from_millis(500), "late: {self:?}");
        self
    }

    /// Itself, if it is RFC 9457 with that status, a title, a detail and advice.
    ///
    /// # Panics
    ///
    /// Otherwise.
    pub fn problem(self, status: u16) -> Self {
        assert_eq!(self.status(), status, "{self:?}");
        let kind = self.header("content-type");
        assert_eq!(kind, Some("application/problem+json"), "{self:?}");
        let body = self.json();
        assert_eq!(body["status"], status, "{self:?}");
        for key in ["title", "detail", "advice"] {
            let text = body[key].as_str().unwrap_or_default();
            assert!(!text.is_empty(), "no `{key}`: {self:?}");
        }
        self
    }
}
