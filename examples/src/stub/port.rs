//! Accepting, refusing and resetting connections.

use std::{convert::Infallible, future, sync::Arc, time::Duration};

use axum::body::Body;
use http::{Request, Response};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpStream,
    sync::{Notify, watch},
    task::JoinSet,
};
use tower::ServiceExt;

use super::{
    Fault, GRACE, Mode, routes,
    state::{Fate, State},
};
use crate::door::Door;

/// Connections at once; more wait in the kernel's queue. `hang` keeps them.
const MAX_CONNECTIONS: usize = 4_096;

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
                let address = door.address();
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
