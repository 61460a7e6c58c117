//! The mark that a data directory was stopped in good order.

use std::path::Path;

use crate::atomic_file;
use crate::error::{StorageContext, StorageError};

/// Kafka's name for it.
pub(crate) const CLEAN_SHUTDOWN_FILE: &str = ".kafka_cleanshutdown";

/// What a mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CleanShutdown {
    /// Epoch of the broker that stopped, so that its next start can show it still holds the data it
    /// had (KIP-966); -1 where a mark does not say.
    pub broker_epoch: i64,
}

pub(crate) fn write(directory: &Path, mark: CleanShutdown) -> Result<(), StorageError> {
    let json = format!("{{\"version\":0,\"brokerEpoch\":{}}}", mark.broker_epoch);
    atomic_file::replace(&directory.join(CLEAN_SHUTDOWN_FILE), json.as_bytes())
}

/// The mark, if there is one.
pub(crate) fn read(directory: &Path) -> Result<Option<CleanShutdown>, StorageError> {
    let contents = atomic_file::read_small(&directory.join(CLEAN_SHUTDOWN_FILE))?;
    Ok(contents.map(|contents| CleanShutdown {
        broker_epoch: broker_epoch(&contents).unwrap_or(-1),
    }))
}

/// Takes the mark away, so that a crash from now on is seen as one.
pub(crate) fn take_away(directory: &Path) -> Result<(), StorageError> {
    let path = directory.join(CLEAN_SHUTDOWN_FILE);
    if !path.try_exists().at("look for", &path)? {
        return Ok(());
    }
    atomic_file::remove_if_exists(&path)?;
    atomic_file::flush_directory(directory)
}

/// The file holds one flat object that only brokers write; older ones leave it empty.
fn broker_epoch(contents: &[u8]) -> Option<i64> {
    let text = str::from_utf8(contents).ok()?;
    let (_, after) = text.split_once("\"brokerEpoch\"")?;
    let number = after.trim_start().strip_prefix(':')?.trim_start();
    let end = number
        .find(|c: char| c != '-' && !c.is_ascii_digit())
        .unwrap_or(number.len());
    number[..end].parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_is_there_until_it_is_taken_away() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        take_away(dir.path()).unwrap();
        let mark = CleanShutdown { broker_epoch: 42 };
        write(dir.path(), mark).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(mark));
        assert_eq!(read(dir.path()).unwrap(), Some(mark));
        take_away(dir.path()).unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
    }

    #[test]
    fn older_marks_have_no_epoch() {
        assert_eq!(broker_epoch(b""), None);
        assert_eq!(
            broker_epoch(b"{\"version\":0,\"brokerEpoch\": -1}"),
            Some(-1)
        );
        assert_eq!(
            broker_epoch(b"{ \"brokerEpoch\" : 7 , \"version\":0}"),
            Some(7)
        );
    }
}
