use std::sync::Arc;

use super::Coordinator;
use crate::append::Change;
use crate::asker::Asker;
use crate::effect::Effect;
use crate::now::Now;
use crate::record::Record;
use crate::transaction::{Transaction, TransactionState};

impl Coordinator {
    /// Writes the next state of an id. It holds when the record is committed.
    pub(super) fn append(
        &mut self,
        transactional_id: &Arc<str>,
        next: Transaction,
        asker: Asker,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let entry = self
            .entries
            .entry(Arc::clone(transactional_id))
            .or_default();
        entry.is_changing = true;
        let record = Record {
            transactional_id: Arc::clone(transactional_id),
            value_version: next.value_version(self.config.transaction_version),
            value: Some(next.clone()),
        };
        let change = Change::Set {
            transactional_id: Arc::clone(transactional_id),
            next: Box::new(next),
        };
        let deadline_ms = now
            .monotonic_ms
            .saturating_add(self.config.request_timeout_ms);
        let token = self.appends.push(change, asker, deadline_ms);
        effects.push(Effect::Append {
            token,
            records: vec![record],
        });
    }

    /// The record is committed.
    pub(super) fn set(
        &mut self,
        transactional_id: Arc<str>,
        next: Transaction,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let entry = self
            .entries
            .entry(Arc::clone(&transactional_id))
            .or_default();
        entry.is_changing = false;
        let state = next.state;
        let timeout_ms = i64::from(next.transaction_timeout_ms);
        entry.committed = Some(next);
        if state == TransactionState::Ongoing {
            if entry.abort_deadline_ms.is_none() {
                let deadline_ms = now.monotonic_ms.saturating_add(timeout_ms);
                entry.abort_deadline_ms = Some(deadline_ms);
                self.aborts.insert((deadline_ms, transactional_id));
            }
            return;
        }
        if let Some(deadline_ms) = entry.abort_deadline_ms.take() {
            self.aborts
                .remove(&(deadline_ms, Arc::clone(&transactional_id)));
        }
        if state.is_prepared() {
            self.begin_end(&transactional_id, now, effects);
        } else if let Some(markers) = entry.markers.take() {
            self.ends.remove(&markers.end);
        }
    }

    /// The record never will be committed: the id is as it was.
    pub(super) fn release(&mut self, transactional_id: &Arc<str>, now: Now) {
        let Some(entry) = self.entries.get_mut(transactional_id) else {
            return;
        };
        entry.is_changing = false;
        if entry.committed.is_none() {
            self.entries.remove(transactional_id);
        } else if entry.markers.is_some() {
            self.schedule_retry(transactional_id, now);
        }
    }
}
