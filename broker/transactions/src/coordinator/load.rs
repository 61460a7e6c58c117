use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Coordinator;
use crate::append::{Appends, Change};
use crate::asker::{Asker, Batches};
use crate::config::TransactionConfig;
use crate::effect::Effect;
use crate::entry::Entry;
use crate::now::Now;
use crate::record::{Record, RecordError};
use crate::transaction::{Transaction, TransactionState};

/// Builds a [`Coordinator`] from the records of its partition, in order: those below the high watermark, then
/// those above it up to the log's end. Control batches are to be skipped by the caller.
#[derive(Debug, Default)]
pub struct Loader {
    committed: BTreeMap<Arc<str>, Transaction>,
    /// Only the last record of each id, so it is no larger than the state itself.
    tail: BTreeMap<Arc<str>, Option<Transaction>>,
    skipped: BTreeMap<i16, usize>,
}

impl Loader {
    /// Knows nothing yet: the state of an empty partition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record below the high watermark; `None` as value is a tombstone. One of a type that is
    /// not known is passed over, and counted in [`Self::skipped`].
    ///
    /// # Errors
    /// The record is not what its schema says, its value has a version that is not known, or there is no such
    /// state. The load has failed: what the transactional id had before would come back, and what its client was
    /// told is committed would be aborted. Kafka passes over versions that it does not know, and serves what it
    /// read before a record that it cannot read. The caller tells partition and offset, and serves none of its ids.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RecordError> {
        let Some(record) = self.decode(key, value)? else {
            return Ok(());
        };
        match record.value {
            Some(transaction) => self.committed.insert(record.transactional_id, transaction),
            None => self.committed.remove(&record.transactional_id),
        };
        Ok(())
    }

    /// Takes the next record above the high watermark, which the log may still lose with the leadership.
    ///
    /// # Errors
    /// As for [`Self::replay`].
    pub fn replay_uncommitted(
        &mut self,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> Result<(), RecordError> {
        if let Some(record) = self.decode(key, value)? {
            self.tail.insert(record.transactional_id, record.value);
        }
        Ok(())
    }

    /// How many records were passed over, by their type.
    pub fn skipped(&self) -> &BTreeMap<i16, usize> {
        &self.skipped
    }

    /// All records are in. `coordinator_epoch` is the leader epoch of the partition, which never falls.
    ///
    /// Decided transactions are told to their partitions again. Ids with uncommitted records are answered
    /// COORDINATOR_LOAD_IN_PROGRESS until those are committed: the effects then ask to be told,
    /// [`Effect::AwaitCommitted`].
    ///
    /// In one leader epoch there is one coordinator: by it leaders tell markers of a former one, and this one
    /// tells reports for it. `connections_before` is the highest number of a client's connection so far, read
    /// after the last record: what was sent over those may be older than what the records say, so a request of
    /// `transaction.version` 0 or 1 has to come over a newer one.
    pub fn finish(
        self,
        config: TransactionConfig,
        coordinator_epoch: i32,
        connections_before: u64,
        now: Now,
    ) -> (Coordinator, Vec<Effect>) {
        let mut coordinator = Coordinator {
            config: config.clone(),
            coordinator_epoch,
            connections_before,
            entries: BTreeMap::new(),
            appends: Appends::default(),
            batches: Batches::default(),
            awaited: BTreeMap::new(),
            ends: BTreeMap::new(),
            retries: BTreeSet::new(),
            aborts: BTreeSet::new(),
            next_abort_check_ms: i64::MAX,
            next_expiry_check_ms: i64::MAX,
            next_token: 0,
            loading: self.tail.keys().cloned().collect(),
        };
        coordinator.configure(config, now);
        let mut effects = Vec::new();
        if !self.tail.is_empty() {
            // Before anything else is appended.
            let change = Change::Inherited(self.tail);
            let token = coordinator.appends.push(change, Asker::Nobody, i64::MAX);
            effects.push(Effect::AwaitCommitted { token });
        }
        for (id, transaction) in self.committed {
            if !coordinator.loading.contains(&id) {
                coordinator.begin(id, transaction, now, &mut effects);
            }
        }
        (coordinator, effects)
    }

    fn decode(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<Option<Record>, RecordError> {
        let record = Record::decode(key, value)?;
        // A key of an unknown type has a type.
        if let (None, [high, low, ..]) = (&record, key) {
            let record_type = i16::from_be_bytes([*high, *low]);
            *self.skipped.entry(record_type).or_default() += 1;
        }
        Ok(record)
    }
}

impl Coordinator {
    /// What was there above the high watermark is committed: its ids are loaded now.
    pub(super) fn take_over(
        &mut self,
        tail: BTreeMap<Arc<str>, Option<Transaction>>,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        self.loading.clear();
        for (id, transaction) in tail {
            if let Some(transaction) = transaction {
                self.begin(id, transaction, now, effects);
            }
        }
    }

    /// Starts to coordinate an id that is loaded.
    fn begin(
        &mut self,
        id: Arc<str>,
        transaction: Transaction,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        if transaction.state == TransactionState::Ongoing {
            // The time it was open already, unless the clock was set since.
            let timeout_ms = i64::from(transaction.transaction_timeout_ms).max(0);
            let open_ms = now.wall_ms.saturating_sub(transaction.start_timestamp_ms);
            let left_ms = timeout_ms - open_ms.clamp(0, timeout_ms);
            let deadline_ms = now.monotonic_ms.saturating_add(left_ms);
            let entry = Entry {
                abort_deadline_ms: Some(deadline_ms),
                ..Entry::default()
            };
            self.entries.insert(Arc::clone(&id), entry);
            self.aborts.insert((deadline_ms, Arc::clone(&id)));
        }
        self.set(id, transaction, now, effects);
    }
}
