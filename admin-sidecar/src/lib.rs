//! The runbook's admin API beside a service.
//!
//! The service answers on a Unix socket in its run directory; when it cannot,
//! this process answers from the black box and says so. [`app`] shows the whole
//! API on one screen, [`service`] how the service is asked, [`guard`] what
//! stands before every change.
#![forbid(unsafe_code)]

pub mod app;
pub mod audit;
pub mod auth;
pub mod database;
pub mod guard;
pub mod health;
pub mod journal;
pub mod metrics;
pub mod problem;
pub mod serve;
pub mod service;
pub mod settings;

pub use app::{Sidecar, StartError};
pub use settings::{Args, Settings, SettingsError};
