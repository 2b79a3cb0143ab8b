//! The future of the tower service.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{
    Answered, FallbackError, Served, Tried,
    oneshot::{Begun, begin},
};

pin_project! {
    /// Response future of [`FallbackService`](super::FallbackService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, V, E> {
        #[pin]
        state: State<F, V, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, V, E> {
        Pass { #[pin] call: F },
        Hit { answer: Option<Answered<V>> },
        Later { later: Later<V, E> },
    }
}

/// Boxed, so that hits and calls that are passed on need not carry it about.
type Later<V, E> = Pin<Box<dyn Future<Output = Result<Answered<V>, FallbackError<E>>> + Send>>;

impl<F, V, E> ResponseFuture<F, V, E> {
    #[inline]
    pub(super) fn pass<S, Req>(service: S, request: Req) -> Self
    where
        S: Service<Req, Response = V, Error = E, Future = F> + Send + 'static,
        F: Send + 'static,
        Req: Send + 'static,
        V: Send + 'static,
        E: Send + 'static,
    {
        match begin(service, request) {
            Begun::Called(call) => Self {
                state: State::Pass { call },
            },
            begun => Self::later(Box::pin(async move { passed(begun.result().await) })),
        }
    }

    #[inline]
    pub(super) const fn hit(answer: Answered<V>) -> Self {
        Self {
            state: State::Hit {
                answer: Some(answer),
            },
        }
    }

    pub(super) const fn later(later: Later<V, E>) -> Self {
        Self {
            state: State::Later { later },
        }
    }
}

#[inline]
fn passed<V, E>(result: Result<V, E>) -> Result<Answered<V>, FallbackError<E>> {
    match result {
        Ok(value) => Ok(Answered::own(value, Served::passed())),
        Err(error) => Err(FallbackError::own(error, Tried::NotForThis)),
    }
}

impl<F, V, E> Future for ResponseFuture<F, V, E>
where
    F: Future<Output = Result<V, E>>,
{
    type Output = Result<Answered<V>, FallbackError<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Pass { call } => call.poll(cx).map(passed),
            StateProj::Hit { answer } => {
                Poll::Ready(Ok(answer.take().expect("not polled after it was ready")))
            }
            StateProj::Later { later } => later.as_mut().poll(cx),
        }
    }
}

impl<F, V, E> fmt::Debug for ResponseFuture<F, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
