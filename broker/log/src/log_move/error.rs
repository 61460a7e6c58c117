//! Why a move does not go on.

use crate::error::{OpenError, StorageError};

/// The log is as it was, unless it says that it has stopped ([`crate::PartitionLog::has_failed`]).
#[derive(Debug, thiserror::Error)]
pub enum MoveError {
    /// The log was deleted, buried or closed, or it had to stop; or the copy was given up.
    #[error("the move is over: the log of {0} is {1}")]
    Over(String, &'static str),
    /// There is a [`crate::LogMove`] of this log: that one is to go first.
    #[error("the log of {0} is being moved already: that move is to be given up first")]
    UnderWay(String),
    /// The log is to be fetched again from another replica from there on ([`crate::LogDirectory::quarantine`]). Nothing
    /// of it was copied; the move goes on behind it afterwards.
    #[error("what is to be moved is damaged at offset {offset}: {reason}")]
    Damaged {
        /// The first one that is.
        offset: i64,
        /// What is wrong there.
        reason: String,
    },
    /// The disk that the log is on does not give it, though it may give other places. Asked a second time it often does.
    #[error("what is to be moved cannot be read at offset {offset} or behind it: {source}")]
    Unreadable {
        /// Where the copy ends: what comes there was to be read.
        offset: i64,
        /// What it said.
        source: StorageError,
    },
    /// The directory that the log is in.
    #[error("the log that is to be moved: {0}")]
    Source(#[source] StorageError),
    /// The directory that it is to be in had no room or no memory to give the copy its name, and the log, which had been given
    /// away, was taken back. Who reads and who writes waited meanwhile.
    #[error("the copy of a log that is to be moved does not get its name: {0}")]
    Undone(#[source] StorageError),
    /// The directory that it is to be in. [`OpenError::Malformed`]: the copy is to be given up, and begun anew.
    #[error("the copy of a log that is to be moved: {0}")]
    Copy(#[source] OpenError),
}

impl MoveError {
    /// See [`StorageError::is_shortage`]: it is worth another try when there is room.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        match self {
            Self::Source(error) | Self::Undone(error) => error.is_shortage(),
            Self::Unreadable { source, .. } => source.is_shortage(),
            Self::Copy(error) => error.is_shortage(),
            Self::Over(..) | Self::UnderWay(_) | Self::Damaged { .. } => false,
        }
    }

    /// See [`StorageError::is_failed_flush`].
    #[must_use]
    pub fn is_failed_flush(&self) -> bool {
        match self {
            Self::Source(error) | Self::Undone(error) => error.is_failed_flush(),
            Self::Unreadable { source, .. } => source.is_failed_flush(),
            Self::Copy(error) => error.is_failed_flush(),
            Self::Over(..) | Self::UnderWay(_) | Self::Damaged { .. } => false,
        }
    }
}
