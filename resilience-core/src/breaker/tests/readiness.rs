//! tower's contract: only what was polled ready is called, and once. Random
//! steps on an inner service that panics when it is called otherwise.

use std::{
    cell::{Cell, RefCell},
    future::Future,
    pin::Pin,
    rc::Rc,
    task::{Context, Poll},
};

use proptest::prelude::*;
use tokio_test::task;
use tower::Service;
use tower_layer::Layer;

use super::*;

/// What the inner services of one test have in common.
#[derive(Default)]
struct Upstream {
    is_ready: Cell<bool>,
    is_broken: Cell<bool>,
    calls: Cell<u64>,
    polls: Cell<u64>,
}

/// Panics when it is called without having been polled ready. Neither `Send`
/// nor `Sync`, which nobody asks of it.
struct Strict {
    upstream: Rc<Upstream>,
    polled_ready: bool,
}

impl Clone for Strict {
    fn clone(&self) -> Self {
        Self {
            upstream: Rc::clone(&self.upstream),
            polled_ready: false,
        }
    }
}

impl Service<Answer> for Strict {
    type Response = ();
    type Error = &'static str;
    type Future = Answer;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let upstream = &self.upstream;
        upstream.polls.set(upstream.polls.get() + 1);
        if upstream.is_broken.get() {
            return Poll::Ready(Err("broken"));
        }
        self.polled_ready |= upstream.is_ready.get();
        if self.polled_ready {
            Poll::Ready(Ok(()))
        } else {
            Poll::Pending
        }
    }

    fn call(&mut self, answer: Answer) -> Answer {
        assert!(
            std::mem::take(&mut self.polled_ready),
            "called without having been polled ready"
        );
        self.upstream.calls.set(self.upstream.calls.get() + 1);
        answer
    }
}

/// Pending until somebody says what comes of it.
#[derive(Clone, Default)]
struct Answer(Rc<RefCell<Option<Result<(), &'static str>>>>);

impl Future for Answer {
    type Output = Result<(), &'static str>;

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Self::Output> {
        self.0
            .borrow_mut()
            .take()
            .map_or(Poll::Pending, Poll::Ready)
    }
}

#[derive(Clone, Copy, Debug)]
enum Step {
    /// Whether the upstream is ready, and whether it fails to say so.
    Upstream(bool, bool),
    PollReady(usize),
    Call(usize),
    CloneService(usize),
    DropService(usize),
    /// One of the calls that are out gets its answer.
    Finish(usize, bool),
    DropCall(usize),
    Advance(u64),
    Reset,
}

fn step() -> impl Strategy<Value = Step> {
    let which = any::<usize>;
    prop_oneof![
        3 => (prop::bool::weighted(0.7), prop::bool::weighted(0.1))
            .prop_map(|(ready, broken)| Step::Upstream(ready, broken)),
        10 => which().prop_map(Step::PollReady),
        10 => which().prop_map(Step::Call),
        1 => which().prop_map(Step::CloneService),
        1 => which().prop_map(Step::DropService),
        6 => (which(), any::<bool>()).prop_map(|(which, good)| Step::Finish(which, good)),
        1 => which().prop_map(Step::DropCall),
        2 => (0u64..6_000).prop_map(Step::Advance),
        1 => Just(Step::Reset),
    ]
}

type Guarded = CircuitBreakerService<Strict, ErrorsFail>;

struct Bench {
    breaker: CircuitBreaker,
    hand: ManualClock,
    upstream: Rc<Upstream>,
    services: Vec<Guarded>,
    out: Vec<(task::Spawn<<Guarded as Service<Answer>>::Future>, Answer)>,
    called: u64,
}

impl Bench {
    fn new() -> Self {
        let (breaker, hand) = breaker(small());
        let upstream = Rc::new(Upstream::default());
        let inner = Strict {
            upstream: Rc::clone(&upstream),
            polled_ready: false,
        };
        let services = vec![CircuitBreakerLayer::new(breaker.clone()).layer(inner)];
        Self {
            breaker,
            hand,
            upstream,
            services,
            out: Vec::new(),
            called: 0,
        }
    }

    fn poll_ready(&mut self, which: usize) -> Poll<Result<(), CallError<&'static str>>> {
        let service = &mut self.services[which];
        task::spawn(()).enter(|cx, _| service.poll_ready(cx))
    }

    /// For how long a call would be refused now, whatever the upstream says.
    fn refuses(&self) -> bool {
        let snapshot = self.breaker.snapshot();
        snapshot.retry_after_ms.is_some_and(|left| left > 0)
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Upstream(ready, broken) => {
                self.upstream.is_ready.set(ready);
                self.upstream.is_broken.set(broken);
            }
            Step::PollReady(which) => {
                let which = which % self.services.len();
                let (refuses, polls) = (self.refuses(), self.upstream.polls.get());
                let polled = self.poll_ready(which);
                if refuses {
                    prop_assert_eq!(polled, Poll::Ready(Ok(())));
                    prop_assert_eq!(self.upstream.polls.get(), polls);
                } else if let Poll::Ready(Err(error)) = polled {
                    prop_assert_eq!(error, CallError::Inner("broken"));
                } else if self.upstream.polls.get() > polls {
                    let ready = self.services[which].inner.polled_ready;
                    prop_assert_eq!(polled.is_ready(), ready);
                }
            }
            Step::Call(which) => self.call(which % self.services.len())?,
            Step::CloneService(which) if self.services.len() < 4 => {
                let clone = self.services[which % self.services.len()].clone();
                self.services.push(clone);
            }
            Step::DropService(which) if self.services.len() > 1 => {
                self.services.swap_remove(which % self.services.len());
            }
            Step::Finish(which, good) if !self.out.is_empty() => {
                let (mut call, answer) = self.out.swap_remove(which % self.out.len());
                let result = if good { Ok(()) } else { Err("failed") };
                *answer.0.borrow_mut() = Some(result);
                let expected = result.map_err(CallError::Inner);
                prop_assert_eq!(call.poll(), Poll::Ready(expected));
            }
            Step::DropCall(which) if !self.out.is_empty() => {
                drop(self.out.swap_remove(which % self.out.len()));
            }
            Step::Advance(ms) => self.hand.advance(Duration::from_millis(ms)),
            Step::Reset => {
                self.breaker.reset(&ByHand::default()).unwrap();
            }
            Step::CloneService(_) | Step::DropService(_) | Step::Finish(..) | Step::DropCall(_) => {
            }
        }
        Ok(())
    }

    /// Also without having asked whether it is ready: a refusal then.
    fn call(&mut self, which: usize) -> Result<(), TestCaseError> {
        let (refuses, closed) = (self.refuses(), self.breaker.state() == State::Closed);
        let (calls, answer) = (self.upstream.calls.get(), Answer::default());
        let ready = self.services[which].inner.polled_ready;
        let mut call = task::spawn(self.services[which].call(answer.clone()));
        self.called += 1;
        let went_through = self.upstream.calls.get() > calls;
        prop_assert!(!went_through || (ready && !refuses));
        if went_through {
            prop_assert!(call.poll().is_pending());
            self.out.push((call, answer));
        } else {
            prop_assert!(!ready || !closed, "refused while closed and ready");
            let refused = matches!(call.poll(), Poll::Ready(Err(CallError::Open { .. })));
            prop_assert!(refused);
        }
        Ok(())
    }
}

