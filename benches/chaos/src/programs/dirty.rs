//! Sessions are left in every state that one can be left in, and the next user
//! looks what it has been given.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use tokio::task::JoinSet;

use super::{PATIENCE, POOL_SIZE};
use crate::{
    ground::{Ground, ProgramError},
    subject::{Failure, Plan, Session, Subject},
};

const CALLERS: usize = 16;
/// What a session is asked to do when its user goes away in the middle.
const SHORT_SLEEP: &str = "SELECT pg_sleep(0.02)";
/// When that user goes, at the latest; before or after the statement has reached
/// the server.
const GONE_WITHIN_US: u64 = 5_000;
/// The server's word for a transaction that can only be rolled back.
const ABORTED: &str = "current transaction is aborted";
/// What the check of a session says before it names what it has found, and after.
const FOUND: &str = "found: ";
const FOUND_END: char = '.';

/// How sessions were handed on.
#[derive(Clone, Debug, Default)]
pub(crate) struct Dirty {
    /// Those with something of another user's in them.
    pub(crate) handed_on: u32,
    /// What that was; a session may have several.
    pub(crate) found: BTreeMap<String, u32>,
    /// Sessions that could not be had or used at all.
    pub(crate) broken: u32,
}

/// How a session is left.
#[derive(Clone, Copy)]
enum Dirt {
    Nothing,
    OpenTransaction,
    FailedTransaction,
    Setting,
    Listening,
    TemporaryTable,
    Lock,
    RunningQuery,
    RunningQueryInTransaction,
}

const DIRT: [Dirt; 9] = [
    Dirt::Nothing,
    Dirt::OpenTransaction,
    Dirt::FailedTransaction,
    Dirt::Setting,
    Dirt::Listening,
    Dirt::TemporaryTable,
    Dirt::Lock,
    Dirt::RunningQuery,
    Dirt::RunningQueryInTransaction,
];

/// Uses so many sessions and leaves them dirty.
pub(crate) async fn dirty<S: Subject>(
    ground: &Ground,
    sessions: u32,
) -> Result<Dirty, ProgramError> {
    let observer = ground.observer().await?;
    observer
        .batch_execute("CREATE TABLE IF NOT EXISTS touched (id bigint)")
        .await?;
    let subject = S::build(&Plan {
        url: ground.url_at(ground.address(), S::NAME),
        size: POOL_SIZE,
        patience: PATIENCE,
        query_deadline: None,
    })?;
    // A pool may have settings of its own; those are no dirt.
    let timeout = subject
        .get()
        .await?
        .ask("SELECT current_setting('statement_timeout')")
        .await?;
    let check: Arc<str> = check(&timeout).into();

    let left = Arc::new(AtomicU32::new(sessions));
    let mut tasks = JoinSet::new();
    for _ in 0..CALLERS {
        let (subject, check) = (subject.clone(), Arc::clone(&check));
        tasks.spawn(use_and_leave(subject, check, Arc::clone(&left)));
    }
    let mut sum = Dirty::default();
    while let Some(one) = tasks.join_next().await {
        // A task that panicked has said so; its sessions are missing.
        sum.add(&one.unwrap_or_default());
    }
    Ok(sum)
}

async fn use_and_leave<S: Subject>(subject: S, check: Arc<str>, left: Arc<AtomicU32>) -> Dirty {
    let mut seen = Dirty::default();
    loop {
        let taken = left.try_update(Relaxed, Relaxed, |left| left.checked_sub(1));
        let Ok(number) = taken else { return seen };
        let Ok(mut session) = subject.get().await else {
            seen.broken += 1;
            continue;
        };
        if let Err(failure) = session.run(&check).await {
            seen.note(&failure);
            if session.run(CLEAN).await.is_err() {
                seen.broken += 1;
            }
        }
        let kind = DIRT[fastrand::usize(..DIRT.len())];
        if leave(session, kind, number).await.is_err() {
            seen.broken += 1;
        }
    }
}

