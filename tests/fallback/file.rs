//! The file, and what can be wrong with it.

use std::{os::unix::process::ExitStatusExt, path::Path};

use resilience_core::fallback::store::{Change, FileStore, OpenError, SecondLevel, Store};
use resilience_examples::{ChildProcess, Program, process::find_binary, process::find_in_path};

use crate::{
    storm::writer,
    support::{
        SOON, flush, in_an_hour, is_cheap, is_unreadable, is_well, keep, read, read_soon, record,
        store, until,
    },
};

const FILE_SIZE: u64 = 16 << 20;

#[tokio::test]
async fn a_file_that_another_process_has_is_refused_and_taken_when_that_one_is_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fallback.redb");
    let holder = writer(&["hold", path.to_str().unwrap()]);
    holder.wait_for_line("open", SOON).await.unwrap();
    let error = FileStore::open(&path, FILE_SIZE).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
    assert!(error.to_string().contains("a file of its own"), "{error}");

    let second = SecondLevel::new(FileStore::later(&path, FILE_SIZE));
    keep(&second, "EUR", "1.08");
    until("it is told", || !second.snapshot().up).await;
    is_cheap("locked", &second).await;
    assert_eq!(read(&second, "EUR").await.as_deref(), Some("1.08"));
    let why = second.snapshot().last_error.unwrap().message;
    assert!(why.contains("used by another process"), "{why}");
    drop(holder);
    flush(&second).await;
    assert_eq!(read_soon(&second, "EUR").await, "1.08");
    let picture = second.snapshot();
    assert_eq!((picture.written, picture.not_written), (1, 0));
    assert!(picture.up);
}

#[tokio::test]
async fn a_read_costs_little_also_while_a_batch_is_synced() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fallback.redb");
    let second = SecondLevel::new(FileStore::open(&path, 4 * FILE_SIZE).unwrap());
    let large = "x".repeat(20 << 10);
    let writing = {
        let second = second.clone();
        tokio::task::spawn_blocking(move || {
            for number in 0..1_000 {
                keep(&second, &number.to_string(), &large);
                if number % 100 == 99 {
                    second.flush(SOON);
                }
            }
        })
    };
    is_cheap("file, while it is written to", &second).await;
    writing.await.unwrap();
    let picture = second.snapshot();
    assert_eq!((picture.written, picture.not_written), (1_000, 0));
}

#[tokio::test]
async fn a_record_of_another_version_is_skipped_and_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("fallback.redb");
    let file = FileStore::open(&path, FILE_SIZE).unwrap();
    let good = record("1.08").encode();
    for (key, bytes) in [
        ("older", &b"RFB\0what"[..]),
        ("newer", b"RFB\x02what"),
        ("cut", &good[..30]),
    ] {
        let change = Change {
            key: format!("rates\0{key}").into(),
            record: Some(bytes.to_vec().into()),
            useless_at_ms: in_an_hour(),
        };
        file.write(&[change]).await.unwrap();
    }
    let second = SecondLevel::new(file);
    for (key, counted) in [("older", 1), ("newer", 2), ("cut", 3)] {
        is_unreadable(&second, key, counted).await;
    }
    is_well(&second);
    store(&second, "older", "1.08").await;
    assert_eq!(read_soon(&second, "older").await, "1.08");
}

/// Runs a line of shell with mounts of its own, which are gone with it. `None` if
/// this system gives no right to mount anything.
async fn with_mounts(script: &str, directory: &Path) -> Option<ChildProcess> {
    let unshare = find_in_path("unshare")?;
    let rights: &[&str] = if rustix::process::geteuid().is_root() {
        &["--mount"]
    } else {
        &["--user", "--map-root-user", "--mount"]
    };
    let program = |script: String| {
        let program = Program::new(&unshare).args(rights.iter().copied());
        program.args(["sh", "-c", &script]).spawn().unwrap()
    };
    let mount = format!("mount -t tmpfs -o size=4m none '{}'", directory.display());
    let may = program(mount.clone()).wait_exit(SOON).await.unwrap();
    if !may.success() {
        eprintln!("SKIP: no right to mount a file system");
        return None;
    }
    Some(program(format!("{mount} && {script}")))
}

