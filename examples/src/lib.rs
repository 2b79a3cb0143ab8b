//! What the demo and the integration tests start: a PostgreSQL and a Redis of their own,
//! processes that never outlive them, and an upstream that can be broken.
//!
//! Nothing here is shipped. It lives in a library so that a test and the demo
//! cannot drift apart: both start the same things in the same way.
#![forbid(unsafe_code)]

pub mod client;
pub mod console;
pub mod demo;
mod door;
pub mod payments;
pub mod ports;
pub mod postgres;
pub mod process;
pub mod proxy;
pub mod redis;
mod scratch;
pub mod stub;

pub use postgres::{PostgresOptions, TemporaryPostgres};
pub use process::{ChildProcess, Program};
pub use proxy::Proxy;
pub use redis::{RedisOptions, TemporaryRedis};
pub use stub::{Fault, Mode, Stub, StubOptions};
