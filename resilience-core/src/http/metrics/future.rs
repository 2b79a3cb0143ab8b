//! Counts a request when the head of its response is ready.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use ::http::{Response, StatusCode};
use pin_project_lite::pin_project;

use super::handle::InFlight;
use crate::{http::CorrelationId, log::correlation_span};

pin_project! {
    /// Response future of [`HttpMetricsService`](super::HttpMetricsService).
    /// Dropped before it is ready it counts the request as cancelled.
    #[derive(Debug)]
    pub struct HttpMetricsFuture<F> {
        #[pin]
        pub(super) inner: F,
        pub(super) in_flight: InFlight,
    }
}

impl<F, R, E> Future for HttpMetricsFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        this.in_flight.enter();
        let polled = this.inner.poll(cx);
        this.in_flight.leave();
        let result = ready!(polled);
        match &result {
            Ok(response) => {
                let finished = this.in_flight.finish(response.status());
                let log = || finished.log_if_failed("answered");
                // With the correlation layer inside of this one its span is
                // over by now, and the line belongs to the request all the same.
                match response.extensions().get::<CorrelationId>() {
                    Some(id) if response.status().is_server_error() => {
                        correlation_span(id.as_str()).in_scope(log);
                    }
                    _ => log(),
                }
            }
            // Cannot happen in axum. Elsewhere the connection ends without an
            // answer, which a client sees as our failure.
            Err(_) => this
                .in_flight
                .finish(StatusCode::INTERNAL_SERVER_ERROR)
                .log_if_failed("no answer"),
        }
        Poll::Ready(result)
    }
}

#[cfg(test)]
mod tests;
