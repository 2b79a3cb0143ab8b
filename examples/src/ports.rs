//! Ports that nobody else uses, for now.

use std::{
    io,
    net::{Ipv4Addr, TcpListener},
};

/// A TCP port of 127.0.0.1 that was free a moment ago.
///
/// There is a race in this, and no way around it: between the answer and the
/// caller's own `bind` somebody else may take the port. So let a server bind
/// port 0 itself and print the address it got wherever the server can do that,
/// and use this only for one that cannot (PostgreSQL), ready to try again. The
/// kernel walks its ephemeral range at random, so two askers rarely meet.
///
/// # Errors
///
/// The operating system's, when no port is left.
pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?
        .local_addr()?
        .port())
}
