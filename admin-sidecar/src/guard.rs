//! What stands before the admin API.
//!
//! A bare `curl -X POST` on the machine itself works, as the runbook needs. A
//! page in a browser on that machine must not do the same: a name that leads
//! here by DNS rebinding is refused by its `Host`, a form or a script of another
//! site by `Origin` and `Sec-Fetch-Site`, a form's body by its content type. GET
//! changes nothing, so it needs no more than a right `Host`; only what the database
//! answers is guarded like a change.

mod host;

use std::{net::SocketAddr, time::Duration};

use axum::{
    body::{Body, Bytes, to_bytes},
    extract::{Request, State},
    middleware::Next,
    response::{IntoResponse, Response},
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, header, request::Parts};
use parking_lot::Mutex;
use serde::de::IgnoredAny;
use tokio::time::{self, Instant};

pub use host::AllowedHosts;

use resilience_core::Problem;

use crate::{
    auth::{Refused, TokenFile},
    metrics::SidecarMetrics,
};

/// The largest body of a change.
pub const MAX_BODY: usize = resilience_core::control::MOST_BODY;

/// A body comes at once or not at all.
const BODY_TIMEOUT: Duration = Duration::from_secs(5);

const ACTOR: HeaderName = HeaderName::from_static(resilience_core::control::ACTOR_HEADER);
const FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// The peer of a connection.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub SocketAddr);

tokio::task_local! {
    /// For the audit log: `AdminSource` carries who asks, but not from where.
    static CALLER: SocketAddr;
}

/// The peer whose request is being answered by this task.
#[must_use]
pub fn caller() -> Option<String> {
    CALLER.try_with(SocketAddr::to_string).ok()
}

/// The checks, in the order in which they are made.
#[derive(Debug)]
pub struct Guard {
    hosts: AllowedHosts,
    token: Option<TokenFile>,
    metrics: SidecarMetrics,
    log: Mutex<LogLimit>,
}

/// A refusal and its label.
type Refusal = (&'static str, Problem);

impl Guard {
    /// Without a token file, whoever reaches the listener may make changes.
    #[must_use]
    pub fn new(hosts: AllowedHosts, token: Option<TokenFile>, metrics: SidecarMetrics) -> Self {
        Self {
            hosts,
            token,
            metrics,
            log: Mutex::new(LogLimit::new()),
        }
    }

    /// The middleware around the admin listener.
    pub async fn stand(
        State(guard): State<std::sync::Arc<Self>>,
        request: Request,
        next: Next,
    ) -> Response {
        // Apart, as a body cannot be shared with the checks while they wait.
        let (mut head, body) = request.into_parts();
        let peer = head.extensions.get::<Peer>().map(|peer| peer.0);
        // Only the guard says who asks.
        head.headers.remove(ACTOR);
        if let Err((reason, problem)) = guard.check(&head, peer).await {
            guard.refuse(reason, &problem, &head, peer);
            let mut response = problem.into_response();
            if response.status() == StatusCode::UNAUTHORIZED {
                response
                    .headers_mut()
                    .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            return response;
        }
        let body = if changes(&head.method) {
            match small_json(&head.headers, body).await {
                Ok(body) => {
                    head.headers.insert(ACTOR, guard.actor(peer));
                    Body::from(body)
                }
                Err(problem) => return problem.into_response(),
            }
        } else {
            body
        };
        let request = Request::from_parts(head, body);
        match peer {
            Some(peer) => CALLER.scope(peer, next.run(request)).await,
            None => next.run(request).await,
        }
    }

    async fn check(&self, head: &Parts, peer: Option<SocketAddr>) -> Result<(), Refusal> {
        let headers = &head.headers;
        let host = self.hosts.check(headers, &head.uri)?;
        if !changes(&head.method) && !shows_data(head.uri.path()) {
            return Ok(());
        }
        host::same_site(headers, &host, single(headers, &FETCH_SITE))?;
        if let Some(file) = &self.token {
            self.check_token(file, headers).await?;
        } else if !peer.is_some_and(|peer| peer.ip().to_canonical().is_loopback()) {
            // The start refuses such a bind; this is the second lock.
            return Err((
                "not_loopback",
                Problem::new(
                    StatusCode::FORBIDDEN,
                    "without a token only this machine may do this",
                )
                .advice("run curl on the machine itself, or start the sidecar with --token-file"),
            ));
        }
        Ok(())
    }

    async fn check_token(&self, file: &TokenFile, headers: &HeaderMap) -> Result<(), Refusal> {
        let reader = file.clone();
        let token = tokio::task::spawn_blocking(move || reader.read()).await;
        let token = match token {
            Ok(Ok(token)) => token,
            Ok(Err(error)) => {
                return Err((
                    "token_file",
                    Problem::new(StatusCode::SERVICE_UNAVAILABLE, error.to_string()).advice(
                        "mend the token file on the machine of the sidecar; it is read again with \
                         the next request",
                    ),
                ));
            }
            Err(_) => {
                return Err((
                    "token_file",
                    Problem::new(
                        StatusCode::SERVICE_UNAVAILABLE,
                        "reading the token file broke off",
                    )
                    .advice("ask again"),
                ));
            }
        };
        let (reason, detail) = match token.check(headers) {
            Ok(()) => return Ok(()),
            Err(Refused::Missing) => ("token_missing", "this needs the token"),
            Err(Refused::Wrong) => ("token_wrong", "this is not the token"),
        };
        let advice =
            "send -H \"Authorization: Bearer $(cat TOKEN_FILE)\", the file of --token-file";
        Err((
            reason,
            Problem::new(StatusCode::UNAUTHORIZED, detail).advice(advice),
        ))
    }

    fn actor(&self, peer: Option<SocketAddr>) -> HeaderValue {
        let actor = match (&self.token, peer) {
            (Some(_), _) => "token".to_owned(),
            (None, Some(peer)) => format!("loopback {peer}"),
            (None, None) => "loopback".to_owned(),
        };
        HeaderValue::try_from(actor).expect("an address is visible ASCII")
    }

    fn refuse(
        &self,
        reason: &'static str,
        problem: &Problem,
        head: &Parts,
        peer: Option<SocketAddr>,
    ) {
        self.metrics.auth_failure(reason);
        let Some(silent) = self.log.lock().take(Instant::now()) else {
            return;
        };
        let from = peer.map_or_else(|| "unknown".to_owned(), |peer| peer.to_string());
        tracing::warn!(
            class = reason,
            from,
            not_logged = silent,
            "refused {} {:?}: {}",
            head.method,
            head.uri.path(),
            problem.detail.as_deref().unwrap_or_default()
        );
    }
}

fn changes(method: &Method) -> bool {
    !matches!(*method, Method::GET | Method::HEAD | Method::OPTIONS)
}

/// The statements of a database hold its users' data, unlike all else that is
/// read here.
fn shows_data(path: &str) -> bool {
    path.starts_with("/admin/db/")
}

/// The header's value, if it is there once and readable.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<Result<&'a str, ()>> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    Some(match values.next() {
        None => value.to_str().map_err(|_| ()),
        Some(_) => Err(()),
    })
}

