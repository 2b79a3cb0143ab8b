//! Fresh, refreshed, forgotten; what is kept and what is not.

use tokio_test::{assert_ready_ok, task};
use tower_test::mock;

use super::*;

#[tokio::test]
async fn a_good_answer_is_handed_out_until_its_ttl_and_then_asked_for_again() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    assert_eq!(get(&rates, "EUR").await, (1, Source::Live));
    hands.clock.advance(TTL - Duration::from_nanos(1));
    assert_eq!(get(&rates, "EUR").await, (1, Source::Fresh));
    hands.clock.advance(Duration::from_nanos(1));
    assert_eq!(get(&rates, "EUR").await, (2, Source::Live));
    assert_eq!(get(&rates, "EUR").await, (2, Source::Fresh));
    assert_eq!(get(&rates, "USD").await, (3, Source::Live));
    let seen = fallback.snapshot();
    assert_eq!((seen.responses.live, seen.responses.fresh), (3, 2));
    assert_eq!((seen.cache.hits, seen.cache.misses), (2, 3));
    assert_eq!((seen.cache.entries, seen.cache.fetching), (2, 0));
}

#[tokio::test]
async fn a_handler_can_say_as_of_when_an_answer_is() {
    let (fallback, hands) = fallback(&config());
    let rates = rates(&fallback, &Upstream::open());
    get(&rates, "EUR").await;
    hands.clock.advance(120 * SECOND);
    hands.wall.set("2026-01-01T12:02:00Z".parse().unwrap());
    let answer = ask(&rates, "EUR").await.unwrap();
    assert_eq!(answer.served().age(), 120 * SECOND);
    assert_eq!(answer.served().as_of(), noon());
    assert!(!answer.served().is_degraded());
    // However the wall clock jumps, the age is what has passed.
    hands.wall.set("2025-01-01T12:02:00Z".parse().unwrap());
    let answer = ask(&rates, "EUR").await.unwrap();
    assert_eq!(answer.served().age(), 120 * SECOND);
}

#[tokio::test]
async fn an_answer_is_as_old_as_the_beginning_of_its_call() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::shut();
    let rates = rates(&fallback, &upstream);
    let mut caller = task::spawn(ask(&rates, "EUR"));
    assert!(caller.poll().is_pending());
    until(|| upstream.asked() == 1).await;
    hands.clock.advance(TTL);
    upstream.answer_one();
    until(|| caller.is_woken()).await;
    let answer = assert_ready_ok!(caller.poll());
    assert_eq!(answer.served().age(), TTL);
    upstream.answer_one();
    assert_eq!(get(&rates, "EUR").await, (2, Source::Live));
}

#[tokio::test]
async fn what_has_no_key_is_passed_on_and_not_kept() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    assert_eq!(get(&rates, "-").await, (1, Source::Live));
    assert_eq!(get(&rates, "-").await, (2, Source::Live));
    upstream.is(Mood::Down);
    assert_eq!(fails(&rates, "-").await, Tried::NotForThis);
    let seen = fallback.snapshot();
    assert_eq!(seen.cache.entries, 0);
    assert_eq!(seen.responses, Default::default());
}

#[tokio::test]
async fn a_key_that_is_too_long_is_passed_on_and_the_longest_is_not() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::open();
    for (length, sources) in [
        (Key::LONGEST, [Source::Live, Source::Fresh]),
        (Key::LONGEST + 1, [Source::Live, Source::Live]),
    ] {
        let key = Key::from(vec![7; length]);
        let layer = FallbackLayer::new(fallback.clone(), move |_: &&'static str| Some(key.clone()));
        let mut rates = layer.layer(upstream.clone());
        for source in sources {
            let answer = (&mut rates).oneshot("EUR").await.unwrap();
            assert_eq!(answer.served().source(), source);
        }
    }
    assert_eq!(fallback.snapshot().cache.entries, 1);
}

