//! The mistakes that were seen in other breakers, one test each. Each was
//! reproduced or read in the source of a released version.
//!
//! Eleven of fifteen stand here; those of metrics, names, health and counters
//! concern a whole service and stand in `tests/all`.

use std::{sync::mpsc, thread};

use super::*;
use crate::{
    breaker::{
        pieces::Pieces,
        settings::BUCKETS,
        totals::Stripe,
        window::{Calls, Mark, TimeWindow},
        word::Word,
    },
    snapshot::CallTotals,
    stripes::Stripes,
};

/// A peer's count window only ever grew: after 1,000,000 successes it took
/// 1,000,000 failures to open it.
#[test]
fn mistake_01_a_count_window_that_never_slides_hides_an_outage_behind_old_successes() {
    let (breaker, _hand) = breaker(BreakerOptions {
        window: Window::Calls(100),
        ..BreakerOptions::default()
    });
    succeed(&breaker, 1_000_000);
    fail(&breaker, 49);
    assert_eq!(breaker.state(), State::Closed);
    fail(&breaker, 1);
    assert_eq!(breaker.state(), State::Open);
}

/// A peer keeps a record of each call of the last so many seconds and scans them
/// all on each call: 63 µs with 100,000 of them.
#[test]
fn mistake_02_a_time_window_that_keeps_and_scans_a_record_of_each_call() {
    // What has nothing to drop owns nothing on the heap: it is as large after a
    // million calls as before the first, and there is no more of it to look at.
    const { assert!(!std::mem::needs_drop::<TimeWindow>() && !std::mem::needs_drop::<Calls>()) };

    let (window, stripes) = (TimeWindow::new(), Stripes::<Stripe>::new());
    let (seconds, word) = (Pieces::of(Duration::from_secs(1)), Word::first(None));
    let mut now_ns = 0;
    for call in 0..1_000_000 {
        now_ns = call * 20_000;
        let failure = call % 1_000 == 0;
        let slow = false;
        window.record(&stripes, word, seconds, now_ns, Mark { failure, slow });
    }
    let tally = window.tally(&stripes, 0, seconds, now_ns);
    // 20 s of calls, of which the last 10 s count.
    assert_eq!((tally.calls, tally.failures), (500_000, 500));
    let buckets = window.held(&stripes, 0, seconds, now_ns);
    assert_eq!(buckets.len(), BUCKETS as usize);
}

/// In a peer any success closed a half-open circuit, also that of a call which
/// had been let through before the outage.
#[test]
fn mistake_03_a_success_admitted_before_the_outage_closes_a_half_open_circuit() {
    let (breaker, hand) = breaker(small());
    let old = [(); 4].map(|()| breaker.try_acquire().unwrap());
    fail(&breaker, 2);
    hand.advance(WAIT);
    let probe = breaker.try_acquire().unwrap();
    old.into_iter().for_each(Permit::success);
    assert_eq!(breaker.state(), State::HalfOpen);
    let totals = breaker.snapshot().totals;
    assert_eq!((totals.stale, totals.success), (4, 4));
    probe.success();
}

/// Peers count probes as they go in and never take one back: one that hung
/// blocked recovery for ever, six that were cancelled wedged it in half-open.
#[test]
fn mistake_04_a_hung_probe_blocks_recovery_for_ever_and_cancelled_probes_wedge_it() {
    let (breaker, hand) = tripped();
    hand.advance(WAIT);
    for _ in 0..6 {
        drop(breaker.try_acquire().unwrap());
        breaker.try_acquire().unwrap().ignore();
    }
    let totals = breaker.snapshot().totals;
    assert_eq!((totals.cancelled, totals.ignored), (6, 6));

    let hung = [(); 2].map(|()| breaker.try_acquire().unwrap());
    assert!(breaker.try_acquire().is_err());
    // Their leases end.
    hand.advance(Duration::from_secs(1));
    succeed(&breaker, 2);
    assert_eq!(breaker.state(), State::Closed);
    hung.into_iter().for_each(|probe| probe.failure(BAD));
    assert_eq!(breaker.state(), State::Closed);
}

