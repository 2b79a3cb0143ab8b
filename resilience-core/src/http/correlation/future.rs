//! Runs the request inside its span and labels the answer.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, ready},
};

use ::http::Response;
use pin_project_lite::pin_project;
use tracing::Span;

use super::{CorrelationId, X_CORRELATION_ID};
use crate::request::Request;

pin_project! {
    /// Response future of [`CorrelationIdService`](super::CorrelationIdService).
    #[derive(Debug)]
    pub struct CorrelationIdFuture<F> {
        #[pin]
        pub(super) inner: F,
        pub(super) span: Span,
        pub(super) id: CorrelationId,
        pub(super) current: Option<Arc<Request>>,
    }
}

impl<F, R, E> Future for CorrelationIdFuture<F>
where
    F: Future<Output = Result<Response<R>, E>>,
{
    type Output = F::Output;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        // Entered for this poll only: the thread does other work in between.
        let result = Request::within(this.current, || this.span.in_scope(|| this.inner.poll(cx)));
        let mut response = ready!(result)?;
        response
            .headers_mut()
            .insert(X_CORRELATION_ID, this.id.header_value());
        // For layers outside of this one, whose lines belong to it as well.
        response.extensions_mut().insert(this.id.clone());
        Poll::Ready(Ok(response))
    }
}

#[cfg(test)]
mod tests;
