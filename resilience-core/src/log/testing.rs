//! What the tests of this crate read the log with.

use std::{
    io::{self, Write},
    sync::Arc,
};

use parking_lot::Mutex;
use tracing_subscriber::{Registry, layer::SubscriberExt};

use super::{LineLayer, LogHandle, LogOptions};

#[derive(Clone, Default)]
struct Sink(Arc<Mutex<Vec<u8>>>);

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The lines that `run` logs on this thread.
pub(crate) fn logged_with(options: LogOptions, run: impl FnOnce(&LogHandle)) -> Vec<String> {
    let sink = Sink::default();
    let (layer, handle) = LineLayer::new(options, sink.clone());
    tracing::subscriber::with_default(Registry::default().with(layer), || run(&handle));
    let bytes = sink.0.lock().clone();
    let text = String::from_utf8(bytes).expect("lines are UTF-8");
    text.lines().map(str::to_owned).collect()
}

/// The lines that a future logs on a runtime of this one thread, its time
/// paused.
#[cfg(feature = "http")]
pub(crate) fn logged_async(options: LogOptions, run: impl Future<Output = ()>) -> Vec<String> {
    logged_with(options, |_| {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .expect("a runtime")
            .block_on(run);
    })
}
