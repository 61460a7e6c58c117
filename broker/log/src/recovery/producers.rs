//! Producers and their transactions, as a walk over the batches finds them.

use crate::batch_scanner::{BatchScanner, ScanError, Scanned};
use crate::producer_state::{EndedTransaction, Producers};
use crate::transaction_index::AbortedTransaction;
use crate::transaction_marker::TransactionMarker;
use crate::unstable_transactions::UnstableTransactions;

/// As of the batches that were added.
pub(crate) struct ProducerWalk {
    pub(crate) producers: Producers,
    pub(crate) transactions: UnstableTransactions,
    /// Batches that begin before are in the snapshot.
    pub(crate) from: i64,
}

impl ProducerWalk {
    /// From a snapshot with its offset, or from the begin of the log.
    pub(crate) fn new(snapshot: Option<(i64, Producers)>) -> Self {
        let (from, producers) = snapshot.unwrap_or_default();
        Self {
            transactions: UnstableTransactions::of(&producers),
            producers,
            from,
        }
    }

    /// `batch` is the next one of the log, and what `scanner` has just given. Returns the transaction that it aborts: an entry of
    /// the segment's transaction index. Nobody goes by a marker whose CRC is wrong.
    pub(crate) fn add(
        &mut self,
        scanner: &mut BatchScanner,
        batch: &Scanned,
    ) -> Result<Option<AbortedTransaction>, ScanError> {
        let header = &batch.header;
        if header.base_offset < self.from || !header.has_producer_id() {
            return Ok(None);
        }
        if !header.is_control() {
            if let Some(first_offset) = self.producers.record(header) {
                self.transactions.began(first_offset);
            }
            return Ok(None);
        }
        scanner.check_crc(batch)?;
        if header.record_count == 0 {
            self.producers.record_emptied_marker(header);
            return Ok(None);
        }
        // No marker is as large as what is not read at once.
        let Some(bytes) = scanner.bytes_of(batch)? else {
            return Ok(None);
        };
        // A leader wrote it as it is, and nobody can say what it means.
        let Ok(Some(marker)) = TransactionMarker::read(header, bytes) else {
            return Ok(None);
        };
        let ended = self.producers.record_marker(header, &marker);
        Ok(ended.and_then(|ended| self.ended(&ended)))
    }

    fn ended(&mut self, ended: &EndedTransaction) -> Option<AbortedTransaction> {
        let last_stable_offset = self.transactions.last_stable_offset_after(ended);
        self.transactions.ended(ended);
        ended.aborted(last_stable_offset)
    }
}
