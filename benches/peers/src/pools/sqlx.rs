//! sqlx, which pings a connection before it hands it out and takes it back in a
//! task of its own.

use std::hint::black_box;

use sqlx::{
    PgPool, Postgres,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Session, Subject, WORKS};

/// sqlx's pool.
#[derive(Clone, Debug)]
pub struct Sqlx(PgPool);

impl Subject for Sqlx {
    type Session = SqlxSession;

    fn build(url: &str, size: Option<u32>) -> Self {
        let options: PgConnectOptions = url.parse().expect("the server's URL is one");
        let mut pool = PgPoolOptions::new();
        if let Some(size) = size {
            pool = pool.max_connections(size);
        }
        Self(pool.connect_lazy_with(options))
    }

    async fn get(&self) -> SqlxSession {
        SqlxSession(self.0.acquire().await.expect(WORKS))
    }
}

/// A connection of [`Sqlx`].
#[derive(Debug)]
pub struct SqlxSession(PoolConnection<Postgres>);

impl Session for SqlxSession {
    async fn select_one(&mut self) {
        let answer = sqlx::query_scalar::<_, i32>("SELECT 1");
        black_box(answer.fetch_one(&mut *self.0).await.expect(WORKS));
    }
}