/// In a peer half-open let everybody through: 1000 of 1000 who asked.
#[test]
fn mistake_05_half_open_admits_everybody() {
    let (breaker, hand) = breaker(BreakerOptions {
        half_open_permits: 3,
        ..small()
    });
    fail(&breaker, 2);
    hand.advance(WAIT);
    let admitted: Vec<Permit> = thread::scope(|scope| {
        let ask = || (0..125).filter_map(|_| breaker.try_acquire().ok());
        let storm: Vec<_> = (0..8)
            .map(|_| scope.spawn(move || ask().collect::<Vec<_>>()))
            .collect();
        let admitted = storm.into_iter().map(|thread| thread.join().unwrap());
        admitted.flatten().collect()
    });
    assert_eq!(admitted.len(), 3);
    assert_eq!(breaker.snapshot().totals.rejected, 997);
}

/// In a peer a circuit that was forced open armed the wait of any open one, and
/// became half-open when that was over, though nobody had asked for it.
#[test]
fn mistake_06_forced_open_expires_by_itself_into_half_open() {
    // Of a closed circuit, and of one whose own wait goes by meanwhile.
    for (failures, computed) in [(0, State::Closed), (2, State::Open)] {
        let (breaker, hand) = breaker(BreakerOptions {
            automatic_half_open: true,
            ..small()
        });
        fail(&breaker, failures);
        let by = ByHand::default();
        breaker
            .set_override(OverrideKind::ForcedOpen, None, &by)
            .unwrap();
        for _ in 0..1_000 {
            hand.advance(Duration::from_secs(36_000));
            let snapshot = breaker.snapshot();
            assert_eq!(
                (snapshot.state, snapshot.computed_state),
                (State::Open, computed)
            );
            // Whoever asks waits as long as for a circuit that opened.
            let rejected = breaker.try_acquire().unwrap_err();
            assert_eq!(rejected.retry_after(), Duration::from_secs(5));
        }
        let changed = breaker.enable(&by).unwrap();
        assert_eq!((changed.before, changed.after), (State::Open, computed));
        breaker.try_acquire().unwrap().success();
        assert_eq!(breaker.enable(&by), Err(ChangeRefused::NotOverridden));
    }
}

/// A peer runs its callbacks under the breaker's lock: one that read the breaker
/// waited for itself.
#[test]
fn mistake_07_a_callback_that_reads_the_breaker_deadlocks() {
    let (told, heard) = mpsc::channel();
    // On a thread of its own: should it deadlock, the test fails and does not hang.
    thread::spawn(move || {
        let registry = Registry::new();
        let breaker = registry.get_or_create("payment_api", &config(small()));
        let (reader, log) = (breaker.clone(), told.clone());
        registry.observe(
            &(Arc::new(move |event: &BreakerEvent, name: &str| {
                let seen = reader.snapshot();
                let _ = log.send((name.to_owned(), event.cause, event.to, seen.state));
            }) as Observer),
        );
        let changer = breaker.clone();
        let subscription = breaker.subscribe(move |event| {
            if event.cause == Cause::FailureRate {
                drop((
                    changer.name(),
                    changer.try_acquire(),
                    changer.subscribe(|_| {}),
                ));
                changer.reset(&ByHand::default()).unwrap();
            }
        });
        // By a call, by hand, by new settings.
        fail(&breaker, 2);
        breaker.reset(&ByHand::default()).unwrap();
        breaker.configure(BreakerConfig::default());
        drop(subscription);
    });
    let causes = [
        Cause::FailureRate,
        Cause::Reset,
        Cause::Reset,
        Cause::Config,
    ];
    for cause in causes {
        let (name, event, to, seen) = heard
            .recv_timeout(Duration::from_secs(30))
            .expect("a listener waits for a lock that its own caller holds");
        assert_eq!((name.as_str(), event), ("payment_api", cause));
        assert_eq!(to, seen);
    }
}

/// A peer's layer asks the inner service whether it is ready before it asks the
/// breaker: while the upstream hung, the open circuit answered nobody.
#[cfg(feature = "tower")]
#[tokio::test]
async fn mistake_09_an_open_breaker_waits_for_an_inner_service_that_is_not_ready() {
    let (breaker, _hand) = tripped();
    let layer = CircuitBreakerLayer::new(breaker);
    let (mut service, mut handle) = tower_test::mock::spawn_layer::<&str, &str, _>(layer);
    handle.allow(0);
    assert!(service.poll_ready().is_ready());
    let error = service.call("early").await.unwrap_err();
    let retry_after = WAIT;
    assert!(matches!(error, CallError::Open { retry_after: left } if left == retry_after));
}

