//! sqlx in its default settings: it tests a connection before it hands it out.

use sqlx::{
    AssertSqlSafe, PgPool, Postgres, Row,
    pool::PoolConnection,
    postgres::{PgConnectOptions, PgPoolOptions},
};

use super::{Failure, Plan, Session, Subject};

#[derive(Clone)]
pub(crate) struct Sqlx(PgPool);

impl Subject for Sqlx {
    type Session = SqlxSession;

    const NAME: &'static str = "sqlx";

    fn build(plan: &Plan) -> Result<Self, Failure> {
        let options: PgConnectOptions = plan.url.parse().map_err(|error| Failure::new(&error))?;
        let pool = PgPoolOptions::new()
            .max_connections(plan.size)
            .acquire_timeout(plan.patience)
            .connect_lazy_with(options);
        Ok(Self(pool))
    }

    async fn get(&self) -> Result<SqlxSession, Failure> {
        let connection = self.0.acquire().await;
        connection
            .map(SqlxSession)
            .map_err(|error| Failure::new(&error))
    }
}

pub(crate) struct SqlxSession(PoolConnection<Postgres>);

// Raw statements, so that none is prepared under a name and kept: the programs
// make them up as they go.
impl Session for SqlxSession {
    async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        let done = sqlx::raw_sql(AssertSqlSafe(sql))
            .execute(&mut *self.0)
            .await;
        done.map(drop).map_err(|error| Failure::new(&error))
    }

    async fn ask(&mut self, sql: &str) -> Result<String, Failure> {
        let row = sqlx::raw_sql(AssertSqlSafe(sql))
            .fetch_one(&mut *self.0)
            .await;
        row.and_then(|row| row.try_get(0))
            .map_err(|error| Failure::new(&error))
    }
}
