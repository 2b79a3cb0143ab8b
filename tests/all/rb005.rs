//! RB-005: the log and the metrics say which statement is slow, where it is and
//! whose request it is; a loop of statements is named.

use http::Method;
use resilience_tests::lone::{Answer, Api, Ground, SOON, eventually, shell};

const CONFIG: &str = "database: {slow_query: 100ms}\n";
const SLOW: &str = r#"db_slow_queries_total{pool="main"}"#;
const REPEATED: &str = r#"db_repeated_queries_total{pool="main"}"#;

async fn service(ground: &Ground) -> Api {
    let config = ground.write("config.yaml", CONFIG);
    ground.api().config(config).drills().start().await
}

async fn ask(api: &Api, method: Method, path: &str, id: &str) -> Answer {
    let id = [("X-Correlation-ID", id)];
    api.door.ask(method, path, &id, "").await
}

/// What `grep` and the rest of a pipeline make of the log, once it is anything.
async fn grep(ground: &Ground, api: &Api, pipeline: &str) -> String {
    let script = format!("cat {} | {pipeline} || true", api.log.display());
    let what = format!("there is something of: {pipeline}");
    eventually(&what, SOON, async || {
        let found = shell(&ground.run_dir(), &script).await;
        (!found.is_empty()).then_some(found)
    })
    .await
}

/// The milliseconds of `(350ms > 100ms)`.
fn took(line: &str) -> u64 {
    let (_, rest) = line.split_once("Slow query detected (").unwrap();
    let (took, rest) = rest.split_once("ms > ").unwrap();
    assert_eq!(rest, "100ms)", "the line ends so: {line}");
    took.parse().unwrap()
}

#[tokio::test]
async fn a_slow_statement_is_found_by_the_runbooks_grep_with_its_place_and_its_request() {
    let ground = Ground::start().await;
    let api = service(&ground).await;
    let drill = "/drill/slow?for=130ms";
    let answer = ask(&api, Method::POST, drill, "abc123").await;
    assert_eq!(answer.status, 204, "{answer:?}");

    let found = grep(&ground, &api, "grep \"Slow query\" | grep pg_sleep").await;
    let lines: Vec<_> = found.lines().collect();
    let [line] = lines[..] else {
        panic!("{found}");
    };
    assert!(took(line) >= 130, "{line}");
    let fields: Vec<_> = line.splitn(6, ' ').collect();
    assert_eq!((fields[1], fields[4]), ("WARN", "slow_query"), "{line}");
    for part in [
        " pool:main ",
        " place:examples/src/payments/drills.rs:",
        " statement:\"SELECT pg_sleep(?)\" ",
        " correlation_id:abc123 ",
    ] {
        assert_eq!(line.matches(part).count(), 1, "{part} in {line}");
    }
    assert!(!line.contains("0.13"), "{line}");
    // So the id leads from the request to its statement.
    let of_request = grep(&ground, &api, "grep \"correlation_id:abc123\"").await;
    assert!(of_request.contains("Slow query detected"), "{of_request}");
    assert!(api.metric(SLOW).await >= 1.0);
    // What is configured has an effect, and nobody is told that it has none.
    assert!(api.lines(&["put it to use"]).is_empty());
}

#[tokio::test]
async fn a_statement_for_each_user_is_named_once_and_one_with_a_join_is_not() {
    let ground = Ground::start().await;
    let api = service(&ground).await;
    let words = ["WARN", " repeated_query ", "N+1"];
    let fine = ask(&api, Method::GET, "/users/orders?n=25", "joined").await;
    assert_eq!(fine.status, 200, "{fine:?}");
    // A few times is ordinary.
    let few = ask(&api, Method::GET, "/drill/users/orders?n=9", "few").await;
    assert_eq!(few.status, 200, "{few:?}");
    assert_eq!(api.metric(REPEATED).await, 0.0);

    let many = ask(&api, Method::GET, "/drill/users/orders?n=25", "many").await;
    assert_eq!((many.status, &many.body), (200, &fine.body), "{many:?}");
    assert_eq!(many.json()[24]["orders"][0]["item"], "item 24", "{many:?}");
    let line = api.logged(1, &words).await.remove(0);
    for part in [
        " place:examples/src/payments/database.rs:",
        " statement:\"SELECT id, item FROM orders WHERE user_id = $1 ORDER BY id\" ",
        " correlation_id:many ",
        "the same statement 10 times in one request",
    ] {
        assert!(line.contains(part), "{part} in {line}");
    }
    assert_eq!(api.metric(REPEATED).await, 1.0);
    // Lines come in order: none of the requests before was named.
    assert_eq!(api.lines(&words).len(), 1);
}
