//! The `fallback` sections: sizes, stores, a fixed answer, and what goes together.

use std::{path::Path, time::Duration};

use super::{
    Config, ConfigErrors, ConfigSource, ConfigStore, FallbackConfig, FallbackStore, FixedAnswer,
    NO_ENV, origin, parse, parsed,
};

fn refuses(text: &str, expected: &str) {
    let errors = parse(text).expect_err(text);
    assert_eq!(
        errors.to_string(),
        format!("invalid configuration: {expected}"),
        "for {text:?}"
    );
}

fn with_env(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
    Config::parse("config.yaml", text, env.iter().map(owned))
}

fn shown(config: &Config, key: &str) -> Option<String> {
    let found = config.effective().into_iter().find(|one| one.key == key);
    found.map(|setting| setting.value)
}

const ALL: &str = "\
fallback:
  enabled: false
  strategy: static
  ttl: 60s
  stale_limit: 2h
  stale_while_revalidate: 5m
  obey_cache_control: false
  memory: 1GB
  largest_body: 512 KiB
  store: redis
  file: {path: /var/lib/pay/answers.redb, size: 2GiB}
  redis: {url: 'rediss://app:hunter2@cache:6380/3', ca_file: /etc/ssl/redis.pem, deadline: 10ms}
services:
  rates:
    fallback:
      enabled: true
      memory: 16MiB
      store: file
      stale_while_revalidate: off
      answer: {status: 203, content_type: text/plain; charset=utf-8, body: 'no rates today'}
  ledger:
";

#[test]
fn every_key_of_a_fallback_is_read_and_a_service_overrides_it_key_by_key() {
    let config = parsed(ALL);
    let of_all = FallbackConfig {
        enabled: false,
        strategy: super::FallbackStrategy::Static,
        ttl: Duration::from_secs(60),
        stale_limit: Duration::from_secs(7_200),
        stale_while_revalidate: Some(Duration::from_secs(300)),
        obey_cache_control: false,
        memory: 1_000_000_000,
        largest_body: 512 << 10,
        store: FallbackStore::Redis,
        answer: None,
    };
    assert_eq!(config.fallback("ledger"), &of_all);
    let answer = FixedAnswer {
        status: 203,
        content_type: "text/plain; charset=utf-8".into(),
        body: "no rates today".into(),
    };
    let of_rates = FallbackConfig {
        enabled: true,
        memory: 16 << 20,
        store: FallbackStore::File,
        stale_while_revalidate: None,
        answer: Some(answer),
        ..of_all
    };
    assert_eq!(config.fallback("rates"), &of_rates);

    let (file, redis) = (config.fallback_file(), config.fallback_redis());
    assert_eq!(file.path, Path::new("/var/lib/pay/answers.redb"));
    assert_eq!(file.size, 2 << 30);
    let url = redis.url.as_ref().unwrap();
    assert_eq!(url.expose(), "rediss://app:hunter2@cache:6380/3");
    assert_eq!(
        redis.ca_file.as_deref(),
        Some(Path::new("/etc/ssl/redis.pem"))
    );
    assert_eq!(redis.deadline, Duration::from_millis(10));
    assert!(config.uses_store(FallbackStore::File) && config.uses_store(FallbackStore::Redis));
    // Nobody's: everybody overrides it, but one that is not listed would not.
    assert!(!config.uses_store(FallbackStore::Memory));
}

#[test]
fn the_defaults_of_the_stores_are_those_of_the_field_docs() {
    let config = Config::default();
    let (file, redis) = (config.fallback_file(), config.fallback_redis());
    assert_eq!(
        (&*file.path, file.size),
        (Path::new("fallback.redb"), 256 << 20)
    );
    assert_eq!((&redis.url, &redis.ca_file), (&None, &None));
    assert_eq!(redis.deadline, Duration::from_millis(3));
    let answer = "services: {a: {fallback: {answer: {body: x}}}}";
    let answer = parsed(answer).fallback("a").answer.clone().unwrap();
    assert_eq!(
        (answer.status, &*answer.content_type),
        (200, "application/json")
    );
}

