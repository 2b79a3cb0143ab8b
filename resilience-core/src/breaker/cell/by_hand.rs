//! Changes by hand, one at a time: each is made under the journal's lock, which
//! no call takes, so that what is set and the state word never disagree.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::{Cell, Change, NEVER, Phase, Word, transition::Told};
use crate::{
    breaker::{
        by_hand::{ByHand, ChangeRefused, Changed},
        config::{BreakerConfig, BreakerOptions, Window},
        journal::Journal,
        pieces::Pieces,
        settings::{bucket, same_places},
        window::{Held, Mark, Tally},
    },
    clock::ceil_ms,
    snapshot::{Cause, OverrideKind, OverrideSnapshot},
    sync::Ordering::Relaxed,
};

impl Cell {
    pub(in crate::breaker) fn reset(&self, by: &ByHand) -> Result<Changed, ChangeRefused> {
        self.by_hand(by, |journal, word| {
            match journal.mode() {
                Some(_) if journal.overridden.is_none() => return Err(ChangeRefused::Disabled),
                Some(kind @ (OverrideKind::ForcedOpen | OverrideKind::Disabled)) => {
                    return Err(ChangeRefused::Overridden(kind));
                }
                Some(OverrideKind::MetricsOnly) | None => {}
            }
            Ok((word.closed(), Cause::Reset, None))
        })
    }

    pub(in crate::breaker) fn set_override(
        &self,
        kind: OverrideKind,
        lasts: Option<Duration>,
        by: &ByHand,
    ) -> Result<Changed, ChangeRefused> {
        let cause = match kind {
            OverrideKind::ForcedOpen => Cause::ForcedOpen,
            OverrideKind::Disabled => Cause::Disabled,
            OverrideKind::MetricsOnly => Cause::MetricsOnly,
        };
        let since = Timestamp::now();
        let set = OverrideSnapshot {
            kind,
            actor: by.actor.clone(),
            reason: by.reason.clone(),
            since,
            expires_at: lasts.and_then(|lasts| end_of(since, lasts)),
        };
        // Up, so that it is in force for all of its time.
        let ends_ms = lasts.map_or(NEVER, |lasts| {
            self.clock
                .now_ns()
                .div_ceil(1_000_000)
                .saturating_add(ceil_ms(lasts))
        });
        self.by_hand(by, |_, word| {
            let next = word.with_mode(Some(kind));
            Ok((next, cause, Some((Some(set.clone()), ends_ms))))
        })
    }

    pub(in crate::breaker) fn remove_override(
        &self,
        by: &ByHand,
    ) -> Result<Changed, ChangeRefused> {
        self.by_hand(by, |journal, word| {
            if journal.overridden.is_none() {
                return Err(ChangeRefused::NotOverridden);
            }
            let next = self.without_override(journal, word);
            Ok((next, Cause::OverrideRemoved, Some((None, NEVER))))
        })
    }

    /// Makes the change that `plan` names, or says what it would be.
    fn by_hand(
        &self,
        by: &ByHand,
        plan: impl Fn(&Journal, Word) -> Plan,
    ) -> Result<Changed, ChangeRefused> {
        // What time has changed comes first: an override that has ended is none.
        self.settled(self.clock.now_ns());
        let mut journal = self.journal.lock();
        let (changed, told) = loop {
            let word = self.load();
            let (next, cause, set) = plan(&journal, word)?;
            let actual = word.generation();
            if by.if_generation.is_some_and(|expected| expected != actual) {
                return Err(ChangeRefused::Moved { actual });
            }
            let discarded = self.window_to_discard(&journal, word);
            let changed = |after: Word| Changed {
                before: word.effective(),
                after: after.effective(),
                generation: after.generation(),
                discarded,
            };
            if by.dry_run {
                return Ok(changed(word));
            }
            if self.exchange(word, next).is_none() {
                continue;
            }
            let mut expires_at = None;
            if let Some((overridden, ends_ms)) = set {
                expires_at = overridden.as_ref().and_then(|set| set.expires_at);
                journal.overridden = overridden;
                // ordering: Relaxed. Whoever finds it too early or too late looks
                // again under the lock.
                self.override_ends_ms.store(ends_ms, Relaxed);
            }
            let change = Change {
                actor: by.actor.clone(),
                reason: by.reason.clone(),
                expires_at,
                ..Change::of(cause, discarded)
            };
            break (
                changed(next),
                self.write_down(&mut journal, word, next, change),
            );
        };
        drop(journal);
        told.tell();
        Ok(changed)
    }

    /// What a change throws away: the window, the probes, or, while open, the
    /// window that opened it.
    fn window_to_discard(&self, journal: &Journal, word: Word) -> Tally {
        match word.phase() {
            Phase::Open => {
                let opening = journal.last_opening();
                opening.map(|event| event.window).unwrap_or_default()
            }
            _ => self.window(word, self.clock.now_ns()),
        }
    }

    // ── the end of an override ───────────────────────────────────────────

    #[inline]
    pub(super) fn override_has_ended(&self, now_ms: u64) -> bool {
        now_ms >= self.override_ends_ms.load(Relaxed)
    }

