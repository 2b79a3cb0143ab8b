//! What the pool knows of a connection while a caller has it: who, where, since
//! when, with which statement, and what will have to be cleaned up.

use std::{
    panic::Location,
    sync::{
        Arc,
        atomic::{
            AtomicBool, AtomicI32, AtomicU8, AtomicU32,
            Ordering::{AcqRel, Acquire, Relaxed, Release},
        },
    },
};

use parking_lot::{Mutex, MutexGuard};

use super::{
    sql::Text,
    statement::{self, Leaves},
};
use crate::{request::Request, snapshot::HolderSnapshot};

/// So much of a statement is remembered; the rest says little more.
const MOST_TEXT: usize = 2_000;

/// Nothing is to be rolled back.
const NOTHING: u32 = u32::MAX;

/// Who counts a connection in the queue.
const DIALER: u8 = 0;
const DRIVER: u8 = 1;
const ENDING: u8 = 2;
const NOBODY: u8 = 3;

/// How a connection that is gone had counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Counted {
    /// For the one who dials.
    No,
    Yes,
    /// As one that was to be ended.
    AsEnding,
}

#[derive(Debug)]
pub(super) struct Desk {
    /// Until it is made the one who dials; then the one who runs it, until it ends.
    counted_by: AtomicU8,
    /// 0: not known yet.
    backend_pid: AtomicI32,
    /// Statements that have been sent and not been answered.
    in_flight: AtomicU32,
    /// A statement was given up: its answer is on its way to nobody.
    in_doubt: AtomicBool,
    /// A statement may have left something in the session.
    has_traces: AtomicBool,
    /// Something was done with it that was not seen.
    is_unseen: AtomicBool,
    /// It cannot be cleaned, and goes when it is returned.
    is_lost: AtomicBool,
    /// Nor can it be used any more.
    is_broken: AtomicBool,
    /// The transaction, 0, or the savepoint that was dropped unfinished.
    undo: AtomicU32,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    /// `None`: nobody has it.
    place: Option<&'static Location<'static>>,
    since_ns: u64,
    request: Option<Arc<Request>>,
    /// The buffer stays, so that noting a statement seldom allocates.
    statement: String,
    reported: bool,
}

/// One that was held for too long.
#[derive(Debug)]
pub(super) struct Overdue {
    pub(super) place: &'static Location<'static>,
    pub(super) held_ns: u64,
    pub(super) request: Option<Arc<Request>>,
    pub(super) statement: Option<String>,
}

impl Desk {
    pub(super) fn new() -> Self {
        Self {
            counted_by: AtomicU8::new(DIALER),
            backend_pid: AtomicI32::new(0),
            in_flight: AtomicU32::new(0),
            in_doubt: AtomicBool::new(false),
            has_traces: AtomicBool::new(false),
            is_unseen: AtomicBool::new(false),
            is_lost: AtomicBool::new(false),
            is_broken: AtomicBool::new(false),
            undo: AtomicU32::new(NOTHING),
            held: Mutex::default(),
        }
    }

    /// It is made, and counts until it is gone; `false`: it is gone already.
    pub(super) fn counts_until_gone(&self) -> bool {
        self.counted_by
            .compare_exchange(DIALER, DRIVER, AcqRel, Acquire)
            .is_ok()
    }

    /// It is being ended; `false`: it is gone already.
    pub(super) fn counts_as_ending(&self) -> bool {
        self.counted_by
            .compare_exchange(DRIVER, ENDING, AcqRel, Acquire)
            .is_ok()
    }

    /// It is gone.
    pub(super) fn is_gone(&self) -> Counted {
        match self.counted_by.swap(NOBODY, AcqRel) {
            DRIVER => Counted::Yes,
            ENDING => Counted::AsEnding,
            _ => Counted::No,
        }
    }

    pub(super) fn is_served_by(&self, backend_pid: i32) {
        self.backend_pid.store(backend_pid, Relaxed);
    }

    /// A caller has it now.
    pub(super) fn take(&self, place: &'static Location<'static>, now_ns: u64) {
        let request = Request::current();
        let mut held = self.held.lock();
        held.place = Some(place);
        held.since_ns = now_ns;
        held.request = request;
        held.statement.clear();
        held.reported = false;
    }

    /// The caller has returned it: for how long it had it; and if that was
    /// reported as too long, what there was to say.
    pub(super) fn leave(&self, now_ns: u64) -> (u64, Option<Overdue>) {
        let mut held = self.held.lock();
        let held_ns = now_ns.saturating_sub(held.since_ns);
        let late = held.reported.then(|| held.overdue(now_ns)).flatten();
        held.place = None;
        held.request = None;
        (held_ns, late)
    }

    /// Notes that it is held for longer than `limit_ns`, once.
    pub(super) fn report(&self, now_ns: u64, limit_ns: u64) -> Option<Overdue> {
        let mut held = self.held.lock();
        if held.reported || now_ns.saturating_sub(held.since_ns) <= limit_ns {
            return None;
        }
        let overdue = held.overdue(now_ns);
        held.reported = overdue.is_some();
        overdue
    }

    /// A statement begins; how often its request has sent the same one, if
    /// that is just too often.
    pub(super) fn begin(&self, text: Text<'_>) -> Option<u32> {
        self.will_leave(text);
        let held = self.remember(text);
        let request = held.request.as_ref()?;
        request.note_statement(text.fingerprint())
    }

