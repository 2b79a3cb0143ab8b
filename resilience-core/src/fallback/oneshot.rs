//! A call of a service that has not been asked whether it is ready.

use std::{
    future::poll_fn,
    task::{Context, Poll, Waker},
};

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

/// How far a call is that cannot wait.
pub(super) enum Begun<S, Req>
where
    S: Service<Req>,
{
    Called(S::Future),
    Refused(S::Error),
    NotReady(S, Req),
}

impl<S, Req> Begun<S, Req>
where
    S: Service<Req>,
{
    /// What it comes to. Boxed by who cares: with a future it has room for a request.
    pub(super) async fn result(self) -> Result<S::Response, S::Error> {
        match self {
            Self::Called(call) => call.await,
            Self::Refused(error) => Err(error),
            Self::NotReady(service, request) => ready_and_call(service, request).await,
        }
    }
}

/// Calls a service that is ready, as most are: a request is large, and need not be put
/// down and taken up again for that.
#[inline(always)]
pub(super) fn begin<S, Req>(mut service: S, request: Req) -> Begun<S, Req>
where
    S: Service<Req>,
{
    // It wakes nobody: one that is not ready is asked again by who can wait.
    let mut nobody = Context::from_waker(Waker::noop());
    match service.poll_ready(&mut nobody) {
        Poll::Ready(Ok(())) => Begun::Called(service.call(request)),
        Poll::Ready(Err(error)) => Begun::Refused(error),
        Poll::Pending => Begun::NotReady(service, request),
    }
}
