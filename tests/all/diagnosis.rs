//! What a real database says of itself.

use std::time::Duration;

use resilience_core::pool::diagnosis::{
    Diagnosis, DiagnosisError, EndOutcome, Limit, Refusal, SlowStatements, Terminate,
};
use resilience_examples::{PostgresOptions, TemporaryPostgres};
use resilience_tests::{
    client::{self, pid},
    lone::{SOON, eventually},
};
use tokio_postgres::{Client, Config, error::SqlState};

const MINUTE: Duration = Duration::from_secs(60);

async fn postgres(settings: &[(&str, &str)]) -> TemporaryPostgres {
    let settings = settings
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let options = PostgresOptions {
        settings,
        ..PostgresOptions::default()
    };
    TemporaryPostgres::start(options).await.unwrap()
}

/// A client that says who it is.
async fn connect(postgres: &TemporaryPostgres, application: &str) -> Client {
    connect_as(postgres, application, |_| {}).await
}

async fn connect_as(
    postgres: &TemporaryPostgres,
    application: &str,
    change: impl FnOnce(&mut Config),
) -> Client {
    let change = |config: &mut Config| change(config.application_name(application));
    client::connect(postgres, change).await
}

/// Sends it and does not wait for the answer.
fn send(client: Client, sql: &'static str) -> tokio::task::JoinHandle<Client> {
    tokio::spawn(async move {
        let _ = client.batch_execute(sql).await;
        client
    })
}

#[tokio::test]
async fn a_blocked_lock_is_named_with_who_blocks_it() {
    let postgres = postgres(&[]).await;
    let (us, holder, row) = (
        connect(&postgres, "us").await,
        connect(&postgres, "holder").await,
        connect(&postgres, "row").await,
    );
    let diagnosis = Diagnosis::new(&us);
    assert_eq!(diagnosis.locks().await.unwrap().rows, []);
    holder
        .batch_execute(
            "CREATE TABLE orders (id int PRIMARY KEY, total int);
             INSERT INTO orders VALUES (1, 1)",
        )
        .await
        .unwrap();
    // Apart: in one message the table would be part of the transaction.
    let update = "BEGIN; UPDATE orders SET total = 2 WHERE id = 1";
    holder.batch_execute(update).await.unwrap();
    let (holder_pid, row_pid) = (pid(&holder).await, pid(&row).await);
    let row = send(row, "UPDATE orders SET total = 3 WHERE id = 1");
    let blocked = eventually("the row's lock is waited for", SOON, async || {
        diagnosis.locks().await.unwrap().rows.pop()
    })
    .await;
    assert_eq!(
        (blocked.blocked_pid, blocked.blocking_pid),
        (row_pid, holder_pid)
    );
    assert_eq!(blocked.relation.as_deref(), Some("public.orders"));
    assert_eq!(
        (blocked.lock.as_str(), blocked.mode.as_str()),
        ("transactionid", "ShareLock")
    );
    assert_eq!(blocked.held_modes, ["ExclusiveLock"]);
    assert_eq!(blocked.blocking_application.as_deref(), Some("holder"));
    assert_eq!(
        blocked.blocking_state.as_deref(),
        Some("idle in transaction")
    );
    assert!(
        blocked
            .blocked_statement
            .unwrap()
            .starts_with("UPDATE orders SET total = 3")
    );
    assert!(blocked.waited_seconds.unwrap() < 60.0);
    assert!(!blocked.blocking_waits);

    // Who wants the whole table is behind both, and the second waits itself.
    let table = connect(&postgres, "table").await;
    let table_pid = pid(&table).await;
    let table = send(table, "BEGIN; LOCK TABLE orders");
    let rows = eventually("the table's lock is waited for", SOON, async || {
        let mut rows = diagnosis.locks().await.unwrap().rows;
        rows.retain(|lock| lock.blocked_pid == table_pid);
        (rows.len() == 2).then_some(rows)
    })
    .await;
    let behind = |blocker| {
        rows.iter()
            .find(|lock| lock.blocking_pid == blocker)
            .unwrap()
    };
    assert!(behind(row_pid).blocking_waits && !behind(holder_pid).blocking_waits);
    for blocker in [row_pid, holder_pid] {
        let lock = behind(blocker);
        assert_eq!(lock.mode, "AccessExclusiveLock");
        assert_eq!(lock.held_modes, ["RowExclusiveLock"]);
        assert_eq!(lock.relation.as_deref(), Some("public.orders"));
    }
    let active = diagnosis.activity().await.unwrap();
    let of = |pid| active.rows.iter().find(|active| active.pid == pid).unwrap();
    assert_eq!(active.rows.len(), 2, "the longest first: {active:?}");
    assert_eq!(active.rows[0].pid, row_pid);
    assert_eq!(of(row_pid).blocked_by, [holder_pid]);
    assert_eq!(of(row_pid).blocks, [table_pid]);
    assert_eq!(of(row_pid).wait_event_type.as_deref(), Some("Lock"));
    // The size of a table that somebody wants for himself is not waited for.
    let sizes = diagnosis.table_sizes().await.unwrap();
    assert!(
        sizes.rows[0].estimated && sizes.rows[0].table == "orders",
        "{sizes:?}"
    );

    holder.batch_execute("COMMIT").await.unwrap();
    drop((row.await.unwrap(), table.await.unwrap()));
}

