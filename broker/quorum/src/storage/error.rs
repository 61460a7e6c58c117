//! Errors of the quorum's files.

use std::io;
use std::path::{Path, PathBuf};

use crate::disk::NotReplaced;

/// Why the quorum's files cannot be used, or can no longer be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// The file system refused. After a failed write or fsync it is not known what is durable, so the
    /// quorum stops and never tries again.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The refusal.
        source: io::Error,
    },
    /// There was no room on the disk, or in a quota (ENOSPC, EDQUOT), and nothing of what was tried is there. It is to
    /// be tried again.
    #[error("{path}: no room to {action}: {source}", path = path.display())]
    Shortage {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The refusal.
        source: io::Error,
    },
    /// Another process uses the directory.
    #[error("{path}: in use by another process", path = path.display())]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
    /// The bytes are not what was once written. Dropping them could drop what was acknowledged.
    #[error(
        "{path}: damaged at byte {offset}: {what}; empty the volume of this controller to let it join again from the others",
        path = path.display()
    )]
    Corrupt {
        /// The file.
        path: PathBuf,
        /// Where.
        offset: u64,
        /// What does not fit.
        what: String,
    },
    /// Files that should be there are not.
    #[error("{path}: {what}; empty the volume of this controller to let it join again from the others", path = path.display())]
    Missing {
        /// The directory.
        path: PathBuf,
        /// What is not there.
        what: String,
    },
    /// A newer program wrote the file.
    #[error("{path}: format version {found}, this program knows {supported}", path = path.display())]
    Version {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest known one.
        supported: u32,
    },
}

impl StorageError {
    /// See [`StorageError::Shortage`]. No other error is one, whatever its source says: only who has taken back what
    /// was half done can say so.
    pub(crate) fn is_shortage(&self) -> bool {
        matches!(self, Self::Shortage { .. })
    }

    pub(crate) fn shortage(path: &Path, action: &'static str, source: io::Error) -> Self {
        Self::Shortage {
            path: path.to_owned(),
            action,
            source,
        }
    }

    /// For `map_err`.
    pub(crate) fn not_replaced(
        path: &Path,
        action: &'static str,
    ) -> impl FnOnce(NotReplaced) -> Self {
        move |error| match error.is_shortage {
            true => Self::shortage(path, action, error.source),
            false => Self::io(path, action)(error.source),
        }
    }

    /// For `map_err`: what was being done to which file.
    pub(crate) fn io(path: &Path, action: &'static str) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io {
            path,
            action,
            source,
        }
    }

    pub(crate) fn corrupt(path: &Path, offset: usize, what: impl Into<String>) -> Self {
        Self::Corrupt {
            path: path.to_owned(),
            offset: offset as u64,
            what: what.into(),
        }
    }
}
