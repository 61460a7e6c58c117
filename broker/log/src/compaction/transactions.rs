//! What compaction has to know of transactions: which batches were aborted, and when a marker has served.

use std::collections::{HashMap, HashSet};

use foz_protocol::batch::BatchHeader;

use crate::transaction_marker::ControlType;

/// Aborted transactions that are remembered for one pass; where there are more, the pass ends before them.
pub(super) const ABORTED_MAX: usize = 100_000;

/// A transaction that came to nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct AbortedTransaction {
    pub(super) producer_id: i64,
    /// Of its first batch that was seen.
    pub(super) first_offset: i64,
    pub(super) marker_offset: i64,
}

/// Finds the aborted transactions in the headers of all batches from an offset on, in order. A batch comes
/// before the marker that tells what became of it.
#[derive(Debug, Default)]
pub(super) struct TransactionScan {
    /// Where the transactions begin that are open: by producer.
    open: HashMap<i64, i64>,
    aborted: Vec<AbortedTransaction>,
}

impl TransactionScan {
    /// A batch that is no control batch.
    pub(super) fn data(&mut self, header: &BatchHeader) {
        if header.is_transactional() {
            self.open
                .entry(header.producer_id)
                .or_insert(header.base_offset);
        }
    }

    pub(super) fn marker(&mut self, header: &BatchHeader, marker: ControlType) {
        if marker == ControlType::Other {
            return;
        }
        let first_offset = self.open.remove(&header.producer_id);
        if let (Some(first_offset), ControlType::Abort) = (first_offset, marker) {
            self.aborted.push(AbortedTransaction {
                producer_id: header.producer_id,
                first_offset,
                marker_offset: header.last_offset(),
            });
        }
    }

    /// There is no room for more.
    pub(super) fn is_full(&self) -> bool {
        self.aborted.len() >= ABORTED_MAX || self.open.len() >= ABORTED_MAX
    }

    /// All batches that end below `scanned_to` were given. Returns what was found, and the offset below
    /// which no transaction is open.
    pub(super) fn finish(mut self, scanned_to: i64) -> (Vec<AbortedTransaction>, i64) {
        self.aborted
            .sort_unstable_by_key(|aborted| aborted.first_offset);
        let stable = self.open.values().copied().min().unwrap_or(scanned_to);
        (self.aborted, stable.min(scanned_to))
    }
}

/// The transactions as a walk over the batches meets them (Kafka's `CleanedTransactionMetadata`).
#[derive(Debug)]
pub(super) struct Transactions<'a> {
    /// Those that begin later, by their first offset.
    later: &'a [AbortedTransaction],
    /// By producer: where its marker is, and whether a batch of it is there.
    aborted: HashMap<i64, (i64, bool)>,
    /// Producers of which a batch came that was not aborted, and no marker yet.
    committed: HashSet<i64>,
}

impl<'a> Transactions<'a> {
    /// `aborted` by first offset.
    pub(super) fn new(aborted: &'a [AbortedTransaction]) -> Self {
        Self {
            later: aborted,
            aborted: HashMap::new(),
            committed: HashSet::new(),
        }
    }

    /// Whether a data batch is of an aborted transaction.
    pub(super) fn is_aborted(&mut self, header: &BatchHeader) -> bool {
        self.begin_up_to(header.last_offset());
        if !header.is_transactional() {
            return false;
        }
        match self.aborted.get_mut(&header.producer_id) {
            Some((marker_offset, has_batch)) if header.base_offset < *marker_offset => {
                *has_batch = true;
                true
            }
            _ => {
                self.committed.insert(header.producer_id);
                false
            }
        }
    }

    /// Whether a marker has nothing to say any more: no batch of its transaction is left, not even an empty
    /// one. What is gone by this very walk still counts, so it goes with a later one.
    pub(super) fn has_served(&mut self, header: &BatchHeader, marker: ControlType) -> bool {
        self.begin_up_to(header.last_offset());
        match marker {
            ControlType::Abort => {
                let aborted = self.aborted.remove(&header.producer_id);
                // A batch may be left of which it is not known any more that it was aborted: an empty one.
                let has_batch = self.committed.remove(&header.producer_id);
                !has_batch && !aborted.is_some_and(|(_, has_batch)| has_batch)
            }
            ControlType::Commit => !self.committed.remove(&header.producer_id),
            ControlType::Other => false,
        }
    }

