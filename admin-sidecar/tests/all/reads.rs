//! What the sidecar says of the service, and how fast.

use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

use jiff::SignedDuration;
use resilience_core::control::Action;
use tokio::task::JoinSet;

use crate::support::{BOUND, Rig, STATE, Service, ask, dead_pid, snapshot};

#[tokio::test]
async fn a_live_service_is_shown_as_it_is() {
    let rig = Rig::start(&[]).await;
    let _server = rig.serve(&Service::live());
    let state = rig.get(STATE).await;
    assert_eq!(
        (state.status, state.body.trim()),
        (200, r#"{"state":"OPEN"}"#)
    );
    for probe in ["live", "ready", "startup"] {
        let health = ask(rig.public, "GET", &format!("/health/{probe}"), &[], "").await;
        assert_eq!(health.status, 200, "{health:?}");
        assert!(health.head.contains("application/health+json"));
        assert_eq!(
            health.json()["checks"]["service"][0]["observedValue"],
            "live"
        );
    }
    let metrics = ask(rig.public, "GET", "/metrics", &[], "").await.body;
    assert!(
        metrics.contains("admin_service_up{service=\"api\"} 1"),
        "{metrics}"
    );
    assert!(metrics.contains("circuit_breaker_state{service=\"payment_api\"} 2"));
    assert!(metrics.contains("admin_service_heartbeat_age_seconds{service=\"api\"} 0.0"));
}

#[tokio::test]
async fn a_hung_service_is_answered_for_from_its_black_box_in_time() {
    let rig = Rig::start(&[]).await;
    let mut last = snapshot(std::process::id());
    last.taken_at -= SignedDuration::from_secs(41);
    rig.write_black_box(&last);
    let _listener = rig.hang();

    let state = rig.get(STATE).await;
    assert_eq!(
        (state.status, state.body.trim()),
        (200, r#"{"state":"OPEN"}"#)
    );
    assert!(state.took < BOUND, "{:?}", state.took);
    let live = rig.get("/health/live").await;
    assert_eq!(live.status, 503);
    assert!(live.took < BOUND, "{:?}", live.took);
    let service = &live.json()["checks"]["service"][0];
    assert_eq!(service["observedValue"], "hung");
    assert!(service["age_ms"].as_u64().unwrap() >= 41_000, "{service}");
    assert!(
        service["output"]
            .as_str()
            .unwrap()
            .starts_with("hung for 4"),
        "{service}"
    );
    assert_eq!(rig.get("/health/ready").await.status, 503);
    let metrics = rig.get("/metrics").await.body;
    assert!(
        metrics.contains("admin_service_up{service=\"api\"} 0"),
        "{metrics}"
    );
    assert!(metrics.contains("circuit_breaker_state{service=\"payment_api\"} 2"));
}

#[tokio::test]
async fn many_curls_do_not_pile_up_on_a_hung_service() {
    let rig = Rig::start(&[]).await;
    rig.write_black_box(&snapshot(std::process::id()));
    let listener = rig.hang();
    let mut curls = JoinSet::new();
    for _ in 0..100 {
        let admin = rig.admin;
        curls.spawn(async move { ask(admin, "GET", STATE, &[], "").await });
    }
    for answer in curls.join_all().await {
        assert_eq!(answer.status, 200);
        assert!(answer.took < BOUND, "{:?}", answer.took);
    }
    // Each question is one connection in the queue.
    let questions = AtomicUsize::new(0);
    let count = async {
        loop {
            listener.accept().await.unwrap();
            questions.fetch_add(1, SeqCst);
        }
    };
    let _ = tokio::time::timeout(std::time::Duration::from_millis(50), count).await;
    assert!(questions.load(SeqCst) <= 4, "{questions:?} questions");
}

#[tokio::test]
async fn a_dead_service_is_told_from_a_hung_one() {
    let rig = Rig::start(&[]).await;
    rig.write_black_box(&snapshot(dead_pid()));
    // A socket file that nobody listens to, as kill -9 leaves it, and none.
    drop(rig.hang());
    for leftover in [true, false] {
        if !leftover {
            std::fs::remove_file(rig.dir.path().join("api.sock")).unwrap();
        }
        let live = rig.get("/health/live").await;
        assert_eq!(live.status, 503);
        assert!(live.took < BOUND, "{:?}", live.took);
        assert_eq!(live.json()["checks"]["service"][0]["observedValue"], "dead");
        assert_eq!(rig.get(STATE).await.body.trim(), r#"{"state":"OPEN"}"#);
    }
}

#[tokio::test]
async fn a_process_number_that_was_given_again_is_not_the_service() {
    let rig = Rig::start(&[]).await;
    let mut last = snapshot(std::process::id());
    last.taken_at -= SignedDuration::from_hours(24 * 365);
    rig.write_black_box(&last);
    let live = rig.get("/health/live").await;
    assert_eq!(live.json()["checks"]["service"][0]["observedValue"], "dead");
}

#[tokio::test]
async fn a_service_may_come_late_go_and_come_back() {
    let rig = Rig::start(&[]).await;
    let absent = rig.get(STATE).await;
    absent.assert_problem(503);
    assert!(absent.took < BOUND);
    assert!(
        absent.body.contains("no socket and no black box"),
        "{absent:?}"
    );
    assert_eq!(rig.get("/health/live").await.status, 503);
    assert_eq!(rig.get("/sidecar/livez").await.status, 200);
    let metrics = rig.get("/metrics").await.body;
    assert!(
        metrics.contains("admin_service_up{service=\"unknown\"} 0"),
        "{metrics}"
    );

    let came = rig.serve(&Service::new(snapshot(dead_pid())));
    crate::support::until("the service is seen", || async {
        rig.get(STATE).await.status == 200
    })
    .await;

    // It dies without a black box: its last answer is still known.
    came.abort();
    let _ = came.await;
    crate::support::until("its death is seen", || async {
        rig.get("/health/live").await.status == 503
    })
    .await;
    assert_eq!(rig.get(STATE).await.body.trim(), r#"{"state":"OPEN"}"#);

    let mut restarted = snapshot(std::process::id());
    restarted.breakers[0].state = resilience_core::snapshot::State::HalfOpen;
    let _server = rig.serve(&Service::new(restarted));
    crate::support::until("the restarted one is seen", || async {
        rig.get(STATE).await.body.contains("HALF_OPEN")
    })
    .await;
}

#[tokio::test]
async fn garbage_from_the_socket_or_in_the_black_box_is_not_believed() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n{\"a\"",
        "SSH-2.0\r\n\r\n",
        "",
    ] {
        let rig = Rig::start(&[]).await;
        rig.write_black_box(&snapshot(std::process::id()));
        let listener = rig.hang();
        let _server = tokio::spawn(async move {
            loop {
                use tokio::io::{AsyncReadExt, AsyncWriteExt};
                let (mut stream, _) = listener.accept().await.unwrap();
                let _ = stream.read(&mut [0; 1024]).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        });
        let live = rig.get("/health/live").await;
        assert!(live.took < BOUND, "{:?}", live.took);
        assert_eq!(live.status, 503, "{answer:?}");
        assert_eq!(live.json()["checks"]["service"][0]["observedValue"], "hung");
        assert_eq!(rig.get(STATE).await.status, 200);
    }
    let rig = Rig::start(&[]).await;
    std::fs::write(rig.dir.path().join("api.blackbox"), "garbage").unwrap();
    let state = rig.get(STATE).await;
    state.assert_problem(503);
    assert!(state.body.contains("unreadable"), "{state:?}");
}

#[tokio::test]
async fn a_snapshot_of_a_newer_format_says_to_update_the_sidecar() {
    let rig = Rig::start(&["--service", "api"]).await;
    let mut newer = snapshot(std::process::id());
    newer.format += 1;
    let _server = rig.serve(&Service::new(newer));
    let state = rig.get(STATE).await;
    state.assert_problem(503);
    assert!(state.body.contains("update the sidecar"), "{state:?}");
}

#[tokio::test]
async fn a_blocked_runtime_is_told_from_a_live_one() {
    let rig = Rig::start(&[]).await;
    let service = Service::live();
    let _server = rig.serve(&service);
    for (beat, live, ready) in [(1_900, 200, 200), (3_000, 200, 503), (6_000, 503, 503)] {
        service.0.lock().snapshot.heartbeat_age_ms = Some(beat);
        crate::support::until(&format!("beat {beat} is seen"), || async {
            let (l, r) = (
                rig.get("/health/live").await,
                rig.get("/health/ready").await,
            );
            (l.status, r.status) == (live, ready)
        })
        .await;
    }
}

#[tokio::test]
async fn two_services_in_the_run_directory_are_named() {
    let rig = Rig::start(&[]).await;
    rig.write_black_box(&snapshot(1));
    std::fs::write(rig.dir.path().join("other.blackbox"), "").unwrap();
    let state = rig.get(STATE).await;
    state.assert_problem(503);
    assert!(state.body.contains("api, other") && state.body.contains("--service"));
}

#[tokio::test]
async fn the_index_lists_the_paths() {
    let rig = Rig::start(&[]).await;
    let index = rig.get("/").await;
    assert_eq!(index.status, 200);
    for action in Action::OF_BREAKERS {
        let line = format!("POST /admin/circuit-breaker/{{svc}}/{}", action.path());
        assert!(index.body.contains(&line), "{line}");
    }
    for action in Action::OF_POOLS {
        let line = format!("POST /admin/pools/{{name}}/{}", action.path());
        assert!(index.body.contains(&line), "{line}");
    }
    for action in Action::OF_FALLBACKS {
        let line = format!("POST /admin/fallback/{{svc}}/{}", action.path());
        assert!(index.body.contains(&line), "{line}");
    }
    rig.get("/nowhere").await.assert_problem(404);
}
