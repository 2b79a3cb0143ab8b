//! The tower layer.

use super::*;
use tower_test::{assert_request_eq, mock};

fn layer(breaker: &CircuitBreaker) -> CircuitBreakerLayer {
    CircuitBreakerLayer::new(breaker.clone())
}

#[tokio::test]
async fn a_service_that_was_not_ready_is_not_called_when_the_wait_ends_meanwhile() {
    let (breaker, hand) = tripped();
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer(&breaker));
    handle.allow(0);
    assert!(service.poll_ready().is_ready());
    hand.advance(WAIT);
    let error = service.call("early").await.unwrap_err();
    assert!(matches!(error, CallError::Open { .. }), "{error:?}");
    // It does not stay ready on the strength of that.
    assert!(service.poll_ready().is_pending());
}

#[tokio::test]
async fn answers_and_errors_are_recorded_and_a_dropped_call_is_neither() {
    let (breaker, _hand) = breaker(small());
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer(&breaker));
    assert!(service.poll_ready().is_ready());
    let call = service.call("good");
    assert_request_eq!(handle, "good").send_response("answer");
    assert_eq!(call.await.unwrap(), "answer");

    assert!(service.poll_ready().is_ready());
    drop(service.call("dropped"));
    assert_request_eq!(handle, "dropped").send_response("too late");

    assert!(service.poll_ready().is_ready());
    let call = service.call("bad");
    assert_request_eq!(handle, "bad")
        .send_error(std::io::Error::from(std::io::ErrorKind::TimedOut));
    assert!(matches!(call.await.unwrap_err(), CallError::Inner(_)));

    let snapshot = breaker.snapshot();
    let totals = snapshot.totals;
    assert_eq!(
        (totals.success, totals.failure, totals.cancelled),
        (1, 1, 1)
    );
    assert_eq!(snapshot.state, State::Open);
    assert_eq!(snapshot.events[0].classes[0].class, "timeout");
}
