use std::{path::Path, time::Duration};

use super::*;

const SOON: Duration = Duration::from_secs(10);

fn shell(script: &str) -> ChildProcess {
    Program::new("/bin/sh")
        .arg("-c")
        .arg(script)
        .grace(Duration::from_millis(300))
        .spawn()
        .unwrap()
}

/// Gone, or dead and only waiting for somebody to take note of it.
async fn ends(pid: &str) -> bool {
    let until = Instant::now() + SOON;
    while Instant::now() < until {
        match std::fs::read_to_string(Path::new("/proc").join(pid).join("stat")) {
            Ok(stat) if !stat.contains(") Z ") => tokio::time::sleep(EXIT_POLL).await,
            _ => return true,
        }
    }
    false
}

#[tokio::test]
async fn a_line_is_found_whether_it_was_printed_before_or_after_the_question() {
    let child = shell("echo one; echo two >&2; sleep 1000");
    assert_eq!(child.wait_for_line("two", SOON).await.unwrap(), "two");
    assert_eq!(child.wait_for_line("on", SOON).await.unwrap(), "one");
}

#[tokio::test]
async fn a_child_that_ends_without_the_line_is_an_error_with_its_last_lines() {
    let child = shell("echo the disk is full; exit 3");
    let error = child.wait_for_line("ready", SOON).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "sh ended (exit code 3) without a line containing `ready`; its last lines:\n  the disk is full"
    );
}

#[tokio::test]
async fn a_deadline_that_passes_is_an_error_that_says_so() {
    let child = shell("exec sleep 1000");
    let short = Duration::from_millis(20);
    let error = child.wait_for_line("ready", short).await.unwrap_err();
    assert!(error.to_string().contains("within 20ms"), "{error}");
    let error = child.wait_exit(short).await.unwrap_err();
    assert!(error.to_string().contains("still ran"), "{error}");
}

#[tokio::test]
async fn dropping_ends_a_child_that_ignores_sigterm_and_its_own_children() {
    let child = shell("trap '' TERM; sleep 1000 & echo child:$!; wait; wait");
    let line = child.wait_for_line("child:", SOON).await.unwrap();
    let grandchild = line.strip_prefix("child:").unwrap().to_owned();
    let pid = child.pid().as_raw_nonzero().to_string();
    drop(child);
    assert!(ends(&pid).await);
    assert!(ends(&grandchild).await);
}

#[tokio::test]
async fn a_stopped_child_is_woken_to_take_its_sigterm() {
    let child = Program::new("/bin/sh")
        .args([
            "-c",
            "trap 'echo bye; exit 0' TERM; echo up; while :; do sleep 0.01; done",
        ])
        .spawn()
        .unwrap();
    child.wait_for_line("up", SOON).await.unwrap();
    child.signal(Signal::STOP).unwrap();
    let status = child.stop().unwrap();
    assert_eq!(describe(status), "exit code 0");
}

#[tokio::test]
async fn a_child_that_has_ended_gets_no_more_signals() {
    let child = shell("exit 0");
    child.wait_exit(SOON).await.unwrap();
    let error = child.signal(Signal::TERM).unwrap_err();
    assert_eq!(error.raw_os_error(), Some(3)); // ESRCH
}

#[tokio::test]
async fn a_child_dies_with_the_process_that_started_it() {
    if find_in_path("setpriv").is_none() {
        eprintln!("SKIP: there is no setpriv here");
        return;
    }
    // This very test binary, run again as the parent that is killed.
    let parent = Program::new(std::env::current_exe().unwrap())
        .args([
            "--exact",
            "process::tests::parent_of_a_sleeper",
            "--ignored",
            "--nocapture",
        ])
        .spawn()
        .unwrap();
    let line = parent.wait_for_line("sleeper:", SOON).await.unwrap();
    let sleeper = line.split("sleeper:").nth(1).unwrap().to_owned();
    parent.signal(Signal::KILL).unwrap();
    assert!(ends(&sleeper).await);
}

/// Not a test of its own: the parent in the test above.
#[test]
#[ignore = "is started by a_child_dies_with_the_process_that_started_it"]
fn parent_of_a_sleeper() {
    // Forked from a thread that ends at once, which must not end the child.
    let child = thread::spawn(|| shell("exec sleep 1000")).join().unwrap();
    let pid = child.pid().as_raw_nonzero();
    eprintln!("sleeper:{pid}");
    let _ = child.lock().child.wait();
}

#[tokio::test]
async fn the_thread_that_asked_for_a_child_may_end_before_it() {
    let script = "trap 'echo alive' USR1; echo up; while :; do sleep 0.01; done";
    let child = thread::spawn(move || {
        let child = shell(script);
        // By then its death signal is armed, so that it would strike.
        while child.lines().is_empty() {
            thread::sleep(EXIT_POLL);
        }
        child
    })
    .join()
    .unwrap();
    child.signal(Signal::USR1).unwrap();
    child.wait_for_line("alive", SOON).await.unwrap();
}

#[tokio::test]
async fn the_log_file_holds_what_was_printed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("log");
    let child = Program::new("/bin/sh")
        .args(["-c", "echo one; echo two"])
        .log_file(&path)
        .spawn()
        .unwrap();
    child.wait_for_line("two", SOON).await.unwrap();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "one\ntwo\n");
}

#[test]
fn a_program_that_is_not_there_is_an_error_before_anything_is_forked() {
    let error = Program::new("/nowhere/payments-api").spawn().unwrap_err();
    assert_eq!(
        error.to_string(),
        "cannot start payments-api (/nowhere/payments-api): there is no such file"
    );
}

#[test]
fn a_binary_that_is_not_built_is_an_error_that_says_how_to_build_it() {
    let error = find_binary("no-such-program").unwrap_err().to_string();
    assert!(error.contains("cargo build --workspace --bins"), "{error}");
    assert!(error.contains("no-such-program"), "{error}");
}
