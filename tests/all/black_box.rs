//! A black box that cannot be believed, and a name that is taken.

use std::{fs, path::Path};

use resilience_core::{control::blackbox, snapshot::FORMAT};
use resilience_tests::lone::{BREAKER, Ground, QUICK, run_to_end};

#[tokio::test]
async fn a_black_box_that_cannot_be_believed_is_set_aside_and_the_service_starts_closed() {
    let ground = Ground::start().await;
    let config = ground.write("config.yaml", QUICK);
    let name = "payments-api.blackbox";
    let written = {
        let api = ground.api().config(&config).start().await;
        ground.trip(&api).await;
        api.child.stop().unwrap();
        ground.run_dir().join(name)
    };
    let good = fs::read(&written).unwrap();
    let snapshot = blackbox::read(&written).unwrap();
    let start = async |case: &str, content: &[u8]| {
        let run_dir = ground.path(case);
        fs::create_dir(&run_dir).unwrap();
        fs::write(run_dir.join(name), content).unwrap();
        let api = ground.api().config(&config).run_dir(&run_dir).start().await;
        (run_dir, api)
    };
    let state = async |api: &resilience_tests::lone::Api| {
        api.socket.get(&format!("{BREAKER}/state")).await.text()
    };

    // As it was left: the circuit stays open. What follows is not for nothing.
    let (run_dir, api) = start("intact", &good).await;
    assert_eq!(state(&api).await, r#"{"state":"OPEN"}"#);
    assert_eq!(api.metric("black_box_refused_total").await, 0.0);
    assert!(!run_dir.join("payments-api.blackbox.refused").exists());
    drop(api);

    let mut corrupt = good.clone();
    *corrupt.last_mut().unwrap() ^= 0x04;
    let half = &good[..good.len() / 2];
    let newer = format!("resilience-black-box {} 2 00000000\n{{}}", FORMAT + 1);
    let too_new = format!("format {}, this version reads up to {FORMAT}", FORMAT + 1);
    let other = {
        let mut other = snapshot.clone();
        other.service = "ledger".to_owned();
        let path = ground.path("other.blackbox");
        blackbox::write(&path, &other).unwrap();
        fs::read(path).unwrap()
    };
    let cases: [(&str, &[u8], &str); 6] = [
        ("corrupt", &corrupt, "its checksum does not fit"),
        ("truncated", half, "truncated"),
        ("empty", b"", "no header line"),
        ("foreign", b"#!/bin/sh\nexit 0\n", "another kind of file"),
        ("of-another-service", &other, "it belongs to `ledger`"),
        ("newer", newer.as_bytes(), &too_new),
    ];
    ground.stub.set_fault(resilience_examples::Mode::Ok.into());
    for (case, content, reason) in cases {
        let (run_dir, api) = start(case, content).await;
        assert_eq!(state(&api).await, r#"{"state":"CLOSED"}"#, "{case}");
        assert_eq!(api.get("/rates/EUR").await.status, 200, "{case}");
        assert_eq!(api.metric("black_box_refused_total").await, 1.0, "{case}");
        let said = api.logged(1, &["startup", "black_box", reason]).await;
        let aside = run_dir.join("payments-api.blackbox.refused");
        assert!(
            said[0].contains(aside.to_str().unwrap()),
            "{case}: {said:?}"
        );
        assert_eq!(fs::read(&aside).unwrap(), content, "{case}");
        // And it has one of its own again.
        drop(api);
        let own = blackbox::read(&run_dir.join(name)).unwrap();
        assert_ne!(own.pid, snapshot.pid, "{case}");
        assert_eq!(own.black_box.refused, 1, "{case}");
    }
}

#[tokio::test]
async fn a_second_process_of_the_same_name_is_refused_and_the_first_keeps_its_socket() {
    let ground = Ground::start().await;
    let api = ground.api().start().await;
    let run_dir = ground.run_dir();
    let socket = run_dir.join("payments-api.sock");
    let inode = |path: &Path| std::os::unix::fs::MetadataExt::ino(&fs::metadata(path).unwrap());
    let before = inode(&socket);

    let second = run_to_end(
        "payments-api",
        &[
            "--listen",
            "127.0.0.1:0",
            "--database",
            &ground.postgres.url(),
            "--run-dir",
            run_dir.to_str().unwrap(),
        ],
        &[],
    )
    .await;
    assert_eq!(second.status.code(), Some(1));
    let stderr = String::from_utf8(second.stderr).unwrap();
    let pid = format!("another process (pid {})", api.child.pid().as_raw_pid());
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
    for words in [
        pid.as_str(),
        "`payments-api`",
        run_dir.to_str().unwrap(),
        "stop it",
    ] {
        assert!(stderr.contains(words), "no `{words}` in {stderr}");
    }
    let stdout = String::from_utf8(second.stdout).unwrap();
    let errors: Vec<_> = stdout
        .lines()
        .filter(|line| line.contains("ERROR"))
        .collect();
    assert_eq!(errors.len(), 1, "{stdout}");
    assert!(
        errors[0].contains(" startup startup step:control "),
        "{errors:?}"
    );
    assert!(errors[0].contains(&pid), "{errors:?}");

    assert_eq!(inode(&socket), before);
    let state = api.socket.get(&format!("{BREAKER}/state")).await;
    assert_eq!(state.text(), r#"{"state":"CLOSED"}"#);
    let replica = &api.socket.get("/admin/circuit-breaker").await.json()["replica"];
    let own = format!(".{}", api.child.pid().as_raw_pid());
    assert!(replica.as_str().unwrap().ends_with(&own), "{replica}");

    // Nor does the name stay taken when its owner is gone, however it went.
    api.child
        .signal(resilience_examples::process::Signal::KILL)
        .unwrap();
    api.child
        .wait_exit(resilience_tests::lone::SOON)
        .await
        .unwrap();
    let third = ground.api().start().await;
    assert_eq!(
        third.socket.get(&format!("{BREAKER}/state")).await.status,
        200
    );
}
