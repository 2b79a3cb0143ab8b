//! A change as it comes over HTTP: path, query, headers and body, read into a
//! [`ChangeRequest`] or refused with what is allowed.

use std::{ops::RangeInclusive, time::Duration};

use axum::{
    body::Bytes,
    extract::rejection::BytesRejection,
    http::{HeaderMap, StatusCode},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Action, ChangeRequest, NewLimits, Subject};
use crate::{config::DatabaseConfig, problem::Problem};

/// Who asks, as found out by whoever stands before the router.
pub const ACTOR_HEADER: &str = "x-admin-actor";

/// Until when a change may be made (RFC 3339). What lies unread in the socket of
/// a stopped process cannot be taken back, and must not be done an hour later.
pub const NOT_AFTER_HEADER: &str = "x-admin-not-after";

/// The largest request body that is read.
pub const MOST_BODY: usize = 4 * 1024;

/// The longest header or reason that is taken: each is kept in the flight
/// recorder.
const MOST_TEXT: usize = 500;

/// A reset is watched for at most this long.
const LONGEST_WATCH: Duration = Duration::from_secs(60);

/// How long an override may be set for. One that is wanted for longer than a
/// month belongs into the configuration.
const LASTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(30 * 86_400);

/// What the body may hold.
#[derive(Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
struct Body {
    #[serde(rename = "for", skip_serializing_if = "Option::is_none")]
    lasts: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    if_generation: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pool_size: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    max_overflow: Option<u32>,
}

impl ChangeRequest {
    /// The body with which to put it to a service; the rest goes into path,
    /// query and headers.
    #[must_use]
    pub fn body(&self) -> Value {
        let body = Body {
            lasts: self
                .lasts
                .map(|lasts| humantime::format_duration(lasts).to_string()),
            reason: self.reason.clone(),
            if_generation: self.if_generation,
            pool_size: self.limits.pool_size,
            max_overflow: self.limits.max_overflow,
        };
        serde_json::to_value(body).expect("texts and a number are written as JSON")
    }
}

/// Reads all but the name; also for how long a reset is to be watched.
pub(super) fn read(
    action: Action,
    query: &str,
    headers: &HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Result<(ChangeRequest, Option<Duration>), Problem> {
    let query = Query::parse(action, query)?;
    let body = body.map_err(|rejection| {
        Problem::new(
            rejection.status(),
            format!("the body was not taken: {}", rejection.body_text()),
        )
        .advice(format!(
            "send no body, or JSON of at most {MOST_BODY} bytes"
        ))
    })?;
    let mut request = read_body(action, &body)?;
    request.actor = text_of(headers, ACTOR_HEADER)?;
    request.idempotency_key = text_of(headers, "idempotency-key")?;
    request.dry_run = query.dry_run;
    check_not_after(headers)?;
    Ok((request, query.watch))
}

#[derive(Debug, Default, PartialEq)]
struct Query {
    dry_run: bool,
    watch: Option<Duration>,
}

impl Query {
    fn parse(action: Action, query: &str) -> Result<Self, Problem> {
        let mut parsed = Self::default();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            match (key, value) {
                ("dry_run", "" | "true") => parsed.dry_run = true,
                ("dry_run", "false") => parsed.dry_run = false,
                // What an override does needs no watching: nothing ends it early.
                ("watch", given) if action == Action::Reset => {
                    let watch = humantime::parse_duration(given).ok();
                    let watch = watch.filter(|watch| *watch <= LONGEST_WATCH);
                    parsed.watch = Some(watch.ok_or_else(|| bad_query(action, pair))?);
                }
                _ => return Err(bad_query(action, pair)),
            }
        }
        Ok(parsed)
    }
}

fn bad_query(action: Action, given: &str) -> Problem {
    Problem::bad_request(format!("the query `{given}` is not known")).advice(match action {
        Action::Reset => "allowed are `dry_run` and `watch=5s` (a duration of at most 60s)",
        _ => "allowed is `dry_run`",
    })
}

