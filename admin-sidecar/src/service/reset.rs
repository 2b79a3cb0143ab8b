//! A reset that tells the truth: applied, refused, or pending until the service
//! takes it, and never applied twice.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use http::HeaderValue;
use parking_lot::Mutex;
use resilience_core::{
    control::{Condition, Receipt, ResetError, ResetOutcome, ResetRequest, Unavailable},
    snapshot::{Snapshot, WindowSnapshot},
};
use tokio::{
    sync::{Notify, watch},
    task::AbortHandle,
    time::{self, Instant},
};

use super::{
    link::{ServiceLink, Sight},
    wire::{self, Ticket},
};

/// An answer is due within 500 ms; the rest is for the audit line.
const ANSWER_WITHIN: Duration = Duration::from_millis(400);

/// Between two tries of a pending reset.
const TRY_EVERY: Duration = Duration::from_millis(500);

/// Resets in hand at once; there is one a breaker.
const MAX_IN_HAND: usize = 32;

/// How many finished ones are remembered by their keys.
const MAX_RECENT: usize = 64;

type Outcome = Result<Receipt, ResetError>;

/// The resets in hand and those just finished.
#[derive(Debug, Default)]
pub(super) struct Resets {
    table: Mutex<Table>,
}

#[derive(Debug, Default)]
struct Table {
    in_hand: HashMap<String, InHand>,
    /// Breaker, key and outcome: a caller that joined a pending reset gets its
    /// outcome when it asks again with its own key, which the service never saw.
    recent: VecDeque<(String, String, Outcome)>,
}

#[derive(Debug)]
struct InHand {
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
    Joined(watch::Receiver<Progress>, Arc<Notify>),
}

