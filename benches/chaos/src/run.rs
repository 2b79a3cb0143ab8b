//! Which programs are run how often, and what their figures are called.

use std::time::{Duration, Instant};

use crate::{
    figures::{Figures, OURS},
    ground::{Ground, ProgramError},
    programs::{GIVE_UP, Outage, abandon, dirty, freeze, kill, resize},
    subject::{Bb8, Deadpool, Ours, Sqlx, Subject},
};

/// How much of it all.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    pub(crate) outages: Vec<Outages>,
    pub(crate) freeze: Option<Duration>,
    pub(crate) abandoned: usize,
    pub(crate) dirty_sessions: u32,
    pub(crate) resize_storm: Duration,
    pub(crate) subjects: Vec<&'static str>,
}

/// Outages of one length.
#[derive(Clone, Debug)]
pub(crate) struct Outages {
    pub(crate) down: Duration,
    /// How often the port is refused: for ours, and for each peer.
    pub(crate) refused: (usize, usize),
    /// Whether there is one more whose dials are counted.
    pub(crate) counted: bool,
}

impl Extent {
    /// All of it, some ten minutes.
    pub(crate) fn whole() -> Self {
        let outages = |seconds, counted| Outages {
            down: Duration::from_secs(seconds),
            refused: (5, 3),
            counted,
        };
        Self {
            outages: vec![outages(3, true), outages(15, true)],
            freeze: Some(Duration::from_secs(8)),
            abandoned: 10,
            dirty_sessions: 10_000,
            resize_storm: Duration::from_secs(10),
            subjects: vec![OURS, Deadpool::NAME, Bb8::NAME, Sqlx::NAME],
        }
    }

    /// So little that it can be run with the tests: whether it all works.
    pub(crate) fn short() -> Self {
        Self {
            outages: vec![Outages {
                down: Duration::from_secs(1),
                refused: (0, 0),
                counted: true,
            }],
            freeze: None,
            abandoned: 1,
            dirty_sessions: 300,
            resize_storm: Duration::from_secs(1),
            subjects: vec![OURS, Deadpool::NAME],
        }
    }
}

/// What came of it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) figures: Figures,
    pub(crate) notes: Vec<String>,
    /// Pools that did not get to the end, and why. What they did until then is
    /// among the figures.
    pub(crate) broken: Vec<(&'static str, ProgramError)>,
}

/// Runs it for every pool, one after the other.
pub(crate) async fn run(extent: &Extent) -> Outcome {
    let mut outcome = Outcome::default();
    for subject in extent.subjects.iter().copied() {
        let mut report = Report {
            figures: &mut outcome.figures,
            notes: &mut outcome.notes,
            began: Instant::now(),
        };
        let ended = match subject {
            Ours::NAME => report.subject::<Ours>(extent).await,
            Deadpool::NAME => report.subject::<Deadpool>(extent).await,
            Bb8::NAME => report.subject::<Bb8>(extent).await,
            Sqlx::NAME => report.subject::<Sqlx>(extent).await,
            other => unreachable!("`{other}` is none of the names above"),
        };
        if let Err(error) = ended {
            outcome.broken.push((subject, error));
        }
    }
    outcome
}

struct Report<'a> {
    figures: &'a mut Figures,
    notes: &'a mut Vec<String>,
    began: Instant,
}

