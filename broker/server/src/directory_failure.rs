//! A data directory whose disk did not do what it was told. The broker goes on without it, for the life of this process;
//! without the last one it stops, and the next process finds out what there is.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_log::{OpenError, StorageError, TopicPartition, says_disk_failed};
use parking_lot::Mutex;
use tokio::sync::{Notify, mpsc};
use tracing::{error, warn};

use crate::identity::{Claimed, Identity, is_of_disk};

/// Whether a disk can be written is tried so often at most.
const PROBE_PAUSE: Duration = Duration::from_secs(10);
const PROBE_FILE: &str = ".foz-probe";

/// Of one data directory: hears what went wrong there.
#[derive(Debug, Clone)]
pub(crate) struct DirectoryFailure {
    all: Arc<DirectoryFailures>,
    at: usize,
}

/// Of all data directories of this broker.
#[derive(Debug)]
struct DirectoryFailures {
    identities: Vec<Arc<Identity>>,
    states: Mutex<Vec<State>>,
    /// Of each, when it was tried whether it can be written, and whether it could. Held meanwhile.
    probed: Vec<Mutex<Option<(Instant, bool)>>>,
    /// Stops the broker. One reason is enough: who comes later is not heard.
    reasons: mpsc::Sender<String>,
    /// A directory failed without which the broker goes on.
    news: Arc<Notify>,
}

#[derive(Debug, Default)]
struct State {
    has_failed: bool,
    /// Its disk did nothing wrong: another directory has what is in it, or more.
    is_left_out: bool,
    /// In which directory it is written that it failed.
    doubted_by: Option<usize>,
}

impl DirectoryFailure {
    /// For each of these, which are all that there are.
    pub(crate) fn of_all(claimed: &[Claimed], reasons: mpsc::Sender<String>) -> Vec<Self> {
        let identities = claimed.iter().map(|it| Arc::clone(&it.identity));
        let all = Arc::new(DirectoryFailures {
            identities: identities.collect(),
            states: Mutex::new(claimed.iter().map(|_| State::default()).collect()),
            probed: claimed.iter().map(|_| Mutex::default()).collect(),
            reasons,
            news: Arc::default(),
        });
        let each = (0..claimed.len()).map(|at| Self {
            all: Arc::clone(&all),
            at,
        });
        each.collect()
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.all.states.lock()[self.at].has_failed
    }

    /// Woken when a directory has failed.
    pub(crate) fn news(&self) -> Arc<Notify> {
        Arc::clone(&self.all.news)
    }

    /// A log that had to stop: a change of it was left half-way, or it could not be flushed. Nobody can say what of it is on
    /// the disk, whatever the reason was.
    pub(crate) fn log_stopped(&self, partition: &TopicPartition, error: &OpenError) {
        match error {
            OpenError::Storage(error) if error.is_failed_flush() => {
                self.flush_failed(partition, error);
            }
            error => {
                self.fail(format!("{partition} was left half-way: {error}"), false);
            }
        }
    }

    /// Blocks: before anything else happens to this process it is on a disk that the page cache counts for nothing.
    pub(crate) fn flush_failed(&self, partition: &TopicPartition, error: &StorageError) {
        self.fail(format!("{partition} cannot be flushed: {error}"), true);
    }

    /// Looks whether it is the disk that is to blame, not the file. Blocks.
    pub(crate) fn storage_failed(&self, error: &StorageError) {
        if error.is_of_disk() && !(error.is_failed_read() && self.survives_probe()) {
            self.fail(error.to_string(), error.is_failed_flush());
        }
    }

    /// As above.
    pub(crate) fn open_failed(&self, error: &OpenError) {
        if let OpenError::Storage(error) = error {
            self.storage_failed(error);
        }
    }

    /// Takes it out of use, once; `is_flush` where the page cache may hold what the disk never gets. False where it is the
    /// last one: the process ends because of that. Blocks.
    pub(crate) fn fail(&self, reason: String, is_flush: bool) -> bool {
        let is_first = {
            let mut states = self.all.states.lock();
            // The last one stays in use until the process ends.
            (!is_last(self.at, &states))
                .then(|| !std::mem::replace(&mut states[self.at].has_failed, true))
        };
        let Some(is_first) = is_first else {
            if is_flush {
                self.distrust_page_cache();
            }
            // One reason to stop is enough.
            let _ = self.all.reasons.try_send(reason);
            return false;
        };
        if !is_first {
            return true;
        }
        let directory = self.identity().data_dir().display();
        error!(%directory, reason, "a data directory has failed: its replicas are offline, and the broker goes on without it");
        self.doubt();
        self.pass_doubts_on();
        let identity = Arc::clone(&self.all.identities[self.at]);
        // The disk may take its time to say no.
        std::thread::spawn(move || identity.distrust());
        self.all.news.notify_one();
        true
    }

