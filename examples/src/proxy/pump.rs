//! Bytes on their way.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{
        TcpStream,
        tcp::{ReadHalf, WriteHalf},
    },
    sync::{mpsc, watch},
    time::Instant,
};

use super::{Controls, Way};

/// Bytes that are read at once.
const CHUNK: usize = 16 * 1024;
/// Chunks on the way in one direction; the sender waits when there are so many.
const ON_THE_WAY: usize = 64;

/// Bytes, and when they arrive.
type Late = (Instant, Vec<u8>);

/// Forwards until both sides have said farewell, or one is gone.
pub(super) async fn both_ways(
    client: &mut TcpStream,
    server: &mut TcpStream,
    controls: &watch::Receiver<Controls>,
) {
    let (from_client, to_client) = client.split();
    let (from_server, to_server) = server.split();
    // An error of either direction ends both: a reset is passed on as an end.
    let _ = tokio::try_join!(
        one_way(from_client, to_server, controls, |now| now.to_server),
        one_way(from_server, to_client, controls, |now| now.to_client),
    );
}

struct Gone;

async fn one_way(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    controls: &watch::Receiver<Controls>,
    latency: fn(&Controls) -> Duration,
) -> Result<(), Gone> {
    let (send, mut receive) = mpsc::channel::<Late>(ON_THE_WAY);
    let reading = async move {
        let mut chunk = vec![0; CHUNK];
        loop {
            let read = from.read(&mut chunk).await.map_err(|_| Gone)?;
            if read == 0 {
                // Dropping `send` is the farewell; it comes after the bytes.
                return Ok(());
            }
            let arrives = Instant::now() + latency(&controls.borrow());
            let bytes = chunk[..read].to_vec();
            send.send((arrives, bytes)).await.map_err(|_| Gone)?;
        }
    };
    let writing = async {
        while let Some((arrives, bytes)) = receive.recv().await {
            tokio::time::sleep_until(arrives).await;
            until_not_held(controls).await?;
            to.write_all(&bytes).await.map_err(|_| Gone)?;
        }
        until_not_held(controls).await?;
        to.shutdown().await.map_err(|_| Gone)
    };
    tokio::try_join!(reading, writing).map(|_| ())
}

async fn until_not_held(controls: &watch::Receiver<Controls>) -> Result<(), Gone> {
    let mut controls = controls.clone();
    let released = controls.wait_for(|now| now.way != Way::Hold).await;
    released.map(|_| ()).map_err(|_| Gone)
}
