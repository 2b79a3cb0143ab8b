//! Makes lines of tracing events.

use std::{io::Write, sync::Arc};

use jiff::Timestamp;
use parking_lot::Mutex;
use tracing::{
    Event, Metadata, Subscriber,
    metadata::LevelFilter,
    span::{Attributes, Id},
    subscriber::Interest,
};
use tracing_subscriber::{
    layer::{Context, Layer},
    registry::LookupSpan,
};

use super::{
    collect::Fields,
    handle::{LogHandle, LogOptions, Shared},
    record::Record,
};

/// Writes each event as one line to `W`.
///
/// [`init`](super::init) sets one up for standard output; use it directly for
/// another writer, in a test, or to stack it with other layers. Its filter is a
/// global one: what it does not want, no layer of that subscriber sees.
///
/// A line is formatted first and then handed over by one `write_all` under a
/// lock, so lines never mix. A writer that fails (a closed pipe, a full disk)
/// loses the line, which [`LogHandle::lost`] counts; the service goes on.
#[derive(Debug)]
pub struct LineLayer<W> {
    shared: Arc<Shared>,
    writer: Mutex<W>,
}

impl<W: Write + Send + 'static> LineLayer<W> {
    /// A layer and the handle that changes it while it runs.
    #[must_use]
    pub fn new(options: LogOptions, writer: W) -> (Self, LogHandle) {
        let shared = Arc::new(Shared::new(options));
        let layer = Self {
            shared: Arc::clone(&shared),
            writer: Mutex::new(writer),
        };
        (layer, LogHandle::new(shared))
    }
}

impl<W, S> Layer<S> for LineLayer<W>
where
    W: Write + Send + 'static,
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn register_callsite(&self, metadata: &'static Metadata<'static>) -> Interest {
        // Cached by tracing; `LogHandle::set_filter` has the cache rebuilt.
        if self.shared.filter().allows(metadata) {
            Interest::always()
        } else {
            Interest::never()
        }
    }

    fn enabled(&self, metadata: &Metadata<'_>, _: Context<'_, S>) -> bool {
        self.shared.filter().allows(metadata)
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(self.shared.filter().max_level())
    }

    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, ctx: Context<'_, S>) {
        // Read before the extensions are locked: a `Debug` may log.
        let mut fields = Fields::default();
        attributes.record(&mut fields);
        if let Some(span) = ctx.span(id) {
            span.extensions_mut().insert(fields);
        }
    }

    fn on_record(&self, id: &Id, values: &tracing::span::Record<'_>, ctx: Context<'_, S>) {
        let Some(span) = ctx.span(id) else { return };
        let taken = span.extensions_mut().remove::<Fields>();
        let mut fields = taken.unwrap_or_default();
        values.record(&mut fields);
        span.extensions_mut().replace(fields);
    }

    fn on_event(&self, event: &Event<'_>, ctx: Context<'_, S>) {
        let mut own = Fields::default();
        event.record(&mut own);

        let mut inherited = Vec::new();
        for span in ctx
            .event_scope(event)
            .into_iter()
            .flat_map(|s| s.from_root())
        {
            if let Some(fields) = span.extensions().get::<Fields>() {
                Fields::inherit(&own.values, &mut inherited, fields);
            }
        }

        let metadata = event.metadata();
        let record = Record {
            time: Timestamp::now(),
            level: *metadata.level(),
            service: self.shared.service(),
            target: metadata.target(),
            class: own.class.as_deref(),
            fields: own.values.into_iter().chain(inherited).collect(),
            message: own.message.as_deref().unwrap_or_default(),
        };
        let mut line = String::with_capacity(256);
        record.write(self.shared.format(), &mut line);

        let mut writer = self.writer.lock();
        let written = writer.write_all(line.as_bytes());
        if written.and_then(|()| writer.flush()).is_err() {
            self.shared.count_lost();
        }
    }
}
