//! The programs as programs: their first line, their exit code, their end.

use std::{net::TcpListener, time::Duration};

use resilience_examples::{
    ChildProcess, Program,
    client::Client,
    process::{Signal, describe},
};

const SOON: Duration = Duration::from_secs(20);

fn start(path: &str, args: &[&str]) -> ChildProcess {
    Program::new(path)
        .args(args.iter().copied())
        .spawn()
        .expect("cargo has built it for this test")
}

#[tokio::test]
async fn the_stub_prints_the_address_it_got_and_stops_on_sigterm() {
    let stub = start(
        env!("CARGO_BIN_EXE_payment-stub"),
        &["--listen", "127.0.0.1:0"],
    );
    let line = stub.wait_for_line("listens on", SOON).await.unwrap();
    let url = line.split("listens on ").nth(1).unwrap().to_owned();
    let answer = Client::new(SOON)
        .get(&format!("{url}/health"))
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    stub.signal(Signal::TERM).unwrap();
    let status = stub.wait_exit(SOON).await.unwrap();
    assert_eq!(describe(status), "exit code 0");
}

#[tokio::test]
async fn a_taken_port_ends_the_stub_with_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let stub = start(env!("CARGO_BIN_EXE_payment-stub"), &["--listen", &address]);
    let status = stub.wait_exit(SOON).await.unwrap();
    assert_eq!(describe(status), "exit code 1");
    stub.wait_for_line(&format!("payment-stub: cannot listen on {address}"), SOON)
        .await
        .unwrap();
}

/// Needs the sidecar to be built, as the whole workspace's tests have it.
#[tokio::test]
async fn a_taken_port_ends_the_demo_before_anything_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let any = "127.0.0.1:0";
    let demo = start(
        env!("CARGO_BIN_EXE_demo"),
        &[
            "--api", any, "--stub", any, "--admin", &address, "--health", any,
        ],
    );
    let status = demo.wait_exit(SOON).await.unwrap();
    assert_eq!(describe(status), "exit code 1");
    demo.wait_for_line("--admin", SOON).await.unwrap();
    let lines = demo.lines();
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].contains(&address), "{lines:?}");
}