    /// The broker goes on without it for the life of this process, and nothing there is touched: what the next process
    /// finds there is what this one found. False where it is the last one.
    pub(crate) fn leave_out(&self, reason: &str) -> bool {
        {
            let mut states = self.all.states.lock();
            if is_last(self.at, &states) {
                return false;
            }
            let state = &mut states[self.at];
            if state.has_failed {
                return true;
            }
            (state.has_failed, state.is_left_out) = (true, true);
        }
        let directory = self.identity().data_dir().display();
        error!(%directory, reason, "a data directory is not used: its replicas are offline, and the broker goes on without it");
        self.all.news.notify_one();
        true
    }

    /// Whether an operation of this directory went well; where its disk is to blame that it did not, the broker goes on
    /// without it.
    ///
    /// # Errors
    /// What went wrong, where the broker cannot go on.
    pub(crate) fn unless_failed(&self, done: anyhow::Result<()>) -> anyhow::Result<()> {
        match done {
            Err(error) if is_of_disk(&error) && self.fail(format!("{error:#}"), false) => Ok(()),
            done => done,
        }
    }

    /// The disk can be written: if something there cannot be read, that alone is damaged. Blocks; of many that ask at the same
    /// time one looks.
    pub(crate) fn survives_probe(&self) -> bool {
        let mut probed = self.all.probed[self.at].lock();
        if let Some((at, survives)) = *probed
            && at.elapsed() < PROBE_PAUSE
        {
            return survives;
        }
        let survives = match probe(self.identity().data_dir()) {
            Err(error) if says_disk_failed(&error) => false,
            Ok(()) | Err(_) => true,
        };
        *probed = Some((Instant::now(), survives));
        survives
    }

    /// A flush failed at some time.
    pub(crate) fn distrusts_page_cache(&self) -> bool {
        self.identity().is_distrusted()
    }

    /// False when no disk took even that.
    pub(crate) fn distrust_page_cache(&self) -> bool {
        match self.identity().distrust() {
            Ok(()) => true,
            Err(error) => {
                error!(%error, "cannot write down that a flush failed");
                self.doubt()
            }
        }
    }

    /// Another directory says that this one is not to be believed. False where none can.
    pub(crate) fn doubt(&self) -> bool {
        if self.is_doubted() {
            return true;
        }
        let id = self.identity().directory_id();
        for at in 0..self.all.identities.len() {
            let other = self.another(at);
            if at == self.at || other.has_failed() {
                continue;
            }
            match other.identity().doubt(id) {
                Ok(()) => {
                    let mut states = self.all.states.lock();
                    states[self.at].doubted_by = Some(at);
                    // One that has failed meanwhile may have passed on what it knew before that.
                    if !states[at].has_failed {
                        return true;
                    }
                }
                Err(error) => {
                    let directory = other.identity().data_dir().display();
                    warn!(%directory, %error, "cannot write down that another data directory has failed");
                    // It is lost itself, or the next one says both.
                    let _ = other.unless_failed(Err(error));
                }
            }
        }
        false
    }

    /// By one that is in use; of one that is left out there is nothing to doubt.
    fn is_doubted(&self) -> bool {
        let states = self.all.states.lock();
        let state = &states[self.at];
        let by = state.doubted_by;
        state.is_left_out || by.is_some_and(|by| !states[by].has_failed)
    }

    /// What this one knew of others that failed before goes with it.
    fn pass_doubts_on(&self) {
        for at in 0..self.all.identities.len() {
            let is_known_here = self.all.states.lock()[at].doubted_by == Some(self.at);
            if is_known_here {
                self.another(at).doubt();
            }
        }
    }

    fn another(&self, at: usize) -> Self {
        Self {
            all: Arc::clone(&self.all),
            at,
        }
    }

    fn identity(&self) -> &Identity {
        &self.all.identities[self.at]
    }
}

/// Without this one there is none left.
fn is_last(at: usize, states: &[State]) -> bool {
    let mut others = states.iter().enumerate().filter(|(other, _)| *other != at);
    others.all(|(_, it)| it.has_failed)
}

/// One byte, written and flushed.
fn probe(data_dir: &Path) -> io::Result<()> {
    let path = data_dir.join(PROBE_FILE);
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(b"1")?;
        file.sync_all()
    });
    let removed = std::fs::remove_file(&path);
    written.and(removed)
}

#[cfg(test)]
impl DirectoryFailure {
    /// Of the broker in this new directory, with what it hears.
    pub(crate) fn of(data_dir: &Path) -> (Self, mpsc::Receiver<String>) {
        let (mut all, heard) = Self::of_these(&[data_dir.to_owned()]);
        (all.remove(0), heard)
    }

    fn of_these(data_dirs: &[std::path::PathBuf]) -> (Vec<Self>, mpsc::Receiver<String>) {
        let (reasons, heard) = mpsc::channel(1);
        let claims = crate::identity::claim_all(data_dirs, 0).unwrap();
        (Self::of_all(&claims.usable, reasons), heard)
    }
}

#[cfg(test)]
mod tests;
