//! Closing a data directory, in good order or not.

use parking_lot::Mutex;

use super::LogDirectory;
use crate::clean_shutdown::{self, CleanShutdown};
use crate::error::StorageError;
use crate::partition_log::PartitionLog;

/// Threads that close partitions; they mostly wait for the disk.
const CLOSING_THREADS: usize = 8;

impl LogDirectory {
    /// Closes every partition and leaves the mark of a clean stop. The caller has stopped all
    /// appends.
    ///
    /// # Errors
    /// The first [`StorageError`]; then no mark is left and the next start recovers. There is none
    /// either when a partition is offline: its damage must be seen again.
    pub fn close_cleanly(&self, mark: CleanShutdown) -> Result<(), StorageError> {
        self.close_without_mark()?;
        // One at a time, should it be asked for twice.
        let _written = self.written.lock();
        let failed = self.logs.read().values().any(|log| log.has_failed());
        if failed || !self.offline.read().is_empty() {
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
        let closed = unless_short(self.close_all())?;
        self.checkpoint()?;
        closed
    }

    /// First what is to be written is written to all of them, then all are flushed: a file system commits what many files
    /// changed as one, and flushes that come together as well.
    fn close_all(&self) -> Result<(), StorageError> {
        let closed = unless_short(self.each_log(PartitionLog::close))?;
        self.each_log(PartitionLog::flush_closed_log)?;
        closed
    }

    /// In parallel. After the first error no more are begun by who saw it; but where there is only no room, the others
    /// come first.
    fn each_log(
        &self,
        act: impl Fn(&PartitionLog) -> Result<(), StorageError> + Sync,
    ) -> Result<(), StorageError> {
        let left = Mutex::new(self.logs().into_iter());
        let close = || -> Result<(), StorageError> {
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
            let threads: Vec<_> = (0..CLOSING_THREADS).map(|_| scope.spawn(close)).collect();
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
}

/// Who lacks only room goes on with the rest: the inner result is that shortage.
fn unless_short(
    result: Result<(), StorageError>,
) -> Result<Result<(), StorageError>, StorageError> {
    match result {
        Err(error) if !error.is_shortage() => Err(error),
        result => Ok(result),
    }
}
