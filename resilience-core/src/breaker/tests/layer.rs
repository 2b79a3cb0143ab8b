//! The tower layer.

use std::{
    future::{Ready, ready},
    io,
    panic::{AssertUnwindSafe, catch_unwind},
    task::{Context, Poll},
};

use tokio_test::task;
use tower::{Service, service_fn};
use tower_layer::Layer;
use tower_test::{assert_request_eq, mock};

use super::*;

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
    assert_request_eq!(handle, "bad").send_error(io::Error::from(io::ErrorKind::TimedOut));
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

#[test]
fn an_inner_service_that_panics_in_its_call_or_its_future_gives_the_probe_back() {
    let breaker = half_open();
    let panics_in_call = service_fn(|()| -> Ready<Result<(), io::Error>> { panic!("in call") });
    let panics_in_poll = service_fn(async |()| -> io::Result<()> { panic!("in poll") });
    for cancelled in [1, 2] {
        let panic = catch_unwind(AssertUnwindSafe(|| {
            // Whichever it is, it has the breaker's only probe.
            if cancelled == 1 {
                let mut service = layer(&breaker).layer(panics_in_call);
                poll_ready(&mut service);
                drop(service.call(()));
            } else {
                let mut service = layer(&breaker).layer(panics_in_poll);
                poll_ready(&mut service);
                drop(task::spawn(service.call(())).poll());
            }
        }));
        assert!(panic.is_err());
        let snapshot = breaker.snapshot();
        assert_eq!(snapshot.totals.cancelled, cancelled);
        assert_eq!(
            (snapshot.state, snapshot.probes_in_flight),
            (State::HalfOpen, 0)
        );
    }
    succeed(&breaker, 1);
    assert_eq!(breaker.state(), State::Closed);
}

fn poll_ready<S: Service<()>>(service: &mut S) {
    let polled = task::spawn(()).enter(|cx, _| service.poll_ready(cx));
    assert!(matches!(polled, Poll::Ready(Ok(()))));
}

/// Neither `Clone` nor `'static`, and neither are its answers and errors.
struct Borrowing<'a> {
    names: &'a mut Vec<String>,
}

impl<'a> Service<&'a str> for Borrowing<'_> {
    type Response = &'a str;
    type Error = &'a str;
    type Future = Ready<Result<&'a str, &'a str>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), &'a str>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, name: &'a str) -> Self::Future {
        self.names.push(name.to_owned());
        ready(if name.is_empty() {
            Err("nobody")
        } else {
            Ok(name)
        })
    }
}

#[tokio::test]
async fn a_service_that_borrows_and_cannot_be_cloned_is_guarded_like_any_other() {
    let (breaker, _hand) = breaker(small());
    let (mut names, request) = (Vec::new(), String::from("good"));
    let layer = layer(&breaker).classify(|result: Result<&&str, &&str>| match result {
        Ok(_) => Outcome::Success,
        Err(_) => Outcome::Failure(ErrorClass::CONNECT),
    });
    let mut service = layer.layer(Borrowing { names: &mut names });
    for name in [request.as_str(), ""] {
        let ready = task::spawn(()).enter(|cx, _| service.poll_ready(cx));
        assert_eq!(ready, Poll::Ready(Ok(())));
        let answer = service.call(name).await;
        assert_eq!(answer.is_ok(), !name.is_empty());
    }
    drop(service);
    assert_eq!(names, ["good", ""]);
    let classes = &breaker.snapshot().events[0].classes;
    assert_eq!(classes[0].class, "connect");
}

#[test]
fn all_of_it_can_be_sent_and_shared_and_the_future_holds_the_inner_one_in_line() {
    fn assert_send_sync<T: Send + Sync>() {}
    assert_send_sync::<CircuitBreaker>();
    assert_send_sync::<Registry>();
    assert_send_sync::<Permit>();
    assert_send_sync::<Subscription>();
    assert_send_sync::<CircuitBreakerLayer<HttpStatusFails>>();
    assert_send_sync::<CircuitBreakerService<Borrowing<'static>, ErrorsFail>>();
    assert_send_sync::<ResponseFuture<Ready<Answer>, ErrorsFail>>();

    type Answer = Result<[u8; 1_000], io::Error>;
    // Named, and no box: it is as large as what it holds and a few words more.
    let larger =
        size_of::<ResponseFuture<Ready<Answer>, ErrorsFail>>() - size_of::<Ready<Answer>>();
    assert!(larger <= 5 * size_of::<u64>(), "{larger}");
}
