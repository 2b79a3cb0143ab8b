//! A call of a service that has not been asked whether it is ready.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, Waker, ready},
};

use pin_project_lite::pin_project;
use tower_service::Service;

/// Waits until it is ready and calls it.
pub(super) async fn ready_and_call<S, Req>(
    mut service: S,
    request: Req,
) -> Result<S::Response, S::Error>
where
    S: Service<Req>,
{
    poll_fn(|cx| service.poll_ready(cx)).await?;
    let call = service.call(request);
    // Not held while it is waited for, whatever it holds itself.
    drop(service);
    call.await
}

pin_project! {
    /// The same with a name.
    pub(super) struct Oneshot<S, Req, F, E> {
        #[pin]
        state: State<S, Req, F, E>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F, E> {
        NotReady { service: S, request: Option<Req> },
        Refused { error: Option<E> },
        Called { #[pin] call: F },
    }
}

impl<S, Req> Oneshot<S, Req, S::Future, S::Error>
where
    S: Service<Req>,
{
    /// Calls a service that is ready, as most are: a request is large, and need not be
    /// put down and taken up again for that.
    #[inline(always)]
    pub(super) fn new(mut service: S, request: Req) -> Self {
        // It wakes nobody: one that is not ready is asked again by who can wait.
        let mut nobody = Context::from_waker(Waker::noop());
        let state = match service.poll_ready(&mut nobody) {
            Poll::Ready(Ok(())) => State::Called {
                call: service.call(request),
            },
            Poll::Ready(Err(error)) => State::Refused { error: Some(error) },
            Poll::Pending => State::NotReady {
                service,
                request: Some(request),
            },
        };
        Self { state }
    }
}

impl<S, Req> Future for Oneshot<S, Req, S::Future, S::Error>
where
    S: Service<Req>,
{
    type Output = Result<S::Response, S::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut state = self.project().state;
        loop {
            match state.as_mut().project() {
                StateProj::NotReady { service, request } => {
                    ready!(service.poll_ready(cx))?;
                    let request = request
                        .take()
                        .expect("called once, and then it is `Called`");
                    let call = service.call(request);
                    state.set(State::Called { call });
                }
                StateProj::Refused { error } => {
                    let error = error.take().expect("not polled after it was ready");
                    return Poll::Ready(Err(error));
                }
                StateProj::Called { call } => return call.poll(cx),
            }
        }
    }
}
