//! deadpool-postgres, with its default way to recycle (`Fast`) and a limit to
//! the wait, which it has none of by default.

use deadpool_postgres::{
    Client, Manager, ManagerConfig, Pool, RecyclingMethod, Runtime, tokio_postgres::NoTls,
};

use super::{Failure, NotSupported, Plan, Session, Subject};

#[derive(Clone)]
pub(crate) struct Deadpool(Pool);

impl Subject for Deadpool {
    type Session = DeadpoolSession;

    const NAME: &'static str = "deadpool";

    fn build(plan: &Plan) -> Result<Self, Failure> {
        let config: tokio_postgres::Config =
            plan.url.parse().map_err(|error| Failure::new(&error))?;
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
        Pool::builder(manager)
            .max_size(plan.size as usize)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(plan.patience))
            .build()
            .map(Self)
            .map_err(|error| Failure::new(&error))
    }

    async fn get(&self) -> Result<DeadpoolSession, Failure> {
        let client = self.0.get().await;
        client
            .map(DeadpoolSession)
            .map_err(|error| Failure::new(&error))
    }

    fn resize(&self, size: u32) -> Result<(), NotSupported> {
        self.0.resize(size as usize);
        Ok(())
    }
}

pub(crate) struct DeadpoolSession(Client);

impl Session for DeadpoolSession {
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
