//! Which leader epoch wrote from which offset on (KIP-101, KIP-279).

use std::path::Path;

use foz_canary::{Canary, sings};

use crate::checkpoint;
use crate::error::{OpenError, StorageError};

pub(crate) const LEADER_EPOCH_FILE: &str = "leader-epoch-checkpoint";

/// An epoch and the offset where it begins, both rising from entry to entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochStart {
    /// The leader's epoch.
    pub epoch: i32,
    /// Its first offset.
    pub start_offset: i64,
}

/// An epoch and where it ends: the offset of the first record that is not of it any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpochEnd {
    /// The leader's epoch.
    pub epoch: i32,
    /// The offset after its last one.
    pub end_offset: i64,
}

/// The history of leaders of one log.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    pub(crate) fn latest(&self) -> Option<EpochStart> {
        self.entries.last().copied()
    }

    /// A leader of `epoch` begins to write at `start_offset`. Returns whether that is news.
    pub(crate) fn assign(&mut self, epoch: i32, start_offset: i64) -> bool {
        if epoch < 0 || self.latest().is_some_and(|latest| latest.epoch >= epoch) {
            return false;
        }
        // An epoch that wrote nothing is replaced by the one that does.
        self.truncate_from_end(start_offset);
        self.entries.push(EpochStart {
            epoch,
            start_offset,
        });
        true
    }

    /// The log now ends at `end_offset`.
    pub(crate) fn truncate_from_end(&mut self, end_offset: i64) -> bool {
        let before = self.entries.len();
        self.entries.retain(|entry| entry.start_offset < end_offset);
        self.entries.len() != before
    }

    /// The log now starts at `start_offset`: the epoch that covers it begins there.
    pub(crate) fn truncate_from_start(&mut self, start_offset: i64) -> bool {
        let Some(covering) = self
            .entries
            .iter()
            .rposition(|e| e.start_offset <= start_offset)
        else {
            return false;
        };
        let changed = self.entries[covering].start_offset != start_offset || covering > 0;
        self.entries.drain(..covering);
        self.entries[0].start_offset = start_offset;
        changed
    }

    /// The greatest epoch known that is not above `epoch`, and where it ends; `None` when the log
    /// knows nothing that answers the question (OffsetsForLeaderEpoch).
    pub(crate) fn end_offset_for(&self, epoch: i32, log_end_offset: i64) -> Option<(i32, i64)> {
        let latest = self.latest()?;
        if epoch < 0 || epoch > latest.epoch {
            return None;
        }
        let above = self.entries.iter().find(|entry| entry.epoch > epoch);
        let end_offset = above.map_or(log_end_offset, |entry| entry.start_offset);
        let floor = self.entries.iter().rev().find(|entry| entry.epoch <= epoch);
        Some((floor.map_or(epoch, |entry| entry.epoch), end_offset))
    }

    /// Where the log of a follower, which ends at `fetch_offset` in `last_fetched_epoch`, parts from
    /// this one (KIP-595): its epoch is not known here or ended before.
    pub(crate) fn divergence(
        &self,
        last_fetched_epoch: i32,
        fetch_offset: i64,
        log_end_offset: i64,
    ) -> Option<EpochEnd> {
        let latest = self.latest()?;
        // An epoch that this leader has never heard of: what it knows best is its own last one.
        let asked = last_fetched_epoch.min(latest.epoch);
        let (epoch, end_offset) = self.end_offset_for(asked, log_end_offset)?;
        let diverges = epoch < last_fetched_epoch || end_offset < fetch_offset;
        (diverges && !sings(Canary::DivergenceUnnoticed)).then_some(EpochEnd { epoch, end_offset })
    }

    /// The epoch that wrote `offset`.
    pub(crate) fn epoch_at(&self, offset: i64) -> Option<i32> {
        self.entries
            .iter()
            .rev()
            .find(|e| e.start_offset <= offset)
            .map(|e| e.epoch)
    }

    /// Not durable before the caller has flushed the directory.
    pub(crate) fn write(&self, directory: &Path) -> Result<(), StorageError> {
        let lines = self
            .entries
            .iter()
            .map(|e| format!("{} {}", e.epoch, e.start_offset));
        let text = checkpoint::encode(lines);
        crate::atomic_file::replace_in_directory(
            &directory.join(LEADER_EPOCH_FILE),
            text.as_bytes(),
        )
    }

    /// `None` when the file does not exist.
    pub(crate) fn read(directory: &Path) -> Result<Option<Self>, OpenError> {
        let path = directory.join(LEADER_EPOCH_FILE);
        if !path.exists() {
            return Ok(None);
        }
        let entries = checkpoint::read(&path, "<epoch> <start offset>", |line| {
            let (epoch, start_offset) = line.split_once(' ')?;
            Some(EpochStart {
                epoch: epoch.parse().ok()?,
                start_offset: start_offset.parse().ok()?,
            })
        })?;
        let rising = entries
            .windows(2)
            .all(|two| two[0].epoch < two[1].epoch && two[0].start_offset < two[1].start_offset);
        if rising {
            Ok(Some(Self { entries }))
        } else {
            let reason = "epochs and start offsets must rise".to_owned();
            Err(OpenError::Malformed { file: path, reason })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        let mut epochs = LeaderEpochs::default();
        for (epoch, start_offset) in entries {
            epochs.assign(*epoch, *start_offset);
        }
        epochs
    }

    #[test]
    fn end_offsets_follow_kip_279() {
        let e = epochs(&[(2, 10), (4, 20), (7, 30)]);
        assert_eq!(e.end_offset_for(7, 40), Some((7, 40)));
        assert_eq!(
            e.end_offset_for(8, 40),
            None,
            "an epoch nobody has seen here"
        );
        assert_eq!(e.end_offset_for(-1, 40), None);
        assert_eq!(e.end_offset_for(2, 40), Some((2, 20)));
        assert_eq!(e.end_offset_for(5, 40), Some((4, 30)));
        assert_eq!(
            e.end_offset_for(1, 40),
            Some((1, 10)),
            "before the first one"
        );
        assert_eq!(LeaderEpochs::default().end_offset_for(0, 40), None);
    }

    #[test]
    fn logs_part_where_kip_595_says() {
        let e = epochs(&[(2, 10), (4, 20), (7, 30)]);
        let at = |epoch, end_offset| Some(EpochEnd { epoch, end_offset });
        for (last_fetched_epoch, fetch_offset, expected) in [
            (7, 40, None),
            (7, 30, None),
            (7, 41, at(7, 40)),
            (4, 30, None),
            (4, 31, at(4, 30)),
            (5, 25, at(4, 30)),
            (3, 15, at(2, 20)),
            (9, 35, at(7, 40)),
            (1, 10, None),
            (1, 11, at(1, 10)),
            (-1, 99, None),
        ] {
            assert_eq!(
                e.divergence(last_fetched_epoch, fetch_offset, 40),
                expected,
                "{last_fetched_epoch} {fetch_offset}"
            );
        }
        assert_eq!(LeaderEpochs::default().divergence(3, 5, 40), None);
    }

    #[test]
    fn an_epoch_that_wrote_nothing_is_replaced() {
        assert_eq!(epochs(&[(1, 0), (2, 5), (3, 5)]), epochs(&[(1, 0), (3, 5)]));
        assert_eq!(
            epochs(&[(3, 5), (2, 9), (3, 9)]),
            epochs(&[(3, 5)]),
            "epochs never fall"
        );
    }

    #[test]
    fn truncation_keeps_what_covers_the_log() {
        let mut e = epochs(&[(1, 0), (2, 5), (3, 9)]);
        assert!(!e.truncate_from_end(10));
        assert!(e.truncate_from_end(9));
        assert_eq!(e, epochs(&[(1, 0), (2, 5)]));
        assert!(e.truncate_from_start(7));
        assert_eq!(e, epochs(&[(2, 7)]));
        assert!(!e.truncate_from_start(7));
        assert_eq!(e.epoch_at(6), None);
        assert_eq!(e.epoch_at(8), Some(2));
    }

    #[test]
    fn the_file_is_kafkas() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(LeaderEpochs::read(dir.path()).unwrap(), None);
        let e = epochs(&[(0, 0), (3, 12)]);
        e.write(dir.path()).unwrap();
        let path = dir.path().join(LEADER_EPOCH_FILE);
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "0\n2\n0 0\n3 12\n");
        assert_eq!(LeaderEpochs::read(dir.path()).unwrap(), Some(e));
        std::fs::write(&path, "0\n2\n3 0\n3 12\n").unwrap();
        let error = LeaderEpochs::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("must rise"), "{error}");
    }
}
