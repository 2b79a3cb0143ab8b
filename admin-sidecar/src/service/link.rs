//! The service as the sidecar sees it: asked when it answers, known from its
//! black box when it does not.

use std::{path::Path, sync::Arc, time::Duration};

use axum::body::Bytes;
use http::{Request, StatusCode};
use jiff::Timestamp;
use parking_lot::Mutex;
use resilience_core::{
    control::{
        AdminSource, BLOCKED_AFTER, ChangeError, ChangeRequest, Condition, Observed, Receipt,
        Unavailable,
        blackbox::{self, BlackBoxError},
    },
    snapshot::{FORMAT, Snapshot},
};
use serde::Deserialize;
use tokio::time::{self, Instant, MissedTickBehavior};

use super::{
    ask::{AskError, Asker},
    change::Changes,
    disk::Disk,
    find::{Found, RunDir},
    flight::Flight,
    process,
};
use crate::{guard, journal::Journal};

/// So short that an answer is as good as new, long enough to bound the rate.
const KEEP_ANSWER: Duration = Duration::from_millis(10);

/// A service that has just not answered will not do so right away.
const KEEP_SILENCE: Duration = Duration::from_millis(100);

/// How often the service is looked at although nobody asks.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How to reach the service.
#[derive(Clone, Debug)]
pub struct LinkSettings {
    /// Where it is.
    pub run_dir: RunDir,
    /// The deadline of one question.
    pub ask_timeout: Duration,
    /// How long a change that the service has not taken is tried again.
    pub patience: Duration,
}

/// Asks the service, and answers for it when it is silent. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ServiceLink {
    pub(super) inner: Arc<Inner>,
}

#[derive(Debug)]
pub(super) struct Inner {
    pub(super) settings: LinkSettings,
    pub(super) asker: Asker,
    pub(super) changes: Changes,
    pub(super) journal: Journal,
    disk: Disk,
    flight: Flight<Result<Sight, Unavailable>>,
    memory: Mutex<Memory>,
}

/// What is remembered between questions.
#[derive(Debug, Default)]
struct Memory {
    /// The last live answer and when it came.
    answered: Option<(Instant, Arc<Snapshot>)>,
    /// The last look that saw anything.
    seen: Option<(Instant, Sight)>,
    /// Where it was found at the last listing of the run directory.
    found: Option<Found>,
    /// The last word said about the service in the log.
    said: Option<&'static str>,
}

/// The service at one look.
#[derive(Clone, Debug)]
pub struct Sight {
    /// The newest picture there is.
    pub snapshot: Arc<Snapshot>,
    /// What is known of the process.
    pub condition: Condition,
    /// How long it has been silent, as far as known; zero if it answered.
    pub silent_for: Duration,
}

impl Sight {
    /// How old the picture is now. Zero if the clock was set back.
    #[must_use]
    pub fn age(&self) -> Duration {
        since(self.snapshot.taken_at)
    }

    /// Age of the last beat of the service's runtime, now.
    #[must_use]
    pub fn heartbeat_age(&self) -> Option<Duration> {
        let then = Duration::from_millis(self.snapshot.heartbeat_age_ms?);
        Some(then.saturating_add(self.age()))
    }

    /// Condition and silence for a person: `hung for 41 s`.
    #[must_use]
    pub fn describe(&self) -> String {
        let word = self.condition.as_str();
        let duration = match self.condition {
            Condition::Live => return word.to_owned(),
            Condition::RuntimeBlocked => self.heartbeat_age().unwrap_or_default(),
            Condition::Hung | Condition::Dead => self.silent_for,
        };
        format!("{word} for {} s", duration.as_secs())
    }
}

fn since(then: Timestamp) -> Duration {
    Duration::try_from(Timestamp::now().duration_since(then)).unwrap_or(Duration::ZERO)
}

impl ServiceLink {
    /// Asks nothing yet.
    #[must_use]
    pub fn new(settings: LinkSettings, journal: Journal) -> Self {
        Self {
            inner: Arc::new(Inner {
                asker: Asker::new(settings.ask_timeout),
                settings,
                changes: Changes::default(),
                journal,
                disk: Disk::new(),
                flight: Flight::new(),
                memory: Mutex::default(),
            }),
        }
    }

    /// The service now, or as it last was. Never takes longer than the ask
    /// timeout and two short reads of the disk.
    ///
    /// # Errors
    ///
    /// [`Unavailable`] if it neither answers nor left a picture of itself.
    pub async fn sight(&self) -> Result<Sight, Unavailable> {
        let inner = Arc::clone(&self.inner);
        self.inner
            .flight
            .join(|| look(inner))
            .await
            .unwrap_or_else(|| {
                Err(Unavailable {
                    what: "the question to the service broke off".to_owned(),
                    advice: "ask again; if this repeats, restart the sidecar".to_owned(),
                })
            })
    }

