//! The thread that reads: a disk that hangs must hold up no request, and a runtime's
//! own threads for blocking work would pile up behind it.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use tokio::sync::oneshot;

use super::{Inner, failed, open::Wait};
use crate::fallback::store::{StoreError, StoreFuture};

/// Reads that wait at most. Each takes microseconds while the disk is well.
const MOST_WAITING: usize = 1_024;

/// How often a closed file is tried for those who read: during an outage nothing is
/// written, and then it is needed most.
const TRY_EVERY: Duration = Duration::from_millis(250);

type Answer = Result<Option<Bytes>, StoreError>;

struct Question {
    key: Box<[u8]>,
    answer: oneshot::Sender<Answer>,
}

/// Asks the thread, which ends when this is dropped.
pub(super) struct Reader(SyncSender<Question>);

impl Reader {
    pub(super) fn start(inner: Arc<Inner>) -> Self {
        let (ask, questions) = sync_channel(MOST_WAITING);
        thread::Builder::new()
            .name("fallback-read".to_owned())
            .spawn(move || run(&inner, &questions))
            .expect("the system has a thread left");
        Self(ask)
    }

    pub(super) fn read(&self, key: &[u8]) -> StoreFuture<'static, Option<Bytes>> {
        let (answer, told) = oneshot::channel();
        let asked = self.0.try_send(Question {
            key: key.into(),
            answer,
        });
        Box::pin(async move {
            match asked {
                Ok(()) => told.await.unwrap_or_else(|_| Err(gone())),
                Err(TrySendError::Full(_)) => Err(failed("too many reads wait already")),
                Err(TrySendError::Disconnected(_)) => Err(gone()),
            }
        })
    }
}

fn gone() -> StoreError {
    failed("the thread that reads is gone")
}

fn run(inner: &Inner, questions: &Receiver<Question>) {
    let mut tried: Option<Instant> = None;
    for Question { key, answer } in questions {
        // Who has waited too long is gone, and so is the reason to read.
        if answer.is_closed() {
            continue;
        }
        let _ = answer.send(inner.read(&key));
        // After the answer: it may take longer than anybody waits for one.
        if !inner.is_open() && tried.is_none_or(|at| at.elapsed() >= TRY_EVERY) {
            // Why not is kept, and told to who asks next.
            let _ = inner.open(Wait::No);
            tried = Some(Instant::now());
        }
    }
}
