//! The runbook's questions to the database, over a connection that is kept for
//! them: a pool that is used up must not keep the engineer from asking why.

mod connection;
mod problem;
mod request;
mod routes;
mod table;
mod terminate;
mod url;

pub use connection::Database;
pub use url::DatabaseUrl;

pub(crate) use problem::NoAnswer;
pub(crate) use request::Asked;
pub(crate) use routes::router;