    /// What was seen at the last look, without looking.
    pub(super) fn last_sight(&self) -> Option<Sight> {
        let (at, mut sight) = self.inner.memory.lock().seen.clone()?;
        if matches!(sight.condition, Condition::Hung | Condition::Dead) {
            sight.silent_for = sight.silent_for.saturating_add(at.elapsed());
        }
        Some(sight)
    }

    /// What was seen so far is out of date: something was changed.
    pub(super) fn forget(&self) {
        self.inner.flight.forget();
    }

    /// Where the service's files are.
    pub(super) async fn find(&self) -> Result<Found, Unavailable> {
        find(&self.inner).await
    }

    /// The name it is known by: the one given, or the one it calls itself.
    #[must_use]
    pub fn service_name(&self) -> Option<String> {
        let given = self.inner.settings.run_dir.service().map(str::to_owned);
        given.or_else(|| Some(self.last_sight()?.snapshot.service.clone()))
    }

    /// Looks at the service once a second although nobody asks, so that it is
    /// known since when it has been silent, and the log says when that changed.
    /// Never ends.
    pub async fn watch(&self) {
        let mut ticks = time::interval(WATCH_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            ticks.tick().await;
            // What it says is said in the log, by `look`.
            let _ = self.sight().await;
        }
    }
}

impl AdminSource for ServiceLink {
    async fn observe(&self) -> Result<Observed, Unavailable> {
        let sight = self.sight().await?;
        Ok(Observed {
            age: sight.age(),
            snapshot: sight.snapshot,
            condition: sight.condition,
        })
    }

    async fn change(&self, name: &str, request: ChangeRequest) -> Result<Receipt, ChangeError> {
        let (link, name) = (self.clone(), name.to_owned());
        let from = guard::caller();
        // A task of its own: a client that hangs up must not lose the audit
        // line of a change that was made.
        let done = tokio::spawn(async move {
            let result = link.change_in_time(&name, &request).await;
            link.inner
                .journal
                .change(&name, &request, from.as_deref(), &result)
                .await;
            result
        });
        done.await.unwrap_or_else(|_| {
            Err(ChangeError::Unavailable(Unavailable {
                what: "the change broke off inside the sidecar".to_owned(),
                advice: "look at it, then ask again if the change is still wanted".to_owned(),
            }))
        })
    }
}

async fn find(inner: &Inner) -> Result<Found, Unavailable> {
    if inner.settings.run_dir.service().is_some() {
        return inner.settings.run_dir.find(); // touches no disk
    }
    let run_dir = inner.settings.run_dir.clone();
    let dir = run_dir.path().display().to_string();
    match inner.disk.read(move || run_dir.find()).await {
        Some(found) => {
            if let Ok(found) = &found {
                inner.memory.lock().found = Some(found.clone());
            }
            found
        }
        // A disk that is busy must not hide a service that answers.
        None => inner
            .memory
            .lock()
            .found
            .clone()
            .ok_or_else(|| Unavailable {
                what: format!("the run directory {dir} does not answer"),
                advice: "look at the disk; naming the service with --service needs no listing"
                    .to_owned(),
            }),
    }
}

async fn look(inner: Arc<Inner>) -> (Result<Sight, Unavailable>, Duration) {
    let (sight, problem, keep) = match find(&inner).await {
        Err(unavailable) => {
            let what = unavailable.what.clone();
            (Err(unavailable), Some(what), KEEP_SILENCE)
        }
        Ok(found) => match ask_snapshot(&inner, &found).await {
            Ok(snapshot) => (Ok(live(&inner, snapshot)), None, KEEP_ANSWER),
            Err(error) => {
                let what = error.to_string();
                let sight = last_known(&inner, &found, &error).await;
                (sight, Some(what), KEEP_SILENCE)
            }
        },
    };
    if let Ok(sight) = &sight {
        inner.memory.lock().seen = Some((Instant::now(), sight.clone()));
    }
    say(&inner, &sight, problem.as_deref());
    (sight, keep)
}

/// One log line when what is known of the service changes.
fn say(inner: &Inner, sight: &Result<Sight, Unavailable>, problem: Option<&str>) {
    let word = sight
        .as_ref()
        .map_or("unknown", |sight| sight.condition.as_str());
    if inner.memory.lock().said.replace(word) == Some(word) {
        return;
    }
    match (sight, problem) {
        (Ok(sight), None) => {
            tracing::info!(
                condition = word,
                pid = sight.snapshot.pid,
                "the service answers"
            );
        }
        (Ok(sight), Some(problem)) => tracing::warn!(
            class = word,
            pid = sight.snapshot.pid,
            "the service is {}: {problem}; answering from its last picture, {} s old",
            sight.describe(),
            sight.age().as_secs()
        ),
        (Err(unavailable), _) => {
            tracing::warn!(class = word, "{}: {}", unavailable.what, unavailable.advice);
        }
    }
}

