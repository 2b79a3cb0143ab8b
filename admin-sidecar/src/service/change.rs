//! A change that tells the truth: applied, refused, or pending until the service
//! takes it, and never applied twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use parking_lot::Mutex;
use resilience_core::control::{
    Action, ChangeError, ChangeOutcome, ChangeRequest, Condition, Receipt, Subject, Unavailable,
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{self, Instant},
};

use super::{
    last_picture,
    link::{ServiceLink, Sight},
    wire::{self, Ticket},
};

/// An answer is due within 500 ms; the rest is for the audit line.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);

/// Between two tries of a pending change.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Changes in hand at once; there is one a breaker, pool or fallback.
const MAX_IN_HAND: usize = 32;

/// How many finished ones are remembered by their keys.
const MAX_RECENT: usize = 64;

type Outcome = Result<Receipt, ChangeError>;

/// The changes in hand and those just finished.
#[derive(Debug, Default)]
pub(super) struct Changes {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    in_hand: HashMap<(Subject, String), InHand>,
    recent: VecDeque<Recent>,
}

/// A caller that joined a pending change gets its outcome when it asks again
/// with its own key, which the service never saw.
#[derive(Debug)]
struct Recent {
    name: String,
    key: String,
    request: ChangeRequest,
    outcome: Outcome,
}

#[derive(Debug)]
struct InHand {
    request: ChangeRequest,
    progress: watch::Receiver<Progress>,
    nudge: Arc<Notify>,
    joined_keys: Vec<String>,
    task: AbortHandle,
}

#[derive(Clone, Debug)]
enum Progress {
    /// First try.
    Asking,
    /// Not taken; tried again.
    Waiting,
    /// Over.
    Done(Outcome),
}

/// What the first look at the table says.
enum Place {
    Finished(Outcome),
    Full,
    Mine(watch::Receiver<Progress>),
    /// The same change is in hand.
    Joined(watch::Receiver<Progress>, Arc<Notify>),
    /// Another change is.
    Behind(Action, watch::Receiver<Progress>, Arc<Notify>),
}

impl ServiceLink {
    /// An answer within [`ANSWER_WITHIN`], whatever the service does.
    pub(super) async fn change_in_time(&self, name: &str, request: &ChangeRequest) -> Outcome {
        let by = Instant::now() + ANSWER_WITHIN;
        if request.dry_run {
            let ticket = Ticket::new("dry-run".to_owned(), self.inner.settings.patience);
            let tried = time::timeout_at(by, self.first_try(name, request, &ticket));
            return match tried.await {
                Ok(Tried::Answered(outcome) | Tried::Hopeless(outcome)) => outcome,
                Ok(Tried::NotTaken(sight)) => last_picture::receipt(
                    name,
                    request.action,
                    &sight.snapshot,
                    ChangeOutcome::DryRun,
                    format!(
                        "the service is {}: it would be pending until it answers",
                        sight.describe()
                    ),
                ),
                Err(_) => self.not_taken(name, request.action, ChangeOutcome::DryRun),
            };
        }
        loop {
            match self.place(name, request) {
                Place::Finished(outcome) => return outcome,
                Place::Full => {
                    return Err(ChangeError::Unavailable(Unavailable {
                        what: format!("{MAX_IN_HAND} changes are waiting for the service already"),
                        advice: "restart the service, or wait a minute: they expire".to_owned(),
                    }));
                }
                Place::Mine(progress) => {
                    return match settled(progress, by).await {
                        Some(Progress::Done(outcome)) => outcome,
                        _ => self.not_taken(name, request.action, ChangeOutcome::Pending),
                    };
                }
                Place::Behind(action, progress, nudge) => {
                    // Two that wait would be made in an order that nobody chose:
                    // this one has its turn if the other's ends in time.
                    if !self.is_over(progress, &nudge, by).await {
                        return Err(ChangeError::Pending(action));
                    }
                }
                Place::Joined(progress, nudge) => {
                    let waited_already = matches!(*progress.borrow(), Progress::Waiting);
                    if waited_already {
                        // Perhaps it answers by now: try at once.
                        nudge.notify_one();
                        let patience = by.min(Instant::now() + self.inner.asker.timeout());
                        let outcome = done(progress, patience).await;
                        return match outcome {
                            Some(outcome) => outcome,
                            None => self.join_pending(name, request),
                        };
                    }
                    match settled(progress, by).await {
                        // The service answers: this one is a change of its own.
                        Some(Progress::Done(_)) if Instant::now() < by => {}
                        Some(Progress::Done(outcome)) => return outcome,
                        _ => return self.join_pending(name, request),
                    }
                }
            }
        }
    }

