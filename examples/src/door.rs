//! A port that can be shut so that the kernel refuses, and opened again.

use std::{future, io, net::SocketAddr};

use tokio::net::{TcpListener, TcpSocket, TcpStream};

/// Connections the kernel queues for us.
const BACKLOG: u32 = 1_024;

/// A port, listening or not.
pub(crate) struct Door {
    address: SocketAddr,
    state: DoorState,
}

enum DoorState {
    Open(TcpListener),
    /// Bound without listening: the kernel refuses connections, and gives the
    /// port to nobody who asks it for any free one.
    Shut {
        _held: TcpSocket,
    },
}

impl Door {
    pub(crate) fn open(address: SocketAddr) -> io::Result<Self> {
        let listener = bind(address)
            .and_then(|socket| socket.listen(BACKLOG))
            .map_err(|error| {
                io::Error::new(error.kind(), format!("cannot listen on {address}: {error}"))
            })?;
        Ok(Self {
            address: listener.local_addr()?,
            state: DoorState::Open(listener),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection; while it is shut there is none.
    pub(crate) async fn accept(&self) -> io::Result<TcpStream> {
        match &self.state {
            DoorState::Open(listener) => Ok(listener.accept().await?.0),
            DoorState::Shut { .. } => future::pending().await,
        }
    }

    /// Opens or shuts it. Between closing the one socket and binding the next
    /// the port is nobody's for some microseconds.
    ///
    /// # Errors
    ///
    /// Somebody took the port in that instant. It is lost then.
    pub(crate) fn set(self, shut: bool) -> io::Result<Self> {
        let Self { address, state } = self;
        let state = match state {
            DoorState::Open(listener) if shut => {
                drop(listener);
                DoorState::Shut {
                    _held: bind(address)?,
                }
            }
            DoorState::Shut { _held: socket } if !shut => DoorState::Open(socket.listen(BACKLOG)?),
            as_it_was => as_it_was,
        };
        Ok(Self { address, state })
    }
}

fn bind(address: SocketAddr) -> io::Result<TcpSocket> {
    let socket = match address {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    // Connections that linger from before must not keep us from our port.
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    Ok(socket)
}
