//! The entries of the Raft log that are in memory, and how Raft reads them.
//!
//! All entries since the older of the two newest snapshots are here; their number is bounded by how often
//! snapshots are taken. Pure: `storage` keeps the same on disk, and `foz-simulator` reads its logs through it.

use std::collections::VecDeque;

use protobuf::Message as _;
use raft::eraftpb::Entry;

/// A place in the log: up to which a snapshot reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct SnapshotMeta {
    /// Of the last entry that it covers.
    pub index: u64,
    /// Of the same entry.
    pub term: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Entries {
    newest_snapshot: SnapshotMeta,
    /// The entry before the first one in `entries`.
    compacted: SnapshotMeta,
    entries: VecDeque<Entry>,
    bytes_since_snapshot: u64,
}

impl Entries {
    /// What follows the newest snapshot.
    #[must_use]
    pub fn new(newest_snapshot: SnapshotMeta, entries: VecDeque<Entry>) -> Self {
        Self {
            newest_snapshot,
            compacted: newest_snapshot,
            bytes_since_snapshot: data_bytes(entries.iter()),
            entries,
        }
    }

    /// Up to where the newest snapshot reaches.
    #[must_use]
    pub fn newest_snapshot(&self) -> SnapshotMeta {
        self.newest_snapshot
    }

    /// The data of the entries since the newest snapshot.
    #[must_use]
    pub fn bytes_since_snapshot(&self) -> u64 {
        self.bytes_since_snapshot
    }

    /// The index of the first entry here, or of the next one.
    #[must_use]
    pub fn first(&self) -> u64 {
        self.compacted.index + 1
    }

    /// The index of the last entry, covered by a snapshot or here.
    #[must_use]
    pub fn last(&self) -> u64 {
        let last = self.entries.back();
        last.map_or(self.compacted.index, |entry| entry.index)
    }

    /// Entries take the place of those at their indexes and after, which are answered.
    ///
    /// # Panics
    ///
    /// When they do not follow what is here: then Raft's state is another one than the log's.
    pub fn append(&mut self, entries: Vec<Entry>) -> VecDeque<Entry> {
        let Some(first) = entries.first() else {
            return VecDeque::new();
        };
        let replaced = self.cut(first.index);
        self.bytes_since_snapshot += data_bytes(entries.iter());
        self.entries.extend(entries);
        replaced
    }

    /// Takes out the entries from an index on.
    ///
    /// # Panics
    ///
    /// As [`Self::append`].
    pub fn cut(&mut self, index: u64) -> VecDeque<Entry> {
        assert!(
            index > self.compacted.index && index <= self.last() + 1,
            "raft appends entry {index} to a log of {}..={}",
            self.first(),
            self.last(),
        );
        self.entries.split_off(self.position(index))
    }

    /// The leader's snapshot takes the place of the whole log.
    pub fn install(&mut self, snapshot: SnapshotMeta) {
        *self = Self::new(snapshot, VecDeque::new());
    }

    /// A snapshot of the own state is there: what the one before it covers goes, and that one is answered.
    /// `None`: a newer one is there already.
    pub fn snapshot_written(&mut self, snapshot: SnapshotMeta) -> Option<SnapshotMeta> {
        if snapshot <= self.newest_snapshot {
            return None;
        }
        let older = self.newest_snapshot;
        self.newest_snapshot = snapshot;
        let since = self.position(snapshot.index + 1);
        self.bytes_since_snapshot = data_bytes(self.entries.range(since..));
        if older > self.compacted {
            self.entries.drain(..self.position(older.index + 1));
            self.entries.shrink_to(2 * self.entries.len());
            self.compacted = older;
        }
        Some(older)
    }

    /// The entries `low..high`: as many as have `bytes_max` together, and at least one.
    ///
    /// # Panics
    ///
    /// When there are no such entries yet.
    pub fn read(&self, low: u64, high: u64, bytes_max: Option<u64>) -> raft::Result<Vec<Entry>> {
        if low <= self.compacted.index {
            return Err(raft::StorageError::Compacted.into());
        }
        assert!(
            high <= self.last() + 1,
            "raft asks for entry {} of {}",
            high - 1,
            self.last()
        );
        let bytes_max = bytes_max.unwrap_or(u64::MAX);
        let mut bytes = 0;
        let range = self.entries.range(self.position(low)..self.position(high));
        let fitting = range.take_while(|entry| {
            let is_first = bytes == 0;
            bytes += u64::from(entry.compute_size());
            is_first || bytes <= bytes_max
        });
        Ok(fitting.cloned().collect())
    }

