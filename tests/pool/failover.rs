//! Two servers behind one URL.

use resilience_core::pool::Pool;

use super::support::{ask, config, observer, postgres, until};

#[tokio::test]
async fn a_rolling_restart_of_two_servers_behind_one_url_leaves_the_pool_on_the_one_that_writes() {
    let (mut one, mut two) = (postgres().await, postgres().await);
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/app?target_session_attrs=read-write",
        one.port(),
        two.port()
    );
    let settings = "pool_size: 2, pool_timeout: 20s, connect_timeout: 2s";
    let pool = Pool::new("test", &url, &config(settings)).unwrap();
    // A connection whose end has not been seen yet may cost a statement.
    let moves_to = async |port: &str| {
        until("it moves", async || {
            let connection = pool.get().await.unwrap();
            let asked = connection.query_one("SELECT current_setting('port')", &[]);
            asked.await.is_ok_and(|row| row.get::<_, String>(0) == port)
        })
        .await;
    };
    let (first, second) = (one.port().to_string(), two.port().to_string());
    moves_to(&first).await;
    one.kill();
    moves_to(&second).await;
    one.restart().await.unwrap();
    two.kill();
    moves_to(&first).await;
    two.restart().await.unwrap();
    moves_to(&first).await;
}

#[tokio::test]
async fn a_server_that_only_reads_is_passed_over() {
    let (one, two) = (postgres().await, postgres().await);
    let setter = observer(&one).await;
    let only_reads = "ALTER SYSTEM SET default_transaction_read_only = on";
    setter.batch_execute(only_reads).await.unwrap();
    setter
        .batch_execute("SELECT pg_reload_conf()")
        .await
        .unwrap();
    until("it only reads", async || {
        let fresh = observer(&one).await;
        let row = fresh.query_one("SHOW transaction_read_only", &[]).await;
        row.unwrap().get::<_, String>(0) == "on"
    })
    .await;
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/app?target_session_attrs=read-write",
        one.port(),
        two.port()
    );
    let pool = Pool::new("test", &url, &config("pool_size: 1")).unwrap();
    let connection = pool.get().await.unwrap();
    let port: String = ask(&connection, "SELECT current_setting('port')").await;
    assert_eq!(port, two.port().to_string());
}
