//! Closing a data directory, in good order or not.

use std::sync::Arc;

use parking_lot::Mutex;

use super::LogDirectory;
use super::burying::What;
use crate::clean_shutdown::{self, CleanShutdown};
use crate::error::{StorageError, unless_short};
use crate::partition_log::PartitionLog;

/// Threads that do something to many logs; they mostly wait for the disk.
const THREADS: usize = 8;

impl LogDirectory {
    /// Closes every partition and leaves the mark of a clean stop. The caller has stopped all
    /// appends and moves.
    ///
    /// # Errors
    /// The first [`StorageError`]; then no mark is left and the next start recovers. There is none
    /// either when a partition is offline: its damage must be seen again; and where a burial could not be finished, or names
    /// could not be flushed.
    pub fn close_cleanly(&self, mark: CleanShutdown) -> Result<(), StorageError> {
        self.close_without_mark()?;
        // One at a time, should it be asked for twice.
        let _written = self.written.lock();
        let failed = self.logs_and_copies().iter().any(|log| log.has_failed());
        if failed
            || self.has_failed_flush()
            || !self.offline.read().is_empty()
            || self.unfinished_burials() > 0
        {
            return Ok(());
        }
        clean_shutdown::write(&self.path, mark)
    }

    /// Closes every partition where nobody can say that it holds what it should. A mark that
    /// [`Self::open_keeping_mark`] left stays.
    ///
    /// # Errors
    /// The first [`StorageError`].
    pub fn close_without_mark(&self) -> Result<(), StorageError> {
        // What cannot be buried keeps nothing else from being closed.
        let buried = self.bury_all();
        let closed = unless_short(self.close_all())?;
        self.checkpoint()?;
        buried.and(closed)
    }

    /// Takes every log out of service and touches no file: the disk has failed. The lock stays held, so that nobody else
    /// takes the directory, and what is here is still [listed](Self::listed). There is nothing to be closed then.
    pub fn abandon(&self) {
        let mut logs = self.logs_and_copies();
        let burials = self.burials.lock();
        logs.extend(burials.values().filter_map(|it| match &it.what {
            What::Log(log) => Some(Arc::clone(log)),
            What::Offline(_) => None,
        }));
        drop(burials);
        for log in logs {
            log.retire();
        }
    }

    /// The first failure that is no shortage, if there is one.
    fn bury_all(&self) -> Result<(), StorageError> {
        let failed = self.finish_burials().into_iter().map(|(_, error)| error);
        let mut failed: Vec<_> = failed.collect();
        failed.sort_by_key(StorageError::is_shortage);
        failed.into_iter().next().map_or(Ok(()), Err)
    }

    /// First what is to be written is written to all of them, then all are flushed: a file system commits what many files
    /// changed as one, and flushes that come together as well.
    fn close_all(&self) -> Result<(), StorageError> {
        let closed = unless_short(each_log(self.logs_and_copies(), PartitionLog::close))?;
        each_log(self.logs_and_copies(), PartitionLog::flush_closed_log)?;
        closed
    }
}

/// In parallel. After the first error no more are begun by who saw it; but where there is only no room, the others
/// come first.
pub(super) fn each_log(
    logs: Vec<Arc<PartitionLog>>,
    act: impl Fn(&PartitionLog) -> Result<(), StorageError> + Sync,
) -> Result<(), StorageError> {
    let threads = logs.len().min(THREADS);
    let left = Mutex::new(logs.into_iter());
    let act_on_next = || -> Result<(), StorageError> {
        let mut short = Ok(());
        loop {
            let Some(log) = left.lock().next() else {
                return short;
            };
            let acted = unless_short(act(&log))?;
            short = short.and(acted);
        }
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..threads).map(|_| scope.spawn(act_on_next)).collect();
        let results = threads.into_iter().map(|thread| {
            thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        });
        let mut failures: Vec<_> = results.filter_map(Result::err).collect();
        failures.sort_by_key(StorageError::is_shortage);
        failures.into_iter().next().map_or(Ok(()), Err)
    })
}
