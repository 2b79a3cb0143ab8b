//! Redis when it is not: no read costs more than 5 ms, none fails, it can be seen,
//! and it works again by itself.

use std::{
    io::Write,
    net::TcpListener,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    time::Duration,
};

use resilience_core::{
    Clock,
    fallback::store::{RedisRoots, RedisStore, SecondLevel, Store},
    snapshot::StoreSnapshot,
};
use resilience_examples::{Proxy, RedisOptions, TemporaryRedis};

use crate::support::{
    SOON, flush, is_cheap, is_well, keep, on_redis, on_redis_by, read, read_soon, record, server,
    server_with, store, until,
};

fn why(second: &SecondLevel) -> String {
    let StoreSnapshot { up, last_error, .. } = second.snapshot();
    assert!(!up, "it is shown as up");
    last_error.unwrap().message
}

/// Stored now, after whatever it was.
async fn works_again(second: &SecondLevel) {
    store(second, "afterwards", "1.10").await;
    assert_eq!(read_soon(second, "afterwards").await, "1.10");
    assert!(second.snapshot().up, "{:?}", second.snapshot());
}

#[tokio::test]
async fn absent() {
    let mut server = server().await;
    server.kill();
    let second = on_redis(&server.url());
    keep(&second, "EUR", "1.08");
    is_cheap("absent", &second).await;
    until("it is told", || !second.snapshot().up).await;
    assert!(why(&second).contains("refused"), "{}", why(&second));
    assert_eq!(read_soon(&second, "EUR").await, "1.08");
    server.restart().await.unwrap();
    works_again(&second).await;
    let other = on_redis(&server.url());
    assert_eq!(read_soon(&other, "EUR").await, "1.08");
    assert_eq!(second.snapshot().not_written, 0);
}

#[tokio::test]
async fn slow() {
    let server = server().await;
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).unwrap();
    let second = on_redis(&format!("redis://{}", proxy.address()));
    store(&second, "EUR", "1.08").await;
    proxy.set_latency(Duration::from_millis(50), Duration::from_millis(50));
    is_cheap("slow", &second).await;
    assert!(why(&second).contains("did not answer within 3ms"));
    proxy.set_latency(Duration::ZERO, Duration::ZERO);
    works_again(&second).await;
}

#[tokio::test]
async fn frozen() {
    let server = server().await;
    let second = on_redis(&server.url());
    store(&second, "EUR", "1.08").await;
    assert_eq!(read_soon(&second, "EUR").await, "1.08");
    server.freeze();
    keep(&second, "GBP", "0.85");
    is_cheap("frozen", &second).await;
    assert!(why(&second).contains("did not answer within"));
    server.thaw();
    works_again(&second).await;
    assert_eq!(read_soon(&second, "EUR").await, "1.08");
    assert_eq!(second.snapshot().not_written, 0);
}

#[tokio::test]
async fn frozen_from_the_start() {
    let server = server().await;
    server.freeze();
    let second = on_redis(&server.url());
    is_cheap("frozen from the start", &second).await;
    server.thaw();
    works_again(&second).await;
}

#[tokio::test]
async fn full() {
    let settings = [("maxmemory", "3mb"), ("maxmemory-policy", "noeviction")];
    let server = server_with(&settings).await;
    let second = on_redis(&server.url());
    store(&second, "EUR", "1.08").await;
    let large = "x".repeat(1 << 20);
    for number in 0..4 {
        keep(&second, &number.to_string(), &large);
    }
    until("it is told", || !second.snapshot().up).await;
    assert!(why(&second).contains("maxmemory"), "{}", why(&second));
    is_cheap("full", &second).await;
    // What is in it is still read, and what is not in it waits.
    assert_eq!(read_soon(&second, "EUR").await, "1.08");
    assert!(!second.snapshot().up, "a read does not hide it");
    assert_eq!(second.snapshot().pending, 4);
    server.command("CONFIG SET maxmemory 0").await.unwrap();
    works_again(&second).await;
    let other = on_redis(&server.url());
    assert_eq!(read_soon(&other, "3").await.len(), large.len());
    assert_eq!(second.snapshot().not_written, 0);
}

#[tokio::test]
async fn flushed() {
    let server = server().await;
    let second = on_redis(&server.url());
    store(&second, "EUR", "1.08").await;
    server.command("FLUSHALL").await.unwrap();
    assert_eq!(read(&second, "EUR").await, None);
    is_cheap("flushed", &second).await;
    is_well(&second);
    works_again(&second).await;
}

#[tokio::test]
async fn restarted_on_the_same_port_without_a_reader_seeing_the_broken_connection() {
    let mut server = server().await;
    let (clock, hand) = Clock::manual();
    let second = on_redis_by(&server.url(), clock);
    store(&second, "EUR", "1.08").await;
    // Longer than between two dials.
    let pause = Duration::from_millis(300);
    for _ in 0..3 {
        hand.advance(pause);
        assert_eq!(read(&second, "nobody's").await, None);
        server.restart().await.unwrap();
    }
    hand.advance(pause);
    assert_eq!(read(&second, "EUR").await, None);
    is_well(&second);
    store(&second, "EUR", "1.09").await;
    assert_eq!(read_soon(&second, "EUR").await, "1.09");
}

