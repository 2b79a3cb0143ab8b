//! The tower layer.

use std::borrow::Cow;

use tower_test::{assert_request_eq, mock};

use super::*;
use crate::CallError;

fn layer(
    family: &KeyedBreakers,
) -> KeyedBreakerLayer<impl for<'a> Fn(&'a &'static str) -> Cow<'a, str> + Clone> {
    KeyedBreakerLayer::new(family.clone(), |request: &&'static str| (*request).into())
}

#[tokio::test]
async fn an_open_circuit_refuses_its_key_and_the_others_are_called() {
    let (family, _hand) = family(4);
    trip(&family.get("bad"));
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer(&family));
    assert!(service.poll_ready().is_ready());
    let error = service.call("bad").await.unwrap_err();
    assert!(matches!(error, CallError::Open { .. }), "{error:?}");

    // The inner service was not called, and is still ready.
    let call = service.call("good");
    assert_request_eq!(handle, "good").send_response("answer");
    assert_eq!(call.await.unwrap(), "answer");
    let totals = family.snapshot().totals;
    assert_eq!((totals.success, totals.rejected), (1, 1));
}

#[tokio::test]
async fn it_waits_for_the_inner_service_because_the_key_is_not_known_yet() {
    let (family, _hand) = family(4);
    trip(&family.get("bad"));
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer(&family));
    handle.allow(0);
    assert!(service.poll_ready().is_pending());
}

#[tokio::test]
async fn each_keys_failures_open_its_own_circuit() {
    let (family, _hand) = family(4);
    let (mut service, mut handle) = mock::spawn_layer::<&str, &str, _>(layer(&family));
    for _ in 0..2 {
        assert!(service.poll_ready().is_ready());
        let call = service.call("bad");
        assert_request_eq!(handle, "bad").send_error(std::io::Error::other("no"));
        assert!(matches!(call.await.unwrap_err(), CallError::Inner(_)));
    }
    assert_eq!(family.get("bad").state(), State::Open);
    assert_eq!(family.get("good").state(), State::Closed);
    assert!(service.poll_ready().is_ready());
    drop(service.call("good"));
    assert_eq!(family.get("good").snapshot().totals.cancelled, 1);
}
