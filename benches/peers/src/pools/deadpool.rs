//! deadpool-postgres with its default way to recycle, the least that a pool in
//! Rust does.

use std::{fmt, hint::black_box};

use deadpool_postgres::{Client, Manager, ManagerConfig, Pool, RecyclingMethod};
use tokio_postgres::NoTls;

use super::{Session, Subject, WORKS};

/// deadpool-postgres.
#[derive(Clone, Debug)]
pub struct Deadpool(Pool);

impl Subject for Deadpool {
    type Session = DeadpoolSession;

    fn build(url: &str, size: Option<u32>) -> Self {
        let config = url.parse().expect("the server's URL is one");
        let recycling_method = RecyclingMethod::Fast;
        let manager = Manager::from_config(config, NoTls, ManagerConfig { recycling_method });
        let mut pool = Pool::builder(manager);
        if let Some(size) = size {
            pool = pool.max_size(size as usize);
        }
        Self(pool.build().expect("no timeout that would need a runtime"))
    }

    async fn get(&self) -> DeadpoolSession {
        DeadpoolSession(self.0.get().await.expect(WORKS))
    }
}

/// A connection of [`Deadpool`].
pub struct DeadpoolSession(Client);

impl fmt::Debug for DeadpoolSession {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("DeadpoolSession").finish()
    }
}

impl Session for DeadpoolSession {
    async fn select_one(&mut self) {
        let statement = self.0.prepare_cached("SELECT 1").await.expect(WORKS);
        black_box(self.0.query_one(&statement, &[]).await.expect(WORKS));
    }
}