proptest! {
    #[test]
    fn an_inner_service_is_never_called_without_having_been_polled_ready(
        steps in prop::collection::vec(step(), 1..300),
    ) {
        let mut bench = Bench::new();
        for step in steps {
            bench.take(step)?;
        }
        bench.out.clear();
        // Each call is accounted for: made, with whatever end, or refused.
        let totals = bench.breaker.snapshot().totals;
        let made = totals.success + totals.failure + totals.cancelled;
        prop_assert_eq!(made, bench.upstream.calls.get());
        prop_assert_eq!(made + totals.rejected, bench.called);
    }
}

#[test]
fn a_circuit_that_opens_between_ready_and_call_refuses_and_the_service_stays_ready() {
    let mut bench = Bench::new();
    bench.upstream.is_ready.set(true);
    assert_eq!(bench.poll_ready(0), Poll::Ready(Ok(())));
    fail(&bench.breaker, 2);
    for _ in 0..2 {
        bench.call(0).unwrap();
        assert_eq!((bench.out.len(), bench.upstream.calls.get()), (0, 0));
        // Not asked again: it was promised, and has not been called since.
        assert_eq!(bench.poll_ready(0), Poll::Ready(Ok(())));
        assert_eq!(bench.upstream.polls.get(), 1);
    }
    bench.hand.advance(WAIT);
    bench.call(0).unwrap();
    assert_eq!((bench.out.len(), bench.upstream.calls.get()), (1, 1));
}

#[test]
fn a_clone_is_not_ready_because_the_other_is() {
    let mut bench = Bench::new();
    bench.upstream.is_ready.set(true);
    assert_eq!(bench.poll_ready(0), Poll::Ready(Ok(())));
    bench.upstream.is_ready.set(false);
    bench.services.push(bench.services[0].clone());
    assert_eq!(bench.poll_ready(1), Poll::Pending);
    assert_eq!(bench.poll_ready(0), Poll::Ready(Ok(())));
    bench.call(0).unwrap();
    assert_eq!(bench.poll_ready(0), Poll::Pending);
}

#[test]
fn an_error_of_poll_ready_is_the_inner_services_and_no_call_of_the_breakers() {
    let mut bench = Bench::new();
    bench.upstream.is_broken.set(true);
    for _ in 0..10 {
        let broken = CallError::Inner("broken");
        assert_eq!(bench.poll_ready(0), Poll::Ready(Err(broken)));
    }
    let snapshot = bench.breaker.snapshot();
    assert_eq!(snapshot.state, State::Closed);
    assert_eq!(snapshot.totals, crate::snapshot::CallTotals::default());
}
