//! A call of a service that has not been asked whether it is ready.

use std::{
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
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
    pub(super) struct Oneshot<S, Req, F> {
        #[pin]
        state: State<S, Req, F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<S, Req, F> {
        NotReady { service: S, request: Option<Req> },
        Called { #[pin] call: F },
    }
}

impl<S, Req, F> Oneshot<S, Req, F> {
    #[inline]
    pub(super) const fn new(service: S, request: Req) -> Self {
        Self {
            state: State::NotReady {
                service,
                request: Some(request),
            },
        }
    }
}

impl<S, Req> Future for Oneshot<S, Req, S::Future>
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
                StateProj::Called { call } => return call.poll(cx),
            }
        }
    }
}
