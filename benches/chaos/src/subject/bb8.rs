//! bb8-postgres in its default settings: it tests a connection before it hands
//! it out.

use bb8::{Pool, PooledConnection};
use bb8_postgres::PostgresConnectionManager;
use tokio_postgres::NoTls;

use super::{Failure, Plan, Session, Subject};

type Manager = PostgresConnectionManager<NoTls>;

#[derive(Clone)]
pub(crate) struct Bb8(Pool<Manager>);

impl Subject for Bb8 {
    type Session = Bb8Session;

    const NAME: &'static str = "bb8";

    fn build(plan: &Plan) -> Result<Self, Failure> {
        let manager =
            Manager::new_from_stringlike(&plan.url, NoTls).map_err(|error| Failure::new(&error))?;
        let pool = Pool::builder()
            .max_size(plan.size)
            .connection_timeout(plan.patience)
            .build_unchecked(manager);
        Ok(Self(pool))
    }

    async fn get(&self) -> Result<Bb8Session, Failure> {
        let client = self.0.get_owned().await;
        client.map(Bb8Session).map_err(|error| Failure::new(&error))
    }
}

pub(crate) struct Bb8Session(PooledConnection<'static, Manager>);

impl Session for Bb8Session {
    async fn run(&mut self, sql: &str) -> Result<(), Failure> {
        let done = self.0.batch_execute(sql).await;
        done.map_err(|error| Failure::new(&error))
    }

    async fn ask(&mut self, sql: &str) -> Result<String, Failure> {
        let answer = self.0.query_one(sql, &[]).await;
        answer
            .and_then(|row| row.try_get(0))
            .map_err(|error| Failure::new(&error))
    }
}
