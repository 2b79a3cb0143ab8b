//! What is done for a pool from time to time: leaks are reported, connections that
//! are old or idle for long are ended, the idle ones asked for a sign of life.

use std::{
    sync::{Arc, Weak, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::MissedTickBehavior;

use super::{clean, inner::Inner, report, session::Session, stats::one};
use crate::clock::saturating_ns;

/// How late a leak or an idle connection may be noticed.
const EVERY: Duration = Duration::from_millis(250);

/// Runs as long as the pool does.
pub(super) async fn run(inner: Weak<Inner>) {
    let mut ticks = tokio::time::interval(EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let Some(inner) = inner.upgrade() else { return };
        look(&inner);
    }
}

fn look(inner: &Arc<Inner>) {
    for overdue in inner.new_leaks() {
        one(&inner.stats.leaks);
        report::leak(inner, &overdue);
    }
    let settings = inner.settings.load();
    let now_ns = inner.clock.now_ns();
    let epoch = inner.epoch.load(Relaxed);
    let ago = |since_ns: u64, limit: Option<Duration>| {
        limit.is_some_and(|limit| now_ns.saturating_sub(since_ns) > saturating_ns(limit))
    };
    let is_done = |session: &Session| {
        session.is_closed()
            || session.epoch != epoch
            || now_ns >= session.dies_ns
            || ago(session.idle_since_ns, settings.idle)
    };
    for session in inner.queue.take_idle(|session| is_done(session)) {
        if session.is_closed() {
            inner.gate.suspect();
        }
        inner.retire(session);
    }
    let is_silent = |session: &Session| {
        ago(
            session.heard_ns.max(session.idle_since_ns),
            settings.keepalive,
        )
    };
    for session in inner.queue.take_idle(|session| is_silent(session)) {
        tokio::spawn(ask(Arc::clone(inner), session, settings.connect));
    }
}

async fn ask(inner: Arc<Inner>, session: Box<Session>, within: Duration) {
    let mut asked = Asked {
        inner: &inner,
        session: Some(session),
    };
    let Some(session) = &mut asked.session else {
        return;
    };
    if clean::is_alive(session, within).await {
        session.heard_ns = inner.clock.now_ns();
        if let Some(session) = asked.session.take() {
            inner.end_if_not_kept(inner.queue.put_back(session));
        }
    } else {
        inner.gate.suspect();
    }
}

/// Ends the session unless it has answered.
struct Asked<'a> {
    inner: &'a Inner,
    session: Option<Box<Session>>,
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if let Some(session) = self.session.take() {
            self.inner.retire(session);
        }
    }
}