    /// The same for one that is only prepared: it counts when it is run.
    pub(super) fn begin_to_prepare(&self, text: Text<'_>) -> Option<u32> {
        self.will_leave(text);
        drop(self.remember(text));
        None
    }

    /// The same for a statement of the pool's own, which cleans up after itself.
    /// That a request has many transactions is no mistake of its own.
    pub(super) fn begin_own(&self, text: Text<'_>) -> Option<u32> {
        drop(self.remember(text));
        None
    }

    fn will_leave(&self, text: Text<'_>) {
        let leaves = text.leaves();
        if leaves != Leaves::Nothing {
            self.has_traces.store(true, Relaxed);
        }
        if leaves == Leaves::AName {
            self.is_lost.store(true, Relaxed);
        }
    }

    fn remember(&self, text: Text<'_>) -> MutexGuard<'_, Held> {
        self.in_flight.fetch_add(1, Relaxed);
        let text = text.shown();
        let mut held = self.held.lock();
        held.statement.clear();
        held.statement
            .push_str(&text[..text.floor_char_boundary(MOST_TEXT)]);
        held
    }

    /// A statement was answered.
    pub(super) fn end(&self) {
        self.in_flight.fetch_sub(1, Relaxed);
    }

    /// A statement was given up; whether it was the only one.
    pub(super) fn give_up(&self) -> bool {
        self.in_doubt.store(true, Release);
        self.in_flight.fetch_sub(1, Relaxed) == 1
    }

    /// Something is going on that is not seen from here: all is to be answered
    /// and cleaned before the next user.
    pub(super) fn may_be_unanswered(&self) {
        self.has_traces.store(true, Relaxed);
        self.is_unseen.store(true, Relaxed);
    }

    /// The same, looked at when it is returned.
    pub(super) fn is_unseen(&self) -> bool {
        self.is_unseen.load(Relaxed)
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        self.in_doubt.load(Acquire)
    }

    /// All that was sent has been answered.
    pub(super) fn is_settled(&self) {
        self.in_doubt.store(false, Release);
    }

    pub(super) fn has_traces(&self) -> bool {
        self.has_traces.load(Relaxed)
    }

    pub(super) fn is_lost(&self) -> bool {
        self.is_lost.load(Relaxed)
    }

    pub(super) fn break_off(&self) {
        self.is_broken.store(true, Relaxed);
    }

    pub(super) fn is_broken(&self) -> bool {
        self.is_broken.load(Relaxed)
    }

    pub(super) fn is_busy(&self) -> bool {
        self.in_flight.load(Relaxed) > 0
    }

    /// The next statement can be sent as it is.
    pub(super) fn is_ready(&self) -> bool {
        !self.is_in_doubt() && !self.is_broken() && self.undo.load(Relaxed) == NOTHING
    }

    /// Nothing is left of those who had it.
    pub(super) fn is_clean(&self) -> bool {
        self.is_ready() && !self.has_traces() && !self.is_lost() && !self.is_busy()
    }

    pub(super) fn was_cleaned(&self) {
        self.has_traces.store(false, Relaxed);
        self.is_unseen.store(false, Relaxed);
        self.undo.store(NOTHING, Relaxed);
    }

    /// A transaction, or a savepoint of that number, was dropped unfinished.
    pub(super) fn undo_later(&self, savepoint: u32) {
        self.undo.fetch_min(savepoint, Relaxed);
    }

    /// What is to be undone before anything else is done.
    pub(super) fn take_undo(&self) -> Option<u32> {
        match self.undo.swap(NOTHING, Relaxed) {
            NOTHING => None,
            savepoint => Some(savepoint),
        }
    }

    /// The caller's place and since when, if a caller has it.
    pub(super) fn holder(&self) -> Option<(&'static Location<'static>, u64)> {
        let held = self.held.lock();
        held.place.map(|place| (place, held.since_ns))
    }

    pub(super) fn picture(&self, now_ns: u64, leak_ns: u64) -> Option<HolderSnapshot> {
        let held = self.held.lock();
        let place = held.place?;
        let held_ns = now_ns.saturating_sub(held.since_ns);
        Some(HolderSnapshot {
            place: place_of(place),
            held_ms: held_ns / 1_000_000,
            correlation_id: held.correlation_id(),
            last_sql: held.normalised(),
            busy: self.is_busy(),
            backend_pid: match self.backend_pid.load(Relaxed) {
                0 => None,
                pid => Some(pid),
            },
            suspected_leak: held_ns > leak_ns,
        })
    }
}

impl Overdue {
    /// Of the request that holds it.
    pub(super) fn correlation_id(&self) -> Option<&str> {
        let request = self.request.as_ref()?;
        Some(request.correlation_id().as_ref())
    }
}

impl Held {
    fn overdue(&self, now_ns: u64) -> Option<Overdue> {
        Some(Overdue {
            place: self.place?,
            held_ns: now_ns.saturating_sub(self.since_ns),
            request: self.request.clone(),
            statement: self.normalised(),
        })
    }

    fn correlation_id(&self) -> Option<String> {
        let request = self.request.as_ref()?;
        Some(request.correlation_id().to_string())
    }

    fn normalised(&self) -> Option<String> {
        (!self.statement.is_empty()).then(|| statement::normalise(&self.statement))
    }
}

/// `src/orders.rs:42`.
pub(super) fn place_of(place: &Location<'_>) -> String {
    format!("{}:{}", place.file(), place.line())
}