#[test]
fn the_effective_values_are_as_one_would_write_them_and_mean_the_same() {
    let config = parsed(ALL);
    for (key, value) in [
        ("fallback.memory", Some("1GB")),
        ("fallback.largest_body", Some("512KiB")),
        ("fallback.stale_while_revalidate", Some("300s")),
        ("fallback.file.path", Some("/var/lib/pay/answers.redb")),
        ("fallback.redis.url", Some("rediss://app:***@cache:6380/3")),
        (
            "services.rates.fallback.stale_while_revalidate",
            Some("off"),
        ),
        (
            "services.rates.fallback.answer",
            Some(
                "{status: 203, content_type: \"text/plain; charset=utf-8\", body: \"no rates \
                 today\"}",
            ),
        ),
        ("services.ledger.fallback.memory", None),
    ] {
        assert_eq!(shown(&config, key).as_deref(), value, "{key}");
    }
    let answer = shown(&config, "services.rates.fallback.answer").unwrap();
    let again = parsed(&format!(
        "services: {{rates: {{fallback: {{answer: {answer}}}}}}}"
    ));
    assert_eq!(
        again.fallback("rates").answer,
        config.fallback("rates").answer
    );
    assert_eq!(
        origin(&config, "services.rates.fallback.answer"),
        "config.yaml:20"
    );
    // What has no default is not shown until it is set.
    assert_eq!(shown(&Config::default(), "fallback.redis.url"), None);
}

#[test]
fn variables_set_each_of_them() {
    let config = with_env(
        "fallback: {redis: {deadline: 2ms}}",
        &[
            ("APP__FALLBACK__MEMORY", "128MiB"),
            ("APP__FALLBACK__STORE", "redis"),
            ("APP__FALLBACK__REDIS__URL", "redis://:hunter2@cache"),
            ("APP__SERVICES__RATES__FALLBACK__ANSWER__BODY", "[]"),
        ],
    )
    .unwrap();
    assert_eq!(config.fallback("any").memory, 128 << 20);
    let redis = config.fallback_redis();
    let url = redis.url.as_ref().unwrap();
    assert_eq!(url.expose(), "redis://:hunter2@cache");
    assert_eq!(redis.deadline, Duration::from_millis(2));
    assert_eq!(
        origin(&config, "fallback.redis.url"),
        "APP__FALLBACK__REDIS__URL"
    );
    let answer = config.fallback("rates").answer.as_ref().unwrap();
    assert_eq!(answer.body, "[]");
}

#[test]
fn a_size_without_a_unit_says_so() {
    refuses(
        "fallback: {memory: 64}",
        "config.yaml:1:20: `fallback.memory` is `64`, a number without a unit, allowed: 64KiB to 64GiB; such as `64MiB`, `1GB` or `512KiB`",
    );
    refuses(
        "fallback: {largest_body: 0}",
        "config.yaml:1:26: `fallback.largest_body` is `0`, a number without a unit, allowed: 0B to 1GiB; such as `64MiB`, `1GB` or `512KiB`",
    );
    for (given, bytes) in [
        ("64KiB", 64 << 10),
        ("100kb", 100_000),
        ("70000B", 70_000),
        ("64 GIB", 64 << 30),
    ] {
        let config = parsed(&format!("fallback: {{memory: {given}}}"));
        assert_eq!(config.fallback("a").memory, bytes, "{given}");
    }
    for bad in [
        "63KiB",
        "65GiB",
        "1.5GiB",
        "64M",
        "MiB",
        "-1MiB",
        "99999999999999999999B",
        "64MiB 1B",
    ] {
        refuses(
            &format!("fallback: {{memory: {bad}}}"),
            &format!("config.yaml:1:20: `fallback.memory` is `{bad}`, allowed: 64KiB to 64GiB"),
        );
    }
}

