use http::{Response, StatusCode};
use hyper::body::Bytes;
use serde_json::{Value, json};

use super::*;
use crate::client::{Client, ClientError};

fn client() -> Client {
    Client::new(Duration::from_secs(10))
}

fn json_of(response: &Response<Bytes>) -> Value {
    serde_json::from_slice(response.body()).unwrap()
}

async fn start() -> Stub {
    Stub::start(StubOptions::default()).await.unwrap()
}

async fn post_fault(stub: &Stub, body: &'static str) -> Response<Bytes> {
    let address = stub.control().unwrap_or(stub.address());
    client()
        .post(&format!("http://{address}/fault"), body)
        .await
        .unwrap()
}

async fn health(stub: &Stub) -> Result<StatusCode, ClientError> {
    let url = format!("{}/health", stub.url());
    client().get(&url).await.map(|response| response.status())
}

#[tokio::test]
async fn a_healthy_stub_gives_rates_and_takes_charges() {
    let stub = start().await;
    let rate = client()
        .get(&format!("{}/rates/eur", stub.url()))
        .await
        .unwrap();
    assert_eq!(rate.status(), 200);
    assert_eq!(json_of(&rate)["currency"], "EUR");
    assert_eq!(json_of(&rate)["rate"], 1.0876);
    assert!(json_of(&rate)["as_of"].as_str().unwrap().ends_with('Z'));

    let url = format!("{}/charges", stub.url());
    let first = client().post(&url, r#"{"amount": 1250}"#).await.unwrap();
    let second = client().post(&url, r#"{"amount": 1250}"#).await.unwrap();
    assert_eq!(first.status(), 201);
    assert_eq!(json_of(&first)["amount"], 1250);
    assert_ne!(json_of(&first)["id"], json_of(&second)["id"]);
    assert_eq!(health(&stub).await.unwrap(), 200);
    assert_eq!(stub.counts().answered, 4);
}

#[tokio::test]
async fn wrong_requests_are_problems_that_say_what_is_right() {
    let stub = start().await;
    let url = stub.url();
    for (response, status, word) in [
        (client().get(&format!("{url}/rates/XXX")).await, 404, "EUR"),
        (
            client().get(&format!("{url}/nothing")).await,
            404,
            "/charges",
        ),
        (client().get(&format!("{url}/charges")).await, 405, "allow"),
        (
            client().post(&format!("{url}/charges"), "[]").await,
            400,
            "object",
        ),
        (
            client()
                .post(&format!("{url}/charges"), vec![b'x'; MAX])
                .await,
            413,
            "limit",
        ),
    ] {
        let response = response.unwrap();
        assert_eq!(response.status(), status);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
        assert!(
            json_of(&response)["detail"]
                .as_str()
                .unwrap()
                .contains(word)
        );
    }
}
const MAX: usize = 100_000;

#[tokio::test]
async fn a_wrong_fault_is_refused_and_changes_nothing() {
    let stub = start().await;
    for (body, status, word) in [
        ("{mode", 400, "not JSON"),
        ("", 400, "not JSON"),
        ("{}", 422, "missing field `mode`"),
        (r#"{"mode": "explode"}"#, 422, "explode"),
        (
            r#"{"mode": "slow", "delay": "2s"}"#,
            422,
            "unknown field `delay`",
        ),
        (r#"{"mode": "slow", "latency": "2"}"#, 422, "unit"),
        (r#"{"mode": "slow", "latency": "2h"}"#, 422, "1h"),
        (
            r#"{"mode": "slow", "latency": 2}"#,
            422,
            "expected a string",
        ),
        (r#"{"mode": "flaky", "ratio": 1.5}"#, 422, "0 to 1"),
        (
            r#"{"mode": "ok", "max_age": "1500ms"}"#,
            422,
            "whole seconds",
        ),
        (r#"{"mode": "ok", "max_age": "2h"}"#, 422, "1h"),
    ] {
        let response = post_fault(&stub, body).await;
        assert_eq!(response.status(), status, "{body}");
        let detail = json_of(&response)["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(word), "{body}: {detail}");
        assert!(detail.contains("ok|fail|slow"), "{body}: {detail}");
    }
    assert_eq!(stub.fault(), Fault::default());
}

#[tokio::test]
async fn fail_answers_503_until_it_is_mended_and_get_fault_tells() {
    let stub = start().await;
    let set = post_fault(&stub, r#"{"mode": "fail"}"#).await;
    assert_eq!(set.status(), 200);
    assert_eq!(health(&stub).await.unwrap(), 503);
    let shown = client()
        .get(&format!("{}/fault", stub.url()))
        .await
        .unwrap();
    let counts = json!({"answered": 0, "delayed": 0, "failed": 1, "hung": 0, "reset": 0});
    let expected =
        json!({"mode": "fail", "latency": "2s", "ratio": 0.5, "max_age": null, "counts": counts});
    assert_eq!(json_of(&shown), expected);
    post_fault(&stub, r#"{"mode": "ok"}"#).await;
    assert_eq!(health(&stub).await.unwrap(), 200);
}

#[tokio::test]
async fn rates_say_how_long_they_may_be_kept_if_they_are_told_to() {
    let stub = start().await;
    let url = format!("{}/rates/EUR?on=2026-01-31", stub.url());
    let plain = client().get(&url).await.unwrap();
    assert_eq!(plain.headers().get("cache-control"), None);
    let set = post_fault(&stub, r#"{"mode": "ok", "max_age": "1m 5s"}"#).await;
    assert_eq!(json_of(&set)["max_age"], "1m 5s");
    let kept = client().get(&url).await.unwrap();
    assert_eq!(kept.headers()["cache-control"], "max-age=65");
    assert_eq!(json_of(&kept)["currency"], "EUR");
}

#[tokio::test]
async fn slow_answers_well_and_late() {
    let stub = start().await;
    post_fault(&stub, r#"{"mode": "slow", "latency": "150ms"}"#).await;
    let began = std::time::Instant::now();
    assert_eq!(health(&stub).await.unwrap(), 200);
    assert!(began.elapsed() >= Duration::from_millis(150));
    assert_eq!(stub.counts().delayed, 1);
}

#[tokio::test]
async fn hang_never_answers_while_the_fault_can_still_be_mended() {
    let stub = start().await;
    post_fault(&stub, r#"{"mode": "hang"}"#).await;
    let impatient = Client::new(Duration::from_millis(100));
    let error = impatient.get(&stub.url()).await.unwrap_err();
    assert!(matches!(error, ClientError::Deadline { .. }), "{error}");
    assert_eq!(stub.counts().hung, 1);
    post_fault(&stub, r#"{"mode": "ok"}"#).await;
    assert_eq!(health(&stub).await.unwrap(), 200);
}

#[tokio::test]
async fn refuse_on_one_port_resets_before_any_byte_of_an_answer() {
    let stub = start().await;
    post_fault(&stub, r#"{"mode": "refuse"}"#).await;
    let error = health(&stub).await.unwrap_err();
    assert!(matches!(error, ClientError::Broken { .. }), "{error}");
    assert!(error.to_string().contains("reset"), "{error}");
    assert_eq!(stub.counts().reset, 1);
    post_fault(&stub, r#"{"mode": "ok"}"#).await;
    assert_eq!(health(&stub).await.unwrap(), 200);
}

#[tokio::test]
async fn refuse_with_a_control_port_refuses_to_connect_and_opens_again() {
    let any = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let options = StubOptions {
        listen: any,
        control: Some(any),
    };
    let stub = Stub::start(options).await.unwrap();
    // A connection from before, to see what becomes of it.
    let before = tokio::net::TcpStream::connect(stub.address())
        .await
        .unwrap();
    for _ in 0..3 {
        assert_eq!(health(&stub).await.unwrap(), 200);
        post_fault(&stub, r#"{"mode": "refuse"}"#).await;
        // The port follows the fault at the next turn of its task.
        let mut seen = health(&stub).await;
        while !matches!(seen, Err(ClientError::Connect { .. })) {
            seen = health(&stub).await;
        }
        assert!(seen.unwrap_err().to_string().contains("refused"));
        post_fault(&stub, r#"{"mode": "ok"}"#).await;
        while health(&stub).await.is_err() {}
    }
    before.readable().await.unwrap();
    let error = before.try_read(&mut [0; 8]).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);

    let elsewhere = format!("http://{}/health", stub.control().unwrap());
    assert_eq!(client().get(&elsewhere).await.unwrap().status(), 404);
}

#[tokio::test]
async fn flaky_fails_the_same_evenly_spread_share_every_time() {
    let stub = start().await;
    for (body, expected) in [
        (r#"{"mode": "flaky", "ratio": 0.5}"#, ".x.x.x.x."),
        (r#"{"mode": "flaky", "ratio": 0.3}"#, "...x..x.."),
        (r#"{"mode": "flaky", "ratio": 0.1}"#, "........."),
        (r#"{"mode": "flaky", "ratio": 0}"#, "........."),
        (r#"{"mode": "flaky", "ratio": 1}"#, "xxxxxxxxx"),
    ] {
        post_fault(&stub, body).await;
        let mut seen = String::new();
        // Nine, so that most leave a part of a failure owed, which must not
        // reach the next.
        for _ in 0..9 {
            let failed = health(&stub).await.unwrap() == 503;
            seen.push(if failed { 'x' } else { '.' });
        }
        assert_eq!(seen, expected, "{body}");
    }
}

#[tokio::test]
async fn stop_lets_a_slow_answer_finish_and_gives_the_port_back() {
    let stub = start().await;
    let fault = Fault {
        latency: Duration::from_millis(100),
        ..Fault::from(Mode::Slow)
    };
    stub.set_fault(fault);
    let address = stub.address();
    let url = format!("{}/health", stub.url());
    let asked = tokio::spawn(async move { client().get(&url).await });
    while stub.counts().delayed == 0 {
        tokio::task::yield_now().await;
    }
    stub.stop().await;
    assert_eq!(asked.await.unwrap().unwrap().status(), 200);
    std::net::TcpListener::bind(address).unwrap();
}

#[tokio::test]
async fn an_address_that_is_taken_is_an_error_that_names_it() {
    let first = start().await;
    let options = StubOptions {
        listen: first.address(),
        ..StubOptions::default()
    };
    let error = Stub::start(options).await.unwrap_err();
    assert!(
        error.to_string().contains(&first.address().to_string()),
        "{error}"
    );
}
