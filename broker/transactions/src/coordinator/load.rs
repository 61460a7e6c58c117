use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Coordinator;
use crate::append::{Appends, Change};
use crate::asker::{Asker, Batches};
use crate::config::TransactionConfig;
use crate::effect::Effect;
use crate::entry::Entry;
use crate::now::Now;
use crate::record::Record;
use crate::transaction::{Transaction, TransactionState};

/// Builds a [`Coordinator`] from the records of its partition, in order: those below the high watermark, then
/// those above it up to the log's end. Control batches are to be skipped by the caller.
#[derive(Debug, Default)]
pub struct Loader {
    committed: BTreeMap<Arc<str>, Transaction>,
    /// Only the last record of each id, so it is no larger than the state itself.
    tail: BTreeMap<Arc<str>, Option<Transaction>>,
}

impl Loader {
    /// Knows nothing yet: the state of an empty partition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record below the high watermark.
    pub fn replay(&mut self, record: Record) {
        match record.value {
            Some(transaction) => self.committed.insert(record.transactional_id, transaction),
            None => self.committed.remove(&record.transactional_id),
        };
    }

    /// Takes the next record above the high watermark, which the log may still lose with the leadership.
    pub fn replay_uncommitted(&mut self, record: Record) {
        self.tail.insert(record.transactional_id, record.value);
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
