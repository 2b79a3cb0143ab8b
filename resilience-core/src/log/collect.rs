//! Reads the fields of events and spans.

use std::{error::Error, fmt};

use serde_json::Value;
use tracing::field::{Field, Visit};

use super::text::{Bounded, MAX_MESSAGE, MAX_VALUE};

/// What an event or a span carries.
#[derive(Debug, Default)]
pub(super) struct Fields {
    pub(super) message: Option<String>,
    pub(super) class: Option<String>,
    pub(super) values: Vec<(&'static str, Value)>,
}

impl Fields {
    /// Adds the values of one more span, from the root inwards: of two spans
    /// the inner one is believed, and the event before any span.
    pub(super) fn inherit(
        own: &[(&'static str, Value)],
        inherited: &mut Vec<(&str, Value)>,
        span: &Self,
    ) {
        for (key, value) in &span.values {
            if own.iter().any(|(k, _)| k == key) {
                continue;
            }
            match inherited.iter_mut().find(|(k, _)| k == key) {
                Some((_, outer)) => *outer = value.clone(),
                None => inherited.push((key, value.clone())),
            }
        }
    }

    fn push(&mut self, field: &Field, value: Value) {
        // `record` on a span may come twice for the same field.
        match self.values.iter_mut().find(|(k, _)| *k == field.name()) {
            Some((_, old)) => *old = value,
            None => self.values.push((field.name(), value)),
        }
    }

    fn push_text(&mut self, field: &Field, text: fmt::Arguments<'_>) {
        match field.name() {
            "message" => self.message = Some(Bounded::collect(MAX_MESSAGE, text)),
            "class" => self.class = Some(Bounded::collect(MAX_VALUE, text)),
            _ => self.push(field, Bounded::collect(MAX_VALUE, text).into()),
        }
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.push_text(field, format_args!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.push_text(field, format_args!("{value}"));
    }

    /// An error is written with all its sources: the last one is the one
    /// that helps (`connect` says little, `connection refused` all).
    fn record_error(&mut self, field: &Field, value: &(dyn Error + 'static)) {
        self.push_text(field, format_args!("{}", Chain(value)));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.push(field, value.into());
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.push(field, value.into());
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.push(field, value.into());
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        // JSON has no NaN and no infinity: these are written as text.
        let number = serde_json::Number::from_f64(value);
        self.push(
            field,
            number.map_or_else(|| value.to_string().into(), Value::Number),
        );
    }
}

struct Chain<'a>(&'a (dyn Error + 'static));

impl fmt::Display for Chain<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)?;
        let mut source = self.0.source();
        while let Some(error) = source {
            write!(f, ": {error}")?;
            source = error.source();
        }
        Ok(())
    }
}
