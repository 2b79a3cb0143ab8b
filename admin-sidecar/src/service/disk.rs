//! The disk, asked with a deadline: a hung mount must not hang the answer.

use std::{sync::Arc, time::Duration};

use tokio::{sync::Semaphore, task, time};

/// Long enough for a busy disk, short enough for two reads beside a question.
const DEADLINE: Duration = Duration::from_millis(75);

/// One reader at a time: a read that hangs holds its place, so that hung reads
/// do not fill the thread pool.
#[derive(Debug)]
pub(crate) struct Disk {
    place: Arc<Semaphore>,
}

impl Disk {
    pub(crate) fn new() -> Self {
        Self {
            place: Arc::new(Semaphore::new(1)),
        }
    }

    /// `None`: the disk did not answer in time.
    pub(crate) async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let reading = async {
            let place = Arc::clone(&self.place).acquire_owned().await.ok()?;
            task::spawn_blocking(move || {
                let value = read();
                drop(place); // not before: the thread is what is scarce
                value
            })
            .await
            .ok()
        };
        time::timeout(DEADLINE, reading).await.ok().flatten()
    }
}
