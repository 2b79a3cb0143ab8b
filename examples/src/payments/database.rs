//! Payments and orders in PostgreSQL.

use resilience_core::pool::Pool;
use serde::Serialize;

use super::{ApiError, NewPayment};

/// What the service keeps.
const SCHEMA: &str = "
    CREATE TABLE IF NOT EXISTS payments (
        id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
        user_id bigint NOT NULL,
        amount_cents bigint NOT NULL CHECK (amount_cents > 0),
        currency text NOT NULL CHECK (length(currency) = 3),
        status text NOT NULL DEFAULT 'pending',
        created_at timestamptz NOT NULL DEFAULT now()
    );
    CREATE TABLE IF NOT EXISTS users (
        id bigint PRIMARY KEY,
        name text NOT NULL
    );
    INSERT INTO users (id, name)
        SELECT n, 'user ' || n FROM generate_series(1, 100) AS n
        ON CONFLICT DO NOTHING;
    CREATE TABLE IF NOT EXISTS orders (
        id bigint PRIMARY KEY,
        user_id bigint NOT NULL,
        item text NOT NULL
    );
    CREATE INDEX IF NOT EXISTS orders_user_id ON orders (user_id);
    INSERT INTO orders (id, user_id, item)
        SELECT n, n % 100 + 1, 'item ' || n FROM generate_series(1, 1000) AS n
        ON CONFLICT DO NOTHING;";

/// The service's tables.
#[derive(Clone, Debug)]
pub struct Database {
    pool: Pool,
}

/// A row of `orders`.
#[derive(Clone, Debug, Serialize)]
pub struct Order {
    /// Its number.
    pub id: i64,
    /// What was ordered.
    pub item: String,
}

/// A user and what they ordered.
#[derive(Clone, Debug, Serialize)]
pub struct UserOrders {
    /// The user's number.
    pub id: i64,
    /// Their name.
    pub name: String,
    /// Their orders.
    pub orders: Vec<Order>,
}

impl Database {
    /// Over a pool.
    #[must_use]
    pub const fn new(pool: Pool) -> Self {
        Self { pool }
    }

    /// Makes the tables that are missing.
    ///
    /// # Errors
    ///
    /// [`ApiError::Pool`], [`ApiError::Database`].
    pub async fn migrate(&self) -> Result<(), ApiError> {
        // One at a time: two replicas that start at once would both create.
        let script = format!("BEGIN; SELECT pg_advisory_xact_lock(4021); {SCHEMA} COMMIT;");
        Ok(self.pool.get().await?.batch_execute(&script).await?)
    }

    pub(super) async fn insert_payment(&self, new: &NewPayment) -> Result<i64, ApiError> {
        if new.amount_cents <= 0 || new.currency.len() != 3 {
            return Err(ApiError::bad_request(
                "`amount_cents` is above 0 and `currency` has three letters",
            ));
        }
        let client = self.pool.get().await?;
        let insert = "INSERT INTO payments (user_id, amount_cents, currency)
                      VALUES ($1, $2, $3) RETURNING id";
        let statement = client.prepare_cached(insert).await?;
        let row = client
            .query_one(
                &statement,
                &[&new.user_id, &new.amount_cents, &new.currency],
            )
            .await?;
        Ok(row.get(0))
    }

    pub(super) async fn finish_payment(&self, id: i64, status: &str) -> Result<(), ApiError> {
        let client = self.pool.get().await?;
        let update = client
            .prepare_cached("UPDATE payments SET status = $2 WHERE id = $1")
            .await?;
        client.execute(&update, &[&id, &status]).await?;
        Ok(())
    }

    pub(super) async fn orders_of(&self, user: i64) -> Result<Vec<Order>, ApiError> {
        let client = self.pool.get().await?;
        let select = "SELECT id, item FROM orders WHERE user_id = $1 ORDER BY id";
        let statement = client.prepare_cached(select).await?;
        let rows = client.query(&statement, &[&user]).await?;
        Ok(rows
            .iter()
            .map(|row| Order {
                id: row.get(0),
                item: row.get(1),
            })
            .collect())
    }

    /// The first users and their orders, in one statement.
    pub(super) async fn orders_of_many(&self, users: i64) -> Result<Vec<UserOrders>, ApiError> {
        let client = self.pool.get().await?;
        let select = "SELECT u.id, u.name, o.id, o.item
                      FROM (SELECT id, name FROM users ORDER BY id LIMIT $1) AS u
                      LEFT JOIN orders AS o ON o.user_id = u.id
                      ORDER BY u.id, o.id";
        let statement = client.prepare_cached(select).await?;
        let mut all: Vec<UserOrders> = Vec::new();
        for row in client.query(&statement, &[&users]).await? {
            let id = row.get(0);
            if all.last().is_none_or(|last| last.id != id) {
                let (name, orders) = (row.get(1), Vec::new());
                all.push(UserOrders { id, name, orders });
            }
            // None of a user who has ordered nothing.
            if let (Some(last), Some(order)) = (all.last_mut(), row.get(2)) {
                let item = row.get(3);
                last.orders.push(Order { id: order, item });
            }
        }
        Ok(all)
    }

    /// The first users, without their orders.
    pub(super) async fn users(&self, users: i64) -> Result<Vec<UserOrders>, ApiError> {
        let client = self.pool.get().await?;
        let select = "SELECT id, name FROM users ORDER BY id LIMIT $1";
        let rows = client.query(select, &[&users]).await?;
        Ok(rows
            .iter()
            .map(|row| UserOrders {
                id: row.get(0),
                name: row.get(1),
                orders: Vec::new(),
            })
            .collect())
    }

    pub(super) const fn pool(&self) -> &Pool {
        &self.pool
    }
}
