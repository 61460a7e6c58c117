use std::sync::Arc;

use super::Coordinator;
use crate::append::Change;
use crate::asker::Asker;
use crate::effect::Effect;
use crate::now::Now;
use crate::record::Record;

/// Tombstones in one batch, so that it stays far below the largest batch the topic takes.
const REMOVALS_PER_BATCH_MAX: usize = 2_000;
/// Of their keys, since an id may have 32 KiB.
const REMOVED_BYTES_PER_BATCH_MAX: usize = 256 * 1024;

impl Coordinator {
    /// Forgets ids that had no change for `transactional.id.expiration.ms` and have nothing open.
    pub(super) fn expire_transactional_ids(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let expiration_ms = self.config.transactional_id_expiration_ms;
        let expired_before_ms = now.wall_ms.saturating_sub(expiration_ms);
        let mut batch: Vec<Arc<str>> = Vec::new();
        let mut batch_bytes = 0;
        let mut batches = Vec::new();
        for (id, entry) in &mut self.entries {
            let committed = entry.committed.as_ref();
            let has_expired =
                committed.is_some_and(|current| current.has_expired(expired_before_ms));
            if !has_expired || entry.is_changing || self.loading.contains(id) {
                continue;
            }
            entry.is_changing = true;
            let is_full = batch.len() >= REMOVALS_PER_BATCH_MAX
                || batch_bytes + id.len() > REMOVED_BYTES_PER_BATCH_MAX;
            if is_full && !batch.is_empty() {
                batches.push(std::mem::take(&mut batch));
                batch_bytes = 0;
            }
            batch_bytes += id.len();
            batch.push(Arc::clone(id));
        }
        batches.push(batch);
        for ids in batches.into_iter().filter(|ids| !ids.is_empty()) {
            let tombstone = |id: &Arc<str>| Record {
                transactional_id: Arc::clone(id),
                value: None,
                value_version: 0,
            };
            let records = ids.iter().map(tombstone).collect();
            let token = self
                .appends
                .push(Change::Expire(ids), Asker::Nobody, i64::MAX);
            effects.push(Effect::Append { token, records });
        }
    }
}
