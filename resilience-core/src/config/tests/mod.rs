//! What the configuration means; what is wrong with it is in `errors`.

mod any_text;
mod environment;
mod errors;
mod fallback;
mod reload;

use std::time::Duration;

use super::*;
use crate::{
    breaker::{BreakerOptions, Window},
    snapshot::Severity,
};

const NO_ENV: [(String, String); 0] = [];

/// The contract's example, to the letter.
const CONTRACT: &str = "\
resilience:
  circuit_breaker:            # defaults of every breaker; services.<name> overrides any of them
    enabled: true
    window: {calls: 100}      # or {seconds: 60}
    minimum_calls: 20
    failure_rate_threshold: 50      # percent, trips at >=
    slow_call_duration: 2s
    slow_call_rate_threshold: 100   # percent
    wait_in_open: 60s
    half_open_permits: 10
fallback: {enabled: true, strategy: cache, ttl: 300s, stale_limit: 24h, store: memory}   # memory, file, redis
database: {pool_size: 20, max_overflow: 10, pool_timeout: 30s, statement_timeout: 30s, slow_query: 100ms, leak_threshold: 60s}
health: {ready: {database: critical, circuit_breakers: warn}}
logging: {format: text, level: info}
services: {payment_api: {circuit_breaker: {wait_in_open: 30s}, fallback: {ttl: 60s}}}
";

fn parse(text: &str) -> Result<Config, ConfigErrors> {
    Config::parse("config.yaml", text, NO_ENV)
}

fn parsed(text: &str) -> Config {
    parse(text).unwrap_or_else(|errors| panic!("{errors}"))
}

fn origin(config: &Config, key: &str) -> String {
    let found = config.effective().into_iter().find(|s| s.key == key);
    found
        .unwrap_or_else(|| panic!("no effective value {key}"))
        .origin
}

#[test]
fn the_contracts_example_is_valid_and_says_the_defaults() {
    let example = parsed(CONTRACT);
    let default = Config::default();

    assert_eq!(example.breaker("rates"), BreakerConfig::default());
    assert_eq!(example.fallback("rates"), default.fallback("rates"));
    assert_eq!(example.database(), default.database());
    assert_eq!(example.ready(), default.ready());
    assert_eq!(example.logging(), default.logging());
    assert_eq!(example.services().collect::<Vec<_>>(), ["payment_api"]);
    assert_eq!(default.services().count(), 0);

    let payment = example.breaker("payment_api");
    let expected = BreakerOptions {
        wait_in_open: Duration::from_secs(30),
        ..BreakerOptions::default()
    };
    assert_eq!(payment.options(), &expected);
    let fallback = example.fallback("payment_api");
    assert_eq!(fallback.ttl, Duration::from_secs(60));
    assert_eq!(fallback.stale_limit, Duration::from_secs(24 * 3600));
}

#[test]
fn the_defaults_are_those_of_the_field_docs() {
    let config = Config::default();
    assert_eq!(
        config.fallback("any"),
        &FallbackConfig {
            enabled: true,
            strategy: FallbackStrategy::Cache,
            ttl: Duration::from_secs(300),
            stale_limit: Duration::from_secs(24 * 3600),
            stale_while_revalidate: None,
            obey_cache_control: true,
            memory: 64 << 20,
            largest_body: 1 << 20,
            store: FallbackStore::Memory,
            answer: None,
        }
    );
    assert_eq!(
        config.database(),
        &DatabaseConfig {
            pool_size: 20,
            max_overflow: 10,
            pool_timeout: Duration::from_secs(30),
            connect_timeout: Duration::from_secs(5),
            query_timeout: Some(Duration::from_secs(35)),
            max_lifetime: Some(Duration::from_secs(30 * 60)),
            idle_timeout: Some(Duration::from_secs(10 * 60)),
            keepalive: Some(Duration::from_secs(60)),
            statement_timeout: Some(Duration::from_secs(30)),
            slow_query: Some(Duration::from_millis(100)),
            leak_threshold: Some(Duration::from_secs(60)),
        }
    );
    assert_eq!(config.ready().database, Severity::Critical);
    assert_eq!(config.ready().circuit_breakers, Severity::Warn);
    assert_eq!(config.logging().format, LogFormat::Text);
    assert_eq!(config.logging().level, LogLevel::Info);
    assert_eq!(config.breaker("any"), BreakerConfig::default());
}

#[test]
fn the_runbooks_snippets_work_as_they_are_and_in_flow_form() {
    let block = "resilience:\n  circuit_breaker:\n    enabled: true\n\nfallback:\n  enabled: true\n  strategy: cache  # Use cached data\n";
    let flow = "resilience: {circuit_breaker: {enabled: true}}\nfallback: {enabled: true, strategy: cache}\n";
    for text in [block, flow] {
        let config = parsed(text);
        assert!(config.breaker("payment_api").options().enabled);
        assert!(config.fallback("payment_api").enabled);
        assert_eq!(
            config.fallback("payment_api").strategy,
            FallbackStrategy::Cache
        );
        assert!(config.set_explicitly("resilience.circuit_breaker.enabled"));
    }
    // The snippets turn on what was off.
    let off = parsed("resilience: {circuit_breaker: {enabled: false}}\nfallback: {enabled: false}");
    assert!(!off.breaker("payment_api").options().enabled);
    assert!(!off.fallback("payment_api").enabled);
}

