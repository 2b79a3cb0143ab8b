//! Deadlines that are seldom reached, without setting a timer for each.
//!
//! Setting a timer of tokio's takes a lock that all workers share, and dropping it
//! takes that lock again: more than the rest of a checkout. Nearly all of these
//! deadlines are met, and most are of about the same length. So a timer is
//! kept, set as it is, when what it was for is done, by the thread that it was done on.
//! For the next one it may go off too early, and is then set again; never too late.

use std::{
    cell::RefCell,
    future::{Future, poll_fn},
    pin::Pin,
    task::{Context, Poll, ready},
    time::Duration,
};

use tokio::{
    runtime::{Handle, Id},
    time::{Instant, Sleep, sleep_until},
};

/// So many timers are kept by a thread; more are dropped.
const MOST_KEPT: usize = 64;

thread_local! {
    /// Timers that are set and not waited for.
    static KEPT: RefCell<Vec<Timer>> = const { RefCell::new(Vec::new()) };
}

#[derive(Debug)]
struct Timer {
    sleep: Pin<Box<Sleep>>,
    /// It goes off as long as that one runs.
    runtime: Id,
}

/// What `work` gives, if it does within `limit` of `begun`, which was just now.
pub(super) async fn within<T>(
    begun: Instant,
    limit: Duration,
    mut work: Pin<&mut impl Future<Output = T>>,
) -> Option<T> {
    // For ever is thirty years, as with tokio's own.
    let deadline = begun
        .checked_add(limit)
        .unwrap_or_else(|| begun + Duration::from_secs(86_400 * 365 * 30));
    let mut lent = Lent(None);
    poll_fn(|cx| {
        if let Poll::Ready(done) = work.as_mut().poll(cx) {
            return Poll::Ready(Some(done));
        }
        let timer = lent.0.get_or_insert_with(|| lend(deadline));
        ready!(timer.poll(deadline, cx));
        Poll::Ready(None)
    })
    .await
}

fn lend(deadline: Instant) -> Timer {
    let runtime = Handle::current().id();
    // None of a thread that ends.
    let kept = KEPT.try_with(|kept| kept.borrow_mut().pop()).ok().flatten();
    // One of a runtime that has ended would panic.
    kept.filter(|timer| timer.runtime == runtime)
        .unwrap_or_else(|| Timer {
            sleep: Box::pin(sleep_until(deadline)),
            runtime,
        })
}

impl Timer {
    fn poll(&mut self, deadline: Instant, cx: &mut Context<'_>) -> Poll<()> {
        if self.sleep.deadline() > deadline {
            self.sleep.as_mut().reset(deadline);
        }
        loop {
            ready!(self.sleep.as_mut().poll(cx));
            if self.sleep.deadline() >= deadline {
                return Poll::Ready(());
            }
            // It was set for another one.
            self.sleep.as_mut().reset(deadline);
        }
    }
}

/// Gives the timer back, however it ends.
struct Lent(Option<Timer>);

impl Drop for Lent {
    fn drop(&mut self) {
        let Some(timer) = self.0.take() else {
            return;
        };
        // A thread that ends keeps none.
        let _ = KEPT.try_with(|kept| {
            let mut kept = kept.borrow_mut();
            if kept.len() < MOST_KEPT {
                kept.push(timer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use std::{future::pending, pin::pin};

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    async fn after(time: Duration) {
        tokio::time::sleep(time).await;
    }

    async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> Option<T> {
        super::within(Instant::now(), limit, pin!(work)).await
    }

    fn kept() -> usize {
        KEPT.with(|kept| kept.borrow().len())
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_done_in_time_is_given_and_its_timer_kept_for_the_next() {
        for _ in 0..5 {
            let done = within(SECOND, after(SECOND / 4)).await;
            assert_eq!((done, kept()), (Some(()), 1));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_deadline_ends_its_wait_neither_early_nor_late_whatever_the_timer_was_set_for() {
        // Set for earlier, for later, and gone off long ago.
        for limit in [SECOND, SECOND * 3, SECOND / 2, SECOND * 2] {
            assert_eq!(within(limit, after(limit / 3)).await, Some(()));
            let begun = Instant::now();
            assert_eq!(within(limit, pending::<()>()).await, None);
            assert_eq!(begun.elapsed(), limit);
            after(SECOND * 5).await;
        }
        assert_eq!(kept(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn many_at_a_time_have_a_timer_each_and_few_are_kept() {
        let waits: Vec<_> = (0..200)
            .map(|_| tokio::spawn(within(SECOND, pending::<()>())))
            .collect();
        for wait in waits {
            assert_eq!(wait.await.unwrap(), None);
        }
        assert_eq!(kept(), MOST_KEPT);
    }

    #[test]
    fn a_timer_of_a_runtime_that_has_ended_serves_nobody() {
        for _ in 0..2 {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            let wait = within(SECOND, pending::<()>());
            assert_eq!(runtime.block_on(wait), None);
        }
        assert_eq!(kept(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn a_wait_that_is_dropped_gives_its_timer_back() {
        let wait = within(SECOND, pending::<()>());
        assert!(tokio::time::timeout(SECOND / 2, wait).await.is_err());
        assert_eq!(kept(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn for_ever_is_no_overflow() {
        let done = within(Duration::MAX, after(SECOND)).await;
        assert_eq!(done, Some(()));
    }
}
