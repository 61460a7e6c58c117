use std::sync::Arc;

use super::Coordinator;
use crate::asker::Asker;
use crate::effect::Effect;
use crate::now::Now;

/// After a fail-over many may be due. They are written one by one, and nobody else is served meanwhile.
const ABORTS_AT_ONCE_MAX: usize = 1_000;
/// Until the next of them.
const PAUSE_MS: i64 = 100;

impl Coordinator {
    /// Aborts transactions that were open for longer than their producer asked for, and fences the producer.
    pub(super) fn abort_timed_out(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = self
            .aborts
            .iter()
            .take_while(|(ms, _)| *ms <= now.monotonic_ms)
            .map(|(_, id)| id);
        // What is under way may be its end; if not, the next round is soon enough.
        let is_free = |id: &&Arc<str>| {
            self.entries
                .get(*id)
                .is_some_and(|entry| !entry.is_changing)
        };
        let due = due.filter(is_free).take(ABORTS_AT_ONCE_MAX);
        let due: Vec<Arc<str>> = due.map(Arc::clone).collect();
        if due.len() == ABORTS_AT_ONCE_MAX {
            let soon_ms = now.monotonic_ms.saturating_add(PAUSE_MS);
            self.next_abort_check_ms = self.next_abort_check_ms.min(soon_ms);
        }
        let interval_ms = self
            .config
            .transaction_abort_timed_out_transaction_cleanup_interval_ms;
        let again_ms = now.monotonic_ms.saturating_add(interval_ms);
        for id in due {
            // Those whose end cannot be written are not to keep the others from theirs.
            self.put_off_abort(&id, again_ms);
            self.fence(&id, Asker::Nobody, now, effects);
        }
    }

    fn put_off_abort(&mut self, id: &Arc<str>, deadline_ms: i64) {
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        if let Some(before_ms) = entry.abort_deadline_ms.replace(deadline_ms) {
            self.aborts.remove(&(before_ms, Arc::clone(id)));
        }
        self.aborts.insert((deadline_ms, Arc::clone(id)));
    }
}
