//! Each kind of error says where, which key, what was given, what is allowed.

use super::{Config, NO_ENV, parse};
use crate::config::{ConfigErrors, ConfigSource};

/// The text and the whole message, less `invalid configuration: `.
fn refuses(text: &str, expected: &str) {
    let errors = parse(text).expect_err(text);
    assert_eq!(
        errors.to_string(),
        format!("invalid configuration: {expected}"),
        "for {text:?}"
    );
}

#[test]
fn a_wrong_value_is_reported_with_line_key_value_and_what_is_allowed() {
    refuses(
        "database:\n  pool_size: 0\n",
        "config.yaml:2:14: `database.pool_size` is `0`, allowed: 1 to 10000",
    );
    refuses(
        "database: {max_overflow: many}",
        "config.yaml:1:26: `database.max_overflow` is `many`, allowed: 0 to 10000",
    );
    refuses(
        "database: {pool_size: 20.5}",
        "config.yaml:1:23: `database.pool_size` is `20.5`, allowed: 1 to 10000",
    );
    refuses(
        "database: {pool_size: [20]}",
        "config.yaml:1:23: `database.pool_size` is a list, allowed: 1 to 10000",
    );
    refuses(
        "database: {pool_size: {x: 1}}",
        "config.yaml:1:23: `database.pool_size` is a section, allowed: 1 to 10000",
    );
    refuses(
        "database:\n  slow_query: 2h\n",
        "config.yaml:2:15: `database.slow_query` is `2h`, allowed: 1ms to 1h, or off",
    );
    refuses(
        "logging: {level: loud}",
        "config.yaml:1:18: `logging.level` is `loud`, allowed: error, warn, info, debug, trace",
    );
    refuses(
        "health:\n  ready:\n    circuit_breakers: fatal\n",
        "config.yaml:3:23: `health.ready.circuit_breakers` is `fatal`, allowed: critical, warn, off",
    );
    refuses(
        "fallback: {enabled: yes}",
        "config.yaml:1:21: `fallback.enabled` is `yes`, allowed: true or false",
    );
    refuses(
        "fallback: {strategy: cash}",
        "config.yaml:1:22: `fallback.strategy` is `cash`, allowed: cache, static, service, none",
    );
}

#[test]
fn every_setting_of_a_breaker_is_checked_with_the_breakers_own_words() {
    for (key, given, allowed) in [
        ("enabled", "1", "true or false"),
        ("minimum_calls", "0", "1 to 10000"),
        ("minimum_calls", "10001", "1 to 10000"),
        (
            "failure_rate_threshold",
            "0",
            "above 0, up to 100 (percent)",
        ),
        (
            "failure_rate_threshold",
            "nan",
            "above 0, up to 100 (percent)",
        ),
        (
            "failure_rate_threshold",
            "101%",
            "above 0, up to 100 (percent)",
        ),
        ("slow_call_duration", "2h", "1ms to 1h, or off"),
        (
            "slow_call_rate_threshold",
            "-1",
            "above 0, up to 100 (percent)",
        ),
        ("wait_in_open", "25h", "1ms to 24h"),
        ("wait_multiplier", "0.5", "1 to 10"),
        ("wait_multiplier", "2%", "1 to 10"),
        ("wait_max", "0s", "1ms to 24h"),
        ("wait_jitter", "51", "0 to 50 (percent)"),
        ("automatic_half_open", "maybe", "true or false"),
        ("half_open_max_wait", "25h", "1ms to 24h, or off"),
        ("ramp_up", "0s", "1ms to 24h, or off"),
        ("half_open_permits", "129", "1 to 128"),
        ("probe_lease", "0s", "1ms to 1h"),
    ] {
        refuses(
            &format!("services:\n  pay:\n    circuit_breaker:\n      {key}: {given}\n"),
            &format!(
                "config.yaml:4:{}: `services.pay.circuit_breaker.{key}` is `{given}`, allowed: {allowed}",
                9 + key.len()
            ),
        );
    }
}