#[test]
fn each_wrong_value_is_reported_with_what_is_allowed() {
    for (key, given, allowed) in [
        ("stale_while_revalidate", "31d", "1ms to 30 days, or off"),
        ("obey_cache_control", "sometimes", "true or false"),
        ("largest_body", "2GiB", "0B to 1GiB"),
        ("store", "disk", "memory, file, redis"),
    ] {
        refuses(
            &format!("services:\n  a:\n    fallback:\n      {key}: {given}\n"),
            &format!(
                "config.yaml:4:{}: `services.a.fallback.{key}` is `{given}`, allowed: {allowed}",
                9 + key.len()
            ),
        );
    }
    let long = "x".repeat(4_097);
    let errors = parse(&format!("fallback: {{file: {{path: {long}, size: 1KiB}}}}")).unwrap_err();
    let said = errors.to_string();
    assert!(
        said.contains("allowed: a path of 1 to 4096 bytes"),
        "{said}"
    );
    assert!(
        said.contains("`fallback.file.size` is `1KiB`, allowed: 1MiB to 1TiB"),
        "{said}"
    );
    refuses(
        "fallback: {redis: {deadline: 1s}}",
        "config.yaml:1:30: `fallback.redis.deadline` is `1s`, allowed: 1ms to 100ms",
    );
    for (answer, said) in [
        (
            "{status: 199}",
            "`services.a.fallback.answer.status` is `199`, allowed: 200 to 599",
        ),
        (
            "{content_type: 'a\tb'}",
            "allowed: 1 to 200 visible ASCII characters, such as `text/plain`",
        ),
        (
            "{}",
            "is a section, allowed: `{status: 200, content_type: application/json, body: '…'}`",
        ),
        (
            "'[]'",
            "`services.a.fallback.answer` is `[]`, allowed: `{status: 200,",
        ),
        (
            "{bdy: x}",
            "unknown key `services.a.fallback.answer.bdy`, did you mean `body`?",
        ),
    ] {
        let text = format!("services: {{a: {{fallback: {{answer: {answer}}}}}}}");
        let errors = parse(&text).unwrap_err().to_string();
        assert!(errors.contains(said), "{errors}");
    }
    let body = "x".repeat((16 << 10) + 1);
    let text = format!("services: {{a: {{fallback: {{answer: {{body: {body}}}}}}}}}");
    let said = parse(&text).unwrap_err().to_string();
    assert!(
        said.contains("allowed: a text of at most 16384 bytes"),
        "{said}"
    );
}

#[test]
fn a_key_in_the_wrong_fallback_is_told_where_it_belongs() {
    for (text, said) in [
        (
            "services: {a: {fallback: {redis: {url: redis://h}}}}",
            "unknown key `services.a.fallback.redis`, did you mean `fallback.redis`?",
        ),
        (
            "fallback: {answer: {body: x}}",
            "unknown key `fallback.answer`, did you mean `services.<name>.fallback.answer`?",
        ),
        (
            "fallback: {stale_while_revalidat: off}",
            "did you mean `stale_while_revalidate`?",
        ),
        ("fallback: {file: {pth: x}}", "did you mean `path`?"),
    ] {
        let errors = parse(text).unwrap_err().to_string();
        assert!(errors.contains(said), "{errors}");
    }
}

