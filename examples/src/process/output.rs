//! What a child prints: the last lines in memory, and wherever else it is wanted.

use std::{
    collections::VecDeque,
    fs::{self, File},
    io::{self, BufRead, BufReader, Read, Write},
    path::PathBuf,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use tokio::sync::watch;

/// Lines kept.
const MAX_LINES: usize = 2_000;
/// A longer line is cut into several.
const MAX_LINE: u64 = 16 * 1024;
/// A log file is started anew above this.
const MAX_FILE: u64 = 32 * 1024 * 1024;

#[derive(Debug)]
pub(super) struct Output {
    prefix: Option<String>,
    lines: Mutex<Lines>,
    file: Mutex<Option<LogFile>>,
    /// Counts changes; wakes those who wait for a line.
    changed: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct Lines {
    kept: VecDeque<String>,
    /// Number of the first one kept, the first of all being 0.
    first: u64,
    readers: usize,
    /// A child of which no stream is read yet has not closed its output.
    started: bool,
}

#[derive(Debug)]
struct LogFile {
    path: PathBuf,
    file: File,
    written: u64,
}

impl Output {
    pub(super) fn new(prefix: Option<String>, log: Option<(PathBuf, File)>) -> Self {
        let file = log.map(|(path, file)| LogFile {
            path,
            file,
            written: 0,
        });
        Self {
            prefix,
            lines: Mutex::default(),
            file: Mutex::new(file),
            changed: watch::Sender::new(0),
        }
    }

    /// Reads `stream` to its end on a thread of its own, so that a child never
    /// blocks on a full pipe, whatever our runtime is doing.
    pub(super) fn read_from(
        output: &Arc<Self>,
        stream: impl Read + Send + 'static,
    ) -> io::Result<()> {
        {
            let mut lines = output.lines();
            lines.readers += 1;
            lines.started = true;
        }
        let sink = Arc::clone(output);
        let spawned = thread::Builder::new()
            .name("child-output".to_owned())
            .spawn(move || {
                sink.pump(stream);
                sink.lines().readers -= 1;
                sink.changed.send_modify(|count| *count += 1);
            });
        if spawned.is_err() {
            output.lines().readers -= 1;
        }
        spawned.map(drop)
    }

    fn pump(&self, stream: impl Read) {
        let mut stream = BufReader::new(stream);
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            match stream.by_ref().take(MAX_LINE).read_until(b'\n', &mut bytes) {
                Ok(0) | Err(_) => return,
                Ok(_) => self.push(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
            }
        }
    }

    fn push(&self, line: String) {
        if let Some(prefix) = &self.prefix {
            // A closed stderr must not stop the child's pipe from being read.
            let _ = writeln!(io::stderr().lock(), "{prefix}{line}");
        }
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        // A full disk ends the file, not the child.
        if file.as_mut().is_some_and(|file| file.write(&line).is_err()) {
            *file = None;
        }
        drop(file);
        let mut lines = self.lines();
        if lines.kept.len() == MAX_LINES {
            lines.kept.pop_front();
            lines.first += 1;
        }
        lines.kept.push_back(line);
        drop(lines);
        self.changed.send_modify(|count| *count += 1);
    }

    /// The last `count` lines, oldest first.
    pub(super) fn tail(&self, count: usize) -> Vec<String> {
        let lines = self.lines();
        let skipped = lines.kept.len().saturating_sub(count);
        lines.kept.iter().skip(skipped).cloned().collect()
    }

    /// The first line, printed already or to come, that contains `pattern`;
    /// `None` when the output has ended without one.
    pub(super) async fn find(&self, pattern: &str) -> Option<String> {
        let mut changed = self.changed.subscribe();
        let mut next = 0;
        loop {
            // Marked as seen before the look: a line that comes in between
            // wakes us once more.
            changed.borrow_and_update();
            {
                let lines = self.lines();
                let skipped =
                    usize::try_from(next.max(lines.first) - lines.first).unwrap_or(usize::MAX);
                let found = lines
                    .kept
                    .iter()
                    .skip(skipped)
                    .find(|line| line.contains(pattern));
                if found.is_some() {
                    return found.cloned();
                }
                if lines.started && lines.readers == 0 {
                    return None;
                }
                next = lines.first + lines.kept.len() as u64;
            }
            // The sender is ours, so it is not gone.
            let _ = changed.changed().await;
        }
    }

    /// Waits until both streams are closed and read to their end.
    pub(super) async fn ended(&self) {
        let mut changed = self.changed.subscribe();
        loop {
            changed.borrow_and_update();
            {
                let lines = self.lines();
                if lines.started && lines.readers == 0 {
                    return;
                }
            }
            // The sender is ours, so it is not gone.
            let _ = changed.changed().await;
        }
    }

    fn lines(&self) -> MutexGuard<'_, Lines> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl LogFile {
    fn write(&mut self, line: &str) -> io::Result<()> {
        if self.written > MAX_FILE {
            let mut old = self.path.clone().into_os_string();
            old.push(".1");
            fs::rename(&self.path, old)?;
            self.file = File::create(&self.path)?;
            self.written = 0;
        }
        // One write a line: what `grep` reads at any instant is whole lines.
        self.file.write_all(format!("{line}\n").as_bytes())?;
        self.written += line.len() as u64 + 1;
        Ok(())
    }
}
