use std::{os::unix::fs::PermissionsExt, process::Command, time::Duration};

use tempfile::TempDir;

use super::*;
use crate::fallback::{Key, Record, Terms, store::SecondLevel};

const MIB: u64 = 1 << 20;
const LONG: Duration = Duration::from_secs(20);

struct Ground {
    dir: TempDir,
}

impl Ground {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        Self { dir }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("fallback.redb")
    }

    fn open(&self) -> FileStore {
        FileStore::open(self.path(), 16 * MIB).unwrap()
    }

    /// The names of the files that were set aside.
    fn aside(&self) -> Vec<String> {
        let files = fs::read_dir(self.dir.path()).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut aside: Vec<_> = names.filter(|name| name.contains(".corrupt-")).collect();
        aside.sort();
        aside
    }
}

fn change(key: &str, record: Vec<u8>) -> Change {
    Change {
        key: Bytes::copy_from_slice(key.as_bytes()),
        record: Some(record.into()),
        useless_at_ms: u64::MAX,
    }
}

fn write(store: &FileStore, changes: &[Change]) -> u64 {
    store
        .inner
        .write(|open, most| table::write(&open.database, changes, most, 1_000))
        .unwrap()
}

fn read(store: &FileStore, key: &str) -> Option<Bytes> {
    store.inner.read(key.as_bytes()).unwrap()
}

/// Bytes that differ from each other's, `len` of them.
fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut random = fastrand::Rng::with_seed(seed);
    std::iter::repeat_with(|| random.u8(..)).take(len).collect()
}

