//! A thousand callers want what nobody has: the provider is asked once.

use std::time::Duration;

use resilience_examples::{Fault, Mode, stub::Counts};
use resilience_tests::lone::{Ground, SOON, eventually};
use tokio::task::JoinSet;

const CALLERS: usize = 1_000;

#[tokio::test]
async fn a_thousand_callers_are_one_call_of_the_provider_though_the_first_of_them_hangs_up() {
    let ground = Ground::start().await;
    let api = ground.api().fallback().start().await;
    ground.stub.set_fault(Fault {
        latency: Duration::from_secs(1),
        ..Mode::Slow.into()
    });
    let first = tokio::spawn({
        let door = api.door.clone();
        async move { door.get("/rates/EUR").await }
    });
    eventually("the provider is asked", SOON, async || {
        (ground.stub.counts().delayed == 1).then_some(())
    })
    .await;
    let mut callers = JoinSet::new();
    for _ in 0..CALLERS {
        let door = api.door.clone();
        callers.spawn(async move { door.get("/rates/EUR").await });
    }
    // Its connection is closed, and the handler with it.
    first.abort();
    let (mut waited, mut found) = (0, 0);
    while let Some(answer) = callers.join_next().await {
        let answer = answer.unwrap();
        assert_eq!(answer.status, 200, "{answer:?}");
        match answer.header("cache-status") {
            "payment_api; fwd=uri-miss; stored; collapsed" => waited += 1,
            // Late: it was there already.
            said if said.starts_with("payment_api; hit; ttl=") => found += 1,
            said => panic!("{said}: {answer:?}"),
        }
    }
    let asked = Counts {
        delayed: 1,
        ..Counts::default()
    };
    assert_eq!(ground.stub.counts(), asked);
    assert_eq!(waited + found, CALLERS);
    assert!(waited > 0, "all came after the answer: nothing was shown");
    let counted = r#"fallback_coalesced_total{service="payment_api"}"#;
    assert_eq!(api.metric(counted).await, waited as f64);
}
