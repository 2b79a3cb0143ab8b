use super::*;
use crate::{
    BreakerConfig, ByHand, ErrorClass, Registry,
    snapshot::{
        AgeHistogram, CacheSnapshot, FallbackResponses, FallbackSnapshot, OverrideKind,
        PoolDurations, PoolSnapshot, PoolTotals, ServerState, StoreSnapshot, SwitchSnapshot,
    },
};

fn snapshot() -> Snapshot {
    let registry = Registry::new();
    let breaker = registry.get_or_create("payment_api", &BreakerConfig::default());
    for _ in 0..20 {
        breaker
            .try_acquire()
            .unwrap()
            .failure(ErrorClass::http(503));
    }
    let _ = breaker.try_acquire();
    Snapshot {
        breakers: registry.snapshot(),
        ..Snapshot::of_nothing("payments-api")
    }
}

#[test]
fn the_runbooks_names_are_there_to_the_letter() {
    let text = render(&snapshot());
    for line in [
        "circuit_breaker_state{service=\"payment_api\"} 2",
        "circuit_breaker_slow_calls_running{service=\"payment_api\"} 0",
        "circuit_breaker_failures_total{service=\"payment_api\"} 20",
        "circuit_breaker_calls_total{service=\"payment_api\",outcome=\"rejected\"} 1",
        "circuit_breaker_transitions_total{service=\"payment_api\",from=\"CLOSED\",to=\"OPEN\",cause=\"failure_rate\"} 1",
        "circuit_breaker_call_duration_seconds_count{service=\"payment_api\"} 20",
        "circuit_breaker_call_duration_seconds_bucket{service=\"payment_api\",le=\"+Inf\"} 20",
        "build_info{service=\"payments-api\",version=\"0\"} 1",
    ] {
        assert!(
            text.lines().any(|l| l == line),
            "{line} is missing in:\n{text}"
        );
    }
}

#[test]
fn each_breaker_has_one_state_series_whatever_its_state() {
    let text = render(&snapshot());
    let series = text
        .lines()
        .filter(|l| l.starts_with("circuit_breaker_state{"))
        .count();
    assert_eq!(series, 1);
}

#[test]
fn an_override_is_one_series_of_its_kind_while_it_is_set_and_none_without_it() {
    let registry = Registry::new();
    let breaker = registry.get_or_create("payment_api", &BreakerConfig::default());
    let rendered = || {
        let text = render(&Snapshot {
            breakers: registry.snapshot(),
            ..Snapshot::of_nothing("payments-api")
        });
        let line = |name: &str| {
            let lines = text.lines().filter(|line| line.starts_with(name));
            lines.map(str::to_owned).collect::<Vec<_>>()
        };
        [
            line("circuit_breaker_override{"),
            line("circuit_breaker_state{"),
            line("circuit_breaker_computed_state{"),
        ]
    };
    let one = |name: &str, value: u8| vec![format!("{name}{{service=\"payment_api\"}} {value}")];
    let set = |kind: &str| {
        let labels = format!("service=\"payment_api\",kind=\"{kind}\"");
        vec![format!("circuit_breaker_override{{{labels}}} 1")]
    };
    let (state, computed) = ("circuit_breaker_state", "circuit_breaker_computed_state");
    assert_eq!(rendered(), [vec![], one(state, 0), one(computed, 0)]);

    let by = ByHand::default();
    for (kind, word, meets) in [
        (OverrideKind::ForcedOpen, "forced_open", 2),
        (OverrideKind::Disabled, "disabled", 0),
        (OverrideKind::MetricsOnly, "metrics_only", 0),
    ] {
        breaker.set_override(kind, None, &by).unwrap();
        let expected = [set(word), one(state, meets), one(computed, 0)];
        assert_eq!(rendered(), expected);
    }
    for _ in 0..20 {
        breaker.try_acquire().unwrap().failure(ErrorClass::TIMEOUT);
    }
    let expected = [set("metrics_only"), one(state, 0), one(computed, 2)];
    assert_eq!(rendered(), expected);
    breaker.enable(&by).unwrap();
    assert_eq!(rendered(), [vec![], one(state, 2), one(computed, 2)]);
}

