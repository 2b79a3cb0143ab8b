//! Callers that wait for an inner service that is not ready.

use tokio_test::{assert_pending, assert_ready_ok};
use tower_test::mock;

use super::*;

type Guarded =
    mock::Spawn<CircuitBreakerService<mock::Mock<&'static str, &'static str>, ErrorsFail>>;

/// A guarded service that is not ready, and asked already.
fn waiting(breaker: &CircuitBreaker) -> (Guarded, mock::Handle<&'static str, &'static str>) {
    let layer = CircuitBreakerLayer::new(breaker.clone());
    let (mut service, mut handle) = mock::spawn_layer(layer);
    handle.allow(0);
    assert_pending!(service.poll_ready());
    (service, handle)
}

#[tokio::test]
async fn they_are_woken_and_refused_when_the_circuit_opens() {
    let (breaker, _hand) = breaker(small());
    let (mut service, _handle) = waiting(&breaker);
    let (mut other, _other_handle) = waiting(&breaker);
    assert!(!service.is_woken());
    fail(&breaker, 2);
    assert!(service.is_woken() && other.is_woken());
    for service in [&mut service, &mut other] {
        assert_ready_ok!(service.poll_ready());
        let error = service.call("late").await.unwrap_err();
        assert!(matches!(error, CallError::Open { .. }), "{error:?}");
    }
}

#[tokio::test]
async fn forced_open_wakes_them_too() {
    let (breaker, _hand) = breaker(small());
    let (mut service, _handle) = waiting(&breaker);
    breaker
        .set_override(OverrideKind::ForcedOpen, None, &ByHand::default())
        .unwrap();
    assert!(service.is_woken());
    assert_ready_ok!(service.poll_ready());
}

#[tokio::test]
async fn one_that_is_gone_or_ready_by_now_is_not_kept() {
    let (breaker, _hand) = breaker(small());
    let (gone, _handle) = waiting(&breaker);
    let (mut ready, mut handle) = waiting(&breaker);
    drop(gone);
    handle.allow(1);
    assert_ready_ok!(ready.poll_ready());
    assert_eq!(breaker.cell.parking.waiting(), 0);
}

#[tokio::test]
async fn one_that_comes_while_all_calls_hang_sees_that_they_are_slow() {
    let (breaker, hand) = breaker(BreakerOptions {
        slow_call_duration: Some(100 * MS),
        ..small()
    });
    let _hung = [(); 2].map(|()| breaker.try_acquire().unwrap());
    let (mut service, _handle) = waiting(&breaker);
    hand.advance(126 * MS);
    assert_ready_ok!(service.poll_ready());
    assert_eq!(breaker.state(), State::Open);
}

#[tokio::test]
async fn however_the_circuit_opens_while_they_begin_to_wait_none_is_forgotten() {
    for _ in 0..500 {
        let (breaker, _hand) = breaker(small());
        fail(&breaker, 1);
        let last = breaker.try_acquire().unwrap();
        let layer = CircuitBreakerLayer::new(breaker.clone());
        let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer);
        handle.allow(0);
        std::thread::scope(|scope| {
            scope.spawn(move || last.failure(BAD));
            let polled = service.poll_ready();
            // Refused at once, or told to ask again.
            if polled.is_pending() {
                while !service.is_woken() {
                    std::thread::yield_now();
                }
                assert_ready_ok!(service.poll_ready());
            }
        });
    }
}
