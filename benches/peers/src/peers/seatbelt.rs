//! seatbelt: a tower service with a boxed future.

use std::task::Context;

use resilience_benches::drive::{Failed, Request, Upstream, call};
use seatbelt::{
    RecoveryInfo, ResilienceContext,
    breaker::{Breaker, BreakerLayer},
    typestates::Set,
};
use tick::Clock;
use tower::Layer;

use super::WAIT_IN_OPEN;

type Answer = Result<(), Failed>;

/// A closed service that is ready. Entered into a tokio runtime only, which its
/// clock belongs to.
#[must_use]
pub fn closed(clock: &Clock) -> Breaker<Request, Answer, Upstream> {
    layer(clock).layer(Upstream)
}

/// The same, open.
#[must_use]
pub fn open(clock: &Clock, context: &mut Context<'_>) -> Breaker<Request, Answer, Upstream> {
    let mut service = closed(clock);
    // It asks for 100 calls before it opens.
    for _ in 0..1_000 {
        call(&mut service, Request::Fail, context);
    }
    service
}

fn layer(clock: &Clock) -> BreakerLayer<Request, Answer, Set, Set> {
    Breaker::layer("bench", &ResilienceContext::new(clock))
        .recovery_with(|answer: &Answer, _| match answer {
            Ok(()) => RecoveryInfo::never(),
            Err(Failed) => RecoveryInfo::retry(),
        })
        .rejected_input_error(|_, _| Failed)
        .break_duration(WAIT_IN_OPEN)
}
