//! The control thread: an OS thread with a runtime of its own, so that a
//! service whose runtime is blocked still answers.

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::JoinHandle,
    time::Duration,
};

use axum::{Json, Router, routing::get};
use hyper_util::{
    rt::{TokioIo, TokioTimer},
    service::TowerToHyperService,
};
use jiff::Timestamp;
use tokio::{
    net::UnixListener,
    runtime::Runtime,
    sync::{Notify, Semaphore, watch},
    time::{Instant, MissedTickBehavior},
};

use super::{
    LocalSource, TakeSnapshot, admin_router, blackbox,
    socket::{Name, SocketError},
};
use crate::snapshot::Snapshot;

/// How often it looks whether there is something new to publish.
const PUBLISH_EVERY: Duration = Duration::from_millis(100);

/// A black box is written this often though nothing has changed, so that its
/// age says when the process was last alive.
const REFRESH_EVERY: Duration = Duration::from_secs(1);

/// How often the configuration file is looked at.
const POLL_EVERY: Duration = Duration::from_secs(1);

/// Connections served at one time; more wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 64;

/// How long a client may take to send the head of a request.
const HEAD_WITHIN: Duration = Duration::from_secs(5);

/// What the thread is to do.
pub(crate) struct Plan {
    pub(crate) black_box: PathBuf,
    pub(crate) take: TakeSnapshot,
    pub(crate) source: LocalSource,
    /// Something has changed that must be published now.
    pub(crate) changed: Arc<Notify>,
    pub(crate) write_failures: Arc<AtomicU64>,
    /// Called once a second; may read files, must not wait for anything else.
    pub(crate) poll: Box<dyn FnMut() + Send>,
}

/// The running thread; stops, and publishes for the last time, when dropped.
#[derive(Debug)]
pub(crate) struct ControlThread {
    stop: watch::Sender<bool>,
    thread: Option<JoinHandle<()>>,
}

impl ControlThread {
    /// Listens on the socket and starts the thread.
    pub(crate) fn start(name: Name, plan: Plan) -> Result<Self, ControlError> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(ControlError::Thread)?;
        let listener = {
            let _inside = runtime.enter();
            name.listen()?
        };
        let (stop, stopped) = watch::channel(false);
        let thread = std::thread::Builder::new()
            .name("resilience-ctl".to_owned())
            .spawn(move || run(&runtime, listener, plan, stopped, name))
            .map_err(ControlError::Thread)?;
        Ok(Self {
            stop,
            thread: Some(thread),
        })
    }
}

impl Drop for ControlThread {
    fn drop(&mut self) {
        self.stop.send_replace(true);
        if let Some(thread) = self.thread.take() {
            // A panic in there has been printed; there is nothing to add.
            let _ = thread.join();
        }
    }
}

/// Why the control plane could not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// The socket could not be had.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The thread or its runtime could not be made.
    #[error("cannot start the control thread")]
    Thread(#[source] io::Error),
}

fn run(
    runtime: &Runtime,
    listener: UnixListener,
    plan: Plan,
    stopped: watch::Receiver<bool>,
    name: Name,
) {
    let take = plan.take.clone();
    let snapshot = get(move || std::future::ready(Json(take())));
    let router = admin_router(plan.source).merge(Router::new().route("/snapshot", snapshot));
    runtime.block_on(async {
        let publisher = Publisher {
            path: plan.black_box,
            take: plan.take,
            failures: plan.write_failures,
            last: None,
        };
        tokio::join!(
            until(&stopped, serve(listener, router)),
            publish(publisher, &plan.changed, stopped.clone()),
            until(&stopped, poll(plan.poll)),
        );
    });
    // The socket goes last, when the black box has the last word.
    drop(name);
}

/// Runs `work`, which has no end of its own, until told to stop.
async fn until(stopped: &watch::Receiver<bool>, work: impl Future<Output = ()>) {
    let mut stopped = stopped.clone();
    tokio::select! {
        // An error means that the handle is gone, which is the same.
        _ = stopped.wait_for(|stopped| *stopped) => {}
        () = work => {}
    }
}

async fn serve(listener: UnixListener, router: Router) {
    let slots = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    loop {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        let Ok((stream, _)) = listener.accept().await else {
            // Out of file descriptors, most likely: others must finish first.
            tokio::time::sleep(PUBLISH_EVERY).await;
            continue;
        };
        let service = TowerToHyperService::new(router.clone());
        tokio::spawn(async move {
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            // A client that hangs up is no event.
            let _ = connection.await;
            drop(slot);
        });
    }
}

async fn poll(mut poll: Box<dyn FnMut() + Send>) {
    let mut ticks = tokio::time::interval(POLL_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        // Off this thread: a file system that hangs must not take the admin
        // API with it.
        let polled = tokio::task::spawn_blocking(move || {
            poll();
            poll
        });
        match polled.await {
            Ok(back) => poll = back,
            Err(_) => return,
        }
    }
}

struct Publisher {
    path: PathBuf,
    take: TakeSnapshot,
    failures: Arc<AtomicU64>,
    last: Option<(Snapshot, Instant)>,
}

async fn publish(mut publisher: Publisher, changed: &Notify, mut stopped: watch::Receiver<bool>) {
    let mut ticks = tokio::time::interval(PUBLISH_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let stop = tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => true,
            () = changed.notified() => false,
            _ = ticks.tick() => false,
        };
        publisher.publish(stop).await;
        if stop {
            return;
        }
    }
}