#[tokio::test]
async fn what_was_written_is_there_after_it_is_opened_again_for_its_owner_only() {
    let ground = Ground::new();
    let second = SecondLevel::with_deadline(ground.open(), LONG);
    let record = Record {
        asked_at_ms: 7,
        terms: Terms::default(),
        kind: "text/1".into(),
        payload: "1.08".into(),
    };
    // Keys of any bytes and any length.
    let keys = [&b""[..], b"EUR", b"\0\xff\n", &noise(1, Key::LONGEST)];
    for key in keys {
        second.keep("rates", &Key::from(key), record.clone(), u64::MAX);
    }
    second.keep("stock", &Key::from("EUR"), record.clone(), u64::MAX);
    assert!(second.flush(LONG));
    drop(second);
    let second = SecondLevel::with_deadline(ground.open(), LONG);
    for key in keys {
        let found = second.read("rates", &Key::from(key)).await;
        assert_eq!(found.as_ref(), Some(&record));
    }
    second.clear("rates");
    assert!(second.flush(LONG));
    assert_eq!(second.read("rates", &Key::from("EUR")).await, None);
    let other = second.read("stock", &Key::from("EUR")).await;
    assert_eq!(other, Some(record));
    let mode = fs::metadata(ground.path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert!(ground.aside().is_empty());
}

#[test]
fn a_file_that_is_altered_anywhere_is_set_aside_or_gives_what_was_written() {
    let ground = Ground::new();
    let store = ground.open();
    let changes: Vec<_> = (0..60)
        .map(|number| change(&number.to_string(), noise(number, 700)))
        .collect();
    write(&store, &changes);
    // So that there are free pages too.
    write(&store, &changes[..20]);
    drop(store);
    let sound = wait_for_unlocked(&ground);
    let (mut aside, mut places) = (0, 0);
    // Heads and middles of pages.
    for at in (0..sound.len()).step_by(2048) {
        let altered_ground = Ground::new();
        let mut altered = sound.clone();
        for byte in &mut altered[at..(at + 300).min(sound.len())] {
            *byte = !*byte;
        }
        fs::write(altered_ground.path(), altered).unwrap();
        let store = altered_ground.open();
        for (number, change) in (0_u64..).zip(&changes) {
            let found = read(&store, &number.to_string());
            assert!(found.is_none() || found == change.record, "altered at {at}");
        }
        assert_eq!(write(&store, &changes[..1]), 1);
        assert_eq!(read(&store, "0"), changes[0].record);
        aside += altered_ground.aside().len();
        places += 1;
    }
    eprintln!("{aside} of {places} were set aside");
    assert!(aside > 0 && aside < places);
}

#[test]
fn a_file_that_is_cut_anywhere_is_set_aside_and_a_new_one_begun() {
    let ground = Ground::new();
    let store = ground.open();
    let changes: Vec<_> = (0..50)
        .map(|number| change(&number.to_string(), noise(number, 700)))
        .collect();
    write(&store, &changes);
    drop(store);
    let sound = wait_for_unlocked(&ground);
    for len in [0, 1, 64, 511, 4096, 5000, sound.len() / 2, sound.len() - 1] {
        let cut_ground = Ground::new();
        fs::write(cut_ground.path(), &sound[..len]).unwrap();
        let store = cut_ground.open();
        assert_eq!(write(&store, &changes[..1]), 1, "cut at {len}");
        assert_eq!(read(&store, "0"), changes[0].record);
        // An empty one is a new one.
        let aside = usize::from(len > 0);
        assert_eq!(cut_ground.aside().len(), aside, "cut at {len}");
    }
}

/// The file's content, once nobody has it open.
fn wait_for_unlocked(ground: &Ground) -> Vec<u8> {
    // The thread that reads lets it go a moment after the store.
    drop(ground.open());
    let path = ground.path();
    drop(open::open(&path, 16 * MIB, Wait::ForAMoment).unwrap());
    fs::read(path).unwrap()
}

#[test]
fn other_files_and_other_layouts_are_set_aside_and_the_last_two_are_kept() {
    let ground = Ground::new();
    for (number, text) in ["one", "two", "three"].into_iter().enumerate() {
        fs::write(ground.path(), format!("not a database: {text}")).unwrap();
        let name = format!("fallback.redb.corrupt-{number}");
        // As if it had been set aside in the seventies.
        fs::write(ground.dir.path().join(name), text).unwrap();
    }
    drop(ground.open());
    let aside = ground.aside();
    assert_eq!(aside.len(), 2, "{aside:?}");
    assert_eq!(aside[1], "fallback.redb.corrupt-2");
    let newest = fs::read_to_string(ground.dir.path().join(&aside[0])).unwrap();
    assert_eq!(newest, "not a database: three");

    let layout = ground.dir.path().join("other.redb");
    let other = Database::create(&layout).unwrap();
    let transaction = other.begin_write().unwrap();
    let table = redb::TableDefinition::<u64, u64>::new("somebody else's");
    drop(transaction.open_table(table).unwrap());
    transaction.commit().unwrap();
    drop(other);
    let store = FileStore::open(&layout, MIB).unwrap();
    assert_eq!(write(&store, &[change("a", vec![1])]), 1);
}

fn refused(path: impl Into<PathBuf>) -> String {
    FileStore::open(path, MIB).unwrap_err().to_string()
}

#[test]
fn what_is_in_the_way_is_said_with_what_to_do() {
    let ground = Ground::new();
    let said = refused(ground.dir.path());
    assert!(said.contains("no regular file: name another one"), "{said}");
    let said = refused(ground.dir.path().join("missing").join("file"));
    assert!(said.ends_with("make its directory"), "{said}");
    let pipe = ground.dir.path().join("pipe");
    let made = Command::new("mkfifo").arg(&pipe).status().unwrap();
    assert!(made.success());
    let said = refused(&pipe);
    assert!(said.contains("no regular file"), "{said}");
    let _held = ground.open();
    let error = FileStore::open(ground.path(), MIB).unwrap_err();
    assert!(matches!(error, OpenError::Locked(_)), "{error}");
}

#[test]
fn a_full_file_stays_within_its_bound_and_the_oldest_go_first() {
    for (most, sizes) in [
        (MIB, &[100, 900][..]),
        (2 * MIB, &[1_100, 5_000, 40_000]),
        (4 * MIB, &[4_200, 70_000, 300]),
        (4 * MIB, &[1_000, 200_000]),
    ] {
        let ground = Ground::new();
        let store = FileStore::open(ground.path(), most).unwrap();
        let (mut number, mut bytes, mut largest) = (0, 0, 0);
        while bytes < 3 * most {
            let batch: Vec<_> = (0..100)
                .map(|_| {
                    number += 1;
                    let len = sizes[number % sizes.len()];
                    bytes += len as u64;
                    change(&number.to_string(), noise(number as u64, len))
                })
                .collect();
            assert_eq!(write(&store, &batch), 100);
            largest = largest.max(fs::metadata(ground.path()).unwrap().len());
        }
        let held = (1..=number).filter(|number| read(&store, &number.to_string()).is_some());
        let held: Vec<_> = held.collect();
        let payload: usize = held.iter().map(|number| sizes[number % sizes.len()]).sum();
        let share = payload as f64 / most as f64;
        eprintln!("{most} {sizes:?}: at most {largest}, holds {payload}, {share:.2} of it");
        assert!(largest <= most, "{largest} of {most}");
        assert_eq!(held.last(), Some(&number), "the newest is there");
        assert_eq!(held.len(), number + 1 - held[0], "no gaps");
        assert!(share > 0.2, "{share}");
    }
}

#[test]
fn a_record_that_is_too_large_for_the_file_is_told_and_the_older_one_is_gone() {
    let ground = Ground::new();
    let store = ground.open();
    assert_eq!(write(&store, &[change("a", vec![1; 100])]), 1);
    let large = change("a", vec![1; 2 << 20]);
    assert_eq!(write(&store, &[large, change("b", vec![1])]), 1);
    assert_eq!(read(&store, "a"), None);
    assert!(read(&store, "b").is_some());
}

#[test]
fn what_nobody_would_use_any_more_is_swept() {
    let ground = Ground::new();
    let store = ground.open();
    let useless: Vec<_> = (0..1_500)
        .map(|number| Change {
            useless_at_ms: 500 + number % 2 * 1_000,
            ..change(&number.to_string(), vec![1])
        })
        .collect();
    write(&store, &useless);
    // Each batch looks at some of them.
    for _ in 0..4 {
        write(&store, &[change("a", vec![1])]);
    }
    let left = |number: u64| read(&store, &number.to_string()).is_some();
    let left: Vec<_> = (0..1_500).filter(|&number| left(number)).collect();
    assert_eq!(left.len(), 750);
    assert!(left.iter().all(|number| number % 2 == 1));
}

#[test]
fn a_file_that_somebody_removes_is_begun_anew() {
    let ground = Ground::new();
    let store = ground.open();
    write(&store, &[change("a", vec![1])]);
    fs::remove_file(ground.path()).unwrap();
    write(&store, &[change("b", vec![1])]);
    drop(store);
    let store = ground.open();
    assert!(read(&store, "b").is_some());
    assert!(read(&store, "a").is_none());
}

#[test]
fn a_store_that_could_not_open_its_file_does_so_when_it_can() {
    let ground = Ground::new();
    let held = ground.open();
    let store = FileStore::later(ground.path(), MIB);
    let written = |store: &FileStore| {
        let changes = [change("a", vec![1])];
        store
            .inner
            .write(|open, most| table::write(&open.database, &changes, most, 1_000))
    };
    let error = written(&store).unwrap_err().to_string();
    assert!(error.contains("used by another process"), "{error}");
    let error = store.inner.read(b"a").unwrap_err().to_string();
    assert!(error.contains("used by another process"), "{error}");
    held.inner.close("the test is done with it".to_owned());
    assert_eq!(written(&store), Ok(1));
    assert!(read(&store, "a").is_some());
}

/// During an outage nothing is written, and what is stored is needed.
#[tokio::test]
async fn a_store_that_could_not_open_its_file_does_so_for_those_who_read() {
    let ground = Ground::new();
    let predecessor = ground.open();
    write(&predecessor, &[change("EUR", b"1.08".to_vec())]);
    let store = FileStore::later(ground.path(), 16 * MIB);
    let locked = store.read(b"EUR").await.unwrap_err();
    assert_eq!(locked.label(), "failed");
    drop(predecessor);
    let until = std::time::Instant::now() + LONG;
    let found = loop {
        match store.read(b"EUR").await {
            Ok(found) => break found,
            Err(error) => assert!(std::time::Instant::now() < until, "{error}"),
        }
        tokio::task::yield_now().await;
    };
    assert_eq!(found.unwrap(), "1.08");
}
