//! The payment provider's stand-in: an upstream that breaks on demand.
//!
//! | mode | what a client of any path but `/fault` sees |
//! |---|---|
//! | `ok` | the answer |
//! | `fail` | 503 at once |
//! | `slow` | the answer, after `latency` |
//! | `hang` | nothing, until it gives up; a mend does not wake what already hangs |
//! | `refuse` | see below |
//! | `flaky` | 503 for `ratio` of the requests, evenly spread, the others answered |
//!
//! In every mode `max_age` says how long the answers to `/rates` may be kept; without it
//! they say nothing of that.
//!
//! `refuse` depends on whether the stub has a control address of its own.
//! *Without* one, `POST /fault` must stay reachable on the very port that is to
//! refuse, and a port cannot know a path before it has accepted: the connection
//! is accepted, the request's head is read, and the connection is reset, before
//! any byte of an answer: the client sees ECONNRESET, not ECONNREFUSED. *With*
//! one ([`StubOptions::control`]) the port stops listening: open connections are
//! reset, and new ones get the kernel's own ECONNREFUSED.

mod fault;
mod port;
mod routes;
mod state;

use std::{
    io,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use tokio::{sync::watch, task::JoinHandle};

use crate::door::Door;

pub use fault::{Fault, FaultError, Mode, Ratio};
use port::Role;
pub use state::Counts;
use state::State;

/// How long requests in flight have when it stops.
const GRACE: Duration = Duration::from_secs(2);

/// Where a [`Stub`] listens.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StubOptions {
    /// The payment port. Default: 127.0.0.1, any free port.
    pub listen: SocketAddr,
    /// A second port with nothing but `/fault`, which stays reachable while
    /// the first one refuses. Default: none.
    pub control: Option<SocketAddr>,
}

impl Default for StubOptions {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            control: None,
        }
    }
}

/// A running stub. Dropping it stops it at once.
#[derive(Debug)]
pub struct Stub {
    address: SocketAddr,
    control: Option<SocketAddr>,
    state: Arc<State>,
    stop: watch::Sender<bool>,
    tasks: Vec<JoinHandle<()>>,
}

impl Stub {
    /// Binds, and serves in tasks of the current runtime.
    ///
    /// # Errors
    ///
    /// The operating system's, with the address that could not be bound.
    pub async fn start(options: StubOptions) -> io::Result<Self> {
        let main = Door::open(options.listen)?;
        let control = options.control.map(Door::open).transpose()?;
        let (stop, stopped) = watch::channel(false);
        let state = Arc::new(State::default());
        let (address, control_address) = (main.address(), control.as_ref().map(Door::address));
        let role = match control {
            Some(_) => Role::PaymentsThatCanShut,
            None => Role::Payments,
        };
        let serve = |door: Door, role| {
            tokio::spawn(port::serve(door, role, Arc::clone(&state), stopped.clone()))
        };
        let mut tasks = vec![serve(main, role)];
        tasks.extend(control.map(|door| serve(door, Role::Control)));
        Ok(Self {
            address,
            control: control_address,
            state,
            stop,
            tasks,
        })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where `/fault` is reachable in every mode, if that was asked for.
    #[must_use]
    pub fn control(&self) -> Option<SocketAddr> {
        self.control
    }

    /// `http://127.0.0.1:…`, without a slash at the end.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it does to requests now.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.state.fault()
    }

    /// What it does to requests from now on, as `POST /fault` does. Those in
    /// flight go on as they began.
    pub fn set_fault(&self, fault: Fault) {
        self.state.set_fault(fault);
    }

    /// What became of the requests so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.state.counts()
    }

    /// Stops listening and waits for requests in flight, two seconds at most.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        for task in std::mem::take(&mut self.tasks) {
            // A task that panicked has said so on stderr, and is over.
            let _ = task.await;
        }
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
    }
}

#[cfg(test)]
mod tests;