#[tokio::test]
async fn a_backend_that_is_idle_in_a_transaction_is_a_leak_and_a_fresh_one_is_not() {
    let postgres = postgres(&[]).await;
    let us = connect(&postgres, "us").await;
    let leaky = connect(&postgres, "leaky").await;
    let _fresh = connect(&postgres, "fresh").await;
    leaky.batch_execute("BEGIN; SELECT 42").await.unwrap();
    let leaky_pid = pid(&leaky).await;
    let diagnosis = Diagnosis::new(&us);
    let leaks = eventually("a leak", SOON, async || {
        let leaks = diagnosis.leaks().await.unwrap();
        (!leaks.rows.is_empty()).then_some(leaks)
    })
    .await;
    assert_eq!(leaks.rows.len(), 1, "{leaks:?}");
    assert_eq!(leaks.rows[0].pid, leaky_pid);
    assert!(
        leaks.rows[0].why.starts_with("idle in transaction for "),
        "{leaks:?}"
    );
    assert_eq!(leaks.rows[0].application.as_deref(), Some("leaky"));
    assert_eq!(leaks.advice, None, "a superuser sees all");

    let connections = diagnosis.connections().await.unwrap();
    let group = |application: &str| {
        let of = |group: &&_| {
            let group: &resilience_core::pool::diagnosis::ConnectionGroup = group;
            group.application.as_deref() == Some(application)
        };
        connections.groups.rows.iter().find(of).cloned().unwrap()
    };
    assert_eq!(group("leaky").state.as_deref(), Some("idle in transaction"));
    assert_eq!(group("us").state.as_deref(), Some("active"));
    assert_eq!(group("fresh").wait_event.as_deref(), Some("ClientRead"));
    assert_eq!(
        (
            connections.max_connections,
            connections.reserved,
            connections.used
        ),
        (100, 3, 3)
    );
}

