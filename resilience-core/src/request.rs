//! The request that the running code works for.
//!
//! Whoever needs it, such as the pool that names who holds a connection, is too
//! deep in the service for it to be handed down as an argument. So it lies in a
//! thread-local while the request's future is polled, and only then: between
//! two polls the thread works for others.

#![allow(
    dead_code,
    reason = "without `http` nobody sets it, without `postgres` nobody asks"
)]

use std::{cell::RefCell, sync::Arc};

use parking_lot::Mutex;

/// So many different statements of one request are told apart; further ones are
/// not counted. A request that has more is no loop over one statement.
const MOST_STATEMENTS: usize = 32;

/// A statement repeated so often within one request is worth a line. A few times
/// is ordinary, when parts of a handler ask for the same row without knowing of
/// each other; ten times is a loop that should be one statement.
const REPEATED_AT: u32 = 10;

thread_local! {
    static CURRENT: RefCell<Option<Arc<Request>>> = const { RefCell::new(None) };
}

/// One request: its name in the log, and what it has asked the database.
#[derive(Debug)]
pub(crate) struct Request {
    correlation_id: Arc<str>,
    // A lock because a handler may share its request with tasks of its own; it
    // is hardly ever waited for.
    statements: Mutex<Vec<(u64, u32)>>,
}

impl Request {
    pub(crate) fn new(correlation_id: Arc<str>) -> Arc<Self> {
        Arc::new(Self {
            correlation_id,
            // Allocates with the first statement: most requests of most
            // services have none.
            statements: Mutex::default(),
        })
    }

    /// The request whose future is being polled on this thread. None in a task
    /// of its own, in a response's body, and without
    /// [`CorrelationIdLayer`](crate::CorrelationIdLayer).
    pub(crate) fn current() -> Option<Arc<Self>> {
        // Fails while the thread ends, when there is no request either.
        CURRENT
            .try_with(|current| current.borrow().clone())
            .ok()
            .flatten()
    }

    /// Runs `work` for the request that lies in `slot`, which is there again
    /// when this returns, also by a panic.
    ///
    /// About 3 ns: the request is moved to the thread-local and back, and
    /// what was there before, an outer request or none, waits in `slot`.
    pub(crate) fn within<R>(slot: &mut Option<Arc<Self>>, work: impl FnOnce() -> R) -> R {
        struct SwapBack<'a>(&'a mut Option<Arc<Request>>);
        impl Drop for SwapBack<'_> {
            fn drop(&mut self) {
                swap(self.0);
            }
        }
        swap(slot);
        let _swap_back = SwapBack(slot);
        work()
    }

    /// Its name in logs and answers.
    pub(crate) fn correlation_id(&self) -> &Arc<str> {
        &self.correlation_id
    }

    /// Counts a statement; how often it ran, exactly once: when that becomes
    /// [`REPEATED_AT`]. 30 ns at most.
    pub(crate) fn note_statement(&self, fingerprint: u64) -> Option<u32> {
        let mut statements = self.statements.lock();
        let known = statements.iter_mut().find(|(of, _)| *of == fingerprint);
        let Some((_, count)) = known else {
            if statements.len() < MOST_STATEMENTS {
                statements.push((fingerprint, 1));
            }
            return None;
        };
        *count = count.saturating_add(1);
        (*count == REPEATED_AT).then_some(*count)
    }
}

fn swap(slot: &mut Option<Arc<Request>>) {
    // Fails while the thread ends: then nobody asks any more.
    let _ = CURRENT.try_with(|current| std::mem::swap(&mut *current.borrow_mut(), slot));
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn named(id: &str) -> Option<Arc<Request>> {
        Some(Request::new(id.into()))
    }

    fn current() -> Option<String> {
        Request::current().map(|request| request.correlation_id().to_string())
    }

    #[test]
    fn an_inner_request_gives_way_to_the_outer_one_and_that_to_none() {
        let (mut outer, mut inner) = (named("outer"), named("inner"));
        assert_eq!(current(), None);
        Request::within(&mut outer, || {
            assert_eq!(current().as_deref(), Some("outer"));
            Request::within(&mut inner, || {
                assert_eq!(current().as_deref(), Some("inner"));
            });
            assert_eq!(current().as_deref(), Some("outer"));
        });
        assert_eq!(current(), None);
        assert_eq!(outer.unwrap().correlation_id().as_ref(), "outer");
        assert_eq!(inner.unwrap().correlation_id().as_ref(), "inner");
    }

    #[test]
    fn a_panic_leaves_no_request_behind() {
        let mut slot = named("a");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            Request::within(&mut slot, || panic!("the handler's"));
        }));
        assert!(panicked.is_err());
        assert_eq!(current(), None);
        assert!(slot.is_some());
    }

    #[test]
    fn a_repeated_statement_is_told_once_however_often_it_goes_on() {
        let request = named("a").unwrap();
        let told: Vec<_> = (0..100).map(|_| request.note_statement(7)).collect();
        let expected = |at| (at == 9).then_some(10);
        assert_eq!(told, (0..100).map(expected).collect::<Vec<_>>());
        assert_eq!(request.note_statement(8), None);
    }

    #[test]
    fn the_table_of_statements_is_bounded_and_those_in_it_are_still_counted() {
        let request = named("a").unwrap();
        for fingerprint in 0..1_000 {
            assert_eq!(request.note_statement(fingerprint), None);
        }
        assert_eq!(request.statements.lock().len(), MOST_STATEMENTS);
        let told = |of| (0..20).filter_map(|_| request.note_statement(of)).count();
        assert_eq!((told(31), told(32)), (1, 0));
    }
}
