//! How the parts go together. Every example is compiled and run.

#[doc = include_str!("../../docs/guides/composition.md")]
pub mod composition {}
