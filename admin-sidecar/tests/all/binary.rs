//! The process itself: its exit codes and its words.

use std::{
    io::{BufRead, BufReader},
    net::TcpListener,
    process::{Child, Command, Output, Stdio},
};

use rustix::process::{Pid, Signal, kill_process};

fn sidecar(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_admin-sidecar"));
    command
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn output(args: &[&str]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = sidecar(args).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn an_admin_api_that_others_can_reach_does_not_start_without_a_token() {
    let (code, stderr) = output(&["--admin-listen", "0.0.0.0:0"]);
    assert_eq!(code, Some(78));
    assert!(
        stderr.contains("--token-file") && stderr.contains("127.0.0.1"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

#[test]
fn wrong_settings_are_78_and_help_is_0() {
    assert_eq!(output(&["--no-such-flag"]).0, Some(78));
    assert_eq!(output(&["--ask-timeout", "1h"]).0, Some(78));
    let help = sidecar(&["--help"]).output().unwrap();
    assert_eq!(help.status.code(), Some(0));
    let help = String::from_utf8(help.stdout).unwrap();
    for word in ["--run-dir", "ADMIN_TOKEN_FILE", "Examples:", "Exit codes:"] {
        assert!(help.contains(word), "{help}");
    }
}

#[test]
fn a_port_that_is_taken_is_one_clear_line() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = taken.local_addr().unwrap().to_string();
    let (code, stderr) = output(&["--admin-listen", &at, "--public-listen", "127.0.0.1:0"]);
    assert_eq!(code, Some(1));
    assert!(
        stderr.contains(&at) && stderr.contains("--admin-listen"),
        "{stderr}"
    );
    assert_eq!(stderr.lines().count(), 1, "{stderr}");
}

/// Ends with the test, whatever becomes of it.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn it_says_where_it_listens_and_stops_when_told() {
    let dir = tempfile::tempdir().unwrap();
    for signal in [Signal::TERM, Signal::INT] {
        let child = sidecar(&[
            "--admin-listen",
            "127.0.0.1:0",
            "--public-listen",
            "127.0.0.1:0",
        ])
        .env("ADMIN_RUN_DIR", dir.path())
        .spawn()
        .unwrap();
        let mut child = Running(child);
        let mut lines = BufReader::new(child.0.stdout.take().unwrap()).lines();
        let line = lines.find(|line| line.as_ref().unwrap().contains("listening"));
        let line = line.unwrap().unwrap();
        assert!(line.contains("listening admin=127.0.0.1:"), "{line}");
        assert!(line.contains(" public=127.0.0.1:"), "{line}");
        let pid = Pid::from_child(&child.0);
        kill_process(pid, signal).unwrap();
        assert_eq!(child.0.wait().unwrap().code(), Some(0));
    }
}
