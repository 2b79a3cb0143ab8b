//! resilience-core's pool.

use resilience_core::{config::Config, pool::Pool};

use super::{Failure, Plan, Session, Subject};

/// What the pool hands out.
type Connection = deadpool_postgres::Client;

#[derive(Clone)]
pub(crate) struct Ours(Pool);

impl Subject for Ours {
    type Session = OurSession;

    const NAME: &'static str = "ours";

    fn build(plan: &Plan) -> Result<Self, Failure> {
        let mut yaml = format!(
            "database:\n  pool_size: {}\n  max_overflow: 0\n  pool_timeout: {}ms\n",
            plan.size,
            plan.patience.as_millis(),
        );
        if let Some(deadline) = plan.query_deadline {
            yaml += &format!("  query_timeout: {}ms\n", deadline.as_millis());
        }
        let config = Config::parse("chaos", yaml, []).map_err(|error| Failure::new(&error))?;
        Pool::new("chaos", &plan.url, config.database())
            .map(Self)
            .map_err(|error| Failure::new(&error))
    }

    async fn get(&self) -> Result<OurSession, Failure> {
        let connection = self.0.get().await;
        connection
            .map(OurSession)
            .map_err(|error| Failure::new(&error))
    }
}

pub(crate) struct OurSession(Connection);

impl Session for OurSession {
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
