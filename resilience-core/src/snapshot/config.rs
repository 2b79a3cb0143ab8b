//! The configuration in a [`Snapshot`](super::Snapshot).

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

/// One effective setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Setting {
    /// Full key, dots between its parts.
    pub key: String,
    /// Value as it would be written in the file.
    pub value: String,
    /// `default`, `config.yaml:12`, or `APP__DATABASE__POOL_SIZE`.
    pub origin: String,
}

/// The configuration in force and how the last reload went.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ConfigSnapshot {
    /// Path of the file, if there is one.
    pub file: Option<String>,
    /// Reloads that were taken over.
    pub reloads_succeeded: u64,
    /// Reloads that were refused.
    pub reloads_refused: u64,
    /// Whether the last attempt to load it was taken over.
    pub last_reload_successful: bool,
    /// When the configuration in force was loaded.
    pub loaded_at: Option<Timestamp>,
    /// Why the last reload was refused.
    pub last_error: Option<String>,
    /// Every effective value and where it came from.
    pub values: Vec<Setting>,
}
