//! `kill -9` in a storm of writes: what was kept more than a second before is there.

use std::{path::PathBuf, time::Duration};

use resilience_core::fallback::{
    Key, Record,
    store::{FileStore, RedisRoots, RedisStore, Store},
};
use resilience_examples::{
    ChildProcess, Program,
    process::{Signal, find_binary},
};

use crate::support::{SOON, now_ms, server};

/// Kills in all, unless somebody asks for more, and how many of them at a time.
const KILLS: u32 = 8;
const AT_A_TIME: u32 = 4;

pub(crate) fn writer(args: &[&str]) -> ChildProcess {
    let binary = find_binary("store-writer").unwrap();
    Program::new(binary)
        .args(args.iter().copied())
        .spawn()
        .unwrap()
}

/// Lets it write for a while, kills it, and gives the last answer that it had kept
/// more than a second before.
async fn kill(writer: &ChildProcess, round: u32) -> u64 {
    writer.wait_for_line("kept ", SOON).await.unwrap();
    let while_it_writes = 1_500 + u64::from(round) * 73 % 700;
    tokio::time::sleep(Duration::from_millis(while_it_writes)).await;
    let killed_at = now_ms();
    writer.signal(Signal::KILL).unwrap();
    writer.wait_exit(SOON).await.unwrap();
    let kept = writer.lines().into_iter().filter_map(|line| {
        let (number, at) = line.strip_prefix("kept ")?.split_once(' ')?;
        let (number, at): (u64, u64) = (number.parse().unwrap(), at.parse().unwrap());
        (at + 1_000 < killed_at).then_some(number)
    });
    kept.max().expect("it wrote for longer than a second")
}

/// All up to `last` are there and are what was kept.
async fn check(store: &impl Store, last: u64) {
    for number in 0..=last {
        let key = [b"storm\0", Key::from(number.to_string()).as_bytes()].concat();
        let stored = store.read(&key).await.unwrap();
        let stored = stored.unwrap_or_else(|| panic!("{number} of {last} is lost"));
        let record = Record::decode(&stored).unwrap();
        assert_eq!(record.payload, format!("{number:0>200}"));
    }
}

#[tokio::test]
async fn a_killed_process_has_left_in_its_file_what_it_kept_a_second_before() {
    let directory = tempfile::tempdir().unwrap();
    let mut lasts = Vec::new();
    for first in (0..resilience_tests::kills(KILLS)).step_by(AT_A_TIME as usize) {
        let rounds = (first..first + AT_A_TIME).map(|round| {
            let path: PathBuf = directory.path().join(format!("{round}.redb"));
            tokio::spawn(async move {
                let writer = writer(&["storm", "file", path.to_str().unwrap()]);
                let last = kill(&writer, round).await;
                let store = FileStore::open(&path, 64 << 20).unwrap();
                check(&store, last).await;
                last
            })
        });
        for round in rounds.collect::<Vec<_>>() {
            lasts.push(round.await.unwrap());
        }
    }
    let all: Vec<_> = std::fs::read_dir(directory.path()).unwrap().collect();
    assert_eq!(all.len(), lasts.len(), "none was set aside: {all:?}");
    eprintln!("answers kept a second before each of the kills: {lasts:?}");
}

#[tokio::test]
async fn a_killed_process_has_left_in_redis_what_it_kept_a_second_before() {
    let mut lasts = Vec::new();
    for first in (0..resilience_tests::kills(KILLS)).step_by(AT_A_TIME as usize) {
        let rounds = (first..first + AT_A_TIME).map(|round| {
            tokio::spawn(async move {
                let server = server().await;
                let writer = writer(&["storm", "redis", &server.url()]);
                let last = kill(&writer, round).await;
                let store = RedisStore::new(&server.url(), &RedisRoots::System).unwrap();
                check(&store, last).await;
                last
            })
        });
        for round in rounds.collect::<Vec<_>>() {
            lasts.push(round.await.unwrap());
        }
    }
    eprintln!("answers kept a second before each of the kills: {lasts:?}");
}
