//! Environment variables over the file.

use std::time::Duration;

use super::{Config, ConfigErrors, ConfigSource, Window, origin};

fn with_env(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
    Config::parse("config.yaml", text, owned(env))
}

fn owned(env: &[(&str, &str)]) -> Vec<(String, String)> {
    env.iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
        .collect()
}

#[test]
fn a_variable_wins_over_the_file_and_is_named_as_the_origin() {
    let text = "database: {pool_size: 20}\nservices: {payment_api: {circuit_breaker: {wait_in_open: 30s}}}";
    let config = with_env(
        text,
        &[
            ("APP__DATABASE__POOL_SIZE", "30"),
            (
                "APP__Services__Payment_Api__Circuit_Breaker__Wait_In_Open",
                "5s",
            ),
            ("APP__LOGGING__LEVEL", "debug"),
        ],
    )
    .unwrap();
    assert_eq!(config.database().pool_size, 30);
    assert_eq!(
        origin(&config, "database.pool_size"),
        "APP__DATABASE__POOL_SIZE"
    );
    let wait = config.breaker("payment_api").options().wait_in_open;
    assert_eq!(wait, Duration::from_secs(5));
    assert_eq!(origin(&config, "logging.level"), "APP__LOGGING__LEVEL");
    assert!(config.set_explicitly("logging"));
}

#[test]
fn variables_of_others_are_ignored() {
    let env = [
        ("APP_NAME", "x"),
        ("APPLE__DATABASE", "x"),
        ("PATH", "x"),
        ("APP", "x"),
    ];
    assert!(with_env("", &env).is_ok());
    // Another prefix makes ours those of others.
    let env = owned(&[
        ("APP__DATABASE__POOL_SIZE", "x"),
        ("PAY__DATABASE__POOL_SIZE", "7"),
    ]);
    let source = ConfigSource::new("PAY", env);
    // Nor are they kept: they may be secret.
    assert!(!format!("{source:?}").contains("APP__"));
    let config = source.load().unwrap();
    assert_eq!(config.database().pool_size, 7);
}

#[test]
fn a_wrong_variable_is_reported_with_its_name() {
    let cases = [
        (
            "APP__DATABASE__POOL_SISE",
            "9",
            "unknown key `database.pool_sise`, did you mean `pool_size`?",
        ),
        (
            "APP__DATABASE__POOL_SIZE",
            "0",
            "`database.pool_size` is `0`, allowed: 1 to 10000",
        ),
        (
            "APP__DATABASE__POOL_SIZE",
            "",
            "`database.pool_size` is empty, allowed: 1 to 10000",
        ),
        (
            "APP__DATABASE",
            "5",
            "`database` is `5`, allowed: a section with the keys pool_size",
        ),
        (
            "APP__DATABASE__POOL_SIZE__X",
            "5",
            "cannot set `database.pool_size.x`",
        ),
        (
            "APP__",
            "5",
            "names no key; variables are named like `APP__DATABASE__POOL_SIZE`",
        ),
        ("APP____POOL", "5", "names no key"),
    ];
    for (name, value, expected) in cases {
        let errors = with_env("database: {pool_size: 3}", &[(name, value)]).unwrap_err();
        let [problem] = errors.problems() else {
            panic!("{name}: {errors}");
        };
        assert_eq!(problem.at, name);
        assert!(problem.message.contains(expected), "{problem}");
    }
}

#[test]
fn the_value_of_an_unknown_key_is_not_shown() {
    let text = "database:\n  pasword: hunter2\n";
    let errors = with_env(text, &[("APP__DATABASE__PASSWORD", "hunter2")]).unwrap_err();
    assert_eq!(errors.total(), 2);
    assert!(!format!("{errors} {errors:?}").contains("hunter2"));
}

#[test]
fn a_variable_finds_the_files_service_in_spite_of_case_and_dashes() {
    let env = [("APP__SERVICES__PAYMENT_API__FALLBACK__TTL", "7s")];
    let config = with_env("services: {Payment-API: }", &env).unwrap();
    assert_eq!(config.services().collect::<Vec<_>>(), ["Payment-API"]);
    assert_eq!(config.fallback("Payment-API").ttl, Duration::from_secs(7));

    // The very name goes before those that are like it.
    let config = with_env("services: {Payment-API: , payment_api: }", &env).unwrap();
    assert_eq!(config.fallback("payment_api").ttl, Duration::from_secs(7));
    assert_eq!(config.fallback("Payment-API").ttl, Duration::from_secs(300));

    let errors = with_env("services: {payment-api: , payment.api: }", &env).unwrap_err();
    assert!(errors.to_string().contains("more than one key"), "{errors}");

    // One that is not in the file is new.
    let config = with_env("", &env).unwrap();
    assert_eq!(config.services().collect::<Vec<_>>(), ["payment_api"]);
}

#[test]
fn two_variables_for_one_key_are_an_error() {
    let env = [
        ("APP__DATABASE__POOL_SIZE", "1"),
        ("APP__database__pool_size", "2"),
    ];
    let errors = with_env("", &env).unwrap_err();
    assert!(
        errors
            .to_string()
            .contains("is already set by APP__DATABASE__POOL_SIZE"),
        "{errors}"
    );
}

#[test]
fn a_variable_replaces_the_kind_of_window_too() {
    let text = "resilience: {circuit_breaker: {window: {seconds: 60}}}";
    let env = [("APP__RESILIENCE__CIRCUIT_BREAKER__WINDOW__CALLS", "7")];
    let config = with_env(text, &env).unwrap();
    assert_eq!(config.breaker("x").options().window, Window::Calls(7));
}

#[test]
fn whatever_a_variable_is_called_its_problem_is_one_short_line() {
    let name = format!("APP__DATABASE__X\n\u{1b}[2J{}", "y".repeat(9_000));
    let twice = [
        ("APP__SERVICES__A\nB", "1"),
        ("APP__SERVICES__a\nb", "2"),
        (name.as_str(), "3"),
    ];
    let errors = with_env("", &twice).unwrap_err();
    for problem in errors.problems() {
        let line = problem.to_string();
        assert!(!line.chars().any(char::is_control), "{line:?}");
        assert!(line.len() < 1_000, "{line}");
    }
    assert!(
        errors
            .to_string()
            .contains(r"is already set by APP__SERVICES__A\nB;")
    );
}