fn read_body(action: Action, body: &[u8]) -> Result<ChangeRequest, Problem> {
    let mut request = ChangeRequest::new(action);
    // Only a resize has something that must be said.
    if body.is_empty() && action != Action::Resize {
        return Ok(request);
    }
    let refused = |why: String| {
        let what = format!("the body is not what {} takes: {why}", action.path());
        Problem::bad_request(what).advice(takes(action))
    };
    // serde reads a struct from an array, too: `[]` would be a reset.
    if !body.trim_ascii_start().starts_with(b"{") {
        return Err(refused("it is not a JSON object".to_owned()));
    }
    let body: Body = serde_json::from_slice(body).map_err(|error| refused(error.to_string()))?;
    if let Some(given) = &body.lasts {
        if action.sets().is_none() {
            return Err(refused("`for` is how long an override lasts".to_owned()));
        }
        request.lasts = Some(lasts(given)?);
    }
    let subject = action.subject();
    if subject != Subject::Breaker && body.if_generation.is_some() {
        return Err(refused(format!("a {} has no generation", subject.noun())));
    }
    request.limits = limits(action, &body).map_err(refused)?;
    let too_long = |reason: &String| reason.len() > MOST_TEXT;
    if body.reason.as_ref().is_some_and(too_long) {
        return Err(Problem::bad_request("the reason is too long")
            .advice(format!("say it in {MOST_TEXT} bytes")));
    }
    request.reason = body.reason;
    request.if_generation = body.if_generation;
    Ok(request)
}

/// What the body may be, for who sent another one.
const fn takes(action: Action) -> &'static str {
    match action {
        Action::ForceOpen | Action::Disable | Action::MetricsOnly => {
            r#"send no body, or {"for": "30m", "reason": "…", "if_generation": 7}, all optional"#
        }
        Action::Reset | Action::Enable => {
            r#"send no body, or {"reason": "…", "if_generation": 7}, both optional"#
        }
        Action::Recycle | Action::SwitchOn | Action::SwitchOff | Action::Purge => {
            r#"send no body, or {"reason": "…"}"#
        }
        Action::Resize => {
            r#"send {"pool_size": 30, "max_overflow": 20, "reason": "…"}; one of the numbers is enough, and the other stays"#
        }
    }
}

/// The limits that a pool is to have, as the configuration allows them.
fn limits(action: Action, body: &Body) -> Result<NewLimits, String> {
    let given = NewLimits {
        pool_size: body.pool_size,
        max_overflow: body.max_overflow,
    };
    if action != Action::Resize {
        return match given {
            NewLimits {
                pool_size: None,
                max_overflow: None,
            } => Ok(given),
            _ => Err("`pool_size` and `max_overflow` are for a resize".to_owned()),
        };
    }
    let most = DatabaseConfig::MOST_CONNECTIONS;
    match (given.pool_size, given.max_overflow) {
        (None, None) => Err("neither `pool_size` nor `max_overflow` is given".to_owned()),
        (Some(size), _) if !(1..=most).contains(&size) => {
            Err(format!("`pool_size` is {size}, allowed: 1 to {most}"))
        }
        (_, Some(overflow)) if overflow > most => Err(format!(
            "`max_overflow` is {overflow}, allowed: 0 to {most}"
        )),
        _ => Ok(given),
    }
}

fn lasts(given: &str) -> Result<Duration, Problem> {
    let lasts = humantime::parse_duration(given).ok();
    lasts.filter(|lasts| LASTS.contains(lasts)).ok_or_else(|| {
        let shown: String = given.chars().take(40).collect();
        Problem::bad_request(format!(
            "`for` is `{shown}`, allowed: a duration with its unit, 1s to 30d"
        ))
        .advice(
            "send such as \"30m\" or \"1h 30m\"; without `for` the override stays until \
             POST …/enable removes it",
        )
    })
}

fn check_not_after(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(given) = text_of(headers, NOT_AFTER_HEADER)? else {
        return Ok(());
    };
    let not_after: Timestamp = given.parse().map_err(|_| {
        Problem::bad_request(format!(
            "`{NOT_AFTER_HEADER}` is `{given}`, which is no time"
        ))
        .advice("send a time such as 2025-01-02T03:04:05Z, or leave the header out")
    })?;
    if Timestamp::now() > not_after {
        let detail = format!("the request was good until {given}, and is too late");
        return Err(Problem::new(StatusCode::PRECONDITION_FAILED, detail)
            .advice("look at the breaker again, then ask again if it is still wanted"));
    }
    Ok(())
}

