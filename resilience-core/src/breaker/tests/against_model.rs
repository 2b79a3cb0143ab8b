//! Random steps, time, cancellation and changes of the configuration among
//! them, on the breaker and on the [`Model`] of it.

use proptest::prelude::*;

use super::{
    model::{How, Model, Ticket},
    *,
};

#[derive(Clone, Debug)]
enum Step {
    Acquire,
    /// Ends one of the calls that are out.
    End(usize, How),
    Advance(u64),
    Look,
    Reset,
    Override(OverrideKind, Option<u64>),
    Enable,
    Configure(BreakerOptions),
}

fn how() -> impl Strategy<Value = How> {
    prop_oneof![
        4 => Just(How::Success),
        4 => Just(How::Failure),
        1 => Just(How::Ignored),
        1 => Just(How::Dropped),
    ]
}

fn options() -> impl Strategy<Value = BreakerOptions> {
    let window = prop_oneof![
        (1u32..8).prop_map(Window::Calls),
        (1u64..4).prop_map(|s| Window::Time(Duration::from_secs(s))),
    ];
    let off_or = |most: u64| prop::option::of((1..most).prop_map(Duration::from_millis));
    let rates = (
        prop::sample::select(vec![10.0, 50.0, 100.0]),
        prop::sample::select(vec![25.0, 100.0]),
        1u32..6,
    );
    let waits = (
        1u64..50,
        prop::sample::select(vec![1.0, 1.5, 3.0]),
        1u32..4,
        1u64..30,
    );
    // A limit whose quarters are whole: what rounding does is `Pieces`' business.
    let slow = prop::option::of((1u64..6).prop_map(|quarter| Duration::from_millis(4 * quarter)));
    (
        prop::bool::weighted(0.9),
        window,
        rates,
        waits,
        slow,
        (off_or(60), off_or(60), any::<bool>()),
    )
        .prop_map(
            |(enabled, window, rates, waits, slow, (patience, ramp, automatic))| BreakerOptions {
                enabled,
                window,
                minimum_calls: rates.2,
                failure_rate_threshold: rates.0,
                slow_call_duration: slow,
                slow_call_rate_threshold: rates.1,
                wait_in_open: Duration::from_millis(waits.0),
                wait_multiplier: waits.1,
                wait_max: Duration::from_millis(200),
                wait_jitter: 0.0,
                automatic_half_open: automatic,
                half_open_permits: waits.2,
                half_open_max_wait: patience,
                ramp_up: ramp,
                probe_lease: Duration::from_millis(waits.3),
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let kind = prop::sample::select(OverrideKind::ALL.to_vec());
    prop_oneof![
        30 => Just(Step::Acquire),
        30 => (any::<usize>(), how()).prop_map(|(which, how)| Step::End(which, how)),
        10 => (0u64..20).prop_map(Step::Advance),
        3 => (0u64..2_000).prop_map(Step::Advance),
        5 => Just(Step::Look),
        1 => Just(Step::Reset),
        2 => (kind, prop::option::of(1u64..100)).prop_map(|(kind, lasts)| Step::Override(kind, lasts)),
        1 => Just(Step::Enable),
        1 => options().prop_map(Step::Configure),
    ]
}

struct Pair {
    breaker: CircuitBreaker,
    hand: ManualClock,
    model: Model,
    out: Vec<(Permit, Ticket)>,
}

impl Pair {
    fn new(options: BreakerOptions) -> Self {
        let (breaker, hand) = breaker(options.clone());
        Self {
            breaker,
            hand,
            model: Model::new(options),
            out: Vec::new(),
        }
    }

    fn take(&mut self, step: Step) -> Result<(), TestCaseError> {
        match step {
            Step::Acquire => match (self.breaker.try_acquire(), self.model.acquire()) {
                (Ok(permit), Ok(ticket)) => self.out.push((permit, ticket)),
                (Err(rejected), Err(wait)) => {
                    prop_assert_eq!(rejected.retry_after(), Duration::from_millis(wait));
                }
                (real, model) => prop_assert!(false, "{real:?}, the model: {model:?}"),
            },
            Step::End(which, how) if !self.out.is_empty() => {
                let (permit, ticket) = self.out.swap_remove(which % self.out.len());
                match how {
                    How::Success => permit.success(),
                    How::Failure => permit.failure(BAD),
                    How::Ignored => permit.ignore(),
                    How::Dropped => drop(permit),
                }
                self.model.end(ticket, how);
            }
            Step::End(..) => {}
            Step::Advance(by) => {
                self.hand.advance(Duration::from_millis(by));
                self.model.now += by;
            }
            Step::Look => self.compare()?,
            Step::Reset => {
                let done = self.breaker.reset(&ByHand::default()).is_ok();
                prop_assert_eq!(done, self.model.reset());
            }
            Step::Override(kind, lasts) => {
                let by = ByHand::default();
                self.breaker
                    .set_override(kind, lasts.map(Duration::from_millis), &by)
                    .unwrap();
                self.model.set_override(kind, lasts);
            }
            Step::Enable => {
                let done = self.breaker.enable(&ByHand::default()).is_ok();
                prop_assert_eq!(done, self.model.enable());
            }
            Step::Configure(options) => {
                let config = BreakerConfig::try_from(options.clone()).unwrap();
                self.breaker.configure(config);
                self.model.configure(options);
            }
        }
        Ok(())
    }

    fn compare(&mut self) -> Result<(), TestCaseError> {
        let snapshot = self.breaker.snapshot();
        let model = &mut self.model;
        model.look();
        prop_assert_eq!(snapshot.state, model.state());
        prop_assert_eq!(snapshot.computed_state, model.computed());
        prop_assert_eq!(snapshot.generation, model.generation);
        prop_assert_eq!(snapshot.openings, model.openings);
        prop_assert_eq!(snapshot.totals, model.totals);
        let window = snapshot.window;
        let tally = [window.calls, window.failures, window.slow].map(|count| count as usize);
        let (calls, failures, slow) = model.tally();
        prop_assert_eq!(tally, [calls, failures, slow]);
        prop_assert_eq!(snapshot.slow_running as usize, model.slow_running());
        let overridden = snapshot.overridden.map(|set| set.kind);
        prop_assert_eq!(overridden, model.overridden.map(|(kind, _)| kind));
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, ..ProptestConfig::default() })]

    #[test]
    fn the_breaker_does_what_the_model_does(
        first in options(),
        steps in prop::collection::vec(step(), 1..200),
    ) {
        let mut pair = Pair::new(BreakerOptions { enabled: true, ..first });
        for step in steps {
            pair.take(step)?;
        }
        pair.compare()?;
    }
}
