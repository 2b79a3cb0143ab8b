//! The whole way from a tracing macro to the bytes.

use tracing::Level;

use super::*;
use crate::log::{correlation_span, startup, startup_failed, testing::logged_with};

fn logged(run: impl FnOnce(&LogHandle)) -> Vec<String> {
    logged_with(LogOptions::new("payments-api"), run)
}

/// `cut -d' ' -f<n>`
fn cut(line: &str, field: usize) -> &str {
    line.split(' ').nth(field - 1).unwrap_or_default()
}

#[test]
fn the_runbooks_pipeline_gives_the_error_distribution() {
    let lines = logged(|_| {
        for _ in 0..3 {
            tracing::error!(class = "timeout", upstream = "payment_api", "no answer");
        }
        tracing::error!(class = "connect", "no route to ERROR host");
        tracing::error!("without a class");
        tracing::warn!(class = "timeout", code = "ERROR_7", "ERROR seen, not one");
    });
    let mut classes = std::collections::BTreeMap::new();
    for line in lines.iter().filter(|line| line.contains("ERROR")) {
        assert_eq!(cut(line, 2), "ERROR");
        assert_eq!(cut(line, 3), "payments-api");
        *classes.entry(cut(line, 5)).or_insert(0) += 1;
    }
    assert_eq!(
        Vec::from_iter(classes),
        [("-", 1), ("connect", 1), ("timeout", 3)]
    );
}

#[test]
fn every_line_inside_the_span_has_the_correlation_id_literally() {
    let lines = logged_with(
        LogOptions {
            level: Level::ERROR.into(),
            ..LogOptions::new("svc")
        },
        |_| {
            let _request = correlation_span("abc123").entered();
            tracing::error!(order = 7, "outside");
            let _inner = tracing::error_span!("inner", step = "charge card").entered();
            tracing::error!(class = "x", "inside");
        },
    );
    assert!(
        lines[0].ends_with(" - order:7 correlation_id:abc123 outside"),
        "{lines:?}"
    );
    assert!(
        lines[1].ends_with(" x correlation_id:abc123 step:\"charge card\" inside"),
        "{lines:?}"
    );
}

#[test]
fn of_one_key_the_event_wins_and_then_the_inner_span() {
    let lines = logged(|_| {
        let _a = tracing::info_span!("a", who = "outer", n = 1).entered();
        let _b = tracing::info_span!("b", who = "inner", late = tracing::field::Empty).entered();
        tracing::Span::current().record("late", 3);
        tracing::info!(n = 2, "x");
    });
    assert!(lines[0].ends_with(" - n:2 who:inner late:3 x"), "{lines:?}");
}

#[test]
fn nothing_that_is_logged_can_forge_a_line() {
    let evil = "x\n2026-01-02T03:04:05.678Z ERROR payments-api t forged correlation_id:1 y\r";
    let lines = logged(|_| {
        tracing::info!(agent = evil, class = evil, "hello {evil}");
        let _span = tracing::info_span!("s", path = %evil, debug = ?evil).entered();
        tracing::info!("{}", "plain");
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    for line in &lines {
        assert_eq!(cut(line, 2), "INFO");
        assert!(!line.contains("ERROR"), "{line}");
    }
    assert!(cut(&lines[0], 5).starts_with("x_2026"), "{lines:?}");
}

#[test]
fn level_and_format_change_while_it_runs() {
    let lines = logged(|handle| {
        let say = || tracing::debug!(n = 1, "hello");
        say();
        handle.set_level(Level::DEBUG);
        say();
        handle.set_format(Format::Json);
        say();
        handle.set_level("off".parse::<LogFilter>().expect("valid"));
        say();
        assert_eq!(handle.level().as_str(), "off");
        assert_eq!(handle.format(), Format::Json);
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(lines[0].ends_with(" - n:1 hello"), "{lines:?}");
    let json: serde_json::Value = serde_json::from_str(&lines[1]).expect("JSON");
    assert_eq!(
        (&json["message"], &json["fields"]["n"]),
        (&"hello".into(), &1.into())
    );
}

#[test]
fn startup_steps_are_logged_at_any_level() {
    let quiet = LogOptions {
        level: Level::ERROR.into(),
        ..LogOptions::new("svc")
    };
    let lines = logged_with(quiet, |_| {
        startup("database", "connected to 127.0.0.1:5432");
        startup_failed("listeners", "port 8080 is taken: stop what listens there");
        tracing::info!("not this one");
    });
    assert_eq!(lines.len(), 2, "{lines:?}");
    assert!(
        lines[0].ends_with(" INFO svc startup - step:database connected to 127.0.0.1:5432"),
        "{lines:?}"
    );
    assert!(
        lines[1].contains(" ERROR svc startup startup step:listeners port 8080 is taken"),
        "{lines:?}"
    );
}

#[test]
fn an_error_is_written_with_its_sources() {
    #[derive(Debug, thiserror::Error)]
    #[error("call failed")]
    struct Call(#[source] io::Error);
    let lines = logged(|_| {
        let call = Call(io::Error::other("connection refused"));
        tracing::error!(error = &call as &dyn std::error::Error, "x");
    });
    assert!(
        lines[0].contains("error:\"call failed: connection refused\""),
        "{lines:?}"
    );
}

#[test]
fn a_closed_pipe_loses_lines_and_nothing_else() {
    let (ours, theirs) = std::os::unix::net::UnixStream::pair().expect("a pair");
    drop(theirs);
    let (layer, handle) = LineLayer::new(LogOptions::new("svc"), ours);
    tracing::subscriber::with_default(Registry::default().with(layer), || {
        tracing::info!("one");
        tracing::info!("two");
    });
    assert_eq!(handle.lost(), 2);
}

#[test]
fn a_second_log_is_refused_and_says_what_to_do() {
    let quiet = || LogOptions {
        level: "off".parse().expect("valid"),
        ..LogOptions::new("svc")
    };
    assert!(init(quiet()).is_ok());
    let error = init(quiet()).expect_err("there is one already");
    assert_eq!(error, LogError::AlreadySet);
    assert!(error.to_string().contains("call `log::init` once"));
}
