//! The one place that writes to stdout.
//!
//! `println!` panics when the reader has gone (`demo | head`); this returns the
//! error, and flushes, so that a reader on a pipe sees each line when it is
//! written.

use std::{
    fmt,
    io::{self, Write},
};

/// Writes one line, or several when the text holds line breaks.
///
/// # Errors
///
/// The operating system's; `BrokenPipe` when nobody reads any more.
pub fn say(text: impl fmt::Display) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    out.flush()
}