    /// The term of an entry.
    pub fn term(&self, index: u64) -> raft::Result<u64> {
        for known in [self.compacted, self.newest_snapshot] {
            if index == known.index {
                return Ok(known.term);
            }
        }
        if index < self.compacted.index {
            return Err(raft::StorageError::Compacted.into());
        }
        let entry = self.entries.get(self.position(index));
        entry
            .map(|entry| entry.term)
            .ok_or_else(|| raft::StorageError::Unavailable.into())
    }

    /// Where the entry of an index is, or would be.
    fn position(&self, index: u64) -> usize {
        let position = index.saturating_sub(self.first());
        usize::try_from(position)
            .unwrap_or(usize::MAX)
            .min(self.entries.len())
    }
}

fn data_bytes<'a>(entries: impl Iterator<Item = &'a Entry>) -> u64 {
    entries.map(|entry| entry.data.len() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(index: u64, term: u64) -> Entry {
        Entry {
            index,
            term,
            data: vec![0; 10].into(),
            ..Entry::default()
        }
    }

    fn terms(entries: &Entries) -> Vec<u64> {
        let range = entries.first()..entries.last() + 1;
        range.map(|index| entries.term(index).unwrap()).collect()
    }

    fn at(index: u64, term: u64) -> SnapshotMeta {
        SnapshotMeta { index, term }
    }

    #[test]
    fn what_is_appended_takes_the_place_of_what_was_there() {
        let mut entries = Entries::default();
        assert_eq!((entries.first(), entries.last()), (1, 0));
        assert!(entries.append(Vec::new()).is_empty());
        let appended = (1..=5).map(|index| entry(index, 1)).collect();
        assert!(entries.append(appended).is_empty());
        let replaced = entries.append(vec![entry(4, 2)]);
        assert_eq!(replaced, [entry(4, 1), entry(5, 1)]);
        assert_eq!(terms(&entries), [1, 1, 1, 2]);
        assert_eq!(entries.cut(3), [entry(3, 1), entry(4, 2)]);
        assert!(entries.cut(3).is_empty());
        assert_eq!(terms(&entries), [1, 1]);
        assert!(entries.term(3).is_err());
    }

    #[test]
    fn the_entries_since_the_snapshot_before_the_newest_stay() {
        let mut entries = Entries::default();
        entries.append((1..=9).map(|index| entry(index, index)).collect());
        assert_eq!(entries.bytes_since_snapshot(), 90);
        assert_eq!(entries.snapshot_written(at(4, 4)), Some(at(0, 0)));
        assert_eq!((entries.first(), entries.bytes_since_snapshot()), (1, 50));
        assert_eq!(entries.snapshot_written(at(7, 7)), Some(at(4, 4)));
        assert_eq!((entries.first(), entries.bytes_since_snapshot()), (5, 20));
        assert_eq!(entries.snapshot_written(at(7, 7)), None);
        assert_eq!(entries.term(4).unwrap(), 4);
        assert!(entries.term(3).is_err() && entries.read(4, 6, None).is_err());
        assert_eq!(terms(&entries), [5, 6, 7, 8, 9]);
    }

    #[test]
    fn the_leaders_snapshot_takes_the_place_of_all() {
        let mut entries = Entries::default();
        entries.append(vec![entry(1, 1), entry(2, 1)]);
        entries.install(at(10, 3));
        assert_eq!((entries.first(), entries.last()), (11, 10));
        assert_eq!(entries.term(10).unwrap(), 3);
        assert_eq!(entries.bytes_since_snapshot(), 0);
        entries.append(vec![entry(11, 4)]);
        assert_eq!(entries.read(11, 12, Some(0)).unwrap(), [entry(11, 4)]);
    }
}
