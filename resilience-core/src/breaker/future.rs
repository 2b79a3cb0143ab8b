//! The future of the tower service.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use pin_project_lite::pin_project;

use super::{
    classify::Classify,
    error::{CallError, Rejected},
    permit::Permit,
};

pin_project! {
    /// Response future of [`CircuitBreakerService`](super::CircuitBreakerService).
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, C> {
        #[pin]
        state: State<F, C>,
    }
}

pin_project! {
    #[project = StateProj]
    #[derive(Debug)]
    enum State<F, C> {
        Called { #[pin] inner: F, permit: Option<Permit>, classify: C },
        Refused { rejected: Rejected },
    }
}

impl<F, C> ResponseFuture<F, C> {
    #[inline]
    pub(super) const fn called(inner: F, permit: Permit, classify: C) -> Self {
        Self {
            state: State::Called {
                inner,
                permit: Some(permit),
                classify,
            },
        }
    }

    pub(super) const fn refused(rejected: Rejected) -> Self {
        Self {
            state: State::Refused { rejected },
        }
    }
}

impl<F, C, T, E> Future for ResponseFuture<F, C>
where
    F: Future<Output = Result<T, E>>,
    C: Classify<T, E>,
{
    type Output = Result<T, CallError<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Refused { rejected } => Poll::Ready(Err((*rejected).into())),
            StateProj::Called {
                inner,
                permit,
                classify,
            } => {
                let result = ready!(inner.poll(cx));
                // A caller that hangs up drops the permit untold instead.
                if let Some(permit) = permit.take() {
                    permit.record(classify.classify(result.as_ref()));
                }
                Poll::Ready(result.map_err(CallError::Inner))
            }
        }
    }
}
