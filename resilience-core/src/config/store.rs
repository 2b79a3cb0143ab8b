//! The configuration in force, replaced while the service runs.

use std::{path::Path, sync::Arc};

use arc_swap::ArcSwap;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::{
    Config, ConfigErrors, ConfigSource, DEFAULT_PREFIX,
    source::{Content, one_problem},
};
use crate::snapshot::ConfigSnapshot;

/// Holds the configuration in force and looks for a new one when asked.
///
/// It starts no thread and writes no log: the control thread calls
/// [`poll`](Self::poll) once a second and says what came of it.
///
/// Why polling, and of the whole content: a mounted ConfigMap changes by a
/// swap of the `..data` symlink, an editor renames a new file into place or
/// writes the old one anew, a bind-mounted file keeps its inode, and on network
/// file systems a change made elsewhere raises no event at all. Watching with
/// inotify takes another trick for each of these and is blind to the last;
/// reading a few kilobytes a second sees them all, and asks nothing of
/// timestamps.
#[derive(Debug)]
pub struct ConfigStore {
    source: ConfigSource,
    current: ArcSwap<Config>,
    /// Held while the file is read, which may take long; only `poll` takes it.
    watch: Mutex<Watch>,
    /// Held for moments. Written together with `current`.
    status: Mutex<Status>,
}

#[derive(Debug)]
struct Watch {
    /// Found at the last poll, good or bad, so that nothing is reported twice.
    last: Content,
    /// What the configuration in force was made from.
    good: Content,
}

#[derive(Debug)]
struct Status {
    succeeded: u64,
    refused: u64,
    last_error: Option<String>,
    loaded_at: Timestamp,
}

/// What came of a look at the file.
#[derive(Clone, Debug)]
#[must_use]
pub enum Reload {
    /// The same content as the last time, good or bad.
    Unchanged,
    /// This is in force now. Also when a refused file was put back to what is
    /// in force: the trouble is over.
    Applied(Arc<Config>),
    /// The file is wrong or gone; what was in force stays. Said once for each
    /// content, not at each poll.
    Refused(ConfigErrors),
}

impl ConfigStore {
    /// Loads the configuration for the first time, with variables that begin
    /// with `APP__`.
    ///
    /// # Errors
    ///
    /// As [`Config::load`].
    pub fn load(
        path: Option<&Path>,
        env: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, ConfigErrors> {
        let source = ConfigSource::new(DEFAULT_PREFIX, env);
        Self::open(match path {
            Some(path) => source.file(path),
            None => source,
        })
    }

    /// Loads the configuration for the first time.
    ///
    /// # Errors
    ///
    /// As [`ConfigSource::load`].
    pub fn open(source: ConfigSource) -> Result<Self, ConfigErrors> {
        let content = source.read();
        let config = source.understand(&content)?;
        Ok(Self {
            source,
            current: ArcSwap::from_pointee(config),
            watch: Mutex::new(Watch {
                last: content.clone(),
                good: content,
            }),
            status: Mutex::new(Status {
                succeeded: 0,
                refused: 0,
                last_error: None,
                loaded_at: Timestamp::now(),
            }),
        })
    }

    /// The configuration in force. Never waits.
    #[must_use]
    pub fn current(&self) -> Arc<Config> {
        self.current.load_full()
    }

    /// The file, if there is one.
    #[must_use]
    pub fn path(&self) -> Option<&Path> {
        self.source.path()
    }

    /// Reads the file again and puts it in force if it changed and is right.
    ///
    /// Blocks for the reading; neither [`current`](Self::current) nor
    /// [`snapshot`](Self::snapshot) wait for it.
    pub fn poll(&self) -> Reload {
        let mut watch = self.watch.lock();
        let content = self.source.read();
        if content == watch.last {
            return Reload::Unchanged;
        }
        watch.last = content.clone();
        if content == watch.good {
            let mut status = self.status.lock();
            status.succeeded += 1;
            status.last_error = None;
            return Reload::Applied(self.current());
        }
        match self.understand(&content) {
            Ok(config) => {
                watch.good = content;
                let config = Arc::new(config);
                let mut status = self.status.lock();
                status.succeeded += 1;
                status.last_error = None;
                status.loaded_at = Timestamp::now();
                self.current.store(Arc::clone(&config));
                Reload::Applied(config)
            }
            Err(errors) => {
                let mut status = self.status.lock();
                status.refused += 1;
                status.last_error = Some(errors.to_string());
                Reload::Refused(errors)
            }
        }
    }

    /// What the admin API and the metrics show of it.
    #[must_use]
    pub fn snapshot(&self) -> ConfigSnapshot {
        let status = self.status.lock();
        ConfigSnapshot {
            file: self.path().map(|path| path.display().to_string()),
            reloads_succeeded: status.succeeded,
            reloads_refused: status.refused,
            last_reload_successful: status.last_error.is_none(),
            loaded_at: Some(status.loaded_at),
            last_error: status.last_error.clone(),
            values: self.current.load().effective(),
        }
    }

    fn understand(&self, content: &Content) -> Result<Config, ConfigErrors> {
        // Somebody who writes a file anew empties it first. Taken for a wish,
        // that moment would set a whole service back to the defaults.
        if let (Content::Bytes(bytes), Some(path)) = (content, self.path())
            && bytes.trim_ascii().is_empty()
        {
            let message = "the file has become empty, which is not taken over; write `{}` if the defaults are wanted";
            return Err(one_problem(&path.display().to_string(), message.to_owned()));
        }
        self.source.understand(content)
    }
}
