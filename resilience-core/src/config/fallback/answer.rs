//! `answer`: what a service answers with `strategy: static`.

use crate::config::{
    reader::{Allowed, Reader, Section, Sourced},
    schema,
    sections::within,
    text::{Text, quoted},
    value::{Misread, Readable},
};

/// A fixed answer over HTTP.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct FixedAnswer {
    /// 200 to 599. Default: 200.
    pub status: u16,
    /// The `Content-Type`: 1 to 200 visible ASCII characters and spaces. Default:
    /// `application/json`.
    pub content_type: String,
    /// At most 16 KiB. Default: empty.
    pub body: String,
}

/// A body that is longer does not belong into a configuration, of which every
/// picture of the service has a copy.
const MOST_BODY: usize = 16 << 10;

const MOST_TYPE: usize = 200;

/// Reads `answer` of a service's section, if there is one.
pub(super) fn read(reader: &mut Reader, parent: &Section<'_>) -> Option<FixedAnswer> {
    const ALLOWED: &str = "`{status: 200, content_type: application/json, body: '…'}`";
    let node = parent.node("answer")?;
    if node.entries().is_none_or(<[_]>::is_empty) {
        reader.wrong(&parent.full("answer"), node, None, ALLOWED);
        return None;
    }
    let origin = node.origin.clone();
    let section = reader.section(parent, "answer", schema::FALLBACK_ANSWER);
    let status = reader.written(&section, "status", &within(200, 599, "200 to 599"));
    let content_type = reader.written(
        &section,
        "content_type",
        &Allowed {
            text: format!("1 to {MOST_TYPE} visible ASCII characters, such as `text/plain`"),
            inside: |Text(given): &Text| {
                (1..=MOST_TYPE).contains(&given.len())
                    && given.bytes().all(|b| b == b' ' || b.is_ascii_graphic())
            },
        },
    );
    let body = reader.written(
        &section,
        "body",
        &Allowed {
            text: format!("a text of at most {MOST_BODY} bytes"),
            inside: |Text(given): &Text| given.len() <= MOST_BODY,
        },
    );
    let text = |text: Option<Sourced<Text>>| text.map(|text| text.value.0);
    let answer = FixedAnswer {
        status: status.map_or(200, |status| status.value),
        content_type: text(content_type).unwrap_or_else(|| "application/json".to_owned()),
        body: text(body).unwrap_or_default(),
    };
    let value = Sourced {
        value: answer,
        origin,
    };
    Some(reader.note_optional(parent, "answer", value))
}

impl Readable for FixedAnswer {
    /// An answer is a section and never one word.
    fn read(_: &str) -> Result<Self, Misread> {
        Err(Misread::Other)
    }

    fn show(&self) -> String {
        format!(
            "{{status: {}, content_type: {}, body: {}}}",
            self.status,
            quoted(&self.content_type),
            quoted(&self.body)
        )
    }
}