/// Makes it dirty and drops it.
async fn leave<S: Session>(mut session: S, dirt: Dirt, number: u32) -> Result<(), Failure> {
    match dirt {
        Dirt::Nothing => Ok(()),
        Dirt::OpenTransaction => session.run("BEGIN").await,
        Dirt::FailedTransaction => {
            session.run("BEGIN").await?;
            // It is to fail.
            let _ = session.run("SELECT 1 / 0").await;
            Ok(())
        }
        Dirt::Setting => session.run("SET statement_timeout = 12345").await,
        Dirt::Listening => session.run("LISTEN dirt").await,
        Dirt::TemporaryTable => session.run("CREATE TEMPORARY TABLE dirt ()").await,
        // One of its own each, so that nobody waits for it.
        Dirt::Lock => {
            let lock = format!("SELECT pg_advisory_lock({number})");
            session.run(&lock).await
        }
        Dirt::RunningQuery => {
            go_away_during(&mut session).await;
            Ok(())
        }
        Dirt::RunningQueryInTransaction => {
            let begin = format!("BEGIN; INSERT INTO touched VALUES ({number})");
            session.run(&begin).await?;
            go_away_during(&mut session).await;
            Ok(())
        }
    }
}

async fn go_away_during<S: Session>(session: &mut S) {
    let gone_after = Duration::from_micros(fastrand::u64(..GONE_WITHIN_US));
    let _ = tokio::time::timeout(gone_after, session.run(SHORT_SLEEP)).await;
}

/// A block that fails when there is dirt, and names it. As one simple query it
/// begins its own transaction, and the two times are one and the same; inside
/// of another's, that one began earlier.
fn check(timeout: &str) -> String {
    format!(
        "DO $$
        DECLARE found text := concat_ws(' ',
            CASE WHEN now() <> statement_timestamp() THEN 'transaction' END,
            CASE WHEN current_setting('statement_timeout') <> '{timeout}' THEN 'setting' END,
            CASE WHEN EXISTS (SELECT FROM pg_listening_channels()) THEN 'listening' END,
            CASE WHEN to_regclass('pg_temp.dirt') IS NOT NULL THEN 'temporary_table' END,
            CASE WHEN EXISTS (
                SELECT FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid()
            ) THEN 'lock' END);
        BEGIN
            IF found <> '' THEN
                RAISE EXCEPTION '{FOUND}%{FOUND_END}', found;
            END IF;
        END $$"
    )
}

/// So that each piece of dirt is found once.
const CLEAN: &str = "ROLLBACK; RESET ALL; UNLISTEN *; DROP TABLE IF EXISTS pg_temp.dirt;
    SELECT pg_advisory_unlock_all()";

impl Dirty {
    fn note(&mut self, failure: &Failure) {
        let text = failure.to_string();
        let words = if text.contains(ABORTED) {
            "failed_transaction"
        } else if let Some((_, words)) = text.split_once(FOUND) {
            // There may be more behind it: some errors say all of it twice.
            words.split(FOUND_END).next().unwrap_or_default()
        } else {
            self.broken += 1;
            return;
        };
        self.handed_on += 1;
        for word in words.split_whitespace() {
            *self.found.entry(word.to_owned()).or_default() += 1;
        }
    }

    fn add(&mut self, other: &Self) {
        self.handed_on += other.handed_on;
        self.broken += other.broken;
        for (word, times) in &other.found {
            *self.found.entry(word.clone()).or_default() += times;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(text: &str) -> Dirty {
        let mut dirty = Dirty::default();
        dirty.note(&Failure::new(&std::io::Error::other(text.to_owned())));
        dirty
    }

    #[test]
    fn what_a_check_found_is_read_from_its_error_once() {
        let dirty = noted("from database: found: lock setting.: ERROR: found: lock setting. at 3");
        assert_eq!(dirty.handed_on, 1);
        let found = [("lock".to_owned(), 1), ("setting".to_owned(), 1)];
        assert_eq!(dirty.found, BTreeMap::from(found));
    }

    #[test]
    fn an_aborted_transaction_is_dirt_and_any_other_error_is_a_broken_session() {
        let dirty = noted("ERROR: current transaction is aborted, commands ignored until …");
        assert_eq!((dirty.handed_on, dirty.broken), (1, 0));
        let dirty = noted("connection closed");
        assert_eq!((dirty.handed_on, dirty.broken), (0, 1));
    }
}
