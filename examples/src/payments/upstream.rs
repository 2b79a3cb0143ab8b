//! The payment provider: an HTTP client behind a timeout and a breaker.

use std::{error::Error, time::Duration};

use axum::{
    body::Bytes,
    http::{Method, Request, Response, Uri, header},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use resilience_core::{
    CallError, CircuitBreaker, CircuitBreakerLayer, CircuitBreakerService, HttpStatusFails,
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

/// A client of the payment provider.
#[derive(Clone, Debug)]
pub struct PaymentProvider {
    base: String,
    client: CircuitBreakerService<Timeout<Http>, HttpStatusFails>,
}

impl PaymentProvider {
    /// A client of the provider at `base`, such as `http://127.0.0.1:8081`.
    pub fn new(base: &str, breaker: CircuitBreaker) -> Self {
        let http: Http = Client::builder(TokioExecutor::new()).build_http();
        let client = ServiceBuilder::new()
            .layer(CircuitBreakerLayer::http(breaker))
            .layer(tower::timeout::TimeoutLayer::new(ANSWER_WITHIN))
            .service(http);
        Self {
            base: base.trim_end_matches('/').to_owned(),
            client,
        }
    }

    /// The rate of a currency.
    ///
    /// # Errors
    ///
    /// As each call of the provider: refused, failed, or answered with a 4xx.
    pub async fn rate(&self, currency: &str) -> Result<Value, ApiError> {
        if !currency.bytes().all(|byte| byte.is_ascii_alphabetic()) {
            return Err(ApiError::bad_request(
                "a currency has letters only, such as EUR",
            ));
        }
        self.call(Method::GET, &format!("/rates/{currency}"), Bytes::new())
            .await
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
        self.call(Method::POST, "/charges", body.to_string().into())
            .await
    }

    async fn call(&self, method: Method, path: &str, body: Bytes) -> Result<Value, ApiError> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|_| ApiError::bad_request("that makes no URL"))?;
        let request = Request::builder()
            .method(method)
            .uri(uri)
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|_| ApiError::bad_request("that makes no request"))?;
        let response = self
            .client
            .clone()
            .oneshot(request)
            .await
            .map_err(|error| match error {
                CallError::Open { retry_after } => ApiError::CircuitOpen { retry_after },
                CallError::Inner(error) => failed(&error),
                other => ApiError::Provider {
                    what: other.to_string(),
                    class: "upstream",
                },
            })?;
        read(response).await
    }
}

fn failed(error: &BoxError) -> ApiError {
    let class = if error.is::<tower::timeout::error::Elapsed>() {
        "timeout"
    } else {
        "connect"
    };
    ApiError::Provider {
        what: error.to_string(),
        class,
    }
}

async fn read(response: Response<hyper::body::Incoming>) -> Result<Value, ApiError> {
    let status = response.status();
    if status.is_server_error() {
        return Err(ApiError::Provider {
            what: format!("it answered {status}"),
            class: "upstream_5xx",
        });
    }
    if !status.is_success() {
        return Err(ApiError::Refused(status));
    }
    let broken = |what: String| ApiError::Provider {
        what,
        class: "upstream_body",
    };
    let body = Limited::new(response.into_body(), MOST_BODY);
    let body = tokio::time::timeout(ANSWER_WITHIN, body.collect())
        .await
        .map_err(|_| broken("its answer did not end in time".to_owned()))?
        .map_err(|error| broken(error.to_string()))?;
    serde_json::from_slice(&body.to_bytes()).map_err(|error| broken(error.to_string()))
}
