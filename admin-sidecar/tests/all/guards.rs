//! Who may change what.

use crate::support::{BEARER, JSON, RESET, Rig, STATE, ask, token_file};

#[tokio::test]
async fn a_page_of_another_site_changes_nothing() {
    let (rig, service, _server) = Rig::live(&[]).await;
    let cases: [&[(&str, &str)]; 6] = [
        &[("Host", "evil.example")],
        &[("Origin", "http://evil.example")],
        &[("Origin", "null")],
        &[("Sec-Fetch-Site", "cross-site")],
        &[("Sec-Fetch-Site", "same-site")],
        &[("Sec-Fetch-Site", "none"), ("Sec-Fetch-Site", "none")],
    ];
    for headers in cases {
        rig.post(RESET, headers, "").await.assert_problem(403);
    }
    assert_eq!(service.resets(), 0);
    assert!(rig.audit().is_empty());
    let metrics = rig.get("/metrics").await.body;
    for line in [
        r#"admin_auth_failures_total{reason="host"} 1"#,
        r#"admin_auth_failures_total{reason="origin"} 2"#,
        r#"admin_auth_failures_total{reason="fetch_site"} 3"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
    // A rebound name may not read either.
    let read = ask(rig.admin, "GET", STATE, &[("Host", "evil.example")], "").await;
    read.assert_problem(403);
}

#[tokio::test]
async fn the_hosts_own_page_and_an_allowed_name_may() {
    let (rig, service, _server) = Rig::live(&["--allowed-host", "admin.example"]).await;
    let origin = format!("http://localhost:{}", rig.admin.port());
    let own = [
        ("Origin", origin.as_str()),
        ("Sec-Fetch-Site", "same-origin"),
    ];
    assert_eq!(rig.post(RESET, &own, "").await.status, 200);
    let named = [
        ("Host", "admin.example"),
        ("Origin", "http://admin.example"),
    ];
    assert_eq!(rig.post(RESET, &named, "").await.status, 200);
    assert_eq!(service.resets(), 2);
}

#[tokio::test]
async fn with_a_token_file_every_change_needs_the_token_and_reads_do_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = token_file(&dir);
    let (rig, service, _server) = Rig::live(&["--token-file", &path]).await;

    let missing = rig.reset().await;
    missing.assert_problem(401);
    assert!(
        missing
            .head
            .to_ascii_lowercase()
            .contains("www-authenticate: bearer")
    );
    let wrong = [("Authorization", "Bearer 0123456789abcdeX")];
    rig.post(RESET, &wrong, "").await.assert_problem(401);
    assert_eq!(rig.get(STATE).await.status, 200);
    assert_eq!(service.resets(), 0);

    let right = [BEARER, ("X-Admin-Actor", "root")];
    assert_eq!(rig.post(RESET, &right, "").await.status, 200);
    // Who asks is what the guard says, not what the request says.
    assert_eq!(service.0.lock().actors, ["token"]);
    assert_eq!(rig.audit()[0]["actor"], "token");
    assert!(
        rig.audit()[0]["from"]
            .as_str()
            .unwrap()
            .starts_with("127.0.0.1:")
    );

    // The token may lead a request here, but not a page of another site.
    let cross = [right[0], ("Origin", "http://evil.example")];
    rig.post(RESET, &cross, "").await.assert_problem(403);
    // A token file that vanished does not open the door.
    std::fs::remove_file(&path).unwrap();
    rig.post(RESET, &right, "").await.assert_problem(503);
    assert_eq!(service.resets(), 1);
}

#[tokio::test]
async fn bad_bodies_and_methods_are_refused_with_a_reason() {
    let (rig, service, _server) = Rig::live(&[]).await;
    let large = format!("{{\"reason\": \"{}\"}}", "x".repeat(5000));
    rig.post(RESET, &[JSON], &large).await.assert_problem(413);
    rig.post(RESET, &[JSON], "{\"reason\": ")
        .await
        .assert_problem(400);
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    let form = rig.post(RESET, &form, "{\"reason\": \"x\"}").await;
    form.assert_problem(415);
    assert!(form.body.contains("application/json"), "{form:?}");
    rig.post(RESET, &[], "{}").await.assert_problem(415);
    // Chunked, so that no length announces it.
    let chunk = format!("1400\r\n{}\r\n0\r\n\r\n", "x".repeat(0x1400));
    let head = format!(
        "POST {RESET} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Type: \
         application/json\r\nTransfer-Encoding: chunked\r\n\r\n{chunk}"
    );
    assert!(raw(rig.admin, &head).await.starts_with("HTTP/1.1 413"));
    assert_eq!(service.resets(), 0);

    let wrong = rig.get(RESET).await;
    wrong.assert_problem(405);
    assert!(
        wrong.head.to_ascii_lowercase().contains("allow: post"),
        "{wrong:?}"
    );
    let small = rig
        .post(RESET, &[JSON], r#"{"reason": "upstream is back"}"#)
        .await;
    assert_eq!(small.status, 200, "{small:?}");
    assert_eq!(rig.audit()[0]["reason"], "upstream is back");
}

async fn raw(to: std::net::SocketAddr, request: &str) -> String {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut stream = tokio::net::TcpStream::connect(to).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn the_public_listener_only_shows_health_and_metrics() {
    let (rig, service, _server) = Rig::live(&[]).await;
    for path in [
        "/health/live",
        "/health/ready",
        "/metrics",
        "/sidecar/livez",
    ] {
        let host = [("Host", "any.name")];
        assert_eq!(ask(rig.public, "GET", path, &host, "").await.status, 200);
        assert_eq!(ask(rig.public, "HEAD", path, &[], "").await.status, 200);
        let post = ask(rig.public, "POST", path, &[], "").await;
        post.assert_problem(405);
        assert!(
            post.head.to_ascii_lowercase().contains("allow: get,head"),
            "{post:?}"
        );
    }
    ask(rig.public, "GET", STATE, &[], "")
        .await
        .assert_problem(404);
    ask(rig.public, "POST", RESET, &[], "")
        .await
        .assert_problem(404);
    assert_eq!(service.resets(), 0);
}
