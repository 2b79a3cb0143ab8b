//! One record and its two renderings, pure text in and out.

use std::str::FromStr;

use jiff::{Timestamp, fmt::temporal::DateTimePrinter};
use serde_json::Value;
use tracing::Level;

use super::text;

/// How records are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// `TIME LEVEL SERVICE TARGET CLASS key:value… message`. The default.
    #[default]
    Text,
    /// One JSON object a line with the same fields.
    Json,
}

impl FromStr for Format {
    type Err = FormatError;

    fn from_str(s: &str) -> Result<Self, Self::Err> {
        match s {
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            other => Err(FormatError {
                given: text::Bounded::collect(64, format_args!("{other}")),
            }),
        }
    }
}

/// No such [`Format`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the log format is {given:?}, allowed: text, json")]
pub struct FormatError {
    /// What was given.
    pub given: String,
}

/// What one line says.
///
/// [`LineLayer`](super::LineLayer) makes these of tracing events; they can as
/// well be made by hand.
#[derive(Clone, Debug, PartialEq)]
pub struct Record<'a> {
    /// When; written in UTC with milliseconds.
    pub time: Timestamp,
    /// Level, field 2.
    pub level: Level,
    /// Name of the service, field 3.
    pub service: &'a str,
    /// Where in the code or what about, field 4.
    pub target: &'a str,
    /// Error class, field 5; `None` is written `-`.
    pub class: Option<&'a str>,
    /// The event's own fields, then those of its spans from the root inwards.
    pub fields: Vec<(&'a str, Value)>,
    /// The sentence for a person.
    pub message: &'a str,
}

/// The event's and the spans' values together stay below this, so that the line
/// stays below 16 KiB; see the module documentation.
const MAX_FIELDS: usize = 6 * 1024;

impl Record<'_> {
    /// Appends the record and a line feed.
    ///
    /// Whatever the record holds, exactly one line is appended, and only one
    /// of level `ERROR` has these letters in it.
    pub fn write(&self, format: Format, out: &mut String) {
        let start = out.len();
        match format {
            Format::Text => self.write_text(out),
            Format::Json => self.write_json(out),
        }
        // Done on the whole line and last: what escaping, cutting or joining
        // parts may have put together is seen here too.
        if self.level != Level::ERROR && out[start..].contains("ERROR") {
            let line = out.split_off(start);
            out.push_str(&line.replace("ERROR", "error"));
        }
        out.push('\n');
    }

    fn write_text(&self, line: &mut String) {
        push_time(line, self.time);
        line.push(' ');
        line.push_str(self.level.as_str());
        for token in [self.service, self.target, self.class.unwrap_or_default()] {
            line.push(' ');
            text::push_token(line, token);
        }
        self.write_fields(line, |line, key, value| {
            line.push(' ');
            text::push_key(line, key);
            line.push(':');
            match value {
                Value::String(value) => text::push_value(line, value),
                other => text::push_value(line, &other.to_string()),
            }
        });
        if !self.message.trim().is_empty() {
            line.push(' ');
            text::push_message(line, self.message);
        }
    }

    // By hand and not by serde_json, which keeps no order and escapes neither
    // U+2028 nor U+0085: some readers of lines end one there.
    fn write_json(&self, line: &mut String) {
        line.push_str("{\"time\":\"");
        push_time(line, self.time);
        line.push_str("\",\"level\":\"");
        line.push_str(self.level.as_str());
        line.push_str("\",\"service\":\"");
        text::push_token(line, self.service);
        line.push_str("\",\"target\":\"");
        text::push_token(line, self.target);
        line.push_str("\",\"class\":");
        match self.class {
            Some(class) => {
                line.push('"');
                text::push_token(line, class);
                line.push('"');
            }
            None => line.push_str("null"),
        }
        line.push_str(",\"message\":");
        text::push_quoted(line, self.message.trim(), text::MAX_MESSAGE);
        line.push_str(",\"fields\":{");
        let first = line.len();
        self.write_fields(line, |line, key, value| {
            line.push_str(if line.len() == first { "\"" } else { ",\"" });
            text::push_key(line, key);
            line.push_str("\":");
            match value {
                Value::Null | Value::Bool(_) | Value::Number(_) => {
                    line.push_str(&value.to_string());
                }
                Value::String(value) => text::push_quoted(line, value, text::MAX_VALUE),
                // Cut short it would be no JSON, so it is a text.
                nested => text::push_quoted(line, &nested.to_string(), text::MAX_VALUE),
            }
        });
        line.push_str("}}");
    }

    fn write_fields(&self, line: &mut String, mut write: impl FnMut(&mut String, &str, &Value)) {
        let first = line.len();
        let mut left_out = 0_u64;
        for (key, value) in &self.fields {
            if line.len() - first > MAX_FIELDS {
                left_out += 1;
            } else {
                write(line, key, value);
            }
        }
        if left_out > 0 {
            write(line, "fields_left_out", &left_out.into());
        }
    }
}

