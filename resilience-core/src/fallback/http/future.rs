//! The future of the tower service for HTTP.

use std::{
    fmt,
    future::Future,
    pin::Pin,
    task::{Context, Poll, ready},
};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::FallbackBody;
use crate::fallback::{FallbackError, Tried, oneshot::Oneshot};

pin_project! {
    /// Response future of [`HttpFallbackService`](super::HttpFallbackService).
    #[must_use = "futures do nothing unless polled"]
    pub struct HttpResponseFuture<S, ReqB, ResB, F, E> {
        #[pin]
        state: State<S, ReqB, ResB, F, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, ReqB, ResB, F, E> {
        Pass {
            #[pin]
            call: Oneshot<S, Request<ReqB>, F, E>,
            forget: Option<Forget>,
        },
        Hit { response: Option<Response<FallbackBody<ResB>>> },
        Ask { ask: BoxedAsk<ResB, E> },
    }
}

/// Done when a call that changes something has succeeded.
type Forget = Box<dyn FnOnce() + Send>;

type BoxedAsk<ResB, E> =
    Pin<Box<dyn Future<Output = Result<Response<FallbackBody<ResB>>, FallbackError<E>>> + Send>>;

impl<S, ReqB, ResB, E> HttpResponseFuture<S, ReqB, ResB, S::Future, E>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Error = E>,
{
    #[inline(always)]
    pub(super) fn pass(service: S, request: Request<ReqB>) -> Self {
        Self {
            state: State::Pass {
                call: Oneshot::new(service, request),
                forget: None,
            },
        }
    }

    pub(super) fn forgets(service: S, request: Request<ReqB>, forget: Forget) -> Self {
        Self {
            state: State::Pass {
                call: Oneshot::new(service, request),
                forget: Some(forget),
            },
        }
    }
}

impl<S, ReqB, ResB, F, E> HttpResponseFuture<S, ReqB, ResB, F, E> {
    #[inline(always)]
    pub(super) const fn hit(response: Response<FallbackBody<ResB>>) -> Self {
        Self {
            state: State::Hit {
                response: Some(response),
            },
        }
    }

    pub(super) const fn ask(ask: BoxedAsk<ResB, E>) -> Self {
        Self {
            state: State::Ask { ask },
        }
    }
}

impl<S, ReqB, ResB, E> Future for HttpResponseFuture<S, ReqB, ResB, S::Future, E>
where
    S: Service<Request<ReqB>, Response = Response<ResB>, Error = E>,
{
    type Output = Result<Response<FallbackBody<ResB>>, FallbackError<E>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Pass { call, forget } => Poll::Ready(match ready!(call.poll(cx)) {
                Ok(response) => {
                    let status = response.status();
                    // RFC 9111, section 4.4: with what is no error.
                    if let Some(forget) = forget.take()
                        && (status.is_success() || status.is_redirection())
                    {
                        forget();
                    }
                    Ok(response.map(FallbackBody::passed))
                }
                Err(error) => Err(FallbackError::own(error, Tried::NotForThis)),
            }),
            StateProj::Hit { response } => {
                Poll::Ready(Ok(response.take().expect("not polled after it was ready")))
            }
            StateProj::Ask { ask } => ask.as_mut().poll(cx),
        }
    }
}

impl<S, ReqB, ResB, F, E> fmt::Debug for HttpResponseFuture<S, ReqB, ResB, F, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpResponseFuture").finish_non_exhaustive()
    }
}