/// In resilience4j a reset leaves timers armed: the circuit opens, or becomes
/// half-open, by itself later.
#[test]
fn mistake_10_a_reset_leaves_timers_armed() {
    let options = BreakerOptions {
        automatic_half_open: true,
        half_open_max_wait: Some(Duration::from_secs(2)),
        slow_call_duration: Some(100 * MS),
        ramp_up: Some(Duration::from_secs(10)),
        ..small()
    };
    // The wait, the patience with the probes, a probe's lease and its slowness,
    // the ramp, calls that still run, an override's end.
    type Arm = fn(&CircuitBreaker, &ManualClock) -> Vec<Permit>;
    let half_open: Arm = |breaker, hand| {
        fail(breaker, 2);
        hand.advance(WAIT);
        vec![breaker.try_acquire().unwrap()]
    };
    let arms: [Arm; 5] = [
        |breaker, _| {
            fail(breaker, 2);
            Vec::new()
        },
        half_open,
        |breaker, hand| {
            fail(breaker, 2);
            hand.advance(WAIT);
            succeed(breaker, 2);
            Vec::new()
        },
        |breaker, _| [(); 4].map(|()| breaker.try_acquire().unwrap()).into(),
        |breaker, _| {
            let (kind, lasts) = (OverrideKind::MetricsOnly, Some(Duration::from_secs(1)));
            breaker
                .set_override(kind, lasts, &ByHand::default())
                .unwrap();
            fail(breaker, 2);
            Vec::new()
        },
    ];
    for (armed, arm) in arms.into_iter().enumerate() {
        let (breaker, hand) = breaker(options.clone());
        let out = arm(&breaker, &hand);
        breaker.reset(&ByHand::default()).unwrap();
        // Longer than anything that was armed, in steps smaller than any of it.
        for _ in 0..300 {
            hand.advance(50 * MS);
            assert_eq!(breaker.snapshot().computed_state, State::Closed, "{armed}");
            succeed(&breaker, 1);
        }
        out.into_iter().for_each(|permit| permit.failure(BAD));
        assert_eq!(breaker.snapshot().computed_state, State::Closed, "{armed}");
        let events = breaker.snapshot().events;
        let mut since = events
            .iter()
            .take_while(|event| event.cause != Cause::Reset);
        // A reset removes no override: that one goes on to its end.
        assert!(since.all(|event| event.cause == Cause::OverrideExpired));
    }
}

/// In Polly 8 a probe that is cancelled closes the circuit.
#[test]
fn mistake_12_a_cancelled_probe_closes_the_circuit() {
    let (breaker, hand) = breaker(BreakerOptions {
        half_open_permits: 1,
        ..small()
    });
    fail(&breaker, 2);
    let opened = breaker.snapshot().totals;
    hand.advance(WAIT);
    drop(breaker.try_acquire().unwrap());
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.openings), (State::HalfOpen, 1));
    assert_eq!(snapshot.window, WindowSnapshot::default());
    let cancelled = CallTotals {
        cancelled: 1,
        ..opened
    };
    assert_eq!(snapshot.totals, cancelled);
    // Its slot is free, and whoever takes it decides.
    breaker.try_acquire().unwrap().failure(BAD);
    assert_eq!(breaker.state(), State::Open);
}

/// In peers only a call moves an open circuit on: an idle one stays open on the
/// dashboard for ever.
#[test]
fn mistake_13_an_idle_open_circuit_stays_open_on_the_dashboard_for_ever() {
    let (breaker, hand) = breaker(BreakerOptions {
        automatic_half_open: true,
        ..small()
    });
    fail(&breaker, 2);
    hand.advance(WAIT - MS);
    assert_eq!(breaker.snapshot().state, State::Open);
    hand.advance(MS);
    let snapshot = breaker.snapshot();
    assert_eq!((snapshot.state, snapshot.gauge()), (State::HalfOpen, 1));
    assert_eq!(snapshot.events[0].cause, Cause::WaitElapsed);
    // The time open ended with the look, and no call was needed.
    hand.advance(Duration::from_secs(3_600));
    let later = breaker.snapshot();
    assert_eq!(later.open_ms_total, snapshot.open_ms_total);
    assert_eq!((later.totals.rejected, later.retry_after_ms), (0, None));
}

fn config(options: BreakerOptions) -> BreakerConfig {
    BreakerConfig::try_from(options).unwrap()
}
