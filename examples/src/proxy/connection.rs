//! One client and its server.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{io::AsyncReadExt, net::TcpStream, sync::watch};

use super::{Controls, Counts, Way, pump};

/// How long the server may take to be reached. On one machine it is there or
/// it is not.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Counts a connection for as long as it is open, however it ends.
pub(super) struct Open {
    counts: Arc<Counts>,
}

impl Open {
    pub(super) fn new(counts: &Arc<Counts>) -> Self {
        counts.accepted.fetch_add(1, Relaxed);
        counts.open.fetch_add(1, Relaxed);
        Self {
            counts: Arc::clone(counts),
        }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.counts.open.fetch_sub(1, Relaxed);
    }
}

/// How forwarding ended.
enum End {
    /// Both sides have said farewell, or one is gone.
    Done,
    /// Both sides are to be reset.
    Reset,
}

/// `before` is what the proxy was told when it took the client: what it is told
/// from then on is for this one too, though its task may not have begun.
pub(super) async fn serve(
    mut client: TcpStream,
    before: Controls,
    controls: watch::Receiver<Controls>,
    open: Open,
) {
    let mut cut = controls.clone();
    let mut server = None;
    let end = tokio::select! {
        biased;
        // Whatever it is doing, also while it only waits for its server.
        Ok(_) = cut.wait_for(|now| now.cuts != before.cuts) => End::Reset,
        end = forward(&mut client, &mut server, before.half_opens, controls) => end,
    };
    if let End::Reset = end {
        for side in server.iter().chain([&client]) {
            // A close with a linger of zero is a reset instead of a farewell.
            let _ = side.set_zero_linger();
        }
    }
    // Closed before it is counted as such.
    drop((client, server));
    drop(open);
}

/// The server is put where the caller can reset it.
async fn forward(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    half_opens: u64,
    mut controls: watch::Receiver<Controls>,
) -> End {
    // Where everything is lost nobody gets as far as the server.
    let target = match controls.wait_for(|now| now.way != Way::Hold).await {
        Ok(now) => now.target,
        Err(_) => return End::Done, // the proxy is being dropped
    };
    let connecting = tokio::time::timeout(CONNECT_WITHIN, TcpStream::connect(target)).await;
    let Ok(Ok(connected)) = connecting else {
        return End::Reset;
    };
    // What is late is late on purpose.
    let _ = (client.set_nodelay(true), connected.set_nodelay(true));
    let connected = server.insert(connected);

    let mut half_open = controls.clone();
    let half_open = half_open.wait_for(|now| now.half_opens != half_opens);
    tokio::select! {
        biased;
        Ok(_) = half_open => {}
        () = pump::both_ways(client, connected, &controls) => return End::Done,
    }
    *server = None;
    swallow(client).await;
    End::Done
}

/// Until the client goes: a client that is told nothing may send on.
async fn swallow(client: &mut TcpStream) {
    let mut lost = [0; 4_096];
    while let Ok(1..) = client.read(&mut lost).await {}
}
