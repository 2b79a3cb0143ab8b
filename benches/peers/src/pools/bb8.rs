//! bb8-postgres, which tests a connection before it hands it out.

use std::{fmt, hint::black_box};

use bb8::{Pool, PooledConnection};
use bb8_postgres::PostgresConnectionManager;
use tokio_postgres::NoTls;

use super::{Session, Subject, WORKS};

type Manager = PostgresConnectionManager<NoTls>;

/// bb8-postgres.
#[derive(Clone, Debug)]
pub struct Bb8(Pool<Manager>);

impl Subject for Bb8 {
    type Session = Bb8Session;

    fn build(url: &str, size: Option<u32>) -> Self {
        let manager = Manager::new_from_stringlike(url, NoTls).expect("the server's URL is one");
        let mut pool = Pool::builder();
        if let Some(size) = size {
            pool = pool.max_size(size);
        }
        Self(pool.build_unchecked(manager))
    }

    async fn get(&self) -> Bb8Session {
        Bb8Session(self.0.get_owned().await.expect(WORKS))
    }
}

/// A connection of [`Bb8`].
pub struct Bb8Session(PooledConnection<'static, Manager>);

impl fmt::Debug for Bb8Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Bb8Session").finish()
    }
}

impl Session for Bb8Session {
    async fn select_one(&mut self) {
        // One round trip, where to prepare it each time would be two.
        black_box(self.0.query_typed("SELECT 1", &[]).await.expect(WORKS));
    }
}