#[test]
fn a_window_is_one_of_its_two_kinds() {
    let breaker = |window: &str| format!("resilience:\n  circuit_breaker:\n    window: {window}\n");
    let one = "`{calls: 100}` or `{seconds: 60}`";
    for (given, expected) in [
        ("{calls: 0}", "config.yaml:3:21: `resilience.circuit_breaker.window.calls` is `0`, allowed: 1 to 10000".to_owned()),
        ("{seconds: 2h}", "config.yaml:3:23: `resilience.circuit_breaker.window.seconds` is `2h`, allowed: 1s to 1h".to_owned()),
        ("{seconds: 500ms}", "config.yaml:3:23: `resilience.circuit_breaker.window.seconds` is `500ms`, allowed: 1s to 1h".to_owned()),
        ("100", format!("config.yaml:3:13: `resilience.circuit_breaker.window` is `100`, allowed: {one}")),
        ("{}", format!("config.yaml:3:13: `resilience.circuit_breaker.window` is a section, allowed: {one}")),
        ("{calls: 5, seconds: 5}", format!("config.yaml:3:33: `resilience.circuit_breaker.window` is `{{calls: …, seconds: …}}`, allowed: one of the two, {one}")),
    ] {
        refuses(&breaker(given), &expected);
    }
}

#[test]
fn a_duration_without_a_unit_says_so() {
    refuses(
        "database: {pool_timeout: 30}",
        "config.yaml:1:26: `database.pool_timeout` is `30`, a number without a unit, allowed: 1ms to 1h; such as `30s`, `100ms` or `1h 30m`",
    );
    refuses(
        "resilience: {circuit_breaker: {wait_in_open: 60}}",
        "config.yaml:1:46: `resilience.circuit_breaker.wait_in_open` is `60`, a number without a unit, allowed: 1ms to 24h; such as `30s`, `100ms` or `1h 30m`",
    );
}

#[test]
fn a_duration_too_long_for_any_clock_is_refused() {
    // humantime 2.4 panics on the sum of these two.
    refuses(
        "database: {pool_timeout: 18446744073709551615s 1000ms}",
        "config.yaml:1:26: `database.pool_timeout` is `18446744073709551615s 1000ms`, allowed: 1ms to 1h",
    );
    assert!(
        parse(&format!(
            "database: {{pool_timeout: {}}}",
            "1ms ".repeat(17)
        ))
        .is_err()
    );
    assert!(
        parse(&format!(
            "database: {{pool_timeout: {}}}",
            "1ms ".repeat(16)
        ))
        .is_ok()
    );
}

#[test]
fn an_unknown_key_is_reported_with_the_nearest_or_the_place_where_it_belongs() {
    refuses(
        "database:\n  pool_sise: 3\n",
        "config.yaml:2:3: unknown key `database.pool_sise`, did you mean `pool_size`? (known here: pool_size, max_overflow, pool_timeout, connect_timeout, query_timeout, max_lifetime, idle_timeout, keepalive, statement_timeout, slow_query, leak_threshold)",
    );
    refuses(
        "datbase: {}",
        "config.yaml:1:1: unknown key `datbase`, did you mean `database`? (known here: resilience, fallback, database, health, logging, services)",
    );
    // The indentation was lost when the snippet was pasted.
    refuses(
        "circuit_breaker:\n  enabled: true\n",
        "config.yaml:1:1: unknown key `circuit_breaker`, did you mean `resilience.circuit_breaker`? (known here: resilience, fallback, database, health, logging, services)",
    );
    refuses(
        "logging: {zzz: 1}",
        "config.yaml:1:11: unknown key `logging.zzz`, known here: format, level",
    );
}

#[test]
fn a_key_without_a_value_is_an_error_and_no_default() {
    refuses(
        "database:\n  pool_size:\n  max_overflow: 1\n",
        "config.yaml:2:3: `database.pool_size` has no value, allowed: 1 to 10000",
    );
}

#[test]
fn a_service_name_is_checked() {
    let bad = "is not allowed: 1 to 64 of A-Z, a-z, 0-9, `_`, `.` and `-`";
    refuses(
        "services:\n  pay ment: {}\n",
        &format!("config.yaml:2:3: the service name `pay ment` {bad}"),
    );
    let long = "x".repeat(65);
    let errors = parse(&format!("services: {{{long}: {{}}}}")).unwrap_err();
    assert!(errors.to_string().contains(bad), "{errors}");
    assert!(parse(&format!("services: {{{}: , a.b-C_9: }}", &long[1..])).is_ok());

    let many: String = (0..1001).map(|n| format!("  s{n}:\n")).collect();
    let errors = parse(&format!("services:\n{many}")).unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("config.yaml:1002:3: more than 1000 services"),
        "{errors}"
    );
}