#[tokio::test]
async fn is_not_connected_to_more_often_than_four_times_a_second() {
    let (port, came) = babbler(b"-ERR go away\r\n");
    let (clock, hand) = Clock::manual();
    let store = RedisStore::new(&format!("redis://127.0.0.1:{port}/1"), &RedisRoots::System);
    let store = store.unwrap().clock(clock);
    // Without a pace it would dial without end, and never say so.
    let is_told = async || {
        let read = tokio::time::timeout(SOON, store.read(b"EUR"));
        read.await.expect("an answer").unwrap_err();
    };
    for round in 1..=3 {
        // Whoever comes now is told what the last one was told.
        for _ in 0..5 {
            is_told().await;
        }
        assert_eq!(came.load(SeqCst), round);
        hand.advance(Duration::from_millis(249));
        is_told().await;
        assert_eq!(came.load(SeqCst), round);
        hand.advance(Duration::from_millis(1));
    }
}

#[tokio::test]
async fn connections_that_the_other_end_has_forgotten() {
    let server = server().await;
    let proxy = Proxy::start(([127, 0, 0, 1], server.port()).into()).unwrap();
    let second = on_redis(&format!("redis://{}", proxy.address()));
    store(&second, "EUR", "1.08").await;
    assert_eq!(read_soon(&second, "EUR").await, "1.08");
    proxy.half_open();
    assert_eq!(read(&second, "EUR").await, None);
    assert_eq!(read_soon(&second, "EUR").await, "1.08");
    works_again(&second).await;
}

/// Writes what is no answer to whoever comes, and counts them.
fn babbler(noise: &'static [u8]) -> (u16, Arc<AtomicU64>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let came = Arc::<AtomicU64>::default();
    let counted = Arc::clone(&came);
    // Ends with the process.
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            counted.fetch_add(1, SeqCst);
            std::thread::spawn(move || {
                let mut stream = stream;
                while stream.write_all(noise).is_ok() {
                    std::thread::sleep(Duration::from_millis(1));
                }
            });
        }
    });
    (port, came)
}

/// What comes from the babbler costs little, and the store works when it is gone.
async fn answering_with(noise: &'static [u8]) {
    let (port, came) = babbler(noise);
    let proxy = Proxy::start(([127, 0, 0, 1], port).into()).unwrap();
    let second = on_redis(&format!("redis://{}", proxy.address()));
    let what = format!("garbage {}", noise.escape_ascii());
    is_cheap(&what, &second).await;
    let picture = second.snapshot();
    assert_eq!(picture.read_hits, 0, "{picture:?}");
    assert!(picture.read_failures + picture.unreadable > 0);
    let came = came.load(SeqCst);
    assert!(came <= 15, "{came} connections in 2.5 s");

    let server = server().await;
    proxy.set_target(([127, 0, 0, 1], server.port()).into());
    proxy.cut();
    works_again(&second).await;
}

#[tokio::test]
async fn answering_garbage() {
    let noises = [
        &b"\x00\xff\x13garbage\r\n\r\n$-7\r\n*99999999999\r\n"[..],
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"+OK\r\n",
        b":1\r\n",
        b"$5\r\nhello\r\n",
    ];
    // At the same time: each takes some seconds of waiting.
    let all: Vec<_> = noises
        .map(|noise| tokio::spawn(answering_with(noise)))
        .into();
    for one in all {
        one.await.unwrap();
    }
}

#[tokio::test]
async fn asking_for_a_password_that_it_does_not_get() {
    for given in ["", ":wrong@"] {
        let options = RedisOptions {
            password: Some("right".to_owned()),
            ..RedisOptions::default()
        };
        let server = TemporaryRedis::start(options).await.unwrap();
        let second = on_redis(&format!("redis://{given}127.0.0.1:{}", server.port()));
        keep(&second, "EUR", "1.08");
        is_cheap("without its password", &second).await;
        until("it is told", || !second.snapshot().up).await;
        let said = format!("{} {second:?}", why(&second));
        assert!(
            said.to_lowercase().contains("auth") || said.contains("pass"),
            "{said}"
        );
        assert!(!said.contains("wrong"), "{said}");
        // It is mended on the other side.
        let mended = if given.is_empty() { "\"\"" } else { "wrong" };
        let set = format!("CONFIG SET requirepass {mended}");
        assert_eq!(server.command(&set).await.unwrap(), "+OK");
        works_again(&second).await;
        assert_eq!(second.snapshot().not_written, 0);
    }
}

#[tokio::test]
async fn dying_while_many_read_at_once() {
    let mut server = server().await;
    let second = on_redis(&server.url());
    store(&second, "EUR", "1.08").await;
    let readers: Vec<_> = (0..64)
        .map(|_| {
            let second = second.clone();
            tokio::spawn(async move {
                for _ in 0..200 {
                    let found = read(&second, "EUR").await;
                    assert!(found.is_none_or(|found| found == "1.08"));
                    tokio::time::sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    tokio::time::sleep(Duration::from_millis(50)).await;
    server.restart().await.unwrap();
    for reader in readers {
        reader.await.unwrap();
    }
    works_again(&second).await;
}

#[tokio::test]
async fn an_end_in_order_writes_what_waits() {
    let server = server().await;
    let second = on_redis(&server.url());
    let key = resilience_core::fallback::Key::from("EUR");
    second.keep("rates", &key, record("1.08"), u64::MAX);
    drop(second);
    let other = on_redis(&server.url());
    assert_eq!(read_soon(&other, "EUR").await, "1.08");
    let began = std::time::Instant::now();
    flush(&other).await;
    assert!(began.elapsed() < SOON / 2);
}
