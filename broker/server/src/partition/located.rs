//! Where the log of a replica is.

use std::ops::Deref;
use std::sync::Arc;

use arc_swap::Guard;
use foz_log::{PartitionLog, ReadError};

use super::{DataDirectory, Partition};

/// A log, and the data directory that it is in. A move to another directory puts another one in its place, while nobody
/// holds the role.
#[derive(Debug)]
pub(crate) struct Located {
    pub(crate) log: Arc<PartitionLog>,
    pub(crate) directory: Arc<DataDirectory>,
}

/// Why a log could not be read, and where it was then: it may have moved since.
#[derive(Debug)]
pub(crate) struct FailedRead {
    pub(crate) located: Arc<Located>,
    pub(crate) reason: ReadError,
}

/// The log that counts at this moment.
pub(crate) struct CurrentLog(Guard<Arc<Located>>);

impl Deref for CurrentLog {
    type Target = Arc<PartitionLog>;

    fn deref(&self) -> &Self::Target {
        &self.0.log
    }
}

impl Partition {
    /// Both of one moment. Whoever holds the role, or the right to change it, sees the same all the while.
    pub(super) fn located(&self) -> Guard<Arc<Located>> {
        self.located.load()
    }

    /// See [`Self::located`].
    pub(super) fn log(&self) -> CurrentLog {
        CurrentLog(self.located())
    }

    /// It has not moved since.
    pub(super) fn is_at(&self, located: &Arc<Located>) -> bool {
        Arc::ptr_eq(&self.located(), located)
    }

    /// Where its log is.
    pub(crate) fn directory(&self) -> Arc<DataDirectory> {
        Arc::clone(&self.located().directory)
    }

    pub(crate) fn is_in(&self, directory: &Arc<DataDirectory>) -> bool {
        Arc::ptr_eq(&self.located().directory, directory)
    }

    /// Reads from the log. One that has moved while that was done is out of service: then from where it is now.
    pub(super) fn read_log<T>(
        &self,
        read: impl Fn(&PartitionLog) -> Result<T, ReadError>,
    ) -> Result<T, FailedRead> {
        let before = self.located.load_full();
        match read(&before.log) {
            Err(ReadError::Unusable(..)) if !self.is_at(&before) => {
                let located = self.located.load_full();
                read(&located.log).map_err(|reason| FailedRead { located, reason })
            }
            done => done.map_err(|reason| FailedRead {
                located: before,
                reason,
            }),
        }
    }
}
