//! How the parts go together. Every example is compiled, and run unless it needs a
//! database.

#[cfg(feature = "retry")]
#[doc = include_str!("../../docs/guides/composition.md")]
pub mod composition {}

#[cfg(all(feature = "fallback", feature = "service"))]
#[doc = include_str!("../../docs/guides/fallback.md")]
pub mod fallback {}

#[cfg(all(feature = "postgres", feature = "service"))]
#[doc = include_str!("../../docs/guides/pool.md")]
pub mod pool {}
