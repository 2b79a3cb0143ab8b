//! Redis while it is well.

use std::time::Duration;

use resilience_core::{
    config::RedisUrl,
    fallback::{
        Key,
        store::{Change, RedisRoots, RedisStore, SecondLevel, Store},
    },
};
use resilience_examples::{RedisOptions, TemporaryRedis};

use crate::support::{
    SOON, flush, in_an_hour, is_cheap, is_unreadable, is_well, keep, now_ms, on_redis, read,
    read_soon, read_soon_of, record, server, store, until,
};

#[tokio::test]
async fn an_answer_of_one_process_is_there_for_the_others() {
    let server = server().await;
    let (one, other) = (on_redis(&server.url()), on_redis(&server.url()));
    store(&one, "EUR", "1.08").await;
    assert_eq!(read_soon(&other, "EUR").await, "1.08");
    assert_eq!(read(&other, "GBP").await, None);
    store(&one, "EUR", "1.09").await;
    assert_eq!(read_soon(&other, "EUR").await, "1.09");
    one.forget("rates", &Key::from("EUR"));
    flush(&one).await;
    assert_eq!(read(&other, "EUR").await, None);
    let picture = other.snapshot();
    assert_eq!(picture.kind, "redis");
    assert_eq!(picture.place, format!("127.0.0.1:{}", server.port()));
    assert_eq!(picture.read_hits, 2);
    is_well(&other);
    assert_eq!(one.snapshot().written, 2);
    until("one is read again", || one.snapshot().shadow_reads == 1).await;
    assert_eq!(one.snapshot().shadow_failures, 0);
}

#[tokio::test]
async fn keys_of_any_bytes_and_any_length_are_kept_and_a_clear_takes_one_fallbacks_alone() {
    let server = server().await;
    let second = on_redis(&server.url());
    let long: Vec<u8> = (0..Key::LONGEST).map(|at| at.to_le_bytes()[0]).collect();
    let keys = [&b""[..], b"EUR", b"\0\xff\r\n*?[a-z]", &long];
    // Names that begin alike, and one that would match the other as a pattern.
    let names = ["rates", "rates2", "r*s", "r?tes"];
    for name in names {
        for key in keys {
            second.keep(name, &Key::from(key), record(name), in_an_hour());
        }
    }
    // More than one step of the server's.
    for number in 0..3_000 {
        let key = Key::from(number.to_string());
        second.keep("rates", &key, record("x"), in_an_hour());
    }
    flush(&second).await;
    let other = on_redis(&server.url());
    for name in names {
        for key in keys {
            assert_eq!(read_soon_of(&other, name, key).await, name);
        }
    }
    second.clear("r*s");
    flush(&second).await;
    assert_eq!(server.command("DBSIZE").await.unwrap(), ":3012");
    assert!(other.read("r*s", &Key::from("EUR")).await.is_none());
    second.clear("rates");
    flush(&second).await;
    assert_eq!(server.command("DBSIZE").await.unwrap(), ":8");
    for name in ["rates2", "r?tes"] {
        assert_eq!(read_soon_of(&other, name, b"EUR").await, name);
    }
}

#[tokio::test]
async fn a_record_expires_when_nobody_would_use_it_any_more() {
    let server = server().await;
    let store = RedisStore::new(&server.url(), &RedisRoots::System).unwrap();
    let store = store.prefix("ours:");
    let change = |key: &'static str, useless_at_ms| Change {
        key: key.into(),
        record: Some(record("1.08").encode()),
        useless_at_ms,
    };
    let changes = [
        change("hour", now_ms() + 3_600_000),
        change("over", 1),
        change("never", u64::MAX),
    ];
    assert_eq!(store.write(&changes).await, Ok(3));
    let left = server.command("PTTL ours:hour").await.unwrap();
    let left: u64 = left.trim_start_matches(':').parse().unwrap();
    assert!((3_500_000..=3_600_000).contains(&left), "{left}");
    assert!(store.read(b"never").await.unwrap().is_some());
    tokio::time::sleep(Duration::from_millis(5)).await;
    assert_eq!(store.read(b"over").await, Ok(None));
}

#[tokio::test]
async fn a_record_of_another_version_is_skipped_and_counted() {
    let server = server().await;
    let store = RedisStore::new(&server.url(), &RedisRoots::System).unwrap();
    for (key, bytes) in [
        ("older", &b"RFB\0what"[..]),
        ("newer", b"RFB\x02what"),
        ("damaged", b"x"),
    ] {
        let change = Change {
            key: format!("rates\0{key}").into(),
            record: Some(bytes.into()),
            useless_at_ms: in_an_hour(),
        };
        store.write(&[change]).await.unwrap();
    }
    let second = SecondLevel::new(store);
    for (key, counted) in [("older", 1), ("newer", 2), ("damaged", 3)] {
        is_unreadable(&second, key, counted).await;
    }
    is_well(&second);
}

#[tokio::test]
async fn a_read_costs_little_also_while_much_is_written() {
    let server = server().await;
    let second = on_redis(&server.url());
    let large = "x".repeat(100 << 10);
    let writing = {
        let second = second.clone();
        tokio::task::spawn_blocking(move || {
            for number in 0..200 {
                keep(&second, &number.to_string(), &large);
                if number % 50 == 49 {
                    second.flush(SOON);
                }
            }
        })
    };
    is_cheap("while it is written to", &second).await;
    writing.await.unwrap();
    assert_eq!(second.snapshot().not_written, 0);
}

#[tokio::test]
async fn a_server_is_reached_over_its_unix_socket_with_password_and_database() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("redis.sock");
    let path = path.display().to_string();
    let options = RedisOptions {
        password: Some("hidden".to_owned()),
        settings: vec![("unixsocket".to_owned(), path.clone())],
        ..RedisOptions::default()
    };
    let server = TemporaryRedis::start(options).await.unwrap();
    // All that a configuration may say.
    for scheme in ["unix://", "redis+unix://", "unix:"] {
        let url: RedisUrl = format!("{scheme}{path}?db=2&pass=hidden").parse().unwrap();
        let redis = RedisStore::new(url.expose(), &RedisRoots::System).unwrap();
        let second = SecondLevel::new(redis);
        store(&second, "EUR", scheme).await;
        assert_eq!(read_soon(&second, "EUR").await, scheme);
        is_well(&second);
        let picture = second.snapshot();
        assert!(picture.place.contains(&path), "{picture:?}");
        assert!(!format!("{picture:?}").contains("hidden"));
        let other = server.command("DBSIZE").await.unwrap();
        assert_eq!(other, ":0", "that is another database");
    }
}
