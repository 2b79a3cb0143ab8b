//! A service that answers at once, and one call of it without a runtime.

use std::{
    future::{Future, Ready, ready},
    pin::pin,
    task::{Context, Poll},
};

use tower_service::Service;

/// Answers at once: what a call costs is then what was put around it.
#[derive(Clone, Copy, Debug)]
pub struct Upstream;

/// How an [`Upstream`] is asked to answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Request {
    /// With a success.
    Succeed,
    /// With an error.
    Fail,
}

/// The error of an [`Upstream`]. It holds nothing, so that it costs nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the upstream failed")
    }
}

impl std::error::Error for Failed {}

impl Service<Request> for Upstream {
    type Response = ();
    type Error = Failed;
    type Future = Ready<Result<(), Failed>>;

    #[inline]
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
        Poll::Ready(Ok(()))
    }

    #[inline]
    fn call(&mut self, request: Request) -> Self::Future {
        ready(match request {
            Request::Succeed => Ok(()),
            Request::Fail => Err(Failed),
        })
    }
}

/// Makes one call and polls it once: whether it was answered with a success.
///
/// By hand and not by a runtime, whose turn would cost more than some of the
/// layers. A layer that is not done at once would be a wrong member of a bench:
/// it counts as no success, and the benches check for one.
#[inline]
pub fn call<S: Service<Request>>(
    service: &mut S,
    request: Request,
    context: &mut Context<'_>,
) -> bool {
    match service.poll_ready(context) {
        Poll::Ready(Ok(())) => matches!(
            pin!(service.call(request)).poll(context),
            Poll::Ready(Ok(_))
        ),
        Poll::Ready(Err(_)) | Poll::Pending => false,
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn an_upstream_answers_as_it_was_asked_to() {
        let mut context = Context::from_waker(Waker::noop());
        assert!(call(&mut Upstream, Request::Succeed, &mut context));
        assert!(!call(&mut Upstream, Request::Fail, &mut context));
    }
}