#[test]
fn a_family_has_the_same_series_whatever_its_keys_are() {
    let registry = Registry::new();
    let config = BreakerConfig::default();
    let tenants = registry.keyed("tenants", &config, crate::KeyedConfig::default());
    let series = || {
        let snapshot = Snapshot {
            keyed: registry.keyed_snapshot(),
            ..Snapshot::of_nothing("payments-api")
        };
        let text = render(&snapshot);
        let of_family = |line: &&str| line.contains("service=\"tenants\"");
        let lines: Vec<_> = text.lines().filter(of_family).map(str::to_owned).collect();
        lines
    };
    let before = series();
    for key in 0..100 {
        let breaker = tenants.get(format!("tenant-{key}"));
        while let Ok(permit) = breaker.try_acquire() {
            permit.failure(ErrorClass::TIMEOUT);
        }
    }
    let after = series();
    assert_eq!(after.len(), before.len());
    for line in [
        "circuit_breaker_keyed{service=\"tenants\",state=\"OPEN\"} 100",
        "circuit_breaker_keyed{service=\"tenants\",state=\"CLOSED\"} 0",
        "circuit_breaker_keyed_evicted_total{service=\"tenants\"} 0",
        "circuit_breaker_keyed_overflowed_total{service=\"tenants\"} 0",
        "circuit_breaker_failures_total{service=\"tenants\"} 2000",
        "circuit_breaker_calls_total{service=\"tenants\",outcome=\"rejected\"} 100",
    ] {
        assert!(
            after.iter().any(|l| l == line),
            "{line} is missing: {after:#?}"
        );
    }
    assert!(!after.iter().any(|line| line.contains("tenant-")));
}

#[test]
fn a_breaker_and_a_family_of_one_name_are_one_series() {
    let mut snapshot = snapshot();
    let registry = Registry::new();
    let config = BreakerConfig::default();
    let family = registry.keyed("payment_api", &config, crate::KeyedConfig::default());
    let permit = family.get("a").try_acquire().unwrap();
    permit.failure(ErrorClass::TIMEOUT);
    snapshot.keyed = registry.keyed_snapshot();
    let text = render(&snapshot);
    let series: Vec<_> = text
        .lines()
        .filter(|l| l.starts_with("circuit_breaker_failures_total{"))
        .collect();
    let one = "circuit_breaker_failures_total{service=\"payment_api\"} 21";
    assert_eq!(series, [one]);
}

#[test]
fn a_registry_takes_the_collector_and_gathers_the_same() {
    let registry = prometheus::Registry::new();
    registry
        .register(Box::new(SnapshotCollector::new(snapshot)))
        .unwrap();
    let names: Vec<_> = registry
        .gather()
        .iter()
        .map(|f| f.name().to_owned())
        .collect();
    assert!(
        names.contains(&"circuit_breaker_state".to_owned()),
        "{names:?}"
    );
}

#[test]
fn counts_that_no_process_reaches_are_shown_at_their_limit() {
    let mut snapshot = snapshot();
    snapshot.breakers[0].durations.counts = vec![u64::MAX; 12];
    let line =
        "circuit_breaker_call_duration_seconds_count{service=\"payment_api\"} 18446744073709552000";
    assert!(render(&snapshot).lines().any(|l| l == line));
}

