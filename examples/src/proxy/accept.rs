//! The task that holds the port.

use std::{sync::Arc, time::Duration};

use tokio::{sync::watch, task::JoinSet};

use super::{Controls, Counts, Way, connection};
use crate::door::Door;

/// Connections at once; more wait in the kernel's queue.
const MAX_CONNECTIONS: usize = 1_024;

/// Takes connections until it is aborted; dropping it ends them all.
pub(super) async fn accept(
    mut door: Door,
    mut controls: watch::Receiver<Controls>,
    shut: watch::Sender<bool>,
    counts: Arc<Counts>,
) {
    let mut connections = JoinSet::new();
    let told = controls.clone();
    loop {
        tokio::select! {
            // What it was told comes first: who asked for a shut port must not
            // find one more connection taken by the time it is.
            biased;
            Ok(()) = controls.changed() => {
                let refuse = controls.borrow_and_update().way == Way::Refuse;
                let address = door.address();
                door = match door.set(refuse) {
                    Ok(door) => door,
                    Err(error) => {
                        // Somebody took it in the instant it was free.
                        tracing::error!(%address, %error, "proxy lost its port");
                        return;
                    }
                };
                shut.send_replace(refuse);
            }
            Some(_) = connections.join_next() => {}
            accepted = door.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok(client) => {
                    let open = connection::Open::new(&counts);
                    let before = told.borrow().clone();
                    connections.spawn(connection::serve(client, before, told.clone(), open));
                }
                // Out of descriptors, most likely: it passes.
                Err(_) => tokio::time::sleep(Duration::from_millis(10)).await,
            },
        }
    }
}
