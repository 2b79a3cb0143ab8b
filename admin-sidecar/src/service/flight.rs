//! One question for all who ask at the same time.

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::watch, time::Instant};

/// Concurrent askers share one question, so that many requests do not pile up
/// on a hung service. The question is a task of its own: an asker that hangs up
/// neither stops nor restarts it for the others.
#[derive(Debug)]
pub(crate) struct Flight<T> {
    state: Arc<Mutex<State<T>>>,
}

#[derive(Debug)]
struct State<T> {
    /// Grows when what was asked so far is out of date.
    epoch: u64,
    kept: Option<(Instant, T)>,
    running: Option<watch::Receiver<Option<T>>>,
}

impl<T: Clone + Send + Sync + 'static> Flight<T> {
    pub(crate) fn new() -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                epoch: 0,
                kept: None,
                running: None,
            })),
        }
    }

    /// The kept answer, the answer to the running question, or that to a new
    /// one; `ask` also says how long its answer may be kept. `None` if the
    /// question itself broke.
    pub(crate) async fn join<F>(&self, ask: impl FnOnce() -> F) -> Option<T>
    where
        F: Future<Output = (T, Duration)> + Send + 'static,
    {
        let mut answer = {
            let mut state = self.state.lock();
            if let Some((until, answer)) = &state.kept
                && Instant::now() < *until
            {
                return Some(answer.clone());
            }
            match &state.running {
                // A closed channel is a question that panicked.
                Some(running) if running.has_changed().is_ok() => running.clone(),
                _ => self.start(&mut state, ask()),
            }
        };
        let answer = answer.wait_for(Option::is_some).await.ok()?;
        answer.clone()
    }

    fn start<F>(&self, state: &mut State<T>, question: F) -> watch::Receiver<Option<T>>
    where
        F: Future<Output = (T, Duration)> + Send + 'static,
    {
        let (sender, receiver) = watch::channel(None);
        state.running = Some(receiver.clone());
        let (shared, epoch) = (Arc::clone(&self.state), state.epoch);
        tokio::spawn(async move {
            let (answer, keep) = question.await;
            {
                let mut state = shared.lock();
                if state.epoch == epoch {
                    state.kept = Some((Instant::now() + keep, answer.clone()));
                    state.running = None;
                }
            }
            sender.send_replace(Some(answer));
        });
        receiver
    }

    /// What was asked so far is out of date: the next asker asks anew.
    pub(crate) fn forget(&self) {
        let mut state = self.state.lock();
        state.epoch += 1;
        state.kept = None;
        state.running = None;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

    use tokio::{task::JoinSet, time};

    use super::*;

    const KEEP: Duration = Duration::from_millis(100);

    /// Counts its questions; each takes 200 ms.
    async fn ask(asked: Arc<AtomicU32>) -> (u32, Duration) {
        let number = asked.fetch_add(1, Relaxed) + 1;
        time::sleep(Duration::from_millis(200)).await;
        (number, KEEP)
    }

    #[tokio::test(start_paused = true)]
    async fn a_hundred_askers_share_one_question_and_its_answer_is_kept_for_a_while() {
        let (flight, asked) = (Arc::new(Flight::new()), Arc::default());
        let mut askers = JoinSet::new();
        for _ in 0..100 {
            let (flight, asked) = (Arc::clone(&flight), Arc::clone(&asked));
            askers.spawn(async move { flight.join(|| ask(asked)).await });
        }
        assert_eq!(askers.join_all().await, vec![Some(1); 100]);
        time::advance(KEEP / 2).await;
        assert_eq!(flight.join(|| ask(Arc::clone(&asked))).await, Some(1));
        time::advance(KEEP).await;
        assert_eq!(flight.join(|| ask(asked)).await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn an_asker_that_hangs_up_does_not_restart_the_question() {
        let (flight, asked) = (Flight::new(), Arc::default());
        let hasty = flight.join(|| ask(Arc::clone(&asked)));
        assert!(
            time::timeout(Duration::from_millis(150), hasty)
                .await
                .is_err()
        );
        let begun = Instant::now();
        assert_eq!(flight.join(|| ask(Arc::clone(&asked))).await, Some(1));
        assert!(begun.elapsed() < Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_asked_before_a_change_is_not_an_answer_after_it() {
        let (flight, asked) = (Arc::new(Flight::new()), Arc::default());
        let early = tokio::spawn({
            let (flight, asked) = (Arc::clone(&flight), Arc::clone(&asked));
            async move { flight.join(|| ask(asked)).await }
        });
        time::sleep(Duration::from_millis(100)).await;
        flight.forget();
        assert_eq!(flight.join(|| ask(Arc::clone(&asked))).await, Some(2));
        assert_eq!(early.await.unwrap(), Some(1));
        assert_eq!(flight.join(|| ask(asked)).await, Some(2));
    }

    #[tokio::test(start_paused = true)]
    async fn a_question_that_panics_does_not_block_the_next() {
        let flight = Flight::new();
        let broken = flight.join(|| async { panic!("broken question") });
        assert_eq!(broken.await, None::<u32>);
        assert_eq!(flight.join(|| ask(Arc::default())).await, Some(1));
    }
}
