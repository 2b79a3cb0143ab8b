//! Accepts connections so that nobody can keep the engineer out at 3 a.m.
//!
//! Connections are bounded. When all places are taken the oldest gives way, not
//! the newest: whoever opens connections and says nothing is the one to go.
//! Slow heads, idle connections and answers that nobody reads all end.

use std::{collections::VecDeque, convert::Infallible, future::Future, io, time::Duration};

use axum::{Router, body::Body, extract::Request};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::{AbortHandle, JoinSet},
    time,
};
use tower::ServiceExt;

use crate::guard::Peer;

/// The bounds of one listener.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Connections at once.
    pub connections: usize,
    /// From the first byte, or the end of the last answer, to the whole head.
    pub head: Duration,
    /// From accept to close; a client that is kept alive connects again.
    pub life: Duration,
    /// From the signal to stop until open connections are cut.
    pub stop: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 256,
            head: Duration::from_secs(5),
            life: Duration::from_secs(60),
            stop: Duration::from_secs(3),
        }
    }
}

/// Heads larger than this are refused.
const MAX_HEAD: usize = 16 << 10;

/// Serves `router` until `stop` turns true, then lets open requests end.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let mut open = JoinSet::new();
    let mut by_age: VecDeque<AbortHandle> = VecDeque::new();
    loop {
        let accepted = tokio::select! {
            // Ends too when nobody is left who could say stop.
            _ = stop.wait_for(|stop| *stop) => break,
            Some(_) = open.join_next() => continue,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                while open.try_join_next().is_some() {}
                by_age.retain(|task| !task.is_finished());
                if by_age.len() >= limits.connections
                    && let Some(oldest) = by_age.pop_front()
                {
                    oldest.abort();
                }
                let connection =
                    connection(stream, Peer(peer), router.clone(), limits, stop.clone());
                by_age.push_back(open.spawn(connection));
            }
            Err(error) => {
                // Out of files, most likely: let some end. A peer that went
                // away while it was in the queue is nothing.
                if error.kind() != io::ErrorKind::ConnectionAborted {
                    tracing::warn!(class = "accept", "cannot accept a connection: {error}");
                    time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }
    drop(listener); // the port is free while the last requests end
    let all = async { while open.join_next().await.is_some() {} };
    if time::timeout(limits.stop, all).await.is_err() {
        tracing::warn!(
            class = "stop",
            open = open.len(),
            "cut connections that did not end"
        );
    }
}

async fn connection(
    stream: TcpStream,
    peer: Peer,
    router: Router,
    limits: Limits,
    mut stop: watch::Receiver<bool>,
) {
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let mut request: Request = request.map(Body::new);
        request.extensions_mut().insert(peer);
        let router = router.clone();
        async move { router.oneshot(request).await as Result<_, Infallible> }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(limits.head)
        .max_buf_size(MAX_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = std::pin::pin!(connection);
    tokio::select! {
        _ = connection.as_mut() => return,
        _ = stop.wait_for(|stop| *stop) => {}
        () = time::sleep(limits.life) => {}
    }
    connection.as_mut().graceful_shutdown();
    // How it ended is the client's affair.
    let _ = time::timeout(limits.stop, connection).await;
}

/// Binds, or says in one line what stands in the way.
///
/// # Errors
///
/// The message names the address and what to do.
pub async fn bind(
    what: &str,
    flag: &str,
    at: std::net::SocketAddr,
) -> Result<TcpListener, io::Error> {
    TcpListener::bind(at).await.map_err(|error| {
        let advice = match error.kind() {
            io::ErrorKind::AddrInUse => "another process has it: stop that one",
            io::ErrorKind::PermissionDenied => "this user may not: take a port above 1023",
            io::ErrorKind::AddrNotAvailable => "this machine has no such address: take another",
            _ => "see that the address is right",
        };
        let message = format!("cannot bind the {what} listener to {at}: {error}; {advice}, or give another with {flag}");
        io::Error::new(error.kind(), message)
    })
}

/// A flag that turns true with the first of SIGTERM and SIGINT.
///
/// # Errors
///
/// If the signals cannot be caught.
pub fn stop_signal() -> io::Result<impl Future<Output = &'static str>> {
    use tokio::signal::unix::{SignalKind, signal};
    let (mut term, mut int) = (
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
    );
    Ok(async move {
        tokio::select! {
            _ = term.recv() => "SIGTERM",
            _ = int.recv() => "SIGINT",
        }
    })
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn get(at: std::net::SocketAddr) -> String {
        let mut stream = TcpStream::connect(at).await.unwrap();
        let request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        stream.write_all(request).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn connections_that_say_nothing_do_not_keep_a_newcomer_out() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let router = Router::new().route("/", axum::routing::get(|| async { "here" }));
        let limits = Limits {
            connections: 4,
            ..Limits::default()
        };
        let (sender, stop) = watch::channel(false);
        let server = tokio::spawn(serve(listener, router, limits, stop));
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.push(TcpStream::connect(at).await.unwrap());
        }
        assert!(get(at).await.ends_with("here"));
        // The oldest of them is closed.
        let mut rest = Vec::new();
        let oldest = time::timeout(Duration::from_secs(2), silent[0].read_to_end(&mut rest));
        assert!(oldest.await.is_ok());
        sender.send_replace(true);
        server.await.unwrap();
    }

    #[tokio::test]
    async fn a_head_that_never_ends_is_cut() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let at = listener.local_addr().unwrap();
        let limits = Limits {
            head: Duration::from_millis(50),
            ..Limits::default()
        };
        let (_sender, stop) = watch::channel(false);
        let server = tokio::spawn(serve(listener, Router::new(), limits, stop));
        let mut slow = TcpStream::connect(at).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: ").await.unwrap();
        let mut rest = Vec::new();
        let cut = time::timeout(Duration::from_secs(5), slow.read_to_end(&mut rest));
        assert!(cut.await.is_ok());
        server.abort();
    }
}