#[test]
fn a_pool_has_all_its_families_and_no_label_but_its_name() {
    let totals = PoolTotals {
        checkouts: 1,
        timeouts: 2,
        leaks: 3,
        dials: 4,
        dial_failures: 5,
        recycled: 6,
        cancelled: 7,
        cleaned: 8,
        slow_queries: 9,
        repeated_queries: 10,
    };
    let durations = |first: u64| {
        let mut counts = vec![0; PoolDurations::BOUNDS.len() + 1];
        (counts[0], counts[14]) = (first, 1);
        PoolDurations {
            counts,
            sum_seconds: 12.5,
        }
    };
    let pool = PoolSnapshot {
        name: "main".into(),
        size: 30,
        open: 12,
        in_use: 11,
        idle: 1,
        waiting: 5,
        totals,
        wait: durations(1),
        usage: durations(2),
        connect: durations(3),
        query: durations(4),
        ..PoolSnapshot::default()
    };
    let text = |server| {
        render(&Snapshot {
            pools: vec![PoolSnapshot {
                server,
                ..pool.clone()
            }],
            ..Snapshot::of_nothing("payments-api")
        })
    };
    let up = text(ServerState::Up);
    for line in [
        "db_connection_pool_size{pool=\"main\"} 30",
        "db_connection_pool_open{pool=\"main\"} 12",
        "db_connection_pool_in_use{pool=\"main\"} 11",
        "db_connection_pool_idle{pool=\"main\"} 1",
        "db_connection_pool_waiting{pool=\"main\"} 5",
        "db_connection_pool_up{pool=\"main\"} 1",
        "db_connection_pool_timeouts_total{pool=\"main\"} 2",
        "db_connection_pool_leaks_total{pool=\"main\"} 3",
        "db_connection_pool_dials_total{pool=\"main\"} 4",
        "db_connection_pool_dial_failures_total{pool=\"main\"} 5",
        "db_connection_pool_recycled_total{pool=\"main\"} 6",
        "db_cancelled_queries_total{pool=\"main\"} 7",
        "db_connection_pool_cleaned_total{pool=\"main\"} 8",
        "db_slow_queries_total{pool=\"main\"} 9",
        "db_repeated_queries_total{pool=\"main\"} 10",
        "db_connection_pool_wait_seconds_bucket{pool=\"main\",le=\"0.0005\"} 1",
        "db_connection_pool_wait_seconds_bucket{pool=\"main\",le=\"10\"} 1",
        "db_connection_pool_wait_seconds_bucket{pool=\"main\",le=\"+Inf\"} 2",
        "db_connection_pool_use_seconds_count{pool=\"main\"} 3",
        "db_connection_pool_connect_seconds_sum{pool=\"main\"} 12.5",
        "db_query_duration_seconds_count{pool=\"main\"} 5",
    ] {
        assert!(up.lines().any(|l| l == line), "{line} is missing in:\n{up}");
    }
    for (server, shown) in [(ServerState::Unknown, 1), (ServerState::Down, 0)] {
        let line = format!("db_connection_pool_up{{pool=\"main\"}} {shown}");
        assert!(text(server).lines().any(|l| l == line), "{line}");
    }
    let before = Snapshot {
        pools: vec![PoolSnapshot::default()],
        ..Snapshot::of_nothing("payments-api")
    };
    assert!(!render(&before).contains("db_query_duration_seconds"));
}

