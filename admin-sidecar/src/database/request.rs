//! Questions and orders as they come over HTTP, read or refused with what is
//! allowed.

use std::{ops::RangeInclusive, time::Duration};

use resilience_core::{
    Problem,
    pool::diagnosis::{Limit, Terminate},
};
use serde::Deserialize;

/// For how long a connection may be asked to have been idle. Nothing shorter:
/// that would be a pool at work.
const IDLE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

/// As in the runbook.
const IDLE_BY_DEFAULT: Duration = Duration::from_secs(300);

/// The longest reason that is taken.
const MOST_REASON: usize = 500;

/// What a question may be narrowed by.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Query {
    pub(super) limit: Limit,
    pub(super) longer_than: Duration,
}

impl Query {
    /// `idle`: whether the question knows `longer_than`.
    pub(super) fn parse(query: &str, idle: bool) -> Result<Self, Problem> {
        let mut parsed = Self {
            limit: Limit::default(),
            longer_than: IDLE_BY_DEFAULT,
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("limit", given)) => {
                    let rows = given.parse::<u32>().ok();
                    let limit = rows.and_then(|rows| Limit::try_from(rows).ok());
                    parsed.limit = limit.ok_or_else(|| unknown(pair, idle))?;
                }
                Some(("longer_than", given)) if idle => {
                    parsed.longer_than = idle_time(given).ok_or_else(|| unknown(pair, idle))?;
                }
                _ => return Err(unknown(pair, idle)),
            }
        }
        Ok(parsed)
    }
}

fn unknown(given: &str, idle: bool) -> Problem {
    Problem::bad_request(format!("the query `{}` is not known", shown(given))).advice(match idle {
        true => "allowed are `limit=50` (1 to 500) and `longer_than=5m` (1s to 30d)",
        false => "allowed is `limit=50` (1 to 500)",
    })
}

fn idle_time(given: &str) -> Option<Duration> {
    let time = humantime::parse_duration(given).ok()?;
    IDLE.contains(&time).then_some(time)
}

fn shown(given: &str) -> String {
    given.chars().take(40).collect()
}

/// An order to end backends.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Asked {
    pub(crate) whom: Terminate,
    pub(crate) reason: Option<String>,
    pub(crate) dry_run: bool,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Body {
    pid: Option<i32>,
    idle_longer_than: Option<String>,
    reason: Option<String>,
}

impl Asked {
    pub(super) fn parse(query: &str, body: &[u8]) -> Result<Self, Problem> {
        let dry_run = match query {
            "" | "dry_run=false" => false,
            "dry_run" | "dry_run=true" => true,
            other => {
                let detail = format!("the query `{}` is not known", shown(other));
                return Err(Problem::bad_request(detail).advice("allowed is `dry_run`"));
            }
        };
        let refused = |why: &str| {
            Problem::bad_request(format!("the body is not what terminate takes: {why}")).advice(
                r#"send {"pid": 4711} or {"idle_longer_than": "5m"} (1s to 30d), and if you like "reason""#,
            )
        };
        // serde reads a struct from an array, too.
        if !body.trim_ascii_start().starts_with(b"{") {
            return Err(refused("it is not a JSON object"));
        }
        let body: Body =
            serde_json::from_slice(body).map_err(|error| refused(&error.to_string()))?;
        if body
            .reason
            .as_ref()
            .is_some_and(|reason| reason.len() > MOST_REASON)
        {
            return Err(Problem::bad_request("the reason is too long")
                .advice(format!("say it in {MOST_REASON} bytes")));
        }
        let whom = match (body.pid, body.idle_longer_than) {
            (Some(pid), None) => Terminate::Pid(pid),
            (None, Some(given)) => Terminate::IdleLongerThan(
                idle_time(&given).ok_or_else(|| refused("`idle_longer_than` is no such time"))?,
            ),
            _ => {
                return Err(refused(
                    "it needs `pid` or `idle_longer_than`, and not both",
                ));
            }
        };
        Ok(Self {
            whom,
            reason: body.reason,
            dry_run,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_is_narrowed_or_refused() {
        let parse = |query, idle| Query::parse(query, idle).map_err(|problem| problem.status);
        let all = parse("", true).unwrap();
        assert_eq!((all.limit.get(), all.longer_than), (50, IDLE_BY_DEFAULT));
        let some = parse("limit=7&longer_than=1h", true).unwrap();
        assert_eq!((some.limit.get(), some.longer_than.as_secs()), (7, 3600));
        for bad in [
            "limit=0",
            "limit=501",
            "limit=",
            "limit",
            "limits=5",
            "longer_than=0s",
            "longer_than=5",
        ] {
            assert!(parse(bad, true).is_err(), "{bad}");
        }
        assert!(parse("longer_than=5m", false).is_err());
    }

    #[test]
    fn an_order_names_one_backend_or_a_time_and_nothing_else() {
        let whom = |body: &str| Asked::parse("", body.as_bytes()).map(|asked| asked.whom);
        assert_eq!(whom(r#"{"pid": 7}"#), Ok(Terminate::Pid(7)));
        let minutes = Duration::from_secs(300);
        assert_eq!(
            whom(r#"{"idle_longer_than": "5m", "reason": "INC-7"}"#),
            Ok(Terminate::IdleLongerThan(minutes))
        );
        for bad in [
            "",
            "{}",
            "[7]",
            "7",
            r#"{"pid": "7"}"#,
            r#"{"pid": 99999999999}"#,
            r#"{"pid": 7, "idle_longer_than": "5m"}"#,
            r#"{"idle_longer_than": "0s"}"#,
            r#"{"idle_longer_than": "5"}"#,
            r#"{"pid": 7, "force": true}"#,
        ] {
            let refused = whom(bad).unwrap_err();
            assert_eq!(refused.status.as_u16(), 400, "{bad}");
        }
        let order = |query| Asked::parse(query, br#"{"pid": 7}"#).map(|asked| asked.dry_run);
        assert_eq!(
            (order("dry_run"), order("dry_run=false")),
            (Ok(true), Ok(false))
        );
        assert!(order("dryrun").is_err());
    }
}