#[test]
fn empty_texts_and_empty_sections_are_the_defaults() {
    for text in [
        "",
        "# nothing\n",
        "---\n",
        "~",
        "{}",
        "\u{feff}{}",
        "services:\n",
        "services: {payment_api: }\nresilience:\n  circuit_breaker:\nfallback: ~\ndatabase: null\nhealth:\n  ready:\nlogging: {}\n",
    ] {
        let config = parsed(text);
        assert_eq!(
            config.effective().len(),
            Config::default().effective().len()
        );
        assert!(!config.set_explicitly("fallback"), "{text:?}");
    }
    let names = parsed("services:\n  payment_api:\n  rates:\n");
    assert_eq!(
        names.services().collect::<Vec<_>>(),
        ["payment_api", "rates"]
    );
}

#[test]
fn a_service_overrides_key_by_key_and_each_value_says_where_it_is_from() {
    let config = parsed(
        "resilience:
  circuit_breaker:
    wait_in_open: 90s
    window: {calls: 50}
services:
  payment_api:
    circuit_breaker:
      window: {seconds: 60}
      slow_call_duration: off
      failure_rate_threshold: 12.5%
",
    );
    let breaker = config.breaker("payment_api");
    assert_eq!(
        breaker.options().window,
        Window::Time(Duration::from_secs(60))
    );
    assert_eq!(breaker.options().wait_in_open, Duration::from_secs(90));
    assert_eq!(breaker.options().slow_call_duration, None);

    let settings = config.breaker_settings("payment_api").values;
    let shown: Vec<_> = settings
        .iter()
        .map(|s| (s.key.as_str(), s.value.as_str(), s.origin.as_str()))
        .collect();
    assert_eq!(
        shown,
        [
            ("enabled", "true", "default"),
            ("window", "{seconds: 60}", "config.yaml:8"),
            ("minimum_calls", "20", "default"),
            ("failure_rate_threshold", "12.5", "config.yaml:10"),
            ("slow_call_duration", "off", "config.yaml:9"),
            ("slow_call_rate_threshold", "100", "default"),
            ("wait_in_open", "90s", "config.yaml:3"),
            ("wait_multiplier", "1", "default"),
            ("wait_max", "600s", "default"),
            ("wait_jitter", "0", "default"),
            ("automatic_half_open", "false", "default"),
            ("half_open_permits", "10", "default"),
            ("half_open_max_wait", "off", "default"),
            ("ramp_up", "off", "default"),
            ("probe_lease", "30s", "default"),
        ]
    );
    let other = config.breaker("rates");
    assert_eq!(other.options().window, Window::Calls(50));
}

#[test]
fn the_effective_configuration_has_every_value_with_its_origin() {
    let config = parsed(CONTRACT);
    let values = config.effective();
    assert_eq!(values.len(), 15 + 12 + 11 + 2 + 2 + 2);
    assert_eq!(values[0].key, "resilience.circuit_breaker.enabled");
    assert_eq!(values[0].origin, "config.yaml:3");
    assert_eq!(values[14].origin, "default"); // probe_lease is not in the example
    let last = values.last().unwrap();
    assert_eq!(last.key, "services.payment_api.fallback.ttl");
    assert_eq!(last.value, "60s");
    assert_eq!(origin(&config, "database.leak_threshold"), "config.yaml:12");

    // Shown as it was written.
    let shown = |key: &str| values.iter().find(|s| s.key == key).unwrap().value.clone();
    assert_eq!(shown("fallback.ttl"), "300s");
    assert_eq!(shown("fallback.stale_limit"), "24h");
    assert_eq!(shown("database.slow_query"), "100ms");
}

#[test]
fn the_effective_values_written_to_a_file_mean_the_same() {
    let config = parsed(
        "resilience: {circuit_breaker: {window: {seconds: 1500ms}, slow_call_duration: off, failure_rate_threshold: 0.5, wait_in_open: 1h 30m}}",
    );
    let options = config.breaker("x");
    let body: Vec<_> = config
        .breaker_settings("x")
        .values
        .iter()
        .map(|s| format!("{}: {}", s.key, s.value))
        .collect();
    let again = parsed(&format!(
        "resilience: {{circuit_breaker: {{{}}}}}",
        body.join(", ")
    ));
    assert_eq!(again.breaker("x"), options);
}

#[test]
fn what_is_set_explicitly_is_known_by_its_prefix() {
    let config = parsed("fallback: {ttl: 60s}\nservices: {a: {fallback: {enabled: false}}}");
    assert!(config.set_explicitly("fallback"));
    assert!(config.set_explicitly("fallback.ttl"));
    assert!(config.set_explicitly("services.a.fallback"));
    assert!(!config.set_explicitly("fallback.store"));
    assert!(!config.set_explicitly("fall"));
    assert!(!config.set_explicitly("database"));
}

#[test]
fn values_may_be_quoted_and_durations_composed() {
    let config = parsed(
        "database: {pool_size: \"30\", pool_timeout: '1m 30s', statement_timeout: OFF}\nlogging: {level: DEBUG}\nresilience: {circuit_breaker: {enabled: \"false\", failure_rate_threshold: \"50.5\"}}",
    );
    assert_eq!(config.database().pool_size, 30);
    assert_eq!(config.database().pool_timeout, Duration::from_secs(90));
    assert_eq!(config.database().statement_timeout, None);
    assert_eq!(config.logging().level, LogLevel::Debug);
    assert!(!config.breaker("x").options().enabled);
}

#[test]
fn aliases_repeat_values() {
    let config = parsed(
        "services:
  a: {circuit_breaker: &slow {wait_in_open: 5s}}
  b: {circuit_breaker: *slow}
",
    );
    assert_eq!(config.breaker("a"), config.breaker("b"));
    assert_eq!(
        origin(&config, "services.b.circuit_breaker.wait_in_open"),
        "config.yaml:2"
    );
}
