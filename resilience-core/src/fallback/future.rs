//! The future of the tower service.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::{Answered, FallbackError, Served, Tried, oneshot::Oneshot};

pin_project! {
    /// Response future of [`FallbackService`](super::FallbackService).
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, F, V, E> {
        #[pin]
        state: State<S, Req, F, V, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F, V, E> {
        Pass { #[pin] call: Oneshot<S, Req, F, E> },
        Hit { answer: Option<Answered<V>> },
        Ask { ask: BoxedAsk<V, E> },
    }
}

type BoxedAsk<V, E> = Pin<Box<dyn Future<Output = Result<Answered<V>, FallbackError<E>>> + Send>>;

impl<S, Req, V, E> ResponseFuture<S, Req, S::Future, V, E>
where
    S: Service<Req, Response = V, Error = E>,
{
    #[inline]
    pub(super) fn pass(service: S, request: Req) -> Self {
        Self {
            state: State::Pass {
                call: Oneshot::new(service, request),
            },
        }
    }
}

impl<S, Req, F, V, E> ResponseFuture<S, Req, F, V, E> {
    #[inline]
    pub(super) const fn hit(answer: Answered<V>) -> Self {
        Self {
            state: State::Hit {
                answer: Some(answer),
            },
        }
    }

    pub(super) const fn ask(ask: BoxedAsk<V, E>) -> Self {
        Self {
            state: State::Ask { ask },
        }
    }
}

impl<S, Req, V, E> Future for ResponseFuture<S, Req, S::Future, V, E>
where
    S: Service<Req, Response = V, Error = E>,
{
    type Output = Result<Answered<V>, FallbackError<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Pass { call } => Poll::Ready(match ready!(call.poll(cx)) {
                Ok(value) => Ok(Answered::own(value, Served::passed())),
                Err(error) => Err(FallbackError::own(error, Tried::NotForThis)),
            }),
            StateProj::Hit { answer } => {
                Poll::Ready(Ok(answer.take().expect("not polled after it was ready")))
            }
            StateProj::Ask { ask } => ask.as_mut().poll(cx),
        }
    }
}

impl<S, Req, F, V, E> fmt::Debug for ResponseFuture<S, Req, F, V, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
