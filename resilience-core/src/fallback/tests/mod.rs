//! The layer for any answers, rule by rule.

mod coalescing;
mod failing;
mod life;
pub(crate) mod second;
mod strategies;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::SeqCst},
    },
    task::{Context, Poll},
    time::Duration,
};

use jiff::Timestamp;
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tower::{Layer, Service, ServiceExt, util::BoxCloneSyncService};

use super::*;
use crate::{
    Clock, ManualClock,
    config::{Config, FallbackConfig, FallbackStrategy},
};

const TTL: Duration = Duration::from_secs(300);
const STALE_LIMIT: Duration = Duration::from_secs(3_600);
const SECOND: Duration = Duration::from_secs(1);

pub(crate) fn config() -> FallbackConfig {
    let mut config = Config::default().fallback("rates").clone();
    config.ttl = TTL;
    config.stale_limit = STALE_LIMIT;
    config
}

pub(crate) fn noon() -> Timestamp {
    "2026-01-01T12:00:00Z".parse().unwrap()
}

pub(crate) struct Hands {
    pub(crate) clock: ManualClock,
    pub(crate) wall: ManualWallClock,
}

pub(crate) fn fallback(config: &FallbackConfig) -> (Fallback, Hands) {
    let (clock, hand) = Clock::manual();
    let (wall, wall_hand) = WallClock::manual(noon());
    let fallback = Fallback::builder("rates", config)
        .clock(clock)
        .wall_clock(wall)
        .build();
    let hands = Hands {
        clock: hand,
        wall: wall_hand,
    };
    (fallback, hands)
}

#[derive(Debug, thiserror::Error)]
#[error("down")]
struct Down;

/// An upstream that answers the number of the question, when it is let.
#[derive(Clone)]
struct Upstream {
    asked: Arc<AtomicU64>,
    gate: Arc<Semaphore>,
    mood: Arc<Mutex<Mood>>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mood {
    Well,
    Down,
    Panics,
    Hangs,
}

impl Upstream {
    fn open() -> Self {
        Self {
            gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            ..Self::shut()
        }
    }

    fn shut() -> Self {
        Self {
            asked: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
            mood: Arc::new(Mutex::new(Mood::Well)),
        }
    }

    fn asked(&self) -> u64 {
        self.asked.load(SeqCst)
    }

    fn is(&self, mood: Mood) {
        *self.mood.lock() = mood;
    }

    /// Lets the question that is waiting longest be answered.
    fn answer_one(&self) {
        self.gate.add_permits(1);
    }
}

impl Service<&'static str> for Upstream {
    type Response = u64;
    type Error = Down;
    type Future = std::pin::Pin<Box<dyn Future<Output = Result<u64, Down>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Down>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: &'static str) -> Self::Future {
        let number = self.asked.fetch_add(1, SeqCst) + 1;
        let (gate, mood) = (Arc::clone(&self.gate), Arc::clone(&self.mood));
        Box::pin(async move {
            gate.acquire().await.expect("never closed").forget();
            let mood = *mood.lock();
            match mood {
                Mood::Well => Ok(number),
                Mood::Down => Err(Down),
                Mood::Panics => panic!("on purpose"),
                Mood::Hangs => std::future::pending().await,
            }
        })
    }
}

type Rates = BoxCloneSyncService<&'static str, Answered<u64>, FallbackError<Down>>;

type KeyOf = fn(&&'static str) -> Option<Key>;

/// `-` asks for something that has no key.
fn key(currency: &&'static str) -> Option<Key> {
    (*currency != "-").then(|| Key::from(*currency))
}

fn layer(fallback: &Fallback) -> FallbackLayer<&'static str, u64, KeyOf> {
    FallbackLayer::new(fallback.clone(), key as KeyOf)
}

fn rates(fallback: &Fallback, upstream: &Upstream) -> Rates {
    BoxCloneSyncService::new(layer(fallback).layer(upstream.clone()))
}

async fn ask(rates: &Rates, currency: &'static str) -> Result<Answered<u64>, FallbackError<Down>> {
    rates.clone().oneshot(currency).await
}

/// The answer and where it comes from.
async fn get(rates: &Rates, currency: &'static str) -> (u64, Source) {
    let answer = ask(rates, currency).await.unwrap();
    (*answer, answer.served().source())
}

/// What was tried before it was given up.
async fn fails(rates: &Rates, currency: &'static str) -> Tried {
    ask(rates, currency).await.unwrap_err().tried().clone()
}

/// Lets the tasks run until it holds.
pub(crate) async fn until(mut holds: impl FnMut() -> bool) {
    for _ in 0..10_000 {
        if holds() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to that");
}