#[test]
fn ttl_and_stale_limit_must_go_together() {
    refuses(
        "fallback: {ttl: 48h}",
        "config.yaml:1:17: `fallback.ttl` is `48h`, allowed: at most `stale_limit`, 24h (default)",
    );
    refuses(
        "fallback: {ttl: 2h}\nservices:\n  pay:\n    fallback: {stale_limit: 1h}\n",
        "config.yaml:4:29: `services.pay.fallback.stale_limit` is `1h`, allowed: at least `ttl`, 2h (config.yaml:1)",
    );
}

#[test]
fn a_wrong_ttl_or_stale_limit_is_one_problem_and_not_two() {
    refuses(
        "fallback: {ttl: 48h, stale_limit: 72}",
        "config.yaml:1:35: `fallback.stale_limit` is `72`, a number without a unit, allowed: 1ms to 30 days; such as `30s`, `100ms` or `1h 30m`",
    );
    refuses(
        "fallback: {ttl: soon, stale_limit: 1s}",
        "config.yaml:1:17: `fallback.ttl` is `soon`, allowed: 1ms to 30 days",
    );
}

#[test]
fn a_syntax_error_has_line_and_column() {
    let errors = parse("database:\n  pool_size: [1\nlogging: {}\n").unwrap_err();
    let [problem] = errors.problems() else {
        panic!("{errors}");
    };
    assert!(problem.at.starts_with("config.yaml:3:"), "{problem}");
    assert!(problem.message.starts_with("YAML syntax: "), "{problem}");
}

#[test]
fn texts_that_are_no_configuration_are_refused() {
    let sections = "expected sections: resilience, fallback, database, health, logging, services";
    refuses(
        "just words",
        &format!("config.yaml:1:1: the file holds `just words`, {sections}"),
    );
    refuses(
        "- a\n- b\n",
        &format!("config.yaml:1:1: the file holds a list, {sections}"),
    );
    refuses(
        "database: {}\n---\nlogging: {}\n",
        "config.yaml:2:1: a second YAML document starts here; a configuration file holds one, remove the `---`",
    );
    refuses(
        "database: {}\n\0logging: {level: loud}\n",
        "config.yaml:2:1: control character U+0000, which YAML does not allow; is the file UTF-8 text?",
    );
    refuses(
        "database: !vault secret",
        "config.yaml:1:11: the tag `!vault` is not supported; write the value itself",
    );
    refuses(
        "database: {? [a] : 1}",
        "config.yaml:1:14: a key must be a word, such as `database`",
    );
    refuses(
        "a: &a {x: 1}\nb: {<<: *a}\n",
        "config.yaml:2:5: merge keys (`<<`) are not part of YAML 1.2; write the values out",
    );
}

#[test]
fn a_duplicate_key_names_both_lines_and_hides_nothing_else() {
    let errors =
        parse("database: {pool_size: 0}\nlogging: {}\ndatabase: {pool_size: 5}\n").unwrap_err();
    assert_eq!(
        errors.to_string(),
        "invalid configuration, 2 problems:
  config.yaml:1:23: `database.pool_size` is `0`, allowed: 1 to 10000
  config.yaml:3:1: `database` is given a second time, the first is in line 1; keep one, or move what stands here there"
    );
}