#[tokio::test]
async fn terminate_ends_exactly_that_backend_and_leaves_alone_what_is_not_its_to_end() {
    let postgres = postgres(&[]).await;
    let us = connect(&postgres, "us").await;
    let diagnosis = Diagnosis::new(&us);
    let (victim, bystander) = (
        connect(&postgres, "victim").await,
        connect(&postgres, "bystander").await,
    );
    let other = connect_as(&postgres, "other", |config| {
        config.dbname("template1");
    })
    .await;
    let victim_pid = pid(&victim).await;
    let end = async |whom, dry_run| {
        let mut ended = diagnosis.terminate(whom, dry_run).await.unwrap();
        assert_eq!(ended.database, "app");
        assert_eq!(ended.backends.len(), 1, "{ended:?}");
        ended.backends.pop().unwrap()
    };
    let cases = [
        (pid(&us).await, Refusal::Own),
        (pid(&other).await, Refusal::OtherDatabase),
        (i32::MAX, Refusal::NotFound),
        (-1, Refusal::NotFound),
    ];
    for (pid, refusal) in cases {
        let left = end(Terminate::Pid(pid), false).await;
        assert_eq!(
            (left.outcome, left.refusal),
            (EndOutcome::Refused, Some(refusal)),
            "{left:?}"
        );
    }
    let checkpointer = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'";
    let checkpointer: i32 = us.query_one(checkpointer, &[]).await.unwrap().get(0);
    let left = end(Terminate::Pid(checkpointer), false).await;
    assert_eq!(left.refusal, Some(Refusal::NotAClient));

    let rehearsed = end(Terminate::Pid(victim_pid), true).await;
    assert_eq!(rehearsed.outcome, EndOutcome::WouldEnd);
    assert_eq!(pid(&victim).await, victim_pid);
    let ended = end(Terminate::Pid(victim_pid), false).await;
    assert_eq!(ended.outcome, EndOutcome::Ended, "{ended:?}");
    assert!(
        ended.detail.contains("victim of postgres, idle for "),
        "{ended:?}"
    );
    assert!(victim.batch_execute("SELECT 1").await.is_err());
    for survivor in [&us, &bystander, &other] {
        survivor.batch_execute("SELECT 1").await.unwrap();
    }
}

#[tokio::test]
async fn only_those_idle_for_longer_are_listed_and_ended() {
    let postgres = postgres(&[]).await;
    let us = connect(&postgres, "us").await;
    let diagnosis = Diagnosis::new(&us);
    let (idle, held) = (
        connect(&postgres, "idle").await,
        connect(&postgres, "held").await,
    );
    held.batch_execute("BEGIN").await.unwrap();
    idle.batch_execute("SELECT 'the last one'").await.unwrap();
    assert_eq!(diagnosis.idle(MINUTE).await.unwrap().rows, []);
    let none = diagnosis.terminate(Terminate::IdleLongerThan(MINUTE), false);
    assert_eq!(none.await.unwrap().backends, []);

    let listed = diagnosis.idle(Duration::ZERO).await.unwrap();
    assert_eq!(listed.rows.len(), 1, "{listed:?}");
    assert_eq!(listed.rows[0].application.as_deref(), Some("idle"));
    assert_eq!(
        listed.rows[0].statement.as_deref(),
        Some("SELECT 'the last one'")
    );
    let ended = diagnosis.terminate(Terminate::IdleLongerThan(Duration::ZERO), false);
    let ended = ended.await.unwrap();
    assert_eq!((ended.ended, ended.backends.len()), (1, 1), "{ended:?}");
    assert!(idle.batch_execute("SELECT 1").await.is_err());
    held.batch_execute("COMMIT").await.unwrap();
}

#[tokio::test]
async fn a_plain_role_ends_no_superuser_and_is_told_what_it_does_not_see() {
    let postgres = postgres(&[]).await;
    let root = connect(&postgres, "root").await;
    root.batch_execute("CREATE ROLE plain LOGIN; CREATE ROLE other LOGIN")
        .await
        .unwrap();
    let as_role = |role: &'static str| {
        connect_as(&postgres, role, move |config| {
            config.user(role);
        })
    };
    let (us, twin, other) = (
        as_role("plain").await,
        as_role("plain").await,
        as_role("other").await,
    );
    let diagnosis = Diagnosis::new(&us);
    let end = async |pid| {
        let ended = diagnosis.terminate(Terminate::Pid(pid), false).await;
        let end = ended.unwrap().backends.pop().unwrap();
        (end.outcome, end.refusal)
    };
    let refused = |why| (EndOutcome::Refused, Some(why));
    assert_eq!(end(pid(&root).await).await, refused(Refusal::Superuser));
    assert_eq!(end(pid(&other).await).await, refused(Refusal::NotPermitted));
    let advice = diagnosis.activity().await.unwrap().advice.unwrap();
    assert!(advice.contains("GRANT pg_monitor TO plain"), "{advice}");
    // Its own role's, and with the right others', but never a superuser's.
    assert_eq!(end(pid(&twin).await).await, (EndOutcome::Ended, None));
    root.batch_execute("GRANT pg_monitor, pg_signal_backend TO plain")
        .await
        .unwrap();
    assert_eq!(diagnosis.activity().await.unwrap().advice, None);
    assert_eq!(end(pid(&other).await).await, (EndOutcome::Ended, None));
    assert_eq!(end(pid(&root).await).await, refused(Refusal::Superuser));
}

