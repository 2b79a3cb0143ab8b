//! What the heap of is counted, and the calls that it gets.

use std::task::{Context, Waker};

use resilience_benches::drive::{self, Request};
use resilience_peers::sync::SyncBreaker;
use tower::Service;

/// A breaker that can be given traffic from several threads.
pub(super) trait Subject: Send + Sync {
    /// Makes so many calls, of which each twentieth fails: few enough for every
    /// breaker here to stay closed.
    fn call(&self, calls: u32);

    /// Whether it lets calls through.
    fn flows(&self) -> bool;
}

fn fails(call: u32) -> bool {
    call % 20 == 19
}

/// Asked without a future.
pub(super) struct Plain<B>(pub(super) B);

impl<B: SyncBreaker + Send> Subject for Plain<B> {
    fn call(&self, calls: u32) {
        for call in 0..calls {
            if fails(call) {
                self.0.fail();
            } else {
                self.0.succeed();
            }
        }
    }

    fn flows(&self) -> bool {
        self.0.succeed()
    }
}

/// Asked through a tower layer.
pub(super) struct Layered<S>(pub(super) S);

impl<S: Service<Request> + Clone + Send + Sync> Subject for Layered<S> {
    fn call(&self, calls: u32) {
        let mut service = self.0.clone();
        let mut context = Context::from_waker(Waker::noop());
        for call in 0..calls {
            let request = if fails(call) {
                Request::Fail
            } else {
                Request::Succeed
            };
            drive::call(&mut service, request, &mut context);
        }
    }

    fn flows(&self) -> bool {
        let mut context = Context::from_waker(Waker::noop());
        drive::call(&mut self.0.clone(), Request::Succeed, &mut context)
    }
}