#[tokio::test]
async fn answers_are_served_while_the_inner_service_is_never_ready() {
    let (fallback, hands) = fallback(&config());
    let (upstream, mut handle) = mock::pair::<&'static str, u64>();
    let rates = FallbackLayer::new(fallback.clone(), key).layer(upstream);
    let asked = tokio::spawn(rates.clone().oneshot("EUR"));
    handle.next_request().await.unwrap().1.send_response(7);
    assert_eq!(*asked.await.unwrap().unwrap(), 7);

    handle.allow(0);
    // Outside of any runtime's turn: nothing is spawned for it.
    let mut hit = task::spawn(rates.clone().oneshot("EUR"));
    assert_eq!(*assert_ready_ok!(hit.poll()), 7);
    hands.clock.advance(TTL);
    let mut miss = task::spawn(rates.oneshot("EUR"));
    assert!(miss.poll().is_pending(), "this one has to be asked for");
}

#[test]
fn a_hit_needs_no_runtime() {
    let (fallback, _hands) = fallback(&config());
    let rates = rates(&fallback, &Upstream::open());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async { get(&rates, "EUR").await });
    drop(runtime);
    let mut hit = task::spawn(rates.oneshot("EUR"));
    assert_eq!(*assert_ready_ok!(hit.poll()), 1);
}

#[tokio::test]
async fn while_it_may_be_revalidated_a_stale_answer_comes_at_once_and_one_call_is_made() {
    let mut config = config();
    config.stale_while_revalidate = Some(60 * SECOND);
    let (fallback, hands) = fallback(&config);
    let upstream = Upstream::shut();
    let rates = rates(&fallback, &upstream);
    upstream.answer_one();
    get(&rates, "EUR").await;
    hands.clock.advance(TTL + 59 * SECOND);
    for _ in 0..10 {
        assert_eq!(get(&rates, "EUR").await, (1, Source::Refreshing));
    }
    until(|| upstream.asked() == 2).await;
    assert_eq!(fallback.snapshot().cache.fetching, 1);
    upstream.answer_one();
    until(|| fallback.snapshot().cache.fetching == 0).await;
    assert_eq!(get(&rates, "EUR").await, (2, Source::Fresh));
    assert_eq!(upstream.asked(), 2);

    // A refresh that fails changes nothing, and is tried again.
    hands.clock.advance(TTL);
    upstream.is(Mood::Down);
    for _ in 0..2 {
        assert_eq!(get(&rates, "EUR").await, (2, Source::Refreshing));
        upstream.answer_one();
        until(|| fallback.snapshot().cache.fetching == 0).await;
    }
    assert_eq!(upstream.asked(), 4);
    // Beyond that time it is waited for.
    hands.clock.advance(60 * SECOND);
    upstream.answer_one();
    assert_eq!(get(&rates, "EUR").await, (2, Source::Stale));
}

#[tokio::test]
async fn what_is_purged_is_gone_and_what_is_on_its_way_is_not_kept() {
    let (fallback, _hands) = fallback(&config());
    let upstream = Upstream::shut();
    let rates = rates(&fallback, &upstream);
    upstream.answer_one();
    get(&rates, "USD").await;
    let mut caller = task::spawn(ask(&rates, "EUR"));
    assert!(caller.poll().is_pending());
    until(|| upstream.asked() == 2).await;
    assert_eq!(fallback.purge(), 1);
    upstream.answer_one();
    until(|| caller.is_woken()).await;
    assert_eq!(*assert_ready_ok!(caller.poll()), 2, "who waits is answered");
    assert_eq!(fallback.snapshot().cache.entries, 0);
    assert_eq!(fallback.purge(), 0);
    upstream.answer_one();
    assert_eq!(get(&rates, "EUR").await, (3, Source::Live));
    assert_eq!(get(&rates, "EUR").await, (3, Source::Fresh));
}

