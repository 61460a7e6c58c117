//! A disk that did not do what it was told: the process stops, and the next one finds out what there is.

use std::sync::Arc;

use foz_log::{OpenError, StorageError, TopicPartition};
use tokio::sync::mpsc;
use tracing::error;

use crate::identity::Identity;

/// Stops the broker. One reason is enough: who comes later is not heard.
#[derive(Debug, Clone)]
pub(crate) struct FailStop {
    reasons: mpsc::Sender<String>,
    identity: Arc<Identity>,
}

impl FailStop {
    pub(crate) fn new(reasons: mpsc::Sender<String>, identity: Arc<Identity>) -> Self {
        Self { reasons, identity }
    }

    /// A log that had to stop: a change of it was left half-way, or it could not be flushed.
    pub(crate) fn log_stopped(&self, partition: &TopicPartition, error: &OpenError) {
        match error {
            OpenError::Storage(error) if error.is_failed_flush() => {
                self.flush_failed(partition, error);
            }
            error => self.stop(format!("{partition} was left half-way: {error}")),
        }
    }

    /// Blocks: before anything else happens to this process it is on the disk that the page cache counts for
    /// nothing.
    pub(crate) fn flush_failed(&self, partition: &TopicPartition, error: &StorageError) {
        self.distrust_page_cache();
        self.stop(format!("{partition} cannot be flushed: {error}"));
    }

    /// Which names logs have in a data directory: what was deleted or set aside may come back.
    pub(crate) fn names_not_flushed(&self, error: &StorageError) {
        self.distrust_page_cache();
        self.stop(error.to_string());
    }

    /// A flush failed at some time.
    pub(crate) fn distrusts_page_cache(&self) -> bool {
        self.identity.is_distrusted()
    }

    /// False when the disk did not take even that.
    pub(crate) fn distrust_page_cache(&self) -> bool {
        match self.identity.distrust() {
            Ok(()) => true,
            Err(error) => {
                error!(%error, "cannot write down that a flush failed");
                false
            }
        }
    }

    fn stop(&self, reason: String) {
        let _ = self.reasons.try_send(reason);
    }
}

#[cfg(test)]
impl FailStop {
    /// Of the broker in this new directory, with what it hears.
    pub(crate) fn of(data_dir: &std::path::Path) -> (Self, mpsc::Receiver<String>) {
        let (reasons, heard) = mpsc::channel(1);
        let claimed = crate::identity::claim(data_dir, 0).unwrap();
        (Self::new(reasons, claimed.identity), heard)
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::path::{Path, PathBuf};

    use super::*;
    use crate::identity::claim;

    fn failed(action: &'static str) -> StorageError {
        StorageError {
            action,
            path: PathBuf::from("orders-0"),
            source: io::Error::from_raw_os_error(5),
        }
    }

    fn is_believed(data_dir: &Path) -> bool {
        claim(data_dir, 0).unwrap().page_cache_survived
    }

    #[test]
    fn a_failed_flush_stops_the_process_and_is_known_to_the_next() {
        for is_of_change in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (fail_stop, mut heard) = FailStop::of(dir.path());
            fail_stop.identity.join("A", 7).unwrap();
            assert!(is_believed(dir.path()));
            let partition = TopicPartition::new("orders", 0);
            let error = failed("flush");
            if is_of_change {
                fail_stop.log_stopped(&partition, &OpenError::Storage(error));
            } else {
                fail_stop.flush_failed(&partition, &error);
            }
            assert!(!is_believed(dir.path()));
            let reason = heard.try_recv().unwrap();
            assert!(reason.contains("orders-0 cannot be flushed"), "{reason}");
        }
    }

    #[test]
    fn a_change_left_half_way_stops_the_process_and_takes_nothing_from_the_page_cache() {
        let dir = tempfile::tempdir().unwrap();
        let (fail_stop, mut heard) = FailStop::of(dir.path());
        fail_stop.identity.join("A", 7).unwrap();
        let partition = TopicPartition::new("orders", 0);
        for _ in 0..2 {
            fail_stop.log_stopped(&partition, &OpenError::Storage(failed("write")));
        }
        assert!(is_believed(dir.path()));
        let reason = heard.try_recv().unwrap();
        assert!(reason.contains("orders-0 was left half-way"), "{reason}");
        assert!(heard.try_recv().is_err(), "once");
    }

    #[test]
    fn a_disk_that_takes_nothing_stops_the_process_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let (fail_stop, mut heard) = FailStop::of(dir.path());
        let in_the_way = format!("{}.tmp", foz_quorum::meta_properties::FILE_NAME);
        std::fs::create_dir(dir.path().join(in_the_way)).unwrap();
        assert!(!fail_stop.distrusts_page_cache());
        assert!(!fail_stop.distrust_page_cache());
        assert!(fail_stop.distrusts_page_cache());
        fail_stop.flush_failed(&TopicPartition::new("orders", 0), &failed("flush"));
        assert!(heard.try_recv().is_ok());
    }
}