/// The body, read and checked: small, and JSON that says so.
async fn small_json(headers: &HeaderMap, body: Body) -> Result<Bytes, Problem> {
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            format!("the body is larger than {MAX_BODY} bytes"),
        )
        .advice("shorten the reason")
    };
    let announced = headers.get(header::CONTENT_LENGTH);
    let announced = announced.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    if announced.is_some_and(|length| length > MAX_BODY as u64) {
        return Err(too_large());
    }
    let body = match time::timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY)).await {
        Ok(Ok(body)) => body,
        Ok(Err(error)) if is_length_limit(&error) => return Err(too_large()),
        Ok(Err(error)) => {
            return Err(Problem::new(
                StatusCode::BAD_REQUEST,
                format!("the body broke off: {error}"),
            )
            .advice("send it again"));
        }
        Err(_) => {
            return Err(
                Problem::new(StatusCode::REQUEST_TIMEOUT, "the body did not come in time")
                    .advice("send it again"),
            );
        }
    };
    check_json(headers, &body)?;
    Ok(body)
}

fn is_length_limit(error: &axum::Error) -> bool {
    std::error::Error::source(error).is_some_and(|s| s.is::<http_body_util::LengthLimitError>())
}

/// No body is fine: the runbook's reset has none. One that does not call itself
/// JSON is refused even if it is, as a form of another site can send any text,
/// but not with this content type.
fn check_json(headers: &HeaderMap, body: &Bytes) -> Result<(), Problem> {
    if body.is_empty() {
        return Ok(());
    }
    let content_type = headers.get(header::CONTENT_TYPE);
    let essence = content_type
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next())
        .unwrap_or_default();
    if !essence.trim().eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            format!("the body is `{essence}`, allowed: application/json"),
        )
        .advice("add -H 'Content-Type: application/json' (or use curl --json), or send no body"));
    }
    match serde_json::from_slice::<IgnoredAny>(body) {
        Ok(_) => Ok(()),
        Err(error) => Err(Problem::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not JSON: {error}"),
        )
        .advice("send an object such as {\"reason\": \"upstream is back\"}, or no body")),
    }
}

/// A few lines now and then, however many requests are refused.
#[derive(Debug)]
struct LogLimit {
    since: Instant,
    logged: u32,
    silent: u64,
}

impl LogLimit {
    const EVERY: Duration = Duration::from_secs(10);
    const LINES: u32 = 5;

    fn new() -> Self {
        Self {
            since: Instant::now(),
            logged: 0,
            silent: 0,
        }
    }

    /// `Some`: log it, and say how many were not logged since the last line.
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.duration_since(self.since) >= Self::EVERY {
            self.since = now;
            self.logged = 0;
        }
        if self.logged >= Self::LINES {
            self.silent += 1;
            return None;
        }
        self.logged += 1;
        Some(std::mem::take(&mut self.silent))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_refusals_is_a_few_lines_that_say_how_many_there_were() {
        let mut limit = LogLimit::new();
        let logged = (0..1000).filter_map(|_| limit.take(Instant::now())).count();
        assert_eq!(logged, 5);
        time::advance(LogLimit::EVERY).await;
        assert_eq!(limit.take(Instant::now()), Some(995));
        assert_eq!(limit.take(Instant::now()), Some(0));
    }
}