/// A header's text, if it is there; one that cannot be kept is refused rather
/// than passed over.
fn text_of(headers: &HeaderMap, name: &str) -> Result<Option<String>, Problem> {
    let Some(value) = headers.get(name) else {
        return Ok(None);
    };
    match value.to_str() {
        Ok(text) if !text.is_empty() && text.len() <= MOST_TEXT => Ok(Some(text.to_owned())),
        _ => Err(
            Problem::bad_request(format!("the header `{name}` cannot be read")).advice(format!(
                "send 1 to {MOST_TEXT} visible ASCII characters, or leave it out"
            )),
        ),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn body(action: Action, body: &str) -> Result<ChangeRequest, StatusCode> {
        read_body(action, body.as_bytes()).map_err(|problem| problem.status)
    }

    #[test]
    fn the_query_is_read_or_refused() {
        let parse = |action, query| Query::parse(action, query).map_err(|problem| problem.status);
        let dry = Query {
            dry_run: true,
            watch: None,
        };
        for action in Action::OF_BREAKERS {
            assert_eq!(parse(action, "dry_run").as_ref(), Ok(&dry), "{action}");
        }
        let watched = Query {
            dry_run: false,
            watch: Some(Duration::from_secs(5)),
        };
        assert_eq!(
            parse(Action::Reset, "dry_run=false&watch=5s"),
            Ok(watched),
            "a reset may be watched"
        );
        for bad in ["watch=", "watch=2m", "watch=5", "dryrun", "dry_run=maybe"] {
            let refused = parse(Action::Reset, bad);
            assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        let refused = parse(Action::ForceOpen, "watch=5s");
        assert_eq!(refused, Err(StatusCode::BAD_REQUEST));
    }

    #[test]
    fn the_body_is_an_object_or_nothing() {
        for action in Action::OF_BREAKERS {
            let bare = ChangeRequest::new(action);
            for same in ["", " {}", r#"{"reason": null, "for": null}"#] {
                assert_eq!(body(action, same).as_ref(), Ok(&bare), "{action} {same}");
            }
            for bad in ["[]", r#"["why", 1]"#, "null", "7", " ", "{", r#"{"x": 1}"#] {
                let refused = body(action, bad);
                assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{action} {bad}");
            }
        }
    }

    #[test]
    fn an_override_lasts_from_a_second_to_thirty_days_and_the_others_take_no_time() {
        let lasting = |given: Value| {
            let request = body(Action::Disable, &json!({ "for": given }).to_string());
            request.map(|request| request.lasts.unwrap().as_secs())
        };
        for (given, seconds) in [
            ("30m", 1_800),
            ("1h 30m", 5_400),
            ("1s", 1),
            ("30d", 2_592_000),
        ] {
            assert_eq!(lasting(given.into()), Ok(seconds), "{given}");
        }
        for bad in [
            json!(""),
            json!("30"),
            json!(30),
            json!("0s"),
            json!("999ms"),
            json!("30d 1s"),
            json!("-1h"),
            json!("half an hour"),
            json!("99999999999999999999y"),
            json!(["30m"]),
        ] {
            let refused = lasting(bad.clone());
            assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        let refused = lasts("tomorrow").unwrap_err();
        let detail = refused.detail.unwrap();
        assert!(detail.contains("`tomorrow`") && detail.contains("1s to 30d"));
        for action in [Action::Reset, Action::Enable] {
            let refused = body(action, r#"{"for": "30m"}"#);
            assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{action}");
        }
    }

    #[test]
    fn what_is_put_to_a_service_is_read_there_as_it_was_meant() {
        for action in Action::OF_BREAKERS {
            let request = ChangeRequest {
                lasts: action.sets().map(|_| Duration::from_millis(5_400_250)),
                reason: Some("their \"maintenance\"".into()),
                if_generation: Some(7),
                ..ChangeRequest::new(action)
            };
            assert_eq!(body(action, &request.body().to_string()), Ok(request));
        }
    }

    #[test]
    fn a_resize_says_at_least_one_limit_that_the_configuration_would_take() {
        let limits = |given: &str| body(Action::Resize, given).map(|request| request.limits);
        let new = |pool_size, max_overflow| NewLimits {
            pool_size,
            max_overflow,
        };
        for (given, meant) in [
            (
                r#"{"pool_size": 30, "max_overflow": 20}"#,
                new(Some(30), Some(20)),
            ),
            (
                r#"{"pool_size": 10000, "reason": "INC-7"}"#,
                new(Some(10_000), None),
            ),
            (r#"{"max_overflow": 0}"#, new(None, Some(0))),
        ] {
            assert_eq!(limits(given), Ok(meant), "{given}");
            let request = body(Action::Resize, given).unwrap();
            assert_eq!(limits(&request.body().to_string()), Ok(meant));
        }
        for bad in [
            "",
            "{}",
            r#"{"reason": "bigger"}"#,
            r#"{"pool_size": 0}"#,
            r#"{"pool_size": 10001}"#,
            r#"{"max_overflow": 10001}"#,
            r#"{"pool_size": -1}"#,
            r#"{"pool_size": "30"}"#,
            r#"{"pool_size": 30.5}"#,
            r#"{"pool_size": 30, "if_generation": 7}"#,
            r#"{"pool_size": 30, "for": "30m"}"#,
        ] {
            assert_eq!(limits(bad), Err(StatusCode::BAD_REQUEST), "{bad}");
        }
        for action in [Action::Recycle, Action::Reset] {
            let refused = body(action, r#"{"pool_size": 30}"#);
            assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{action}");
        }
        assert!(body(Action::Recycle, "").is_ok());
        let text = |most: u32| format!("database: {{pool_size: {most}, max_overflow: {most}}}");
        let takes = |most| crate::config::Config::parse("config.yaml", text(most), []).is_ok();
        let most = DatabaseConfig::MOST_CONNECTIONS;
        assert_eq!((takes(most), takes(most + 1)), (true, false));
    }

    #[test]
    fn a_fallback_is_switched_and_purged_with_a_reason_and_nothing_else() {
        for action in Action::OF_FALLBACKS {
            let why = ChangeRequest {
                reason: Some("INC-7".into()),
                ..ChangeRequest::new(action)
            };
            assert_eq!(body(action, ""), Ok(ChangeRequest::new(action)));
            assert_eq!(body(action, &why.body().to_string()), Ok(why));
            for bad in [
                r#"{"for": "30m"}"#,
                r#"{"if_generation": 7}"#,
                r#"{"pool_size": 7}"#,
                r#"{"enabled": true}"#,
            ] {
                let refused = body(action, bad);
                assert_eq!(refused, Err(StatusCode::BAD_REQUEST), "{action} {bad}");
            }
        }
        let refused = read_body(Action::Purge, br#"{"if_generation": 7}"#).unwrap_err();
        let detail = refused.detail.unwrap();
        assert!(detail.contains("a fallback has no generation"), "{detail}");
    }

    #[test]
    fn a_request_that_comes_too_late_is_refused() {
        let check = |given: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(NOT_AFTER_HEADER, given.parse().unwrap());
            check_not_after(&headers).map_err(|problem| problem.status)
        };
        assert_eq!(check("2999-01-01T00:00:00Z"), Ok(()));
        assert_eq!(
            check("2001-01-01T00:00:00Z"),
            Err(StatusCode::PRECONDITION_FAILED)
        );
        assert_eq!(check("soon"), Err(StatusCode::BAD_REQUEST));
        assert!(check_not_after(&HeaderMap::new()).is_ok());
    }

    #[test]
    fn a_reason_or_a_key_that_cannot_be_kept_is_refused_and_not_passed_over() {
        let long = "x".repeat(MOST_TEXT + 1);
        let too_long = json!({ "reason": long }).to_string();
        assert!(body(Action::Reset, &too_long).is_err());
        assert!(body(Action::Reset, r#"{"reason": "the provider is back"}"#).is_ok());
        assert!(body(Action::Reset, r#"{"reasons": "typo"}"#).is_err());
        let mut headers = HeaderMap::new();
        headers.insert("idempotency-key", long.parse().unwrap());
        assert!(text_of(&headers, "idempotency-key").is_err());
    }

    proptest! {
        #[test]
        fn no_duration_makes_it_panic_and_what_is_taken_is_allowed(given in "\\PC{0,30}|[0-9]{1,25} ?(s|m|h|d|w|M|y)") {
            if let Ok(lasts) = lasts(&given) {
                prop_assert!(LASTS.contains(&lasts));
            }
        }

        #[test]
        fn no_bytes_make_it_panic(bytes in prop::collection::vec(any::<u8>(), 0..100)) {
            for action in Action::all() {
                let _ = read_body(action, &bytes);
            }
        }
    }
}