    /// Ends an override whose time is over; the word then in force. Never waits:
    /// while somebody else is at the journal it is in force a moment longer.
    pub(super) fn end_override(&self, now_ms: u64) -> Option<Word> {
        let mut journal = self.journal.try_lock()?;
        if !self.override_has_ended(now_ms) {
            return Some(self.load());
        }
        let ended = journal.overridden.take();
        self.override_ends_ms.store(NEVER, Relaxed);
        let (next, told) = loop {
            let word = self.load();
            let next = self.without_override(&journal, word);
            if self.exchange(word, next).is_some() {
                let window = self.window_to_discard(&journal, word);
                let change = Change {
                    actor: ended.as_ref().and_then(|set| set.actor.clone()),
                    reason: ended.as_ref().and_then(|set| set.reason.clone()),
                    ..Change::of(Cause::OverrideExpired, window)
                };
                break (next, self.write_down(&mut journal, word, next, change));
            }
        };
        drop(journal);
        told.tell();
        Some(next)
    }

    /// The state machine's own state, as if entered now: an open circuit has the
    /// rest of its wait, probes and a growing share begin anew.
    fn without_override(&self, journal: &Journal, word: Word) -> Word {
        let enabled = journal.config.options().enabled;
        let next = word.with_mode((!enabled).then_some(OverrideKind::Disabled));
        let now_ms = self.now_ms();
        match next.phase() {
            Phase::Closed | Phase::Open => next,
            Phase::HalfOpen => next.until(self.patience_ends_ms(now_ms)),
            Phase::Ramp => next.until(now_ms.saturating_add(self.settings.0.ramp_ms())),
        }
    }

    // ── settings ─────────────────────────────────────────────────────────

    /// Puts new settings in force. The state stays, and so does the window, as
    /// far as it can be counted in the new one's places.
    pub(in crate::breaker) fn configure(&self, config: BreakerConfig) {
        self.settled(self.clock.now_ns());
        let mut journal = self.journal.lock();
        if journal.config == config {
            return;
        }
        let before = std::mem::replace(&mut journal.config, config);
        let (old, new) = (before.options(), journal.config.options().clone());
        self.settings.0.store(&journal.config);
        let mode = journal.mode();
        let (word, next, kept) = loop {
            let word = self.load();
            let next = if word.mode() != mode && mode.is_none() {
                // Switched on again: what it knew is too old to go by.
                word.with_mode(None).started_anew()
            } else if word.mode() != mode {
                word.with_mode(mode)
            } else if matches!(word.phase(), Phase::Closed | Phase::Ramp) && !same_places(old, &new)
            {
                word.renewed()
            } else {
                break (word, word, None);
            };
            let kept = (word.mode() == mode)
                .then(|| self.keep(word, old, &new))
                .flatten();
            if self.exchange(word, next).is_some() {
                break (word, next, kept);
            }
        };
        if let Some(kept) = kept {
            self.replay(next, &new, &kept);
        }
        let change = Change {
            detail: Some(differences(old, &new)),
            ..Change::of(Cause::Config, self.window(next, self.clock.now_ns()))
        };
        let told: Told = self.write_down(&mut journal, word, next, change);
        drop(journal);
        told.tell();
    }

    /// What the window before holds, if the new one counts the same thing.
    fn keep(&self, word: Word, old: &BreakerOptions, new: &BreakerOptions) -> Option<Kept> {
        let generation = word.generation();
        match (old.window, new.window) {
            (Window::Calls(size), Window::Calls(_)) => Some(Kept::Calls(self.count.0.marks(
                &self.totals.stripes,
                generation,
                size,
            ))),
            (Window::Time(time), Window::Time(_)) => {
                let now_ns = self.clock.now_ns();
                let pieces = Pieces::of(bucket(time));
                let held = self
                    .time
                    .0
                    .held(&self.totals.stripes, generation, pieces, now_ns);
                Some(Kept::Buckets {
                    held,
                    each: bucket(time),
                })
            }
            // One knows no times, the other no order.
            _ => None,
        }
    }

    fn replay(&self, word: Word, new: &BreakerOptions, kept: &Kept) {
        let generation = word.generation();
        match (kept, new.window) {
            (Kept::Calls(marks), Window::Calls(size)) => {
                self.count
                    .0
                    .replay(&self.totals.stripes, generation, size, marks);
            }
            (Kept::Buckets { held, each }, Window::Time(time)) => {
                let now_ns = self.clock.now_ns();
                let pieces = Pieces::of(bucket(time));
                for held in held {
                    let ago_ns = crate::clock::saturating_ns(*each * held.age);
                    let stripes = &self.totals.stripes;
                    self.time
                        .0
                        .replay(stripes, generation, pieces, now_ns, ago_ns, *held);
                }
            }
            _ => {}
        }
    }
}

/// The next word, its cause, and what to remember: the override and its end.
type Plan = Result<(Word, Cause, Option<(Option<OverrideSnapshot>, u64)>), ChangeRefused>;

/// What a window held when its shape was changed.
enum Kept {
    Calls(Vec<Mark>),
    Buckets { held: Vec<Held>, each: Duration },
}

fn end_of(since: Timestamp, lasts: Duration) -> Option<Timestamp> {
    since
        .checked_add(SignedDuration::try_from(lasts).ok()?)
        .ok()
}

/// What changed, for a person: `wait_in_open: 60s -> 30s`.
fn differences(old: &BreakerOptions, new: &BreakerOptions) -> String {
    let (old, new) = (old.list(), new.list());
    let differ: Vec<String> = old
        .iter()
        .zip(&new)
        .filter(|((_, old), (_, new))| old != new)
        .map(|((key, old), (_, new))| format!("{key}: {old} -> {new}"))
        .collect();
    differ.join(", ")
}
