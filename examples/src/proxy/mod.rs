//! A network between a client and its server that can be made to fail.
//!
//! A [`Proxy`] listens on a free port of 127.0.0.1 and forwards bytes to an
//! address, and it can be told to do that badly: late, not at all, to somebody
//! else, or with one side gone. It knows nothing of what the bytes mean.

mod accept;
mod connection;
mod pump;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::door::Door;

/// A proxy that runs for as long as this lives; dropping it closes its port and
/// all its connections. It needs the runtime that it was started in.
///
/// What it is told takes effect on open connections too, within moments and
/// without a further question; [`refuse`](Self::refuse) and
/// [`forward`](Self::forward) return when the port is shut or open.
///
/// # Example
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> std::io::Result<()> {
/// use resilience_examples::proxy::Proxy;
/// use tokio::net::{TcpListener, TcpStream};
///
/// let server = TcpListener::bind("127.0.0.1:0").await?;
/// let proxy = Proxy::start(server.local_addr()?)?;
/// let _client = TcpStream::connect(proxy.address()).await?;
/// let (_connection, _) = server.accept().await?;
/// assert_eq!(proxy.accepted(), 1);
///
/// proxy.refuse().await;
/// assert!(TcpStream::connect(proxy.address()).await.is_err());
/// # Ok(()) }
/// ```
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    controls: watch::Sender<Controls>,
    /// Whether the port is shut, as the task that holds it says.
    shut: watch::Receiver<bool>,
    counts: Arc<Counts>,
    accepting: JoinHandle<()>,
}

/// What the proxy does with bytes and with those who knock.
#[derive(Clone, Debug)]
struct Controls {
    target: SocketAddr,
    way: Way,
    to_server: Duration,
    to_client: Duration,
    /// How often everything that was open has been reset; a connection that
    /// sees this grow is one of them.
    cuts: u64,
    /// How often the server's side of everything open was dropped.
    half_opens: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Forward,
    Hold,
    Refuse,
}

#[derive(Debug, Default)]
struct Counts {
    // ordering: Relaxed in all places. They are figures to look at, and
    // publish no other memory.
    accepted: AtomicU64,
    open: AtomicU64,
}

impl Proxy {
    /// Listens on a free port of 127.0.0.1 and forwards to `target`, which need
    /// not answer yet: a client whose connection cannot be passed on is reset.
    ///
    /// # Errors
    ///
    /// The operating system's, when no port is left.
    pub fn start(target: SocketAddr) -> io::Result<Self> {
        let door = Door::open((Ipv4Addr::LOCALHOST, 0).into())?;
        let address = door.address();
        let (controls, told) = watch::channel(Controls {
            target,
            way: Way::Forward,
            to_server: Duration::ZERO,
            to_client: Duration::ZERO,
            cuts: 0,
            half_opens: 0,
        });
        let (tell_shut, shut) = watch::channel(false);
        let counts = Arc::<Counts>::default();
        let accepting = accept::accept(door, told, tell_shut, Arc::clone(&counts));
        Ok(Self {
            address,
            controls,
            shut,
            counts,
            accepting: tokio::spawn(accepting),
        })
    }

    /// Where it listens; stays the same through [`refuse`](Self::refuse).
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Forwards, as at the start: what was held goes on where it stood, and a
    /// shut port is open when this returns.
    pub async fn forward(&self) {
        self.controls.send_modify(|now| now.way = Way::Forward);
        self.wait_until_shut_is(false).await;
    }

    /// Forwards nothing in either direction, not even a farewell, and still
    /// accepts: a network that loses every packet. As there, what was sent
    /// meanwhile arrives once it [forwards](Self::forward) again.
    pub async fn hold(&self) {
        self.controls.send_modify(|now| now.way = Way::Hold);
        self.wait_until_shut_is(false).await;
    }

    /// Closes the port, so that the kernel refuses who connects; what is open
    /// stays open. Returns when it is shut.
    ///
    /// Those who are refused are the kernel's and not counted. To count dials
    /// while the server is down, leave the port open: a client that cannot be
    /// passed on is reset at once.
    pub async fn refuse(&self) {
        self.controls.send_modify(|now| now.way = Way::Refuse);
        self.wait_until_shut_is(true).await;
    }

    /// Resets all that is open, on both sides.
    pub fn cut(&self) {
        self.controls.send_modify(|now| now.cuts += 1);
    }

    /// Drops the server's side of all that is open and tells the client nothing,
    /// now or later: half-open connections, as a firewall that forgets them or a
    /// server that loses its power leaves behind. What the client sends is lost.
    /// New connections are forwarded.
    pub fn half_open(&self) {
        self.controls.send_modify(|now| now.half_opens += 1);
    }

    /// How much later bytes arrive than they were sent, in each direction. The
    /// order stays, and so does the throughput, up to 1 MiB on the way.
    pub fn set_latency(&self, to_server: Duration, to_client: Duration) {
        self.controls.send_modify(|now| {
            now.to_server = to_server;
            now.to_client = to_client;
        });
    }

    /// Where connections made from now on go. Those that are open stay with
    /// their server; [`cut`](Self::cut) sends them over.
    pub fn set_target(&self, target: SocketAddr) {
        self.controls.send_modify(|now| now.target = target);
    }

    /// How many connections it has taken since the start, those included that
    /// could not be passed on.
    #[must_use]
    pub fn accepted(&self) -> u64 {
        self.counts.accepted.load(Relaxed)
    }

    /// How many of them a client still has open, or we for a client that has
    /// gone while we [hold](Self::hold).
    #[must_use]
    pub fn open(&self) -> u64 {
        self.counts.open.load(Relaxed)
    }

    async fn wait_until_shut_is(&self, wanted: bool) {
        // The other end is gone only when the port was lost, which it has said.
        let _ = self.shut.clone().wait_for(|shut| *shut == wanted).await;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[cfg(test)]
mod tests;