impl ServiceLink {
    /// An answer within [`ANSWER_WITHIN`], whatever the service does.
    pub(super) async fn reset_in_time(&self, breaker: &str, request: &ResetRequest) -> Outcome {
        let by = Instant::now() + ANSWER_WITHIN;
        if request.dry_run {
            let ticket = Ticket::new("dry-run".to_owned(), self.inner.settings.patience);
            let tried = time::timeout_at(by, self.first_try(breaker, request, &ticket));
            return match tried.await {
                Ok(Tried::Answered(outcome) | Tried::Hopeless(outcome)) => outcome,
                Ok(Tried::NotTaken(sight)) => last_receipt(
                    breaker,
                    &sight.snapshot,
                    ResetOutcome::DryRun,
                    format!(
                        "the service is {}: a reset would be pending until it answers",
                        sight.describe()
                    ),
                ),
                Err(_) => self.not_taken(breaker, ResetOutcome::DryRun),
            };
        }
        loop {
            match self.place(breaker, request) {
                Place::Finished(outcome) => return outcome,
                Place::Full => {
                    return Err(ResetError::Unavailable(Unavailable {
                        what: format!("{MAX_IN_HAND} resets are waiting for the service already"),
                        advice: "restart the service, or wait a minute: they expire".to_owned(),
                    }));
                }
                Place::Mine(progress) => {
                    return match settled(progress, by).await {
                        Some(Progress::Done(outcome)) => outcome,
                        _ => self.not_taken(breaker, ResetOutcome::Pending),
                    };
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
                            None => self.join_pending(breaker, request),
                        };
                    }
                    match settled(progress, by).await {
                        // The service answers: this one is a reset of its own.
                        Some(Progress::Done(_)) if Instant::now() < by => {}
                        Some(Progress::Done(outcome)) => return outcome,
                        _ => return self.join_pending(breaker, request),
                    }
                }
            }
        }
    }

    fn place(&self, breaker: &str, request: &ResetRequest) -> Place {
        let mut table = self.inner.resets.table.lock();
        let key = request.idempotency_key.as_deref();
        let known = table
            .recent
            .iter()
            .find(|(of, known, _)| of == breaker && Some(known.as_str()) == key);
        if let Some((_, _, outcome)) = known {
            return Place::Finished(outcome.clone());
        }
        // One whose task panicked is not in hand.
        table
            .in_hand
            .retain(|_, hand| hand.progress.has_changed().is_ok());
        if let Some(hand) = table.in_hand.get_mut(breaker) {
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
        let (link, name, asked) = (self.clone(), breaker.to_owned(), request.clone());
        let nudged = Arc::clone(&nudge);
        let task = tokio::spawn(async move { link.drive(name, asked, sender, nudged).await });
        table.in_hand.insert(
            breaker.to_owned(),
            InHand {
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
        breaker: String,
        request: ResetRequest,
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
        let sight = match self.first_try(&breaker, &request, &ticket).await {
            Tried::Answered(outcome) | Tried::Hopeless(outcome) => {
                self.finish(&breaker, outcome, &progress);
                return;
            }
            Tried::NotTaken(sight) => sight,
        };
        tracing::warn!(
            class = "reset-pending",
            breaker,
            "the service has not taken the reset: {}; asking again for {} s",
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
            outcome = self.try_once(&breaker, &request, &ticket).await;
        }
        let outcome = outcome.unwrap_or_else(|| {
            Err(ResetError::Unavailable(Unavailable {
                what: format!(
                    "the service did not take the reset within {} s; it was given up",
                    self.inner.settings.patience.as_secs()
                ),
                advice: "restart the service, then reset again if the circuit is still open"
                    .to_owned(),
            }))
        });
        self.inner
            .journal
            .reset(&breaker, &request, Some("pending"), &outcome)
            .await;
        self.finish(&breaker, outcome, &progress);
    }

    fn finish(&self, breaker: &str, outcome: Outcome, progress: &watch::Sender<Progress>) {
        // Before anyone hears of it: whoever does may look at the state next.
        self.forget();
        let mut table = self.inner.resets.table.lock();
        let waited = matches!(*progress.borrow(), Progress::Waiting);
        if let Some(hand) = table.in_hand.remove(breaker)
            && waited
        {
            for key in hand.joined_keys {
                if table.recent.len() == MAX_RECENT {
                    table.recent.pop_front();
                }
                let entry = (breaker.to_owned(), key, outcome.clone());
                table.recent.push_back(entry);
            }
        }
        // Under the lock, so that nobody joins a reset that is over.
        progress.send_replace(Progress::Done(outcome));
    }

    /// Looks at the service while asking it, so that a silence costs one
    /// deadline and not two.
    async fn first_try(&self, breaker: &str, request: &ResetRequest, ticket: &Ticket) -> Tried {
        let mut asking = std::pin::pin!(self.try_once(breaker, request, ticket));
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
            Err(unavailable) => Tried::Hopeless(Err(ResetError::Unavailable(unavailable))),
            Ok(sight) => match refusal(breaker, request, &sight) {
                Some(error) => Tried::Hopeless(Err(error)),
                None => Tried::NotTaken(sight),
            },
        }
    }

    /// `None`: the service has not answered.
    async fn try_once(
        &self,
        breaker: &str,
        request: &ResetRequest,
        ticket: &Ticket,
    ) -> Option<Outcome> {
        let found = self.find().await.ok()?;
        let question = match wire::question(breaker, request, ticket) {
            Ok(question) => question,
            Err(error) => {
                return Some(Err(ResetError::Unavailable(Unavailable {
                    what: format!("the reset cannot be put to the service: {error}"),
                    advice: "check the breaker's name and the Idempotency-Key".to_owned(),
                })));
            }
        };
        let answer = self.inner.asker.ask(&found.socket, question).await.ok()?;
        Some(wire::read(breaker, answer.status, &answer.body))
    }

    /// A reset that is waiting already, or a refusal if this one has a
    /// condition that does not hold.
    fn join_pending(&self, breaker: &str, request: &ResetRequest) -> Outcome {
        let sight = self.last_sight();
        match sight.and_then(|sight| moved(breaker, request, &sight.snapshot)) {
            Some(error) => Err(error),
            None => self.not_taken(breaker, ResetOutcome::Pending),
        }
    }

    /// From the last look: another would take as long again as the first.
    fn not_taken(&self, breaker: &str, outcome: ResetOutcome) -> Outcome {
        let Some(sight) = self.last_sight() else {
            return Err(ResetError::Unavailable(Unavailable {
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
        last_receipt(breaker, &sight.snapshot, outcome, detail)
    }

    /// Gives up what is pending: the sidecar is stopping.
    pub fn abandon(&self) {
        let in_hand = std::mem::take(&mut self.inner.resets.table.lock().in_hand);
        for (breaker, hand) in in_hand {
            hand.task.abort();
            tracing::warn!(
                class = "reset-abandoned",
                breaker,
                "the sidecar stops; the service has not taken the reset"
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

/// What the last picture says against waiting.
fn refusal(breaker: &str, request: &ResetRequest, sight: &Sight) -> Option<ResetError> {
    let names = || sight.snapshot.breakers.iter().map(|b| b.name.as_str());
    let Some(known) = sight.snapshot.breakers.iter().find(|b| b.name == breaker) else {
        return Some(ResetError::Unknown {
            name: breaker.to_owned(),
            nearest: resilience_core::control::nearest(breaker, names()),
        });
    };
    if sight.condition == Condition::Dead {
        return Some(ResetError::Unavailable(Unavailable {
            what: format!("the service is {}", sight.describe()),
            advice: "restart it; an open circuit is restored with its remaining wait; reset it \
                     then"
                .to_owned(),
        }));
    }
    if !known.enabled {
        return Some(ResetError::Disabled);
    }
    moved(breaker, request, &sight.snapshot)
}

fn moved(breaker: &str, request: &ResetRequest, snapshot: &Snapshot) -> Option<ResetError> {
    let expected = request.if_generation?;
    let known = snapshot.breakers.iter().find(|b| b.name == breaker)?;
    (known.generation != expected).then_some(ResetError::Moved {
        expected,
        actual: known.generation,
    })
}

/// A receipt from the last picture: nothing was changed.
fn last_receipt(
    breaker: &str,
    snapshot: &Snapshot,
    outcome: ResetOutcome,
    detail: String,
) -> Outcome {
    match snapshot.breakers.iter().find(|b| b.name == breaker) {
        Some(known) => Ok(Receipt {
            service: known.name.clone(),
            replica: snapshot.replica.clone(),
            before: known.state,
            after: known.state,
            outcome,
            generation: known.generation,
            discarded: WindowSnapshot::default(),
            detail,
        }),
        None => Err(ResetError::Unknown {
            name: breaker.to_owned(),
            nearest: resilience_core::control::nearest(
                breaker,
                snapshot.breakers.iter().map(|b| b.name.as_str()),
            ),
        }),
    }
}
