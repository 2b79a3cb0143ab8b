use http_body_util::BodyExt;
use tokio::sync::watch;

use super::*;

async fn keeps<S, B>(mut service: S, asked: impl Fn() -> u64)
where
    S: Service<Request<Body>, Response = Response<B>>,
    B: http_body::Body<Error: std::fmt::Debug>,
{
    for _ in 0..3 {
        let answer = ask(&mut service, request(Method::GET, "/EUR")).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer.headers()["content-type"], "application/json");
        let body = answer.into_body().collect().await.expect("a body");
        assert_eq!(body.to_bytes().len(), 1_024);
    }
    assert_eq!(asked(), 1);
}

#[tokio::test]
async fn each_asks_once_for_what_it_keeps() {
    let origin = || {
        let (_, open) = watch::channel(true);
        Counting::new(open)
    };
    let asked = origin();
    keeps(ours(fallback(), asked.clone()), || asked.calls()).await;
    let asked = origin();
    keeps(tower_resilience(10, asked.clone()), || asked.calls()).await;
    let asked = origin();
    keeps(moka(10, asked.clone()), || asked.calls()).await;
}
