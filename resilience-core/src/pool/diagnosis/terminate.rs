//! Ending backends, and saying for each what became of it.

use std::{fmt, time::Duration};

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio::time::{self, Instant};
use tokio_postgres::types::Type;

use super::{Diagnosis, DiagnosisError, Limit, Listing, words};

/// How long it is waited for a backend that was told to end.
const ENDS_WITHIN: Duration = Duration::from_secs(1);

/// How often it is looked whether it has.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Whom to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Terminate {
    /// One backend.
    Pid(i32),
    /// All that have been idle for longer; at most 500 at a time.
    IdleLongerThan(Duration),
}

/// What became of each.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Terminated {
    /// The database that was asked.
    pub database: String,
    /// Nothing was done, this is what would have been.
    pub dry_run: bool,
    /// How many were ended, or would have been.
    pub ended: usize,
    /// There were more than could be ended at once: ask again.
    pub truncated: bool,
    /// All of them.
    pub backends: Vec<BackendEnd>,
}

/// What became of one backend.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct BackendEnd {
    /// Its process id.
    pub pid: i32,
    /// What became of it.
    pub outcome: EndOutcome,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// Its role.
    pub user: Option<String>,
    /// `application_name` of its connection.
    pub application: Option<String>,
    /// Such as `idle`.
    pub state: Option<String>,
    /// Since it has been in this state.
    pub state_seconds: Option<f64>,
    /// Its current or last statement, its first 1,000 characters.
    pub statement: Option<String>,
    /// The outcome in a sentence.
    pub detail: String,
}

/// What became of a backend.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum EndOutcome {
    /// It is gone.
    Ended,
    /// It was told to end, and is still there after a second.
    Signalled,
    /// A dry run: it would have been told to end.
    WouldEnd,
    /// Nothing was done.
    Refused,
}

/// Why a backend was left alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Refusal {
    /// There is no such backend.
    NotFound,
    /// It is the one that asks.
    Own,
    /// It is the server's own process, or a replica's.
    NotAClient,
    /// It is connected to another database.
    OtherDatabase,
    /// It is a superuser's, and ours is none.
    Superuser,
    /// The role may not end it.
    NotPermitted,
    /// It is not idle any more, or not for so long.
    NotIdle,
}

impl Refusal {
    /// The end of the sentence `backend 7 was left alone: …`.
    #[must_use]
    pub const fn words(self) -> &'static str {
        match self {
            Self::NotFound => "there is no such backend",
            Self::Own => "it is the connection that asks",
            Self::NotAClient => "it is no client's connection",
            Self::OtherDatabase => "it is connected to another database",
            Self::Superuser => "it is a superuser's, and our role is none",
            Self::NotPermitted => {
                "our role may not end it (GRANT pg_signal_backend to it for that)"
            }
            Self::NotIdle => "it is in use again",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.words())
    }
}

/// One backend as it was found, and whether it was told to end.
#[derive(Deserialize)]
struct Found {
    pid: i32,
    refusal: Option<Refusal>,
    started: Option<Timestamp>,
    user: Option<String>,
    application: Option<String>,
    state: Option<String>,
    state_seconds: Option<f64>,
    statement: Option<String>,
    signalled: bool,
}

/// Looks and tells in one statement, so that no time passes in between in which a
/// process id could go over to somebody else. `$2` is how long it has to be idle; null: it need
/// not be. `$3`: only look.
///
/// A role that may not look closely sees no `backend_type`; such a backend counts
/// as a client if it has a role.
const TELL: &str = "
    SELECT v.pid, v.refusal, v.backend_start AS started, v.usename AS \"user\",
        v.application_name AS application, v.state,
        extract(epoch FROM clock_timestamp() - v.state_change)::float8 AS state_seconds,
        left(v.query, 1000) AS statement,
        CASE WHEN v.refusal IS NULL AND NOT $3 THEN pg_terminate_backend(v.pid) ELSE false END
            AS signalled
    FROM (
        SELECT a.*, CASE
            WHEN a.pid = pg_backend_pid() THEN 'own'
            WHEN a.usesysid IS NULL OR a.backend_type <> 'client backend' THEN 'not_a_client'
            WHEN a.datname IS DISTINCT FROM current_database() THEN 'other_database'
            WHEN them.rolsuper AND NOT us.rolsuper THEN 'superuser'
            WHEN NOT pg_has_role(a.usesysid, 'USAGE')
                AND NOT pg_has_role('pg_signal_backend', 'USAGE') THEN 'not_permitted'
            WHEN $2 IS NOT NULL AND (a.state = 'idle'
                AND clock_timestamp() - a.state_change > make_interval(secs => $2)) IS NOT TRUE
                THEN 'not_idle'
            END AS refusal
        FROM pg_stat_activity a
        LEFT JOIN pg_roles them ON them.oid = a.usesysid
        CROSS JOIN (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) us
        WHERE a.pid = ANY ($1)
        OFFSET 0 -- judged once, and before anything is told
    ) v";

const STILL_THERE: &str = "
    SELECT pid, backend_start AS started FROM pg_stat_activity
    WHERE datname = current_database() AND pid = ANY ($1)";

#[derive(Deserialize, PartialEq)]
struct Alive {
    pid: i32,
    started: Option<Timestamp>,
}

