//! The future of the tower service for HTTP.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use http::Response;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::FallbackBody;
use crate::fallback::{
    FallbackError, Tried,
    oneshot::{Begun, begin},
};

pin_project! {
    /// Response future of [`HttpFallbackService`](super::HttpFallbackService).
    #[must_use = "futures do nothing unless polled"]
    pub struct HttpResponseFuture<F, ResB, E> {
        #[pin]
        state: State<F, ResB, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, ResB, E> {
        Pass { #[pin] call: F },
        Hit { response: Option<Response<FallbackBody<ResB>>> },
        Later { later: Later<ResB, E> },
    }
}

/// Boxed, so that hits and calls that are passed on need not carry it about.
type Later<ResB, E> = Pin<Box<dyn Future<Output = Answer<ResB, E>> + Send>>;

pub(super) type Answer<ResB, E> = Result<Response<FallbackBody<ResB>>, FallbackError<E>>;

impl<F, ResB, E> HttpResponseFuture<F, ResB, E>
where
    F: Send + 'static,
    ResB: Send + 'static,
    E: Send + 'static,
{
    #[inline(always)]
    pub(super) fn pass<S, Req>(service: S, request: Req) -> Self
    where
        S: Service<Req, Response = Response<ResB>, Error = E, Future = F> + Send + 'static,
        Req: Send + 'static,
    {
        match begin(service, request) {
            Begun::Called(call) => Self {
                state: State::Pass { call },
            },
            begun => Self::later(Box::pin(async move { passed(begun.result().await) })),
        }
    }

    /// Does `forget` when the call, which changes something, has succeeded.
    pub(super) fn forgets<S, Req>(
        service: S,
        request: Req,
        forget: impl FnOnce() + Send + 'static,
    ) -> Self
    where
        S: Service<Req, Response = Response<ResB>, Error = E, Future = F> + Send + 'static,
        Req: Send + 'static,
    {
        let begun = begin(service, request);
        Self::later(Box::pin(async move {
            let result = begun.result().await;
            // RFC 9111, section 4.4: with what is no error.
            if let Ok(response) = &result
                && (response.status().is_success() || response.status().is_redirection())
            {
                forget();
            }
            passed(result)
        }))
    }

    pub(super) fn over(answer: Answer<ResB, E>) -> Self
    where
        E: Sync,
    {
        match answer {
            Ok(response) => Self::hit(response),
            Err(error) => Self::later(Box::pin(async { Err(error) })),
        }
    }
}

impl<F, ResB, E> HttpResponseFuture<F, ResB, E> {
    #[inline(always)]
    pub(super) const fn hit(response: Response<FallbackBody<ResB>>) -> Self {
        Self {
            state: State::Hit {
                response: Some(response),
            },
        }
    }

    pub(super) const fn later(later: Later<ResB, E>) -> Self {
        Self {
            state: State::Later { later },
        }
    }
}

#[inline(always)]
fn passed<ResB, E>(result: Result<Response<ResB>, E>) -> Answer<ResB, E> {
    match result {
        Ok(response) => Ok(response.map(FallbackBody::passed)),
        Err(error) => Err(FallbackError::own(error, Tried::NotForThis)),
    }
}

impl<F, ResB, E> Future for HttpResponseFuture<F, ResB, E>
where
    F: Future<Output = Result<Response<ResB>, E>>,
{
    type Output = Answer<ResB, E>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Pass { call } => call.poll(cx).map(passed),
            StateProj::Hit { response } => {
                Poll::Ready(Ok(response.take().expect("not polled after it was ready")))
            }
            StateProj::Later { later } => later.as_mut().poll(cx),
        }
    }
}

impl<F, ResB, E> fmt::Debug for HttpResponseFuture<F, ResB, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponseFuture").finish_non_exhaustive()
    }
}
