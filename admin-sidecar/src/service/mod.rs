//! How the service is found, asked, and known when it does not answer.

mod ask;
mod change;
mod disk;
mod find;
mod flight;
mod last_picture;
mod link;
mod process;
mod wire;

pub use find::RunDir;
pub use link::{LinkSettings, ServiceLink, Sight};
