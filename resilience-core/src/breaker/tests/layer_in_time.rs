//! The tower layer and tokio's clock, which stands still until it is moved.

use std::future::Future;

use tokio::time;
use tokio_test::{assert_pending, assert_ready_ok, task};
use tower_test::{
    assert_request_eq,
    mock::{self, Handle, Spawn},
};

use super::*;

type Guarded = Spawn<CircuitBreakerService<mock::Mock<&'static str, &'static str>, ErrorsFail>>;

/// A guarded service, and what stands for its upstream.
fn guarded(
    options: BreakerOptions,
) -> (CircuitBreaker, Guarded, Handle<&'static str, &'static str>) {
    let config = BreakerConfig::try_from(options).unwrap();
    let breaker = CircuitBreaker::with_clock("payment_api", config, Clock::tokio());
    let (service, handle) = mock::spawn_layer(CircuitBreakerLayer::new(breaker.clone()));
    (breaker, service, handle)
}

fn call(
    service: &mut Guarded,
    name: &'static str,
) -> task::Spawn<impl Future<Output = Result<&'static str, CallError<tower::BoxError>>> + use<>> {
    // Futures are polled by hand: a wrong answer fails here, it never hangs.
    assert_ready_ok!(service.poll_ready());
    task::spawn(service.call(name))
}

/// How long a call that is refused is to wait; `None`: it was let through.
fn refused_for(service: &mut Guarded) -> Option<Duration> {
    match call(service, "refused").poll() {
        std::task::Poll::Ready(Err(CallError::Open { retry_after })) => Some(retry_after),
        _ => None,
    }
}

#[tokio::test(start_paused = true)]
async fn one_probe_goes_through_when_the_wait_ends_and_the_second_is_refused() {
    let (breaker, mut service, mut handle) = guarded(BreakerOptions {
        half_open_permits: 1,
        ..small()
    });
    fail(&breaker, 2);
    time::advance(5_000 * MS).await;
    assert_eq!(refused_for(&mut service), Some(MS));

    time::advance(MS).await;
    let mut probe = call(&mut service, "probe");
    assert_pending!(probe.poll());
    assert_eq!(refused_for(&mut service), Some(Duration::ZERO));
    assert_eq!(breaker.state(), State::HalfOpen);

    assert_request_eq!(handle, "probe").send_response("ok");
    assert_eq!(assert_ready_ok!(probe.poll()), "ok");
    assert_eq!(breaker.state(), State::Closed);
    assert!(handle.poll_request().is_pending());
}

#[tokio::test(start_paused = true)]
async fn a_call_is_timed_from_its_beginning_to_its_answer() {
    let (breaker, mut service, mut handle) = guarded(BreakerOptions {
        slow_call_duration: Some(100 * MS),
        ..small()
    });
    for (takes, slow) in [(100 * MS, 0), (101 * MS, 1)] {
        // The time between ready and called, and before the answer is asked for, is nobody's.
        assert_ready_ok!(service.poll_ready());
        time::advance(Duration::from_secs(7)).await;
        let mut call = task::spawn(service.call("call"));
        assert_pending!(call.poll());
        time::advance(takes).await;
        assert_request_eq!(handle, "call").send_response("ok");
        assert_ready_ok!(call.poll());
        assert_eq!(breaker.snapshot().window.slow, slow, "{takes:?}");
    }
    assert!((breaker.snapshot().durations.sum_seconds - 0.201).abs() < 1e-9);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_that_still_run_open_the_circuit_and_the_next_is_answered_at_once() {
    let (breaker, mut service, mut handle) = guarded(BreakerOptions {
        slow_call_duration: Some(100 * MS),
        ..small()
    });
    handle.allow(3);
    let mut hung: Vec<_> = (0..2).map(|_| call(&mut service, "hangs")).collect();
    hung.iter_mut()
        .for_each(|call| assert_pending!(call.poll()));
    time::advance(100 * MS).await;
    assert_eq!(breaker.snapshot().slow_running, 0);
    // Seen up to a quarter of the limit late.
    time::advance(26 * MS).await;
    let _last = call(&mut service, "is let through and looks");
    assert_eq!(breaker.snapshot().events[0].slow_running, 2);
    // The upstream takes no more calls by now.
    assert_eq!(refused_for(&mut service), Some(WAIT));
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_hangs_up_gives_the_probe_back() {
    let (breaker, mut service, _handle) = guarded(BreakerOptions {
        half_open_permits: 1,
        probe_lease: Duration::from_secs(3_600),
        slow_call_duration: None,
        ..small()
    });
    fail(&breaker, 2);
    time::advance(WAIT).await;
    for cancelled in 1..=6 {
        assert_ready_ok!(service.poll_ready());
        let call = service.call("probe");
        // Time moves by itself while nothing else can happen.
        time::timeout(Duration::from_secs(1), call)
            .await
            .unwrap_err();
        let snapshot = breaker.snapshot();
        assert_eq!(
            (snapshot.state, snapshot.probes_in_flight),
            (State::HalfOpen, 0)
        );
        assert_eq!(snapshot.totals.cancelled, cancelled);
    }
}