#[tokio::test]
async fn what_is_purged_while_it_is_off_is_not_kept_by_a_call_on_its_way_either() {
    let (fallback, _hands) = fallback(&config());
    fallback.switch(Some(false), None, None);
    let upstream = Upstream::shut();
    let rates = rates(&fallback, &upstream);
    let mut caller = task::spawn(ask(&rates, "EUR"));
    assert!(caller.poll().is_pending());
    assert_eq!(upstream.asked(), 1);
    fallback.purge();
    upstream.answer_one();
    assert_eq!(*assert_ready_ok!(caller.poll()), 1);
    assert_eq!(fallback.snapshot().cache.entries, 0);
}

#[tokio::test]
async fn layers_of_one_service_share_answers_and_a_purge_reaches_all() {
    let (fallback, _hands) = fallback(&config());
    let (one, other) = (Upstream::open(), Upstream::open());
    let (first, second) = (rates(&fallback, &one), rates(&fallback.clone(), &other));
    // Another type of answer under the same key.
    let texts = FallbackLayer::new(fallback.clone(), key).layer(tower::service_fn(
        |_: &'static str| async { Ok::<_, Down>("text") },
    ));
    assert_eq!(get(&first, "EUR").await, (1, Source::Live));
    assert_eq!(get(&second, "EUR").await, (1, Source::Fresh));
    assert_eq!(*texts.clone().oneshot("EUR").await.unwrap(), "text");
    assert_eq!(other.asked(), 0);
    assert_eq!(fallback.snapshot().cache.entries, 2);
    assert_eq!(fallback.purge(), 2);
    assert_eq!(get(&second, "EUR").await, (1, Source::Live));
    assert_eq!((one.asked(), other.asked()), (1, 1));
}

#[tokio::test]
async fn settings_are_in_force_at_once_also_for_what_is_stored() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    get(&rates, "EUR").await;
    hands.clock.advance(10 * SECOND);
    let mut hurried = config();
    hurried.ttl = 10 * SECOND;
    fallback.configure(&hurried);
    assert_eq!(get(&rates, "EUR").await, (2, Source::Live));
    assert_eq!(fallback.snapshot().ttl_ms, 10_000);
    hurried.memory = 64;
    fallback.configure(&hurried);
    let seen = fallback.snapshot().cache;
    assert_eq!((seen.entries, seen.bytes), (0, 0));
    assert!(seen.most_bytes <= 64);
}

#[tokio::test]
async fn the_oldest_answer_is_looked_for_once_a_minute_and_ages_meanwhile() {
    let (fallback, hands) = fallback(&config());
    let upstream = Upstream::open();
    let rates = rates(&fallback, &upstream);
    assert_eq!(fallback.snapshot().oldest_ms, None);
    get(&rates, "EUR").await;
    hands.clock.advance(TTL);
    get(&rates, "USD").await;
    assert_eq!(fallback.snapshot().oldest_ms, Some(300_000));
    // Replaced: noticed within a minute.
    get(&rates, "EUR").await;
    hands.clock.advance(59 * SECOND);
    assert_eq!(fallback.snapshot().oldest_ms, Some(359_000));
    hands.clock.advance(SECOND);
    assert_eq!(fallback.snapshot().oldest_ms, Some(60_000));
    fallback.purge();
    assert_eq!(fallback.snapshot().oldest_ms, None);
}

#[tokio::test]
async fn answers_that_are_weighed_fill_it_up() {
    let mut config = config();
    config.memory = 64 << 10;
    let (fallback, _hands) = fallback(&config);
    let texts = FallbackLayer::new(fallback.clone(), |number: &u64| {
        Some(Key::from(&number.to_le_bytes()))
    })
    .weigh(|text: &String| text.capacity())
    .layer(tower::service_fn(|_: u64| async {
        Ok::<_, Down>("x".repeat(1_000))
    }));
    for number in 0..1_000 {
        texts.clone().oneshot(number).await.unwrap();
    }
    let seen = fallback.snapshot().cache;
    assert!(seen.bytes <= 64 << 10 && seen.entries > 30, "{seen:?}");
    assert_eq!(seen.entries + seen.evictions, 1_000);
}
