//! How long the upstream lets its answer be used.

/// What the upstream said of an answer, in seconds; nothing said is `None`.
///
/// # Source
///
/// `Age`, `max-age`, `s-maxage`, `no-cache`, `must-revalidate`: RFC 9111;
/// `stale-while-revalidate`, `stale-if-error`: RFC 5861.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Terms {
    /// How old it was when it came.
    pub age: u32,
    /// For how long it is fresh, counted from when the upstream made it.
    pub fresh_for: Option<u32>,
    /// For how long after that it may be served while a newer one is fetched.
    pub stale_while_revalidate: Option<u32>,
    /// For how long after that it may be served when the upstream fails.
    pub stale_if_error: Option<u32>,
    /// It may never be served stale, whatever else is said.
    pub never_stale: bool,
}
