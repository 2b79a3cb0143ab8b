//! `kill -9` of a service in a storm of new rates: what it had said to be stored more
//! than a second before is served by the next one, with the provider down.

use std::{
    path::Path,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use http::StatusCode;
use http_body_util::{BodyExt, Empty};
use hyper::body::Bytes;
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use resilience_examples::{Mode, RedisOptions, TemporaryRedis, process::Signal};
use resilience_tests::lone::{Api, BREAKER, Ground, SOON, eventually};
use serde_json::Value;

/// How often it is killed, unless somebody asks for more.
const ROUNDS: u32 = 3;

/// How many ask at the same time, before a kill and after it.
const CALLERS: u32 = 4;

/// So many rates are asked for in a round by each caller at most.
const RATES: u32 = 400;

/// What has been stored for so long is there after a kill.
const STORED_FOR: Duration = Duration::from_secs(1);

/// Every rate is asked for, and kept for when it cannot be.
const CONFIG: &str = "\
resilience: {circuit_breaker: {window: {calls: 10}, minimum_calls: 5}}
services: {payment_api: {}}
";

/// Keeps its connections: new ones would cost more than the rates.
type Http = Client<HttpConnector, Empty<Bytes>>;

/// A rate that was said to be stored.
#[derive(Debug)]
struct Stored {
    path: String,
    as_of: Value,
    at: Instant,
}

#[derive(Debug)]
struct Answer {
    status: StatusCode,
    cache_status: String,
    json: Value,
}

/// An answer, if the service is there to give one.
async fn get(http: &Http, api: &Api, path: &str) -> Option<Answer> {
    let url = format!("http://{}{path}", api.door.address());
    let response = http.get(url.parse().unwrap()).await.ok()?;
    let (head, body) = response.into_parts();
    let body = body.collect().await.ok()?.to_bytes();
    let said = head.headers.get("cache-status");
    let said = said.map_or("", |said| said.to_str().unwrap());
    Some(Answer {
        status: head.status,
        cache_status: said.to_owned(),
        json: serde_json::from_slice(&body).unwrap(),
    })
}

/// Asks for one rate after the other, none of them twice, until the service is gone.
async fn ask(http: &Http, api: &Api, round: u32, caller: u32) -> Vec<Stored> {
    let mut stored = Vec::new();
    for number in 0..RATES {
        // Eight digits, written as a day: the provider has a rate for each.
        let (days, place) = (round * 100_000 + caller * 10_000 + number, "EUR");
        let (year, month, day) = (days / 10_000, days / 100 % 100, days % 100);
        let path = format!("/rates/{place}?on={year:04}-{month:02}-{day:02}");
        let Some(answer) = get(http, api, &path).await else {
            break;
        };
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        let said = &answer.cache_status;
        assert_eq!(said, "payment_api; fwd=uri-miss; stored", "{path}");
        stored.push(Stored {
            path,
            as_of: answer.json["as_of"].clone(),
            at: Instant::now(),
        });
        // For the whole time up to the kill.
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    stored
}

/// Some moment after the second that something has to be stored for.
fn moment() -> Duration {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    STORED_FOR + Duration::from_millis(200 + u64::from(now.subsec_micros() % 900))
}

/// Starts it, lets it store, and kills it: what was stored long enough before.
async fn storm(ground: &Ground, config: &Path, round: u32) -> Vec<Stored> {
    ground.stub.set_fault(Mode::Ok.into());
    let api = ground.api().fallback().config(config).start().await;
    // It came back as open as it went.
    let reset = api.socket.post(&format!("{BREAKER}/reset")).await;
    assert!([200, 409].contains(&reset.status), "{reset:?}");
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let moment = moment();
    let kill = async {
        tokio::time::sleep(moment).await;
        api.child.signal(Signal::KILL).unwrap();
        Instant::now()
    };
    let callers = [0, 1, 2, 3].map(|caller| ask(&http, &api, round, caller));
    const { assert!(CALLERS == 4) };
    let [a, b, c, d] = callers;
    let (killed_at, a, b, c, d) = tokio::join!(kill, a, b, c, d);
    api.child.wait_exit(SOON).await.unwrap();
    let mut stored: Vec<_> = [a, b, c, d].into_iter().flatten().collect();
    let all = stored.len();
    stored.retain(|one| one.at + STORED_FOR <= killed_at);
    eprintln!(
        "round {round}: killed after {moment:?}, {all} stored, {} of them a second before",
        stored.len()
    );
    assert!(!stored.is_empty(), "no storm: nothing was stored in time");
    stored
}

/// Starts it with the provider down: each is served, and is the one that was stored.
async fn check(ground: &Ground, config: &Path, stored: &[Stored]) {
    ground.stub.set_fault(Mode::Fail.into());
    let api = ground.api().fallback().config(config).start().await;
    let http: Http = Client::builder(TokioExecutor::new()).build_http();
    let check = async |one: &Stored| {
        // A read that takes longer than its few milliseconds counts as none, so on a
        // busy machine it may take a second try.
        let answer = eventually(&one.path, SOON, async || {
            let answer = get(&http, &api, &one.path).await.expect("it runs");
            (answer.status == 200).then_some(answer)
        })
        .await;
        let said = &answer.cache_status;
        assert!(said.ends_with("; detail=stale-if-error"), "{answer:?}");
        assert_eq!(answer.json["as_of"], one.as_of, "{}: {answer:?}", one.path);
    };
    for one in stored {
        check(one).await;
    }
    assert!(matches!(api.child.try_exit(), Ok(None)));
}

async fn storms(store: &str) {
    let ground = Ground::start().await;
    let fallback = format!("fallback: {{enabled: true, strategy: cache, ttl: 1ms, {store}}}\n");
    let config = ground.write("config.yaml", &format!("{CONFIG}{fallback}"));
    let mut first_of_each = Vec::new();
    for round in 0..resilience_tests::kills(ROUNDS) {
        let mut stored = storm(&ground, &config, round).await;
        stored.append(&mut first_of_each);
        check(&ground, &config, &stored).await;
        // Those of the rounds before are there after each later kill, too.
        let firsts = stored.len().saturating_sub(usize::try_from(round).unwrap());
        first_of_each = stored.split_off(firsts);
        first_of_each.push(stored.swap_remove(0));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_a_storm_lose_nothing_that_was_in_the_file_for_a_second() {
    storms("store: file").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn kills_in_a_storm_lose_nothing_that_was_in_redis_for_a_second() {
    let redis = match TemporaryRedis::start(RedisOptions::default()).await {
        Ok(redis) => redis,
        Err(error) => panic!("{error}"),
    };
    storms(&format!("store: redis, redis: {{url: '{}'}}", redis.url())).await;
}