impl Report<'_> {
    async fn subject<S: Subject>(&mut self, extent: &Extent) -> Result<(), ProgramError> {
        let mut ground = Ground::start().await?;
        for outages in &extent.outages {
            self.kill::<S>(&mut ground, outages).await?;
        }
        if let Some(frozen) = extent.freeze {
            self.say::<S>(&format!("a server frozen for {frozen:?}"));
            let outcome = freeze::<S>(&ground, frozen).await?;
            let again = outcome.whole_again_ms.unwrap_or_else(given_up_ms);
            let name = |what| format!("freeze_{}s_{what}", frozen.as_secs());
            self.note::<S>(name("longest_wait_ms"), 1_100.0, outcome.longest_wait_ms);
            self.note::<S>(name("whole_again_ms"), 250.0, again);
        }
        self.abandon::<S>(&ground, extent.abandoned).await?;
        self.dirty::<S>(&ground, extent.dirty_sessions).await?;
        self.resize::<S>(&ground, extent.resize_storm).await
    }

    async fn kill<S: Subject>(
        &mut self,
        ground: &mut Ground,
        outages: &Outages,
    ) -> Result<(), ProgramError> {
        let Outages {
            down,
            refused,
            counted,
        } = *outages;
        let times = if S::NAME == OURS {
            refused.0
        } else {
            refused.1
        };
        let name = |what| format!("kill_{}s_{what}", down.as_secs());
        let mut kills = Vec::new();
        for time in 1..=times {
            self.say::<S>(&format!("killed, {down:?} down, {time} of {times}"));
            kills.push(kill::<S>(ground, down, Outage::Refused).await?);
        }
        if counted {
            self.say::<S>(&format!("killed, {down:?} down, dials counted"));
            let outcome = kill::<S>(ground, down, Outage::Counted).await?;
            if let Some(dials) = outcome.dials {
                self.note::<S>(name("dials_first_second"), 45.0, dials.first_second);
                if let Some(after) = dials.per_second_after {
                    self.note::<S>(name("dials_per_second_after"), 15.0, after);
                }
            }
            // Apart from the others: there are pools that wait while they are
            // refused, and give up when they are reset.
            self.note::<S>(name("caller_errors_if_reset"), 8.0, outcome.errors);
            kills.push(outcome);
        }
        // Only when there was no other outage are the times of the counted one
        // worth a line.
        let timed = if times > 0 { &kills[..times] } else { &kills };
        let worst = |values: Vec<f64>| values.into_iter().fold(0.0, f64::max);
        let firsts: Vec<f64> = timed.iter().map(|kill| kill.first_success_ms).collect();
        let all = timed
            .iter()
            .map(|kill| kill.all_served_ms.unwrap_or_else(given_up_ms));
        let all = worst(all.collect());
        self.note::<S>(name("first_success_ms"), 60.0, median(&firsts));
        self.note::<S>(name("first_success_worst_ms"), 130.0, worst(firsts));
        self.note::<S>(name("all_served_worst_ms"), 250.0, all);
        let errors = worst(timed.iter().map(|kill| kill.errors).collect());
        let later = worst(timed.iter().map(|kill| kill.later_errors).collect());
        self.note::<S>(name("caller_errors"), 8.0, errors);
        self.note::<S>(name("caller_errors_after_the_kill"), 0.0, later);
        let lost = kills.iter().map(|kill| kill.lost).sum();
        let twice = kills.iter().map(|kill| kill.twice).sum();
        self.note::<S>(name("acknowledged_writes_lost"), 0.0, lost);
        self.note::<S>(name("writes_sent_twice"), 0.0, twice);
        Ok(())
    }

    async fn abandon<S: Subject>(
        &mut self,
        ground: &Ground,
        rounds: usize,
    ) -> Result<(), ProgramError> {
        self.say::<S>("queries abandoned");
        let outcomes = abandon::<S>(ground, rounds).await?;
        let times: Vec<f64> = outcomes.iter().map(|one| one.next_user_ms).collect();
        let worst = times.iter().copied().fold(0.0, f64::max);
        let orphans = outcomes.iter().map(|one| one.orphans).fold(0.0, f64::max);
        self.note::<S>("abandoned_query_next_user_ms", 20.0, median(&times));
        self.note::<S>("abandoned_query_orphan_backends", 0.0, orphans);
        self.remark::<S>(&format!(
            "the worst of {rounds} next users waited {worst:.1} ms"
        ));
        Ok(())
    }

    async fn dirty<S: Subject>(
        &mut self,
        ground: &Ground,
        sessions: u32,
    ) -> Result<(), ProgramError> {
        self.say::<S>(&format!("{sessions} sessions left dirty"));
        let outcome = dirty::<S>(ground, sessions).await?;
        let handed_on = f64::from(outcome.handed_on);
        self.note::<S>("dirty_sessions_handed_on", 0.0, handed_on);
        let found: Vec<String> = outcome
            .found
            .iter()
            .map(|(what, times)| format!("{what} {times}"))
            .collect();
        if !found.is_empty() {
            self.remark::<S>(&format!("dirt found: {}", found.join(", ")));
        }
        if outcome.broken > 0 {
            self.remark::<S>(&format!(
                "{} of {sessions} sessions could not be used",
                outcome.broken
            ));
        }
        Ok(())
    }

    async fn resize<S: Subject>(
        &mut self,
        ground: &Ground,
        storm: Duration,
    ) -> Result<(), ProgramError> {
        self.say::<S>("a storm of resizes");
        let outcome = resize::<S>(ground, storm).await?;
        let out = outcome.map(|storm| storm.handed_out_above);
        let connected = outcome.map(|storm| storm.connected_above);
        let figures = &mut self.figures;
        figures.note("resize_handed_out_above_limit", 0.0, S::NAME, out);
        figures.note("resize_connected_above_limit", 0.0, S::NAME, connected);
        if let Some(storm) = outcome {
            self.remark::<S>(&format!("resized {} times", storm.changes));
        }
        Ok(())
    }

    fn note<S: Subject>(&mut self, name: impl Into<String>, target: f64, value: f64) {
        self.figures.note(name, target, S::NAME, Some(value));
    }

    fn remark<S: Subject>(&mut self, remark: &str) {
        self.notes.push(format!("{}: {remark}", S::NAME));
    }

    /// What it is at, for who waits for it.
    fn say<S: Subject>(&self, what: &str) {
        let since = self.began.elapsed().as_secs();
        eprintln!("{since:>4} s  {}: {what} …", S::NAME);
    }
}

/// The middle one; of an even number the upper of the two. 0 of none.
fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// What stands for a time that never ended.
fn given_up_ms() -> f64 {
    GIVE_UP.as_secs_f64() * 1_000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_the_middle_one_or_the_worse_of_two() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0]), 2.0);
        assert_eq!(median(&[]), 0.0);
    }
}