    /// Whether what is in hand ends by then; one that waits is tried at once.
    async fn is_over(
        &self,
        progress: watch::Receiver<Progress>,
        nudge: &Notify,
        by: Instant,
    ) -> bool {
        let waits = matches!(*progress.borrow(), Progress::Waiting);
        if waits {
            nudge.notify_one();
            let by = by.min(Instant::now() + self.inner.asker.timeout());
            done(progress, by).await.is_some()
        } else {
            matches!(settled(progress, by).await, Some(Progress::Done(_)))
        }
    }

    fn place(&self, name: &str, request: &ChangeRequest) -> Place {
        let subject = request.action.subject();
        let mut table = self.inner.changes.table.lock();
        let key = request.idempotency_key.as_deref();
        let known = table.recent.iter().find(|recent| {
            recent.request.action.subject() == subject
                && recent.name == name
                && Some(recent.key.as_str()) == key
        });
        if let Some(recent) = known {
            return Place::Finished(if recent.request.is_same_change(request) {
                recent.outcome.clone()
            } else {
                Err(ChangeError::KeyUsed(recent.request.action))
            });
        }
        // One whose task panicked is not in hand.
        table
            .in_hand
            .retain(|_, hand| hand.progress.has_changed().is_ok());
        let place = (subject, name.to_owned());
        if let Some(hand) = table.in_hand.get_mut(&place) {
            if !hand.request.is_same_change(request) {
                let (progress, nudge) = (hand.progress.clone(), Arc::clone(&hand.nudge));
                return Place::Behind(hand.request.action, progress, nudge);
            }
            if let Some(key) = key
                && hand.joined_keys.len() < MAX_RECENT
            {
                hand.joined_keys.push(key.to_owned());
            }
            return Place::Joined(hand.progress.clone(), Arc::clone(&hand.nudge));
        }
        if table.in_hand.len() >= MAX_IN_HAND {
            return Place::Full;
        }
        let (sender, progress) = watch::channel(Progress::Asking);
        let nudge = Arc::new(Notify::new());
        let (link, name, asked) = (self.clone(), name.to_owned(), request.clone());
        let nudged = Arc::clone(&nudge);
        let task = tokio::spawn(async move { link.drive(name, asked, sender, nudged).await });
        table.in_hand.insert(
            place,
            InHand {
                request: request.clone(),
                progress: progress.clone(),
                nudge,
                joined_keys: Vec::new(),
                task: task.abort_handle(),
            },
        );
        Place::Mine(progress)
    }

    /// Tries until the service takes it or the patience is over.
    async fn drive(
        &self,
        name: String,
        request: ChangeRequest,
        progress: watch::Sender<Progress>,
        nudge: Arc<Notify>,
    ) {
        let patience = self.inner.settings.patience;
        let expiry = Instant::now() + patience;
        let key = match &request.idempotency_key {
            Some(key) if HeaderValue::from_str(key).is_ok() => key.clone(),
            _ => wire::new_key(),
        };
        let ticket = Ticket::new(key, patience);
        let sight = match self.first_try(&name, &request, &ticket).await {
            Tried::Answered(outcome) | Tried::Hopeless(outcome) => {
                self.finish(request.action.subject(), &name, outcome, &progress);
                return;
            }
            Tried::NotTaken(sight) => sight,
        };
        tracing::warn!(
            class = "change-pending",
            name,
            action = request.action.as_str(),
            "the service has not taken the change: {}; asking again for {} s",
            sight.describe(),
            self.inner.settings.patience.as_secs()
        );
        progress.send_replace(Progress::Waiting);

        let mut outcome = None;
        while outcome.is_none() && Instant::now() < expiry {
            tokio::select! {
                () = nudge.notified() => {}
                () = time::sleep(TRY_EVERY) => {}
            }
            outcome = self.try_once(&name, &request, &ticket).await;
        }
        let outcome = outcome.unwrap_or_else(|| {
            Err(ChangeError::Unavailable(Unavailable {
                what: format!(
                    "the service did not take it within {} s; it was given up",
                    self.inner.settings.patience.as_secs()
                ),
                advice:
                    "restart the service, look at it, then ask again if the change is still wanted"
                        .to_owned(),
            }))
        });
        self.inner
            .journal
            .change(&name, &request, Some("pending"), &outcome)
            .await;
        self.finish(request.action.subject(), &name, outcome, &progress);
    }

