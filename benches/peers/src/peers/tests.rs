use std::task::{Context, Waker};

use resilience_benches::drive::{Request, call};
use tick::Clock;
use tower::Service;

use super::*;
use crate::sync::SyncBreaker;

fn flows(mut service: impl Service<Request>) -> bool {
    let mut context = Context::from_waker(Waker::noop());
    call(&mut service, Request::Succeed, &mut context)
}

#[test]
fn each_peer_is_in_the_state_that_it_is_measured_in() {
    assert!(failsafe::closed().succeed() && !failsafe::open().succeed());
    assert!(recloser::closed().succeed() && !recloser::open().succeed());
    assert!(circuitbreaker_rs::closed().succeed() && !circuitbreaker_rs::open().succeed());
}

#[test]
fn each_layered_peer_is_in_the_state_that_it_is_measured_in() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let _entered = runtime.enter();
    let clock = Clock::new_tokio();
    let mut context = Context::from_waker(Waker::noop());

    assert!(flows(failsafe::Guarded::new(failsafe::closed())));
    assert!(!flows(failsafe::Guarded::new(failsafe::open())));
    assert!(flows(recloser::Guarded::new(recloser::closed())));
    assert!(!flows(recloser::Guarded::new(recloser::open())));
    assert!(flows(seatbelt::closed(&clock)));
    assert!(!flows(seatbelt::open(&clock, &mut context)));
    assert!(flows(tower_resilience::closed()));
    assert!(!flows(tower_resilience::open(&mut context)));
}