async fn ask_snapshot(inner: &Inner, found: &Found) -> Result<Snapshot, AskError> {
    #[derive(Deserialize)]
    struct Head {
        format: u32,
    }
    let request = Request::get("/snapshot")
        .body(Bytes::new())
        .map_err(|error| AskError::Broken(error.to_string()))?;
    let answer = inner.asker.ask(&found.socket, request).await?;
    if answer.status != StatusCode::OK {
        let text = format!("it answered {} to GET /snapshot", answer.status);
        return Err(AskError::Broken(text));
    }
    let garbled =
        |error: serde_json::Error| AskError::Broken(format!("its snapshot is garbled: {error}"));
    // First the number: the rest of a newer layout may not be readable at all.
    let Head { format } = serde_json::from_slice(&answer.body).map_err(garbled)?;
    if format > FORMAT {
        return Err(AskError::Broken(format!(
            "its snapshot has format {format}, this sidecar reads up to {FORMAT}: update the \
             sidecar"
        )));
    }
    serde_json::from_slice(&answer.body).map_err(garbled)
}

fn live(inner: &Inner, snapshot: Snapshot) -> Sight {
    let snapshot = Arc::new(snapshot);
    inner.memory.lock().answered = Some((Instant::now(), Arc::clone(&snapshot)));
    let beat = snapshot.heartbeat_age_ms.map(Duration::from_millis);
    Sight {
        condition: match beat {
            Some(age) if age > BLOCKED_AFTER => Condition::RuntimeBlocked,
            // Before the first beat it is starting, which health tells.
            _ => Condition::Live,
        },
        snapshot,
        silent_for: Duration::ZERO,
    }
}

/// The newest picture of a service that does not answer: its black box, or the
/// last answer if that is newer or the box cannot be read.
async fn last_known(inner: &Inner, found: &Found, error: &AskError) -> Result<Sight, Unavailable> {
    let path = found.black_box.clone();
    let black_box = inner.disk.read(move || read_black_box(&path)).await;
    let (black_box, trouble) = match black_box {
        Some(Ok(Some(snapshot))) => (Some(Arc::new(snapshot)), None),
        Some(Ok(None)) => (None, Some("there is no black box".to_owned())),
        Some(Err(error)) => (None, Some(format!("its black box is unreadable: {error}"))),
        None => (None, Some("the disk with its black box hangs".to_owned())),
    };
    let answered = inner.memory.lock().answered.clone();
    let answered = answered.filter(|(_, snapshot)| {
        inner.settings.run_dir.service().is_some() || snapshot.service == found.name
    });
    let heard = answered.as_ref().map(|(at, _)| at.elapsed());
    let remembered = answered.map(|(_, snapshot)| snapshot);

    let Some(snapshot) = black_box
        .into_iter()
        .chain(remembered)
        .max_by_key(|snapshot| snapshot.taken_at)
    else {
        let (name, socket) = (&found.name, found.socket.display());
        return Err(Unavailable {
            what: format!(
                "nothing is known of {name}: {error} ({socket}), and {}",
                trouble.unwrap_or_default()
            ),
            advice: "start the service, or give its run directory with --run-dir; it is asked \
                     again with each request"
                .to_owned(),
        });
    };
    let condition = match error {
        AskError::Absent(_) if !process::is_alive(snapshot.pid, snapshot.taken_at) => {
            Condition::Dead
        }
        AskError::Absent(_) | AskError::Silent | AskError::Broken(_) => Condition::Hung,
    };
    let written = since(snapshot.taken_at);
    Ok(Sight {
        // The box of an idle service is older than its silence.
        silent_for: heard.map_or(written, |heard| heard.min(written)),
        snapshot,
        condition,
    })
}

/// Reads a black box; `None` if there is none.
fn read_black_box(path: &Path) -> Result<Option<Snapshot>, String> {
    match blackbox::read(path) {
        Ok(snapshot) => Ok(Some(snapshot)),
        Err(BlackBoxError::Missing(_)) => Ok(None),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, sync::mpsc};

    use super::*;
    use crate::{audit::AuditLog, metrics::SidecarMetrics};

    #[tokio::test]
    async fn a_disk_that_hangs_does_not_hide_a_service_that_was_found_before() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("api.sock"), "").unwrap();
        let settings = LinkSettings {
            run_dir: RunDir::new(dir.path(), None),
            ask_timeout: Duration::from_millis(50),
            patience: Duration::from_secs(1),
        };
        let audit = AuditLog::new(dir.path().join("audit.jsonl"), 1 << 20).unwrap();
        let journal = Journal::new(audit, SidecarMetrics::try_new().unwrap());
        let link = ServiceLink::new(settings, journal);
        let found = link.find().await.unwrap();

        let (release, hang) = mpsc::channel::<()>();
        let hung = link.inner.disk.read(move || hang.recv());
        assert!(hung.await.is_none());
        assert_eq!(link.find().await.unwrap(), found);
        drop(release);
    }
}