#[tokio::test]
async fn slow_statements_are_listed_or_it_is_said_how_to_have_them_counted() {
    let counting = postgres(&[]).await;
    let us = connect(&counting, "us").await;
    us.batch_execute("SELECT count(*) FROM generate_series(1, 50000)")
        .await
        .unwrap();
    let SlowStatements::Available(slow) = Diagnosis::new(&us).slow_statements().await.unwrap()
    else {
        panic!("pg_stat_statements is preloaded by TemporaryPostgres where it is installed");
    };
    let counted = slow.rows.iter().find(|one| {
        one.statement.as_deref() == Some("SELECT count(*) FROM generate_series($1, $2)")
    });
    let counted = counted.unwrap_or_else(|| panic!("{slow:?}"));
    assert!(counted.mean_ms > 0.0 && counted.calls == 1, "{counted:?}");
    assert!((0.0..=1.0).contains(&counted.share.unwrap()), "{counted:?}");
    assert!(
        slow.rows.is_sorted_by(|a, b| a.mean_ms >= b.mean_ms),
        "{slow:?}"
    );
    let json = serde_json::to_value(SlowStatements::Available(slow)).unwrap();
    assert_eq!(
        (&json["status"], &json["database"]),
        (&"available".into(), &"app".into())
    );

    // Counted, and this database has no view of it; then one in an odd schema.
    us.batch_execute("DROP EXTENSION pg_stat_statements")
        .await
        .unwrap();
    match Diagnosis::new(&us).slow_statements().await.unwrap() {
        SlowStatements::NotCreated { database, advice } => {
            assert_eq!(database, "app");
            assert!(
                advice.contains("CREATE EXTENSION pg_stat_statements"),
                "{advice}"
            );
        }
        other => panic!("{other:?}"),
    }
    us.batch_execute(
        "CREATE SCHEMA \"of ours\"; CREATE EXTENSION pg_stat_statements SCHEMA \"of ours\"",
    )
    .await
    .unwrap();
    let moved = Diagnosis::new(&us).slow_statements().await.unwrap();
    assert!(matches!(moved, SlowStatements::Available(_)), "{moved:?}");
    us.batch_execute(
        "DROP EXTENSION pg_stat_statements; CREATE EXTENSION pg_stat_statements VERSION '1.7'",
    )
    .await
    .unwrap();
    // A view that was not updated with its server has the names of before 13.
    let old = Diagnosis::new(&us).slow_statements().await;
    assert!(matches!(old, Ok(SlowStatements::Available(_))), "{old:?}");
}