    fn begin_up_to(&mut self, offset: i64) {
        while let Some((first, later)) = self.later.split_first()
            && first.first_offset <= offset
        {
            self.aborted
                .insert(first.producer_id, (first.marker_offset, false));
            self.later = later;
        }
    }
}

#[cfg(test)]
mod tests {
    use foz_protocol::codec::Compression;
    use foz_protocol::record::{BatchBuilder, RecordToWrite};

    use super::*;

    fn batch(producer_id: i64, offset: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None)
            .idempotent(producer_id, 0, 0)
            .transactional()
            .at(offset, 0);
        builder.push(&RecordToWrite::default());
        BatchHeader::parse(&builder.build().unwrap()).unwrap()
    }

    fn plain(offset: i64) -> BatchHeader {
        let mut builder = BatchBuilder::new(Compression::None).at(offset, 0);
        builder.push(&RecordToWrite::default());
        BatchHeader::parse(&builder.build().unwrap()).unwrap()
    }

    fn aborted(producer_id: i64, first_offset: i64, marker_offset: i64) -> AbortedTransaction {
        AbortedTransaction {
            producer_id,
            first_offset,
            marker_offset,
        }
    }

    #[test]
    fn a_scan_finds_what_was_aborted_and_what_is_open() {
        let mut scan = TransactionScan::default();
        scan.data(&batch(1, 0));
        scan.data(&batch(2, 1));
        scan.data(&plain(2));
        scan.data(&batch(1, 3));
        scan.marker(&batch(2, 4), ControlType::Commit);
        scan.data(&batch(2, 5));
        scan.marker(&batch(2, 6), ControlType::Abort);
        scan.marker(&batch(1, 7), ControlType::Other);
        scan.marker(&batch(1, 8), ControlType::Abort);
        // Its batches are gone already.
        scan.marker(&batch(3, 9), ControlType::Abort);
        scan.data(&batch(4, 10));
        assert!(!scan.is_full());
        let (found, stable) = scan.finish(20);
        assert_eq!(found, [aborted(1, 0, 8), aborted(2, 5, 6)]);
        assert_eq!(stable, 10);
        assert_eq!(TransactionScan::default().finish(20), (vec![], 20));
    }

    #[test]
    fn a_marker_has_served_when_a_walk_meets_no_batch_before_it() {
        let known = [aborted(1, 0, 4), aborted(1, 10, 12)];
        let mut walk = Transactions::new(&known);
        assert!(walk.is_aborted(&batch(1, 0)));
        assert!(!walk.is_aborted(&batch(2, 1)));
        assert!(!walk.is_aborted(&plain(2)));
        assert!(walk.is_aborted(&batch(1, 3)));
        assert!(!walk.has_served(&batch(1, 4), ControlType::Abort));
        assert!(!walk.has_served(&batch(2, 5), ControlType::Commit));
        assert!(walk.has_served(&batch(2, 6), ControlType::Commit));
        assert!(!walk.has_served(&batch(2, 7), ControlType::Other));
        assert!(
            !walk.is_aborted(&batch(1, 8)),
            "between two aborted ones it commits"
        );
        assert!(!walk.has_served(&batch(1, 9), ControlType::Commit));
        // The batches of the second are gone, its marker is not.
        assert!(walk.has_served(&batch(1, 12), ControlType::Abort));
    }

    #[test]
    fn what_comes_after_a_marker_that_is_gone_is_not_aborted() {
        let known = [aborted(1, 0, 4)];
        let mut walk = Transactions::new(&known);
        assert!(walk.is_aborted(&batch(1, 0)));
        assert!(!walk.is_aborted(&batch(1, 5)));
    }

    #[test]
    fn a_marker_stays_for_an_empty_batch_whose_end_is_forgotten() {
        let mut walk = Transactions::new(&[]);
        assert!(!walk.is_aborted(&batch(1, 0)));
        assert!(!walk.has_served(&batch(1, 4), ControlType::Abort));
        assert!(walk.has_served(&batch(1, 5), ControlType::Abort));
    }
}
