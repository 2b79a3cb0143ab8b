//! What a user leaves behind in a session.

use resilience_core::pool::{Connection, Pool};

use super::support::{ask, pid, pool, postgres};

/// Fails unless the session is as a new one.
async fn assert_clean(pool: &Pool, session: i32, after: &str) {
    let connection = pool.get().await.unwrap();
    assert_eq!(pid(&connection).await, session, "{after}: the same session");
    let clean = "SELECT pg_current_xact_id_if_assigned() IS NULL
        AND current_setting('statement_timeout') = '30s'
        AND current_setting('work_mem') = '4MB'
        AND NOT EXISTS (SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
        AND NOT EXISTS (SELECT FROM pg_listening_channels())
        AND NOT EXISTS (SELECT FROM pg_cursors WHERE name = 'left_behind')
        AND to_regclass('pg_temp.left_behind') IS NULL
        AND current_user = session_user";
    assert!(ask::<bool>(&connection, clean).await, "{after}");
    // Each statement in a transaction of its own has a later time.
    let at = "SELECT extract(epoch FROM now())::float8";
    assert!(
        ask::<f64>(&connection, at).await < ask::<f64>(&connection, at).await,
        "{after}"
    );
}

async fn leave(pool: &Pool, what: impl AsyncFnOnce(&mut Connection)) -> i32 {
    let mut connection = pool.get().await.unwrap();
    let session = pid(&connection).await;
    what(&mut connection).await;
    session
}

#[tokio::test]
async fn nothing_of_it_is_there_for_the_next_user() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    for left in [
        "BEGIN",
        "BEGIN; CREATE TABLE never (id int)",
        "START TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SET statement_timeout = '1s'",
        "SET work_mem = '64MB'",
        "SELECT set_config('work_mem', '32MB', false)",
        "LISTEN news",
        "CREATE TEMP TABLE left_behind (id int)",
        "SELECT pg_advisory_lock(7)",
        "BEGIN; DECLARE left_behind CURSOR FOR SELECT 1",
        "BEGIN; DECLARE left_behind CURSOR WITH HOLD FOR SELECT 1; COMMIT",
        "CREATE ROLE other; SET ROLE other",
        "/* in */ -- hiding\n begin",
    ] {
        let session = leave(&pool, async |connection| {
            connection.batch_execute(left).await.unwrap();
        })
        .await;
        assert_clean(&pool, session, left).await;
    }
    assert!(pool.snapshot().totals.cleaned >= 13);
}

#[tokio::test]
async fn a_transaction_that_failed_is_over_for_the_next_user() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let session = leave(&pool, async |connection| {
        connection.batch_execute("BEGIN").await.unwrap();
        connection.batch_execute("SELECT 1 / 0").await.unwrap_err();
    })
    .await;
    assert_clean(&pool, session, "a failed transaction").await;
}

#[tokio::test]
async fn a_transaction_that_is_dropped_is_rolled_back_and_one_that_is_committed_stays() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let session = leave(&pool, async |connection| {
        connection
            .batch_execute("CREATE TABLE kept (id int)")
            .await
            .unwrap();
        let transaction = connection.transaction().await.unwrap();
        transaction
            .execute("INSERT INTO kept VALUES (1)", &[])
            .await
            .unwrap();
        transaction.commit().await.unwrap();
        let mut transaction = connection.transaction().await.unwrap();
        transaction
            .execute("INSERT INTO kept VALUES (2)", &[])
            .await
            .unwrap();
        let inner = transaction.transaction().await.unwrap();
        inner
            .execute("INSERT INTO kept VALUES (3)", &[])
            .await
            .unwrap();
        drop(inner);
        // The savepoint alone is undone.
        let count = "SELECT count(*) FROM kept";
        assert_eq!(ask::<i64>(&transaction, count).await, 2);
        drop(transaction);
        assert_eq!(ask::<i64>(connection, count).await, 1);
        let mut transaction = connection.transaction().await.unwrap();
        let inner = transaction.transaction().await.unwrap();
        inner
            .execute("INSERT INTO kept VALUES (4)", &[])
            .await
            .unwrap();
        inner.commit().await.unwrap();
        transaction.commit().await.unwrap();
        let unfinished = connection.transaction().await.unwrap();
        unfinished
            .execute("INSERT INTO kept VALUES (5)", &[])
            .await
            .unwrap();
    })
    .await;
    assert_clean(&pool, session, "transactions").await;
    let connection = pool.get().await.unwrap();
    let ids = "SELECT string_agg(id::text, ',' ORDER BY id) FROM kept";
    assert_eq!(ask::<String>(&connection, ids).await, "1,4");
}

#[tokio::test]
async fn a_session_with_a_prepared_statement_of_its_own_is_replaced() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let before = leave(&pool, async |connection| {
        connection
            .batch_execute("PREPARE mine AS SELECT 1")
            .await
            .unwrap();
    })
    .await;
    let after = leave(&pool, async |connection| {
        connection
            .batch_execute("PREPARE mine AS SELECT 2")
            .await
            .unwrap();
    })
    .await;
    assert_ne!(before, after);
}

#[tokio::test]
async fn what_is_done_on_the_client_underneath_is_cleaned_too() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let session = leave(&pool, async |connection| {
        connection.raw().batch_execute("BEGIN").await.unwrap();
    })
    .await;
    assert_clean(&pool, session, "raw").await;
}

#[tokio::test]
async fn statements_stay_prepared_over_a_cleaning() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let sql = "SELECT $1::int + 1";
    for number in 0..3 {
        let connection = pool.get().await.unwrap();
        let statement = connection.prepare_cached(sql).await.unwrap();
        let row = connection.query_one(&statement, &[&number]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), number + 1);
        connection
            .batch_execute("SET work_mem = '64MB'")
            .await
            .unwrap();
    }
}

/// What it leaves is known of it from when it was prepared, also to the user who finds it.
#[tokio::test]
async fn a_statement_that_is_found_prepared_leaves_no_traces_either() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let sql = "SELECT set_config('application_name', 'changed', false)";
    for _ in 0..3 {
        let connection = pool.get().await.unwrap();
        let name = connection.query_one("SHOW application_name", &[]);
        assert_ne!(name.await.unwrap().get::<_, &str>(0), "changed");
        let statement = connection.prepare_cached(sql).await.unwrap();
        connection.query_one(&statement, &[]).await.unwrap();
    }
}

#[tokio::test]
async fn no_more_than_a_thousand_statements_stay_prepared_on_a_connection() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let connection = pool.get().await.unwrap();
    for number in 0..1_010 {
        let sql = format!("SELECT {number}");
        let statement = connection.prepare_cached(&sql).await.unwrap();
        let row = connection.query_one(&statement, &[]).await.unwrap();
        assert_eq!(row.get::<_, i32>(0), number);
    }
    let count = "SELECT count(*) FROM pg_prepared_statements WHERE statement ~ '^SELECT [0-9]+$'";
    let row = connection.query_one(count, &[]).await.unwrap();
    assert_eq!(row.get::<_, i64>(0), 1_000);
}