impl Diagnosis<'_> {
    /// Ends backends of this database, and waits up to a second until they are
    /// gone. Says for each what was done, or why not.
    ///
    /// Never its own backend, one of another database, or one of a superuser
    /// unless our role is one. One that is found idle is looked at again in the
    /// moment it is told to end. With `dry_run` it is only said what would be done.
    ///
    /// Dropped half way, some may have been ended.
    ///
    /// # Errors
    ///
    /// [`DiagnosisError`]: why there is no answer. Some may have been ended.
    pub async fn terminate(
        &self,
        whom: Terminate,
        dry_run: bool,
    ) -> Result<Terminated, DiagnosisError> {
        let (pids, idle_seconds, truncated) = match whom {
            Terminate::Pid(pid) => (vec![pid], None, false),
            Terminate::IdleLongerThan(longer_than) => {
                let idle = self.limit(Limit::MOST).idle(longer_than).await?;
                let pids = idle.rows.iter().map(|backend| backend.pid).collect();
                (pids, Some(longer_than.as_secs_f64()), idle.truncated)
            }
        };
        let mut found: Listing<Found> = self
            .limit(Limit::MOST)
            .list(
                TELL,
                &[
                    (&pids, Type::INT4_ARRAY),
                    (&idle_seconds, Type::FLOAT8),
                    (&dry_run, Type::BOOL),
                ],
            )
            .await?;
        let mut told = Vec::new();
        let mut backends = Vec::new();
        for pid in pids {
            let place = found.rows.iter().position(|found| found.pid == pid);
            let found = place.map(|place| found.rows.swap_remove(place));
            if let Some(found) = found.as_ref().filter(|found| found.signalled) {
                told.push(Alive {
                    pid,
                    started: found.started,
                });
            }
            backends.push(BackendEnd::of(pid, found, dry_run));
        }
        self.see_them_end(told, &mut backends).await?;
        let done =
            |end: &&BackendEnd| matches!(end.outcome, EndOutcome::Ended | EndOutcome::WouldEnd);
        Ok(Terminated {
            database: found.database,
            dry_run,
            ended: backends.iter().filter(done).count(),
            truncated,
            backends,
        })
    }

    /// Waits until those who were told are gone, and notes it.
    async fn see_them_end(
        &self,
        mut told: Vec<Alive>,
        backends: &mut [BackendEnd],
    ) -> Result<(), DiagnosisError> {
        let until = Instant::now() + ENDS_WITHIN;
        while !told.is_empty() {
            let pids: Vec<i32> = told.iter().map(|one| one.pid).collect();
            let there = self
                .limit(Limit::MOST)
                .list::<Alive>(STILL_THERE, &[(&pids, Type::INT4_ARRAY)])
                .await?;
            told.retain(|one| {
                let alive = there.rows.contains(one);
                if !alive && let Some(end) = backends.iter_mut().find(|end| end.pid == one.pid) {
                    end.is(EndOutcome::Ended);
                }
                alive
            });
            if Instant::now() >= until {
                break;
            }
            if !told.is_empty() {
                time::sleep(LOOK_EVERY).await;
            }
        }
        Ok(())
    }
}

impl BackendEnd {
    fn of(pid: i32, found: Option<Found>, dry_run: bool) -> Self {
        let found = found.unwrap_or(Found {
            pid,
            refusal: Some(Refusal::NotFound),
            started: None,
            user: None,
            application: None,
            state: None,
            state_seconds: None,
            statement: None,
            signalled: false,
        });
        // It may have ended by itself in the moment before it was told.
        let refusal = match found.refusal {
            None if !dry_run && !found.signalled => Some(Refusal::NotFound),
            judged => judged,
        };
        let outcome = match refusal {
            Some(_) => EndOutcome::Refused,
            None if dry_run => EndOutcome::WouldEnd,
            None => EndOutcome::Signalled,
        };
        let mut end = Self {
            pid,
            outcome,
            refusal,
            user: found.user,
            application: found.application,
            state: found.state,
            state_seconds: found.state_seconds,
            statement: found.statement,
            detail: String::new(),
        };
        end.is(outcome);
        end
    }

    fn is(&mut self, outcome: EndOutcome) {
        self.outcome = outcome;
        let pid = self.pid;
        self.detail = match (outcome, self.refusal) {
            (_, Some(refusal)) => format!("backend {pid} was left alone: {refusal}"),
            (EndOutcome::Ended, _) => format!("ended backend {pid}, {}", self.described()),
            (EndOutcome::WouldEnd, _) => format!("would end backend {pid}, {}", self.described()),
            (EndOutcome::Signalled | EndOutcome::Refused, None) => format!(
                "told backend {pid} to end, {}; it is still there after {ENDS_WITHIN:?}",
                self.described()
            ),
        };
    }

    /// Such as `payments-api of api_user, idle for 7m`.
    fn described(&self) -> String {
        let application = match self.application.as_deref() {
            None | Some("") => "a client",
            Some(name) => name,
        };
        let user = self.user.as_deref().unwrap_or("an unknown role");
        let state = self.state.as_deref().unwrap_or("in an unknown state");
        let since = words::time(self.state_seconds.unwrap_or_default());
        format!("{application} of {user}, {state} for {since}")
    }
}
