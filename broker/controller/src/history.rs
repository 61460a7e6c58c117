//! The newest committed batches, for observers that are only a little behind.

use std::collections::VecDeque;

use bytes::Bytes;

/// More than the changes of any few minutes, and a bound on memory: an observer that is further behind
/// gets a snapshot.
const BATCHES_MAX: usize = 10_000;
const BYTES_MAX: usize = 16 << 20;

/// Batches in order, without gaps.
#[derive(Debug, Default)]
pub(crate) struct History {
    batches: VecDeque<CommittedBatch>,
    bytes: usize,
}

/// One batch as it was replicated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CommittedBatch {
    /// Of the image after it.
    pub(crate) offset: i64,
    pub(crate) records: Bytes,
}

impl History {
    pub(crate) fn push(&mut self, batch: CommittedBatch) {
        if let Some(last) = self.batches.back() {
            assert_eq!(batch.offset, last.offset + 1, "the history has no gaps");
        }
        self.bytes += batch.records.len();
        self.batches.push_back(batch);
        while self.batches.len() > BATCHES_MAX || self.bytes > BYTES_MAX {
            let Some(oldest) = self.batches.pop_front() else {
                break;
            };
            self.bytes -= oldest.records.len();
        }
    }

    /// After a snapshot what came before it is unknown.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    /// At most `count` batches from the one after `offset` on. `None`: that one is not here any more.
    /// `newest` is the offset of the image.
    pub(crate) fn after(
        &self,
        offset: i64,
        newest: i64,
        count: usize,
    ) -> Option<Vec<CommittedBatch>> {
        if offset == newest {
            return Some(Vec::new());
        }
        let first = self.batches.front()?.offset;
        let skip = usize::try_from(offset + 1 - first).ok()?;
        if skip >= self.batches.len() {
            return None;
        }
        Some(
            self.batches
                .iter()
                .skip(skip)
                .take(count)
                .cloned()
                .collect(),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(offset: i64, length: usize) -> CommittedBatch {
        CommittedBatch {
            offset,
            records: Bytes::from(vec![0; length]),
        }
    }

    fn offsets(found: Option<Vec<CommittedBatch>>) -> Option<Vec<i64>> {
        found.map(|batches| batches.iter().map(|batch| batch.offset).collect())
    }

    #[test]
    fn what_follows_is_found_and_what_is_gone_is_not() {
        let mut history = History::default();
        assert_eq!(offsets(history.after(0, 0, 9)), Some(vec![]));
        assert_eq!(offsets(history.after(-1, 4, 9)), None);
        for offset in 5..=9 {
            history.push(batch(offset, 1));
        }
        assert_eq!(offsets(history.after(4, 9, 9)), Some(vec![5, 6, 7, 8, 9]));
        assert_eq!(offsets(history.after(7, 9, 1)), Some(vec![8]));
        assert_eq!(offsets(history.after(9, 9, 9)), Some(vec![]));
        assert_eq!(offsets(history.after(3, 9, 9)), None);
    }

    #[test]
    fn it_stays_within_its_bounds() {
        let mut history = History::default();
        for offset in 1..=20_000 {
            history.push(batch(offset, 1));
        }
        assert_eq!(history.batches.len(), BATCHES_MAX);
        assert_eq!(history.bytes, BATCHES_MAX);
        history.push(batch(20_001, BYTES_MAX));
        assert_eq!((history.batches.len(), history.bytes), (1, BYTES_MAX));
        history.push(batch(20_002, BYTES_MAX + 1));
        assert_eq!((history.batches.len(), history.bytes), (0, 0));
    }
}