#[test]
fn a_fallback_has_all_its_families_and_no_label_but_its_name_and_the_source() {
    let mut ages = vec![0; AgeHistogram::BOUNDS.len() + 1];
    (ages[2], ages[10]) = (4, 1);
    let mut fallback = FallbackSnapshot {
        name: "rates".into(),
        enabled: true,
        responses: FallbackResponses {
            live: 1,
            fresh: 2,
            stale: 3,
            miss: 4,
            dead: 5,
            fixed: 6,
            other: 7,
        },
        age: AgeHistogram {
            counts: ages,
            sum_seconds: 12.5,
        },
        cache: CacheSnapshot {
            entries: 8,
            bytes: 9,
            evictions: 10,
            coalesced: 11,
            ..CacheSnapshot::default()
        },
        unreadable: 12,
        ..FallbackSnapshot::default()
    };
    let text = |fallback: &FallbackSnapshot| {
        render(&Snapshot {
            fallbacks: vec![fallback.clone()],
            ..Snapshot::of_nothing("payments-api")
        })
    };
    let on = text(&fallback);
    for line in [
        "fallback_responses_total{service=\"rates\",source=\"live\"} 1",
        "fallback_responses_total{service=\"rates\",source=\"fresh\"} 2",
        "fallback_responses_total{service=\"rates\",source=\"stale\"} 3",
        "fallback_responses_total{service=\"rates\",source=\"miss\"} 4",
        "fallback_responses_total{service=\"rates\",source=\"dead\"} 5",
        "fallback_responses_total{service=\"rates\",source=\"static\"} 6",
        "fallback_responses_total{service=\"rates\",source=\"service\"} 7",
        "fallback_age_seconds_bucket{service=\"rates\",le=\"60\"} 4",
        "fallback_age_seconds_bucket{service=\"rates\",le=\"604800\"} 4",
        "fallback_age_seconds_count{service=\"rates\"} 5",
        "fallback_age_seconds_sum{service=\"rates\"} 12.5",
        "fallback_enabled{service=\"rates\"} 1",
        "fallback_cache_entries{service=\"rates\"} 8",
        "fallback_cache_bytes{service=\"rates\"} 9",
        "fallback_cache_evictions_total{service=\"rates\"} 10",
        "fallback_coalesced_total{service=\"rates\"} 11",
        "fallback_unreadable_total{service=\"rates\"} 12",
    ] {
        assert!(on.lines().any(|l| l == line), "{line} is missing in:\n{on}");
    }
    assert!(!on.contains("fallback_switched_by_hand{"));
    fallback.enabled = false;
    fallback.switched = Some(SwitchSnapshot {
        actor: None,
        reason: None,
        since: jiff::Timestamp::UNIX_EPOCH,
    });
    let off = text(&fallback);
    for line in [
        "fallback_enabled{service=\"rates\"} 0",
        "fallback_switched_by_hand{service=\"rates\"} 1",
    ] {
        assert!(
            off.lines().any(|l| l == line),
            "{line} is missing in:\n{off}"
        );
    }
}

#[test]
fn a_store_has_all_its_families_and_never_says_where_it_is() {
    let store = StoreSnapshot {
        kind: "redis".into(),
        place: "10.0.0.7:6379".into(),
        up: false,
        read_hits: 1,
        read_misses: 2,
        read_failures: 3,
        unreadable: 4,
        written: 5,
        not_written: 6,
        pending: 7,
        shadow_reads: 9,
        shadow_failures: 1,
        ..StoreSnapshot::default()
    };
    let text = render(&Snapshot {
        stores: vec![store],
        ..Snapshot::of_nothing("payments-api")
    });
    for line in [
        "fallback_store_up{store=\"redis\"} 0",
        "fallback_store_reads_total{store=\"redis\",result=\"hit\"} 1",
        "fallback_store_reads_total{store=\"redis\",result=\"miss\"} 2",
        "fallback_store_reads_total{store=\"redis\",result=\"failed\"} 3",
        "fallback_store_reads_total{store=\"redis\",result=\"unreadable\"} 4",
        "fallback_store_writes_total{store=\"redis\",result=\"written\"} 5",
        "fallback_store_writes_total{store=\"redis\",result=\"failed\"} 6",
        "fallback_store_pending{store=\"redis\"} 7",
        "fallback_store_shadow_reads_total{store=\"redis\",result=\"passed\"} 8",
        "fallback_store_shadow_reads_total{store=\"redis\",result=\"failed\"} 1",
    ] {
        assert!(
            text.lines().any(|l| l == line),
            "{line} is missing in:\n{text}"
        );
    }
    assert!(!text.contains("10.0.0.7"));
}