    fn finish(
        &self,
        subject: Subject,
        name: &str,
        outcome: Outcome,
        progress: &watch::Sender<Progress>,
    ) {
        // Before anyone hears of it: whoever does may look at the state next.
        self.forget();
        let mut table = self.inner.changes.table.lock();
        let waited = matches!(*progress.borrow(), Progress::Waiting);
        if let Some(hand) = table.in_hand.remove(&(subject, name.to_owned()))
            && waited
        {
            for key in hand.joined_keys {
                if table.recent.len() == MAX_RECENT {
                    table.recent.pop_front();
                }
                table.recent.push_back(Recent {
                    name: name.to_owned(),
                    key,
                    request: hand.request.clone(),
                    outcome: outcome.clone(),
                });
            }
        }
        // Under the lock, so that nobody joins a change that is over.
        progress.send_replace(Progress::Done(outcome));
    }

    /// Looks at the service while asking it, so that a silence costs one
    /// deadline and not two.
    async fn first_try(&self, name: &str, request: &ChangeRequest, ticket: &Ticket) -> Tried {
        let mut asking = std::pin::pin!(self.try_once(name, request, ticket));
        let mut looking = std::pin::pin!(self.sight());
        let (answer, sight) = tokio::select! {
            biased;
            answer = &mut asking => (answer, None),
            sight = &mut looking => (asking.await, Some(sight)),
        };
        if let Some(outcome) = answer {
            return Tried::Answered(outcome);
        }
        let sight = match sight {
            Some(sight) => sight,
            None => looking.await,
        };
        match sight {
            Err(unavailable) => Tried::Hopeless(Err(ChangeError::Unavailable(unavailable))),
            Ok(sight) => match last_picture::refusal(name, request, &sight) {
                Some(error) => Tried::Hopeless(Err(error)),
                None => Tried::NotTaken(sight),
            },
        }
    }

    /// `None`: the service has not answered.
    async fn try_once(
        &self,
        name: &str,
        request: &ChangeRequest,
        ticket: &Ticket,
    ) -> Option<Outcome> {
        let found = self.find().await.ok()?;
        let question = match wire::question(name, request, ticket) {
            Ok(question) => question,
            Err(error) => {
                return Some(Err(ChangeError::Unavailable(Unavailable {
                    what: format!("the change cannot be put to the service: {error}"),
                    advice: "check the name and the Idempotency-Key".to_owned(),
                })));
            }
        };
        let answer = self.inner.asker.ask(&found.socket, question).await.ok()?;
        Some(wire::read(
            name,
            request.action,
            answer.status,
            &answer.body,
        ))
    }

    /// A change that is waiting already, or a refusal if this one has a
    /// condition that does not hold.
    fn join_pending(&self, name: &str, request: &ChangeRequest) -> Outcome {
        let sight = self.last_sight();
        match sight.and_then(|sight| last_picture::moved(name, request, &sight.snapshot)) {
            Some(error) => Err(error),
            None => self.not_taken(name, request.action, ChangeOutcome::Pending),
        }
    }

    /// From the last look: another would take as long again as the first.
    fn not_taken(&self, name: &str, action: Action, outcome: ChangeOutcome) -> Outcome {
        let Some(sight) = self.last_sight() else {
            return Err(ChangeError::Unavailable(Unavailable {
                what: "the service has not taken it: no answer in time".to_owned(),
                advice: "ask again; if this repeats, restart the service".to_owned(),
            }));
        };
        let why = match sight.condition {
            // It was, a moment ago.
            Condition::Live => "no answer in time".to_owned(),
            _ => sight.describe(),
        };
        let detail = format!("the service has not taken it: {why}");
        last_picture::receipt(name, action, &sight.snapshot, outcome, detail)
    }

    /// Gives up what is pending: the sidecar is stopping.
    pub fn abandon(&self) {
        let in_hand = std::mem::take(&mut self.inner.changes.table.lock().in_hand);
        for ((_, name), hand) in in_hand {
            hand.task.abort();
            tracing::warn!(
                class = "change-abandoned",
                name,
                action = hand.request.action.as_str(),
                "the sidecar stops; the service has not taken the change"
            );
        }
    }
}

/// What came of asking and looking.
enum Tried {
    /// The service's own word.
    Answered(Outcome),
    /// It did not answer, and waiting would not help.
    Hopeless(Outcome),
    /// It did not answer yet.
    NotTaken(Sight),
}

async fn settled(mut progress: watch::Receiver<Progress>, by: Instant) -> Option<Progress> {
    let settled = progress.wait_for(|progress| !matches!(progress, Progress::Asking));
    let settled = time::timeout_at(by, settled).await.ok()?.ok()?;
    Some(settled.clone())
}

async fn done(mut progress: watch::Receiver<Progress>, by: Instant) -> Option<Outcome> {
    let done = progress.wait_for(|progress| matches!(progress, Progress::Done(_)));
    match &*time::timeout_at(by, done).await.ok()?.ok()? {
        Progress::Done(outcome) => Some(outcome.clone()),
        _ => None,
    }
}
