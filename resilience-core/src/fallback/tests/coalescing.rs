//! Many callers, one call.

use tokio_test::{assert_ready_ok, task};

use super::*;

/// A thousand and one callers, of whom the first goes; how the others were answered.
async fn a_thousand(
    fallback: &Fallback,
    rates: &Rates,
    upstream: &Upstream,
) -> Vec<Result<Answered<u64>, FallbackError<Down>>> {
    let before = upstream.asked();
    let mut callers: Vec<_> = (0..1_001)
        .map(|_| {
            let mut caller = task::spawn(Box::pin(ask(rates, "EUR")));
            assert!(caller.poll().is_pending());
            caller
        })
        .collect();
    drop(callers.remove(0));
    until(|| upstream.asked() > before).await;
    upstream.answer_one();
    let mut answers = Vec::new();
    for caller in callers {
        answers.push(caller.into_inner().await);
    }
    assert_eq!(upstream.asked(), before + 1, "one call for all");
    assert_eq!(fallback.snapshot().cache.fetching, 0);
    answers
}

#[tokio::test]
async fn a_thousand_callers_make_one_call_also_when_the_first_is_cancelled() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::shut();
    let rates = rates(&fallback, &upstream);
    for answer in a_thousand(&fallback, &rates, &upstream).await {
        let answer = answer.unwrap();
        assert_eq!((*answer, answer.served().source()), (1, Source::Live));
    }
    let seen = fallback.snapshot();
    assert_eq!((seen.responses.live, seen.cache.coalesced), (1_000, 1_000));

    // The same when it fails: the last good answer for all.
    hands.clock.advance(TTL);
    upstream.is(Mood::Down);
    for answer in a_thousand(&fallback, &rates, &upstream).await {
        let answer = answer.unwrap();
        assert_eq!((*answer, answer.served().source()), (1, Source::Stale));
    }
    assert_eq!(fallback.snapshot().responses.stale, 1_000);

    // And when nothing good enough is left: the error for all.
    hands.clock.advance(STALE_LIMIT);
    for answer in a_thousand(&fallback, &rates, &upstream).await {
        let error = answer.unwrap_err();
        assert!(error.upstream().is_some());
        assert!(matches!(error.tried(), Tried::TooOld { .. }), "{error}");
    }
    assert_eq!(fallback.snapshot().responses.dead, 1_000);
}

#[tokio::test]
async fn while_it_is_off_each_caller_makes_its_own_call() {
    let mut config = config();
    config.enabled = false;
    let (fallback, _hands) = fallback(&config);
    let upstream = Upstream::shut();
    let rates = rates(&fallback, &upstream);
    let mut callers: Vec<_> = (0..10)
        .map(|_| {
            let mut caller = task::spawn(Box::pin(ask(&rates, "EUR")));
            assert!(caller.poll().is_pending());
            caller
        })
        .collect();
    assert_eq!(upstream.asked(), 10);
    upstream.gate.add_permits(10);
    let answers: Vec<_> = callers
        .iter_mut()
        .map(|caller| *assert_ready_ok!(caller.poll()))
        .collect();
    assert_eq!(answers, (1..=10).collect::<Vec<_>>());
}

#[tokio::test]
async fn callers_who_come_when_a_run_has_ended_find_what_it_kept() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    let tasks: Vec<_> = (0..1_000)
        .map(|_| tokio::spawn(rates.clone().oneshot("EUR")))
        .collect();
    for task in tasks {
        assert_eq!(*task.await.unwrap().unwrap(), 1);
    }
    assert_eq!(upstream.asked(), 1);
    let seen = fallback.snapshot();
    let all = seen.cache.hits + seen.cache.misses + seen.cache.coalesced;
    assert_eq!(all, 1_000, "{seen:?}");
}

#[tokio::test]
async fn while_too_many_runs_are_on_their_way_a_caller_makes_its_own_call() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::shut();
    let numbers = FallbackLayer::new(fallback.clone(), |number: &u64| {
        Some(Key::from(&number.to_le_bytes()))
    })
    .layer(
        tower::ServiceBuilder::new()
            .map_request(|_: u64| "any")
            .service(upstream.clone()),
    );
    let most = u64::try_from(crate::cache::flight::MOST_RUNS).unwrap();
    let mut callers: Vec<_> = (0..most)
        .map(|number| {
            let mut caller = task::spawn(Box::pin(numbers.clone().oneshot(number)));
            assert!(caller.poll().is_pending());
            caller
        })
        .collect();
    let mut alone = task::spawn(Box::pin(numbers.clone().oneshot(most)));
    assert!(alone.poll().is_pending());
    // Every one is asked for, and no more tasks than that are behind them.
    assert_eq!(upstream.asked(), most + 1);
    assert_eq!(fallback.snapshot().cache.fetching, most);
    callers.clear();
    upstream
        .gate
        .add_permits(crate::cache::flight::MOST_RUNS + 1);
    until(|| alone.is_woken()).await;
    assert_eq!(*assert_ready_ok!(alone.poll()), most + 1);
    until(|| fallback.snapshot().cache.fetching == 0).await;
    // Kept all the same.
    let mut hit = task::spawn(Box::pin(numbers.oneshot(most)));
    assert_eq!(*assert_ready_ok!(hit.poll()), most + 1);
}

#[tokio::test]
async fn layers_that_fail_with_different_errors_share_answers_and_no_error() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::shut();
    upstream.is(Mood::Down);
    let ours = rates(&fallback, &upstream);
    let theirs = FallbackLayer::new(fallback.clone(), key).layer(
        tower::ServiceBuilder::new()
            .map_err(|Down| std::fmt::Error)
            .service(upstream.clone()),
    );
    let first = tokio::spawn(ours.clone().oneshot("EUR"));
    until(|| upstream.asked() == 1).await;
    let mut second = task::spawn(theirs.clone().oneshot("EUR"));
    assert!(second.poll().is_pending());
    upstream.answer_one();
    let error = first.await.unwrap().unwrap_err();
    assert!(matches!(error.upstream(), Some(Down)));
    // Who waited asks for itself, as it cannot be told what it was.
    upstream.answer_one();
    let error = second.await.unwrap_err();
    assert_eq!(error.upstream(), Some(&std::fmt::Error));
    assert_eq!(upstream.asked(), 2);

    upstream.is(Mood::Well);
    upstream.answer_one();
    assert_eq!(get(&ours, "EUR").await, (3, Source::Live));
    let answer = theirs.oneshot("EUR").await.unwrap();
    assert_eq!((*answer, answer.served().source()), (3, Source::Fresh));
    assert_eq!(fallback.snapshot().cache.entries, 1);
}