#[tokio::test]
async fn a_full_disk_is_told_and_what_waits_is_written_when_there_is_room() {
    let directory = tempfile::tempdir().unwrap();
    let (dir, binary) = (directory.path(), find_binary("store-writer").unwrap());
    let script = format!("exec '{}' full-disk '{}'", binary.display(), dir.display());
    let Some(child) = with_mounts(&script, dir).await else {
        return;
    };
    let status = child.wait_exit(4 * SOON).await.unwrap();
    let lines = child.lines();
    assert!(status.success(), "{lines:#?}");
    let has = |line: &str| lines.iter().any(|said| said.starts_with(line));
    for line in [
        "before: stored true",
        "full: told true, I/O error: No space left",
        "full: in memory true",
        "afterwards: stored true, up true, lost 0",
        "afterwards: 1 true",
        "afterwards: 2 true",
    ] {
        assert!(has(line), "no `{line}` in {lines:#?}");
    }
}

#[tokio::test]
async fn a_disk_that_cannot_be_written_is_told_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    let (dir, binary) = (directory.path(), find_binary("store-writer").unwrap());
    let (dir, binary) = (dir.display(), binary.display());
    // With a file that is there and sound, and with none.
    let script = format!(
        "'{binary}' open '{dir}/one' && mount -o remount,ro '{dir}' \
         && '{binary}' open '{dir}/one' && '{binary}' open '{dir}/two'"
    );
    let Some(child) = with_mounts(&script, directory.path()).await else {
        return;
    };
    let status = child.wait_exit(SOON).await.unwrap();
    let lines = child.lines();
    assert!(status.success(), "{lines:#?}");
    let refused: Vec<_> = lines
        .iter()
        .filter(|line| line.contains("refused"))
        .collect();
    assert_eq!(
        (refused.len(), lines[0].as_str()),
        (2, "open"),
        "{lines:#?}"
    );
    for line in refused {
        assert!(line.contains("Read-only file system"), "{line}");
        assert!(
            line.ends_with("name one on a disk that can be written"),
            "{line}"
        );
    }
}

#[tokio::test]
async fn a_directory_that_others_own_is_told_and_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    if !rustix::process::geteuid().is_root() {
        eprintln!("SKIP: only root can run a program as somebody else");
        return;
    }
    let path = directory.path().join("fallback.redb");
    let nobody = resilience_examples::process::Account {
        uid: 65_534,
        gid: 65_534,
    };
    // The directory is its owner's only, so the program is not in it.
    let child = Program::new(find_binary("store-writer").unwrap())
        .account(Some(nobody))
        .args(["open", path.to_str().unwrap()])
        .spawn()
        .unwrap();
    let line = child.wait_for_line("refused", SOON).await.unwrap();
    assert!(line.contains("Permission denied"), "{line}");
    assert!(
        line.contains("let the service's user read and write it"),
        "{line}"
    );
}

/// What a process says that ends at any panic, and whether one ended it.
async fn aborting(args: &[&str]) -> (Vec<String>, bool) {
    let child = writer(&[&["abort"], args].concat());
    let status = child.wait_exit(SOON).await.unwrap();
    let aborted = status.signal() == Some(rustix::process::Signal::ABORT.as_raw());
    (child.lines(), aborted)
}

#[tokio::test]
async fn a_program_that_ends_at_a_panic_starts_again_whatever_was_altered_in_its_file() {
    let (mut aborted, mut places) = (0, 0);
    // Heads of pages and what is in them.
    for at in (0..).step_by(34 << 10) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("fallback.redb");
        let path = path.to_str().unwrap();
        let (lines, ended) = aborting(&["alter", path, &at.to_string()]).await;
        let said = lines.join(" ");
        assert!(said.contains("open: stored true"), "{lines:#?}");
        if said.contains("UnexpectedEof") {
            break;
        }
        places += 1;
        aborted += u32::from(ended);
        let (lines, ended) = aborting(&["use", path]).await;
        assert!(!ended, "altered at {at}: {lines:#?}");
        assert_eq!(lines, ["used: true true"], "altered at {at}");
    }
    eprintln!("{aborted} of {places} ended the program that had it open");
    assert!(aborted > 0 && aborted < places);
}