#[test]
fn an_answer_is_not_revalidated_for_longer_than_it_may_be_served() {
    refuses(
        "fallback: {stale_while_revalidate: 24h}",
        "config.yaml:1:36: `fallback.stale_while_revalidate` is `24h`, allowed: at most `stale_limit` less `ttl`, 24h (default) less 300s (default)",
    );
    refuses(
        "fallback: {stale_while_revalidate: 1h}\nservices: {a: {fallback: {stale_limit: 1h}}}",
        "config.yaml:2:40: `services.a.fallback.stale_limit` is `1h`, allowed: at least `ttl` and `stale_while_revalidate` together, 300s (default) and 1h (config.yaml:1)",
    );
    refuses(
        "fallback: {stale_while_revalidate: 1h}\nservices: {a: {fallback: {ttl: 24h}}}",
        "config.yaml:2:32: `services.a.fallback.ttl` is `24h`, allowed: at most `stale_limit` less `stale_while_revalidate`, 24h (default) less 1h (config.yaml:1)",
    );
    assert!(parse("fallback: {ttl: 1h, stale_while_revalidate: 23h}").is_ok());
    // One problem is said once.
    refuses(
        "fallback: {ttl: 48h, stale_while_revalidate: 1h}",
        "config.yaml:1:17: `fallback.ttl` is `48h`, allowed: at most `stale_limit`, 24h (default)",
    );
    refuses(
        "fallback: {ttl: 1h, stale_limit: 1h, stale_while_revalidate: soon}",
        "config.yaml:1:62: `fallback.stale_while_revalidate` is `soon`, allowed: 1ms to 30 days, or off",
    );
}

#[test]
fn redis_is_used_only_with_an_address_and_a_certificate_only_with_encryption() {
    refuses(
        "services: {a: {fallback: {store: redis}}}",
        "config.yaml:1:34: `services.a.fallback.store` is `redis`, allowed: with `fallback.redis.url`, which is not set, such as `redis://127.0.0.1:6379`",
    );
    refuses(
        "fallback: {redis: {url: redis://h, ca_file: a.pem}}",
        "config.yaml:1:45: `fallback.redis.ca_file` is `a.pem`, allowed: only with a `rediss://` url: no other is encrypted",
    );
    assert!(parse("fallback: {redis: {url: redis://h}}").is_ok());
    // A wrong address is there, and said once.
    let errors = parse("fallback: {store: redis, redis: {url: h}}").unwrap_err();
    assert_eq!(errors.total(), 1, "{errors}");
}

/// Every way in which something of a configuration is shown.
#[test]
fn a_password_is_not_shown_anywhere() {
    let wrong = [
        "fallback: {redis: {url: 'http://app:hunter2@h'}}",
        "fallback: {redis: {url: 'redis://app:hunter2/@h'}}",
        "fallback: {redis: {url: [hunter2]}}",
        "fallback: {redis: {url: {hunter2: x}}}",
        "fallback: {redis: {url: ''}}",
    ];
    for text in wrong {
        let errors = parse(text).unwrap_err();
        assert!(
            !format!("{errors} {errors:?}").contains("hunter2"),
            "{errors}"
        );
    }
    let said = parse(wrong[0]).unwrap_err().to_string();
    let begins = "invalid configuration: config.yaml:1:25: `fallback.redis.url` is wrong (not shown, it may hold a password), allowed: `redis://host:6379/0`";
    assert!(said.starts_with(begins), "{said}");

    let url = "redis://app:hunter2@h";
    let twice = [
        ("APP__FALLBACK__REDIS__URL", url),
        ("APP__fallback__redis__url", url),
    ];
    let errors = with_env("", &twice).unwrap_err();
    assert!(
        !format!("{errors} {errors:?}").contains("hunter2"),
        "{errors}"
    );

    let env = [("APP__FALLBACK__REDIS__URL".to_owned(), url.to_owned())];
    let source = ConfigSource::new("APP", env);
    let config = source.load().unwrap();
    assert!(config.fallback_redis().url.is_some());
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.yaml");
    std::fs::write(&file, ALL).unwrap();
    let store = ConfigStore::load(Some(&file), NO_ENV).unwrap();
    for text in [
        format!("{source:?}"),
        format!("{config:?} {:?}", config.effective()),
        format!("{store:?} {:?}", store.snapshot()),
        serde_json::to_string(&store.snapshot()).unwrap(),
    ] {
        assert!(!text.contains("hunter2"), "{text}");
        // As numbers, which is how a derived `Debug` shows bytes.
        assert!(!text.contains("104, 117, 110, 116, 101, 114, 50"), "{text}");
    }
}
