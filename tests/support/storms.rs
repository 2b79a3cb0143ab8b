//! How long the storms are.

/// How often the processes of a storm are killed: `STORM_KILLS`, or so often.
pub fn kills(or: u32) -> u32 {
    match std::env::var("STORM_KILLS") {
        Ok(text) => text.parse().expect("`STORM_KILLS` is a number, such as 20"),
        Err(_) => or,
    }
}
