//! A connection that is made again when it breaks.
//!
//! Not the client's own `ConnectionManager`: that one keeps a refused login for
//! ever, goes on with a connection that has fallen silent, and a first connection
//! of it is only made while somebody waits. Here one task dials at a time, at most
//! four times a second, whoever waits.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use redis::{
    AsyncConnectionConfig, Client, ErrorKind, Pipeline, RedisError, Value,
    aio::{ConnectionLike, MultiplexedConnection},
};
use tokio::sync::watch;

use super::{KIND, failed};
use crate::{
    clock::{Clock, saturating_ns},
    fallback::store::StoreError,
};

/// Between the beginnings of two dials.
const DIAL_EVERY: Duration = Duration::from_millis(250);

/// How long a dial may take, with login and all, and how long a piece of a batch.
const WITHIN: Duration = Duration::from_secs(1);

/// A connection on which nothing is answered for so long is replaced: the other end
/// may be gone without a word.
const SILENT: Duration = Duration::from_secs(2);

/// A connection, wanted or there.
pub(super) struct Link {
    client: Client,
    clock: Clock,
    state: Mutex<State>,
}

/// Readings of the clock, in nanoseconds.
enum State {
    Down {
        /// Nobody dials before.
        not_before: Option<u64>,
        why: StoreError,
    },
    /// Ends when there is something new.
    Dialing(watch::Receiver<()>),
    Up(Up),
}

#[derive(Clone)]
struct Up {
    connection: MultiplexedConnection,
    /// No two connections of a link have the same.
    dialed: u64,
    /// Since when nobody was answered who asked.
    unanswered: Option<u64>,
}

impl Link {
    pub(super) fn new(client: Client, clock: Clock) -> Arc<Self> {
        Arc::new(Self {
            client,
            clock,
            state: Mutex::new(State::Down {
                not_before: None,
                why: failed("it was not connected to yet"),
            }),
        })
    }

    /// Another one to the same server.
    pub(super) fn with_clock(&self, clock: Clock) -> Arc<Self> {
        Self::new(self.client.clone(), clock)
    }

    /// Sends the commands in one piece. The first error among the answers is an
    /// error of all.
    pub(super) async fn ask(
        self: &Arc<Self>,
        commands: &Pipeline,
    ) -> Result<Vec<Value>, StoreError> {
        let mut again = false;
        loop {
            let Up {
                mut connection,
                dialed,
                ..
            } = self.connection().await?;
            let count = commands.len();
            let error = match connection.req_packed_commands(commands, 0, count).await {
                Ok(values) => {
                    self.answered(dialed);
                    let refused = values.iter().find_map(|value| match value {
                        Value::ServerError(error) => Some(failed(&error.to_string())),
                        _ => None,
                    });
                    return refused.map_or(Ok(values), Err);
                }
                Err(error) => error,
            };
            let why = told(&error);
            if matches!(error.kind(), ErrorKind::Server(_) | ErrorKind::Extension) {
                self.answered(dialed);
                return Err(why);
            }
            self.lose(dialed, why.clone());
            // The server may have been restarted since the last time: nobody knew
            // before this one asked.
            if again || error.is_timeout() || !error.is_connection_dropped() {
                return Err(why);
            }
            again = true;
        }
    }

    /// The same with one command.
    pub(super) async fn ask_one(self: &Arc<Self>, command: &Pipeline) -> Result<Value, StoreError> {
        let mut answers = self.ask(command).await?;
        answers.pop().ok_or_else(|| failed("it gave no answer"))
    }

    /// The answer is none that this question has: who knows whose it is, and what
    /// comes next. The connection is not used again.
    pub(super) fn distrust(&self, answer: &Value) -> StoreError {
        let kind = match answer {
            Value::Int(_) => "a number",
            Value::SimpleString(_) | Value::Okay => "a status",
            Value::Array(_) => "a list",
            _ => "something else",
        };
        let why = failed(&format!("it answered a question for a record with {kind}"));
        let mut state = self.state.lock();
        if let State::Up(up) = &*state {
            *state = down(up.dialed, why.clone());
        }
        why
    }

    async fn connection(self: &Arc<Self>) -> Result<Up, StoreError> {
        loop {
            let mut told = match self.look()? {
                Look::Up(up) => return Ok(up),
                Look::Wait(told) => told,
            };
            // Ends with an error when the dial is over, which is what is waited for.
            let _ = told.changed().await;
        }
    }

    fn look(self: &Arc<Self>) -> Result<Look, StoreError> {
        let now = self.clock.now_ns();
        let mut state = self.state.lock();
        match &mut *state {
            State::Up(up) => {
                let since = *up.unanswered.get_or_insert(now);
                if now.saturating_sub(since) < saturating_ns(SILENT) {
                    return Ok(Look::Up(up.clone()));
                }
            }
            State::Dialing(told) => return Ok(Look::Wait(told.clone())),
            State::Down { not_before, why } => {
                if not_before.is_some_and(|not_before| now < not_before) {
                    return Err(why.clone());
                }
            }
        }
        let (tell, told) = watch::channel(());
        *state = State::Dialing(told.clone());
        drop(state);
        let dial = Dial {
            link: Arc::clone(self),
            began: now,
            outcome: None,
            _tell: tell,
        };
        tokio::spawn(dial.run());
        Ok(Look::Wait(told))
    }

    fn answered(&self, dialed: u64) {
        if let State::Up(up) = &mut *self.state.lock()
            && up.dialed == dialed
        {
            up.unanswered = None;
        }
    }

    fn lose(&self, dialed: u64, why: StoreError) {
        let mut state = self.state.lock();
        if matches!(&*state, State::Up(up) if up.dialed == dialed) {
            *state = down(dialed, why);
        }
    }
}

enum Look {
    Up(Up),
    Wait(watch::Receiver<()>),
}

fn down(dialed: u64, why: StoreError) -> State {
    State::Down {
        not_before: Some(dialed.saturating_add(saturating_ns(DIAL_EVERY))),
        why,
    }
}

/// A dial on its way. Whatever becomes of it, also when its runtime ends, the link is
/// up or down afterwards.
struct Dial {
    link: Arc<Link>,
    began: u64,
    outcome: Option<State>,
    // Dropped last: who waits looks then.
    _tell: watch::Sender<()>,
}

impl Dial {
    async fn run(mut self) {
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(WITHIN))
            .set_response_timeout(Some(WITHIN));
        let client = self.link.client.clone();
        let dialed = client
            .get_multiplexed_async_connection_with_config(&config)
            .await;
        self.outcome = Some(match dialed {
            Ok(connection) => State::Up(Up {
                connection,
                dialed: self.began,
                unanswered: None,
            }),
            Err(error) => down(self.began, told(&error)),
        });
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        let outcome = self.outcome.take();
        *self.link.state.lock() = outcome.unwrap_or_else(|| State::Down {
            not_before: None,
            why: failed("the runtime ended while it was connected to"),
        });
    }
}

fn told(error: &RedisError) -> StoreError {
    if error.is_timeout() {
        return StoreError::TooSlow {
            store: KIND,
            within: WITHIN,
        };
    }
    failed(&error.to_string())
}