impl Publisher {
    async fn publish(&mut self, always: bool) {
        let snapshot = (self.take)();
        let due = self.last.as_ref().is_none_or(|(last, at)| {
            at.elapsed() >= REFRESH_EVERY || !same_but_for_time(last, &snapshot)
        });
        if !due && !always {
            return;
        }
        let path = self.path.clone();
        let written = tokio::task::spawn_blocking(move || {
            let result = blackbox::write(&path, &snapshot);
            (snapshot, result)
        });
        match written.await {
            Ok((snapshot, Ok(()))) => self.last = Some((snapshot, Instant::now())),
            // Said once for each run of failures: this comes ten times a second.
            Ok((_, Err(error))) => {
                if self.last.take().is_some() || self.failures.load(Relaxed) == 0 {
                    tracing::error!(
                        class = "black_box",
                        path = %self.path.display(),
                        "the black box cannot be written: {error}"
                    );
                }
                self.failures.fetch_add(1, Relaxed);
            }
            Err(_) => {
                self.failures.fetch_add(1, Relaxed);
            }
        }
    }
}

/// Whether two snapshots differ only in what changes by itself.
fn same_but_for_time(a: &Snapshot, b: &Snapshot) -> bool {
    let timeless = |snapshot: &Snapshot| {
        let mut snapshot = snapshot.clone();
        snapshot.taken_at = Timestamp::UNIX_EPOCH;
        snapshot.heartbeat_age_ms = None;
        let keyed = snapshot.keyed.iter_mut().flat_map(|k| &mut k.not_closed);
        for breaker in snapshot.breakers.iter_mut().chain(keyed) {
            breaker.retry_after_ms = None;
            breaker.open_ms_total = 0;
            breaker.ramp_percent = None;
        }
        for fallback in &mut snapshot.fallbacks {
            fallback.oldest_ms = None;
        }
        for check in &mut snapshot.health.checks {
            check.at = None;
        }
        snapshot
    };
    timeless(a) == timeless(b)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        BreakerConfig, BreakerOptions, ByHand, CircuitBreaker, Clock, ErrorClass, ManualClock,
        snapshot::{FallbackSnapshot, OverrideKind, State},
    };

    #[test]
    fn answers_that_grow_older_are_no_reason_to_write_and_a_switch_is() {
        let picture = |oldest_ms, enabled| Snapshot {
            fallbacks: vec![FallbackSnapshot {
                oldest_ms,
                enabled,
                ..FallbackSnapshot::default()
            }],
            started_at: Timestamp::UNIX_EPOCH,
            ..Snapshot::of_nothing("payments-api")
        };
        let before = picture(Some(1), true);
        assert!(same_but_for_time(&before, &picture(Some(2), true)));
        assert!(!same_but_for_time(&before, &picture(Some(1), false)));
    }

    /// A breaker that closes over ten seconds.
    fn breaker() -> (CircuitBreaker, ManualClock) {
        let options = BreakerOptions {
            minimum_calls: 1,
            half_open_permits: 1,
            ramp_up: Some(Duration::from_secs(10)),
            ..BreakerOptions::default()
        };
        let (clock, hand) = Clock::manual();
        let config = BreakerConfig::try_from(options).unwrap();
        (
            CircuitBreaker::with_clock("payment_api", config, clock),
            hand,
        )
    }

    fn picture(breaker: &CircuitBreaker) -> Snapshot {
        Snapshot {
            breakers: vec![breaker.snapshot()],
            started_at: Timestamp::UNIX_EPOCH,
            ..Snapshot::of_nothing("payments-api")
        }
    }

    #[test]
    fn time_alone_is_no_reason_to_write_and_what_time_brings_about_is() {
        let (breaker, hand) = breaker();
        let by = ByHand::default();
        let minute = Some(Duration::from_secs(60));
        breaker
            .set_override(OverrideKind::ForcedOpen, minute, &by)
            .unwrap();
        let set = picture(&breaker);
        hand.advance(Duration::from_secs(59));
        assert!(same_but_for_time(&set, &picture(&breaker)));
        // Nobody asks for a permit: to take the picture ends the override.
        hand.advance(Duration::from_secs(1));
        let ended = picture(&breaker);
        assert!(!same_but_for_time(&set, &ended));
        assert_eq!(ended.breakers[0].overridden, None);

        breaker.try_acquire().unwrap().failure(ErrorClass::TIMEOUT);
        let open = picture(&breaker);
        assert_eq!(open.breakers[0].state, State::Open);
        hand.advance(Duration::from_secs(1));
        assert!(same_but_for_time(&open, &picture(&breaker)));
        hand.advance(Duration::from_secs(60));
        breaker.try_acquire().unwrap().success();
        let closing = picture(&breaker);
        let begun = closing.breakers[0].ramp_percent;
        assert!(begun.is_some(), "{closing:?}");
        hand.advance(Duration::from_secs(5));
        let later = picture(&breaker);
        assert!(later.breakers[0].ramp_percent > begun, "{later:?}");
        assert!(same_but_for_time(&closing, &later));
        hand.advance(Duration::from_secs(5));
        assert!(!same_but_for_time(&closing, &picture(&breaker)));
    }
}