fn push_time(line: &mut String, time: Timestamp) {
    const PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));
    // Cannot fail: writing to a `String` never does.
    let _ = PRINTER.print_timestamp(&time, line);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn record(level: Level) -> Record<'static> {
        Record {
            time: "2026-01-02T03:04:05.6789Z".parse().expect("a time"),
            level,
            service: "payments-api",
            target: "payments::rates",
            class: Some("timeout"),
            fields: vec![
                ("upstream", Value::from("payment_api")),
                ("took_ms", Value::from(350)),
                ("correlation_id", Value::from("abc123")),
            ],
            message: "gave up waiting",
        }
    }

    fn line(record: &Record<'_>, format: Format) -> String {
        let mut out = String::new();
        record.write(format, &mut out);
        out
    }

    #[test]
    fn a_text_line_reads_as_documented() {
        assert_eq!(
            line(&record(Level::ERROR), Format::Text),
            "2026-01-02T03:04:05.678Z ERROR payments-api payments::rates timeout \
             upstream:payment_api took_ms:350 correlation_id:abc123 gave up waiting\n"
        );
    }

    #[test]
    fn a_json_line_has_the_same_fields() {
        let line = line(&record(Level::ERROR), Format::Json);
        assert!(
            line.starts_with(
                "{\"time\":\"2026-01-02T03:04:05.678Z\",\"level\":\"ERROR\",\
                 \"service\":\"payments-api\",\"target\":\"payments::rates\",\
                 \"class\":\"timeout\",\"message\":\"gave up waiting\",\"fields\":{"
            ),
            "{line}"
        );
        assert!(
            line.ends_with(
                ":{\"upstream\":\"payment_api\",\"took_ms\":350,\"correlation_id\":\"abc123\"}}\n"
            ),
            "{line}"
        );
    }

    #[test]
    fn the_fifth_field_is_the_class_or_a_dash() {
        let mut it = record(Level::INFO);
        assert_eq!(line(&it, Format::Text).split(' ').nth(4), Some("timeout"));
        it.class = None;
        assert_eq!(line(&it, Format::Text).split(' ').nth(4), Some("-"));
        it.class = Some("forged ERROR line");
        assert_eq!(
            line(&it, Format::Text).split(' ').nth(4),
            Some("forged_error_line")
        );
    }

    #[test]
    fn another_level_never_has_the_word_that_is_grepped_for() {
        let mut it = record(Level::WARN);
        it.message = "got ERROR_CODE and TERRORS";
        it.target = "ERROR";
        it.fields = vec![("ERROR", Value::from("MYERROR"))];
        for format in [Format::Text, Format::Json] {
            let line = line(&it, format);
            assert!(!line.contains("ERROR"), "{line}");
            assert!(line.contains("got error_CODE and Terror"), "{line}");
        }
        it.level = Level::ERROR;
        assert!(line(&it, Format::Text).contains("got ERROR_CODE and TERRORS"));
    }

    #[test]
    fn a_record_without_a_message_ends_without_a_space() {
        let mut it = record(Level::INFO);
        (it.fields, it.message) = (vec![], "  ");
        assert!(line(&it, Format::Text).ends_with(" timeout\n"));
    }

    #[test]
    fn the_longest_record_stays_below_what_container_runtimes_cut() {
        let long = "ü\u{1}".repeat(100_000);
        let it = Record {
            service: &long,
            target: &long,
            class: Some(&long),
            fields: (0..64)
                .map(|n| (&long[3 * n..], Value::from(long.as_str())))
                .collect(),
            message: &long,
            ..record(Level::INFO)
        };
        for format in [Format::Text, Format::Json] {
            let line = line(&it, format);
            assert!(line.len() < 16 * 1024, "{format:?} {}", line.len());
            assert!(line.contains("fields_left_out"), "{line}");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]
        #[test]
        fn any_data_gives_exactly_one_line_with_five_fields(
            service in any::<String>(),
            target in "\\PC*|.*ERROR.*",
            class in proptest::option::of(any::<String>()),
            key in "[ :a-zA-Z\n]{0,9}",
            value in "(?s).*|.*ERROR\r\n.*",
            message in "(?s).*(\n|\r|\u{2028}| |ERR|OR|ERROR|\u{85}).*",
            level in 0..5_usize,
        ) {
            let level =
                [Level::ERROR, Level::WARN, Level::INFO, Level::DEBUG, Level::TRACE][level];
            let it = Record {
                time: Timestamp::UNIX_EPOCH,
                level,
                service: &service,
                target: &target,
                class: class.as_deref(),
                fields: vec![(&key, Value::from(value.clone()))],
                message: &message,
            };
            for format in [Format::Text, Format::Json] {
                let line = line(&it, format);
                prop_assert!(line.ends_with('\n'));
                let line = &line[..line.len() - 1];
                prop_assert!(
                    !line.contains(|c: char| c.is_control() || c == '\u{2028}'),
                    "an unescaped character in {:?}",
                    line
                );
                prop_assert_eq!(line.contains("ERROR"), level == Level::ERROR);
            }
            let text = line(&it, Format::Text);
            let fields: Vec<_> = text.trim_end_matches('\n').split(' ').collect();
            prop_assert!(fields.len() >= 5);
            prop_assert!(fields[..5].iter().all(|f| !f.is_empty()));
            prop_assert_eq!(fields[1], level.as_str());
            let json: Value = serde_json::from_str(&line(&it, Format::Json)).expect("JSON");
            prop_assert_eq!(&json["level"], level.as_str());
            if level == Level::ERROR {
                prop_assert_eq!(&json["message"], message.trim());
            }
        }
    }
}
