//! The database asked about itself over a connection of the pool.

use std::time::Duration;

use resilience_core::pool::diagnosis::{DiagnosisError, Limit, Terminate};

use super::support::{ask, pid, pool, postgres, until};

#[tokio::test]
async fn a_pool_tells_what_its_database_is_at_and_the_connection_is_clean_afterwards() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 2, max_overflow: 0");
    let busy = pool.get().await.unwrap();
    let pid_of_busy = pid(&busy).await;
    let line = line!() + 1;
    let questions = pool.diagnosis().await.unwrap().limit(Limit::MOST);
    let place = format!("diagnosis.rs:{line}");
    let holders = pool.snapshot().holders;
    assert!(
        holders.iter().any(|holder| holder.place.ends_with(&place)),
        "{holders:?}"
    );

    let sleeping = tokio::spawn(async move { busy.execute("SELECT pg_sleep(60)", &[]).await });
    until("it is seen", async || {
        let active = questions.activity().await.unwrap().rows;
        active.iter().any(|one| one.pid == pid_of_busy)
    })
    .await;
    let ended = questions
        .terminate(Terminate::Pid(pid_of_busy), false)
        .await;
    assert_eq!(ended.unwrap().backends.len(), 1);
    assert!(sleeping.await.unwrap().is_err());
    assert!(questions.locks().await.unwrap().rows.is_empty());

    let [holder] = &pool.snapshot().holders[..] else {
        panic!("the other one is gone");
    };
    let asked_on = holder.backend_pid.unwrap();
    drop(questions);
    until("it is back", async || pool.snapshot().idle == 1).await;
    let next = pool.get().await.unwrap();
    assert_eq!(pid(&next).await, asked_on);
    let path: String = ask(&next, "SHOW search_path").await;
    assert_eq!(path, "\"$user\", public");
}

#[tokio::test]
async fn a_connection_on_which_an_answer_is_outstanding_is_closed() {
    let postgres = postgres().await;
    let pool = pool(&postgres, "pool_size: 1, max_overflow: 0");
    let before = pid(&pool.get().await.unwrap()).await;
    let questions = pool.diagnosis().await.unwrap();
    postgres.freeze();
    let error = questions.idle(Duration::ZERO).await.unwrap_err();
    assert!(matches!(error, DiagnosisError::Silent), "{error}");
    postgres.thaw();
    drop(questions);
    let next = pool.get().await.unwrap();
    assert_ne!(pid(&next).await, before);
}
