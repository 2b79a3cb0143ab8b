//! The payment provider: an HTTP client behind a timeout, a breaker and a fallback.

use std::{error::Error, time::Duration};

use axum::{
    body::Bytes,
    http::{HeaderMap, Method, Request, Response, Uri, header},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use resilience_core::{
    CallError, CircuitBreaker, CircuitBreakerLayer, CircuitBreakerService, HttpStatusFails,
    fallback::{
        Fallback, FallbackBody, FallbackError, HttpFallbackLayer, HttpFallbackService, Served,
        Tried,
    },
};
use serde_json::{Value, json};
use tower::{ServiceBuilder, ServiceExt, timeout::Timeout};

use super::{ApiError, NewPayment};

/// The provider has this long to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(2);

/// No answer of the provider is larger.
const MOST_BODY: usize = 64 * 1024;

type Http = Client<HttpConnector, Full<Bytes>>;
type BoxError = Box<dyn Error + Send + Sync>;
type Guarded = CircuitBreakerService<Timeout<Http>, HttpStatusFails>;
type Refused = CallError<BoxError>;

/// A client of the payment provider.
#[derive(Clone, Debug)]
pub struct PaymentProvider {
    base: String,
    client: HttpFallbackService<Guarded>,
}

/// An answer of the provider, or of what stands in for it.
#[derive(Clone, Debug)]
pub(super) struct Answer {
    /// Its body.
    pub(super) json: Value,
    /// Its `Age` and `Cache-Status`, for whoever asked us.
    pub(super) headers: HeaderMap,
    /// Where it is from; `None` of what has no fallback.
    pub(super) served: Option<Served>,
}

impl PaymentProvider {
    /// A client of the provider at `base`, such as `http://127.0.0.1:8081`.
    pub fn new(base: &str, breaker: CircuitBreaker, fallback: Fallback) -> Self {
        let http: Http = Client::builder(TokioExecutor::new()).build_http();
        let client = ServiceBuilder::new()
            // Outermost: it stands in for a refusal and a timeout too.
            .layer(HttpFallbackLayer::new(fallback))
            .layer(CircuitBreakerLayer::http(breaker))
            .layer(tower::timeout::TimeoutLayer::new(ANSWER_WITHIN))
            .service(http);
        Self {
            base: base.trim_end_matches('/').to_owned(),
            client,
        }
    }

    /// The rate of a currency, of today or of a day: from the provider, or the last one
    /// that it gave.
    ///
    /// # Errors
    ///
    /// As each call of the provider: refused, failed, or answered with a 4xx.
    pub(super) async fn rate(&self, currency: &str, on: Option<&str>) -> Result<Answer, ApiError> {
        let mut path = format!("/rates/{}", checked_currency(currency)?);
        if let Some(day) = on {
            path += "?on=";
            path += checked_day(day)?;
        }
        self.call(Method::GET, &path, Bytes::new()).await
    }

    /// Charges a payment.
    ///
    /// # Errors
    ///
    /// As [`rate`](Self::rate).
    pub async fn charge(&self, id: i64, payment: &NewPayment) -> Result<Value, ApiError> {
        let body = json!({
            "payment_id": id,
            "amount_cents": payment.amount_cents,
            "currency": payment.currency,
        });
        let body = body.to_string().into();
        let answer = self.call(Method::POST, "/charges", body).await?;
        Ok(answer.json)
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Answer, ApiError> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| ApiError::bad_request("that makes no URL"))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| ApiError::bad_request("that makes no request"))?;
        let response = self.client.clone().oneshot(request).await;
        read(response.map_err(failed)?).await
    }
}

/// Three letters, as they are written: `eur` is kept once, with `EUR`.
fn checked_currency(text: &str) -> Result<String, ApiError> {
    let letters = text.len() == 3 && text.bytes().all(|byte| byte.is_ascii_alphabetic());
    letters
        .then(|| text.to_ascii_uppercase())
        .ok_or_else(|| ApiError::bad_request("a currency has three letters, such as EUR"))
}

/// As far as it may be a part of a URL. Whether there is such a day the provider knows.
fn checked_day(text: &str) -> Result<&str, ApiError> {
    let fits = |(at, byte): (usize, u8)| match at {
        4 | 7 => byte == b'-',
        _ => byte.is_ascii_digit(),
    };
    let day = text.len() == 10 && text.bytes().enumerate().all(fits);
    day.then_some(text)
        .ok_or_else(|| ApiError::bad_request("`on` is a day, such as 2026-01-31"))
}

/// The provider's failure, and what was tried in its place.
fn failed(error: FallbackError<Refused>) -> ApiError {
    let fallback = error.tried().clone();
    let (what, class) = match error.upstream() {
        Some(CallError::Open { retry_after }) => {
            return ApiError::CircuitOpen {
                retry_after: *retry_after,
                fallback,
            };
        }
        Some(CallError::Inner(error)) if error.is::<tower::timeout::error::Elapsed>() => {
            (error.to_string(), "timeout")
        }
        Some(CallError::Inner(error)) => (error.to_string(), "connect"),
        Some(other) => (other.to_string(), "upstream"),
        None => (error.to_string(), "upstream"),
    };
    ApiError::Provider {
        what,
        class,
        fallback,
    }
}

async fn read(response: Response<FallbackBody<Incoming>>) -> Result<Answer, ApiError> {
    let (head, body) = response.into_parts();
    let served = head.extensions.get::<Served>().cloned();
    let broken = |what: String, class| ApiError::Provider {
        what,
        class,
        fallback: match served.as_ref().and_then(Served::tried) {
            Some(tried) => tried.clone(),
            None => Tried::NotForThis,
        },
    };
    let status = head.status;
    if status.is_server_error() {
        return Err(broken(format!("it answered {status}"), "upstream_5xx"));
    }
    if !status.is_success() {
        return Err(ApiError::Refused(status));
    }
    let body = Limited::new(body, MOST_BODY);
    let body = tokio::time::timeout(ANSWER_WITHIN, body.collect())
        .await
        .map_err(|_| "its answer did not end in time".to_owned())
        .and_then(|body| body.map_err(|error| error.to_string()))
        .map_err(|what| broken(what, "upstream_body"))?;
    let json = serde_json::from_slice(&body.to_bytes())
        .map_err(|error| broken(error.to_string(), "upstream_body"))?;
    let mut headers = HeaderMap::new();
    for name in [header::AGE, header::CACHE_STATUS] {
        for value in head.headers.get_all(&name) {
            headers.append(&name, value.clone());
        }
    }
    Ok(Answer {
        json,
        headers,
        served,
    })
}
