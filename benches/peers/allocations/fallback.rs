//! What a fallback holds, and how often it asks for a thousand: `fallback_bytes` and
//! `fallback_coalesce`.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

use http::{Method, Request, Response};
use resilience_peers::caches::{self, Body, Counting, Origin, ask, request};
use serde_json::{Value, json};
use tokio::{
    runtime::{Builder, Runtime},
    sync::watch,
    task::{JoinSet, yield_now},
};
use tower::Service;

use super::heap;

const CALLERS: usize = 1_000;

/// Bytes that are held for so many answers of 1 KiB, over the bytes of their bodies:
/// keys, headers and tables are what is above one.
///
/// moka holds more for a while, until it has done what it does in the background: that
/// is waited for.
pub(super) fn bytes_held(answers: u32) -> Value {
    let runtime = runtime();
    let ours = caches::ours(caches::fallback(), Origin::TERSE);
    let most = usize::try_from(answers).expect("a few");
    let tower_resilience = caches::tower_resilience(most, Origin::TERSE);
    let moka = caches::moka(u64::from(answers), Origin::TERSE);
    let settle = moka.clone();
    json!({
        "ours": held(&runtime, answers, ours, || ()),
        "peers": {
            "tower-resilience-cache": held(&runtime, answers, tower_resilience, || ()),
            "moka": held(&runtime, answers, moka, || settle.settle()),
        },
    })
}

fn held<S, B>(runtime: &Runtime, answers: u32, mut service: S, settle: impl Fn()) -> f64
where
    S: Service<Request<Body>, Response = Response<B>>,
{
    let path = |number: u32| format!("/rates/EUR?number={number:06}");
    runtime.block_on(async {
        // What is there once, whatever is kept.
        ask(&mut service, request(Method::GET, "/")).await;
        let before = heap::bytes();
        for number in 0..answers {
            let request = request(Method::GET, &path(number));
            ask(&mut service, request).await.expect("it answers");
        }
        settle();
        // Tasks that are done are dropped by who runs them.
        for _ in 0..100 {
            yield_now().await;
        }
        let held = heap::bytes().saturating_sub(before);
        let held = u32::try_from(held / 1_024).expect("less than 4 TiB");
        f64::from(held) / f64::from(answers)
    })
}

/// Calls of the upstream for a thousand callers at the same time who want the same.
pub(super) fn calls_for_a_thousand() -> Value {
    let runtime = runtime();
    let (open, opened) = watch::channel(false);
    let origin = || Counting::new(opened.clone());
    let begun = Arc::new(AtomicUsize::new(0));
    let mut all = Vec::new();
    let asked = origin();
    let ours = caches::ours(caches::fallback(), asked.clone());
    all.push((asked, crowd(&runtime, &begun, &ours)));
    let asked = origin();
    let peer = caches::tower_resilience(10, asked.clone());
    all.push((asked, crowd(&runtime, &begun, &peer)));
    let asked = origin();
    let peer = caches::moka(10, asked.clone());
    all.push((asked, crowd(&runtime, &begun, &peer)));
    let calls: Vec<_> = runtime.block_on(async {
        // On one thread: who has begun has asked, or waits for another's call, before
        // anybody else is looked at.
        while begun.load(Relaxed) < CALLERS * all.len() {
            yield_now().await;
        }
        open.send_replace(true);
        let mut calls = Vec::new();
        for (asked, crowd) in all {
            let answers = crowd.join_all().await;
            assert!(answers.into_iter().all(|answered| answered));
            calls.push(asked.calls());
        }
        calls
    });
    json!({
        "ours": calls[0],
        "peers": {"tower-resilience-cache": calls[1], "moka": calls[2]},
    })
}

fn crowd<S>(runtime: &Runtime, begun: &Arc<AtomicUsize>, service: &S) -> JoinSet<bool>
where
    S: Service<Request<Body>, Future: Send, Response: Send> + Clone + Send + 'static,
{
    let mut crowd = JoinSet::new();
    for _ in 0..CALLERS {
        let (mut service, begun) = (service.clone(), Arc::clone(begun));
        let call = async move {
            // ordering: Relaxed. A count and nothing else.
            begun.fetch_add(1, Relaxed);
            let answer = ask(&mut service, request(Method::GET, "/rates/EUR")).await;
            answer.is_some()
        };
        crowd.spawn_on(call, runtime.handle());
    }
    crowd
}

fn runtime() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime without I/O needs nothing that could be missing")
}
