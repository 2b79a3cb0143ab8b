//! Accepting, refusing and resetting connections.

use std::{convert::Infallible, future, io, net::SocketAddr, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::{Notify, watch},
    task::JoinSet,
};
use tower::ServiceExt;

use super::{
    Fault, GRACE, Mode, routes,
    state::{Fate, State},
};

/// Connections at once; more wait in the kernel's queue. `hang` keeps them.
const MAX_CONNECTIONS: usize = 4_096;
/// Connections the kernel queues for us.
const BACKLOG: u32 = 1_024;

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Payments, and `/fault` in every mode.
    Payments,
    /// Payments, and a `refuse` that closes the port.
    PaymentsThatCanShut,
    /// Nothing but `/fault`.
    Control,
}

/// A port, listening or not.
pub(super) struct Door {
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
    pub(super) fn open(address: SocketAddr) -> io::Result<Self> {
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

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    async fn accept(&self) -> io::Result<TcpStream> {
        match &self.state {
            DoorState::Open(listener) => Ok(listener.accept().await?.0),
            DoorState::Shut { .. } => future::pending().await,
        }
    }

    /// Opens or shuts it. Between closing the one socket and binding the next
    /// the port is nobody's for some microseconds.
    fn set(self, shut: bool) -> io::Result<Self> {
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

/// Serves a port until told to stop, then waits for requests in flight.
pub(super) async fn serve(
    mut door: Door,
    role: Role,
    state: Arc<State>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut fault = state.watch();
    let told_to_stop = stopped.clone();
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = door.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok(stream) => {
                    let serving = connection(stream, role, Arc::clone(&state), told_to_stop.clone());
                    connections.spawn(serving);
                }
                // Out of descriptors, most likely: it passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
            Ok(()) = fault.changed(), if role == Role::PaymentsThatCanShut => {
                let shut = fault.borrow_and_update().mode == Mode::Refuse;
                let address = door.address;
                door = match door.set(shut) {
                    Ok(door) => door,
                    Err(error) => {
                        // Somebody took it in the instant it was free. A stub
                        // that goes on without its port would be a riddle.
                        tracing::error!(%address, %error, "payment stub lost its port");
                        return;
                    }
                };
            },
            Some(_) = connections.join_next() => {}
            () = told(&mut stopped) => break,
        }
    }
    drop(door);
    let all_done = async { while connections.join_next().await.is_some() {} };
    // What hangs would hang for ever; dropping the set ends it.
    let _ = tokio::time::timeout(GRACE, all_done).await;
}

/// Returns when the stub is to stop, or is gone.
async fn told(stopped: &mut watch::Receiver<bool>) {
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn connection(
    stream: TcpStream,
    role: Role,
    state: Arc<State>,
    mut stopped: watch::Receiver<bool>,
) {
    let mut fault = state.watch();
    let reset = Notify::new();
    let router = match role {
        Role::Control => routes::control(Arc::clone(&state)),
        Role::Payments | Role::PaymentsThatCanShut => routes::payments(Arc::clone(&state)),
    };
    let service = service_fn(|request: Request<Incoming>| {
        let (router, state, reset) = (router.clone(), &state, &reset);
        async move {
            let fate = if role == Role::Control || request.uri().path() == routes::FAULT {
                Fate::Answer
            } else {
                state.next()
            };
            let failed = || Ok::<Response<Body>, Infallible>(routes::broken());
            match fate {
                Fate::Answer => {}
                Fate::Delay(latency) => tokio::time::sleep(latency).await,
                Fate::Fail => return failed(),
                // Ends when the client hangs up: hyper drops us then.
                Fate::Hang => return future::pending().await,
                Fate::Reset => {
                    reset.notify_one();
                    return future::pending().await;
                }
            }
            router.oneshot(request.map(Body::new)).await
        }
    });
    let mut serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service);
    let refused = async {
        if role == Role::PaymentsThatCanShut {
            let _ = fault
                .wait_for(|fault: &Fault| fault.mode == Mode::Refuse)
                .await;
        } else {
            future::pending::<()>().await;
        }
    };
    let mut refused = std::pin::pin!(refused);
    let mut stopping = false;
    loop {
        tokio::select! {
            // The client's mistakes and disconnects are its own business.
            _ = &mut serving => return,
            () = reset.notified() => break,
            () = &mut refused => break,
            () = told(&mut stopped), if !stopping => {
                stopping = true;
                std::pin::Pin::new(&mut serving).graceful_shutdown();
            }
        }
    }
    let stream = serving.into_parts().io.into_inner();
    // A close with a linger of zero is a reset instead of a farewell.
    let _ = stream.set_zero_linger();
}