#[tokio::test]
async fn a_server_that_counts_no_statements_says_how_to_make_it() {
    let postgres = postgres(&[("shared_preload_libraries", "")]).await;
    let us = connect(&postgres, "us").await;
    match Diagnosis::new(&us).slow_statements().await.unwrap() {
        SlowStatements::NotLoaded { database, advice } => {
            assert_eq!(database, "app");
            assert!(advice.contains("shared_preload_libraries"), "{advice}");
        }
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn tables_are_shown_with_their_size_and_why_an_index_may_be_missing() {
    let postgres = postgres(&[("autovacuum", "off")]).await;
    let us = connect(&postgres, "us").await;
    us.batch_execute(
        "CREATE TABLE users (id int PRIMARY KEY, email text);
         CREATE TABLE orders (id int PRIMARY KEY, user_id int REFERENCES users, email text, kind int);
         INSERT INTO users SELECT i, i || '@example.com' FROM generate_series(1, 300) i;
         INSERT INTO orders SELECT i, i % 50 + 1, i || '@example.com', i % 3
             FROM generate_series(1, 20000) i;
         DELETE FROM users WHERE id > 290;
         ANALYZE users; ANALYZE orders;",
    )
    .await
    .unwrap();
    for _ in 0..12 {
        us.query_one("SELECT count(*) FROM orders WHERE email = 'none'", &[])
            .await
            .unwrap();
    }
    let diagnosis = Diagnosis::new(&us);
    // A backend tells of what it did at most once a second.
    let missing = eventually("the reads are counted", SOON, async || {
        let missing = diagnosis.missing_indexes().await.unwrap();
        (!missing.tables.rows.is_empty()).then_some(missing)
    })
    .await;
    let [table] = &missing.tables.rows[..] else {
        panic!("{missing:?}");
    };
    assert_eq!((table.table.as_str(), table.rows), ("orders", 20_000));
    let went = "reads went through the table";
    assert!(table.why.contains(went), "{table:?}");
    let columns: Vec<_> = missing
        .columns
        .rows
        .iter()
        .map(|c| c.column.as_str())
        .collect();
    assert_eq!(columns, ["user_id", "email"], "{missing:?}");
    let [user_id, email] = &missing.columns.rows[..] else {
        panic!("{missing:?}");
    };
    assert_eq!(user_id.refers_to.as_deref(), Some("public.users"));
    assert!(user_id.why.contains("all 20,000 rows"), "{user_id:?}");
    assert_eq!((email.distinct_values, email.n_distinct), (20_000, -1.0));

    let sizes = diagnosis.table_sizes().await.unwrap();
    let names: Vec<_> = sizes.rows.iter().map(|size| size.table.as_str()).collect();
    assert_eq!(names, ["orders", "users"]);
    let orders = &sizes.rows[0];
    assert!(
        orders.total_bytes > orders.index_bytes && orders.index_bytes > 0,
        "{orders:?}"
    );
    assert!(
        orders.size.ends_with(" kB") && !orders.estimated,
        "{orders:?}"
    );
    assert_eq!((orders.indexes, sizes.rows[1].dead_rows), (1, Some(10)));
    assert!(orders.last_analyze.is_some());

    let one = diagnosis
        .limit(Limit::try_from(1).unwrap())
        .table_sizes()
        .await
        .unwrap();
    assert!(one.truncated && one.rows.len() == 1 && !sizes.truncated);
    us.batch_execute("CREATE INDEX ON orders (email); CREATE INDEX ON orders (user_id)")
        .await
        .unwrap();
    assert_eq!(diagnosis.missing_indexes().await.unwrap().columns.rows, []);
}

#[tokio::test]
async fn a_frozen_server_is_silent_in_time_and_a_dropped_question_leaves_no_transaction() {
    let postgres = postgres(&[]).await;
    let us = connect(&postgres, "us").await;
    let diagnosis = Diagnosis::new(&us);
    diagnosis.activity().await.unwrap();
    tokio::select! {
        biased;
        answer = diagnosis.connections() => panic!("nothing answers that fast: {answer:?}"),
        () = std::future::ready(()) => {} // asked, and not waited for
    }
    let outside = us.batch_execute("SAVEPOINT s").await.unwrap_err();
    assert_eq!(outside.code(), Some(&SqlState::NO_ACTIVE_SQL_TRANSACTION));

    postgres.freeze();
    let asked = std::time::Instant::now();
    let silent = diagnosis.locks().await;
    assert!(matches!(silent, Err(DiagnosisError::Silent)), "{silent:?}");
    assert!(asked.elapsed() < Duration::from_secs(10));
    postgres.thaw();
    eventually("it answers again", SOON, async || {
        diagnosis.locks().await.ok()
    })
    .await;
}