#[test]
fn deep_nesting_and_alias_bombs_are_refused_before_they_cost_anything() {
    let flow = "[".repeat(100_000);
    let block = "- ".repeat(100_000);
    let keys = "? ".repeat(100_000);
    for text in [flow, block, keys] {
        let message = parse(&text).unwrap_err().to_string();
        assert!(
            message.contains("levels deep") || message.contains("recursion limit"),
            "{message}"
        );
    }
    let mut bomb = "a0: &a0 {x: 1}\n".to_owned();
    for level in 1..10 {
        let below = level - 1;
        let ten: Vec<_> = (0..10).map(|n| format!("k{n}: *a{below}")).collect();
        bomb += &format!("a{level}: &a{level} {{{}}}\n", ten.join(", "));
    }
    let message = parse(&bomb).unwrap_err().to_string();
    assert!(message.contains("more than 100000 values"), "{message}");

    let wide: String = (0..1000).map(|n| format!("k{n}: 1, ")).collect();
    let often: String = (0..200).map(|n| format!("a{n}: *w\n")).collect();
    let message = parse(&format!("w: &w {{{wide}}}\n{often}"))
        .unwrap_err()
        .to_string();
    assert!(message.contains("more than 100000 values"), "{message}");

    let message = parse("a: &a {b: *a}").unwrap_err().to_string();
    assert!(message.contains("inside of what it repeats"), "{message}");
}

fn load_bytes(bytes: &[u8]) -> ConfigErrors {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.yaml");
    std::fs::write(&path, bytes).unwrap();
    let errors = ConfigSource::new("APP", NO_ENV)
        .file(&path)
        .load()
        .unwrap_err();
    let prefix = format!("{}", path.display());
    assert!(errors.problems()[0].at.starts_with(&prefix), "{errors}");
    errors
}

#[test]
fn files_that_cannot_be_taken_are_refused_with_their_path() {
    let errors = load_bytes(b"logging: {}\ndatabase: \xff\n");
    assert!(
        errors.to_string().contains(".yaml:2:11: is not UTF-8 text"),
        "{errors}"
    );

    let mut large = b"logging: {}\n".to_vec();
    large.resize((1 << 20) + 1, b'#');
    let errors = load_bytes(&large);
    assert!(
        errors.to_string().contains("is larger than 1048576 bytes"),
        "{errors}"
    );
    large.pop();
    large[11..].fill(b' ');
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c");
    std::fs::write(&path, &large).unwrap();
    assert!(Config::load(Some(&path), NO_ENV).is_ok());

    let errors = Config::load(Some(&dir.path().join("none")), NO_ENV).unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("none: the file cannot be read: No such file"),
        "{errors}"
    );
    let errors = Config::load(Some(dir.path()), NO_ENV).unwrap_err();
    assert!(
        errors.to_string().contains("not a regular file"),
        "{errors}"
    );
}

#[test]
fn every_problem_is_reported_and_one_service_hides_none_of_another() {
    let text = "resilience: {circuit_breaker: {minimum_calls: 0, probe_lease: 2h}}
services:
  a: {circuit_breaker: {wait_in_open: 60}, fallbak: {}}
  b: {fallback: {ttl: -1s, store: disk}}
  c: 5
";
    let errors = parse(text).unwrap_err();
    let keys: Vec<_> = errors
        .problems()
        .iter()
        .filter_map(|p| p.key.as_deref())
        .collect();
    assert_eq!(
        keys,
        [
            "resilience.circuit_breaker.minimum_calls",
            "resilience.circuit_breaker.probe_lease",
            "services.a.circuit_breaker.wait_in_open",
            "services.a.fallbak",
            "services.b.fallback.ttl",
            "services.b.fallback.store",
            "services.c",
        ]
    );
    assert_eq!(errors.problems()[2].given.as_deref(), Some("60"));
}

#[test]
fn the_list_is_bounded_and_says_how_many_more() {
    let many: String = (0..30).map(|n| format!("  s{n}: 5\n")).collect();
    let errors = parse(&format!("services:\n{many}")).unwrap_err();
    assert_eq!(errors.problems().len(), 20);
    assert_eq!(errors.total(), 30);
    let text = errors.to_string();
    assert!(
        text.starts_with("invalid configuration, 30 problems:\n  config.yaml:2:7: `services.s0`"),
        "{text}"
    );
    assert!(text.ends_with("\n  and 10 more"), "{text}");
}

#[test]
fn long_and_odd_values_are_shown_shortened_on_one_line() {
    let text = format!("logging: {{level: \"a\\nb\\e[31m{}\"}}", "x".repeat(1000));
    let message = parse(&text).unwrap_err().to_string();
    assert!(message.contains("`a\\nb\\u{1b}[31mxxx"), "{message}");
    assert!(message.len() < 200, "{message}");
    assert_eq!(message.lines().count(), 1);
}
