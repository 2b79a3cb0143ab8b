//! A service that answers at once, and one call of it without a runtime.

use std::{
    future::{Future, Ready, poll_fn, ready},
    hint::spin_loop,
    pin::pin,
    task::{Context, Poll},
    thread,
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

/// Makes one call: whether it was answered with a success.
///
/// Polled by hand and not by a runtime, whose turn would cost more than some of the
/// layers. A future that waits for a lock is polled until it has it, which is the
/// least that waiting can cost.
#[inline]
pub fn call<S: Service<Request>>(
    service: &mut S,
    request: Request,
    context: &mut Context<'_>,
) -> bool {
    let Poll::Ready(Ok(())) = service.poll_ready(context) else {
        // An upstream that is always ready makes no layer wait.
        return false;
    };
    let mut future = pin!(service.call(request));
    let mut polls = 1_u32;
    loop {
        match future.as_mut().poll(context) {
            Poll::Ready(answer) => return answer.is_ok(),
            Poll::Pending => wait(&mut polls),
        }
    }
}

/// The same, for a task of a runtime.
#[inline]
pub async fn answer<S: Service<Request>>(service: &mut S, request: Request) -> bool {
    poll_fn(|context| service.poll_ready(context)).await.is_ok()
        && service.call(request).await.is_ok()
}

/// Gives the processor away now and then: the holder of the lock may need it.
#[cold]
fn wait(polls: &mut u32) {
    *polls += 1;
    if polls.is_multiple_of(64) {
        thread::yield_now();
    } else {
        spin_loop();
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

    /// Answers at the hundredth poll.
    struct Late;

    impl Service<Request> for Late {
        type Response = ();
        type Error = Failed;
        type Future = LateAnswer;

        fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Failed>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, _request: Request) -> LateAnswer {
            LateAnswer { polls: 0 }
        }
    }

    struct LateAnswer {
        polls: u32,
    }

    impl Future for LateAnswer {
        type Output = Result<(), Failed>;

        fn poll(mut self: std::pin::Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<Self::Output> {
            self.polls += 1;
            if self.polls < 100 {
                Poll::Pending
            } else {
                Poll::Ready(Ok(()))
            }
        }
    }

    #[test]
    fn a_call_that_has_to_wait_is_made_to_its_end() {
        let mut context = Context::from_waker(Waker::noop());
        assert!(call(&mut Late, Request::Succeed, &mut context));
    }
}
