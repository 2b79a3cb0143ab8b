//! resilience-core's pool, with everything on.

use std::hint::black_box;

use resilience_core::{
    config::Config,
    pool::{Connection, Pool},
};

use super::{Session, Subject, WORKS};

/// resilience-core's pool.
#[derive(Clone, Debug)]
pub struct Ours(Pool);

impl Subject for Ours {
    type Session = OurSession;

    fn build(url: &str, size: Option<u32>) -> Self {
        let yaml = size.map_or_else(String::new, |size| {
            format!("database:\n  pool_size: {size}\n  max_overflow: 0\n")
        });
        let config = Config::parse("bench", yaml, []).expect("every size is allowed");
        Self(Pool::new("bench", url, config.database()).expect("the server's URL is one"))
    }

    async fn get(&self) -> OurSession {
        OurSession(self.0.get().await.expect(WORKS))
    }
}

/// A connection of [`Ours`].
#[derive(Debug)]
pub struct OurSession(Connection);

impl Session for OurSession {
    async fn select_one(&mut self) {
        let statement = self.0.prepare_cached("SELECT 1").await.expect(WORKS);
        black_box(self.0.query_one(&statement, &[]).await.expect(WORKS));
    }
}
