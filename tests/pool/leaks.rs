//! Connections that are not given back.

use super::support::{pool, postgres, until};

#[tokio::test]
async fn one_that_is_held_for_long_is_found_with_its_place_and_its_last_statement() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 2, leak_threshold: 100ms");
    let line = line!() + 1;
    let held = pool.get().await.unwrap();
    held.query("SELECT 'a secret', 42", &[]).await.unwrap();
    until("it is reported", async || pool.snapshot().totals.leaks == 1).await;
    let snapshot = pool.snapshot();
    let [holder] = &snapshot.holders[..] else {
        panic!("{snapshot:?}");
    };
    assert!(
        holder.place.ends_with(&format!("leaks.rs:{line}")),
        "{holder:?}"
    );
    assert!(holder.suspected_leak && holder.held_ms >= 100, "{holder:?}");
    assert_eq!(holder.last_sql.as_deref(), Some("SELECT ?"));
    assert!(!holder.busy && holder.backend_pid.is_some());
    drop(held);
    assert!(pool.snapshot().holders.is_empty());
}

#[tokio::test]
async fn one_that_is_forgotten_is_found_too() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 2, leak_threshold: 100ms");
    std::mem::forget(pool.get().await.unwrap());
    until("it is reported", async || pool.snapshot().totals.leaks == 1).await;
    assert!(pool.snapshot().holders[0].suspected_leak);
}

#[tokio::test]
async fn and_one_in_a_task_that_is_stuck() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 2, leak_threshold: 100ms");
    let stuck = tokio::spawn({
        let pool = pool.clone();
        async move {
            let _held = pool.get().await.unwrap();
            std::future::pending::<()>().await;
        }
    });
    until("it is reported", async || pool.snapshot().totals.leaks == 1).await;
    stuck.abort();
    until("it is back", async || pool.snapshot().in_use == 0).await;
}
