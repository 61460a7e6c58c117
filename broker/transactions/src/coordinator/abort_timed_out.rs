use std::sync::Arc;

use super::Coordinator;
use crate::asker::Asker;
use crate::effect::Effect;
use crate::now::Now;

impl Coordinator {
    /// Aborts transactions that were open for longer than their producer asked for, and fences the producer.
    pub(super) fn abort_timed_out(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let due = self
            .aborts
            .iter()
            .take_while(|(ms, _)| *ms <= now.monotonic_ms);
        let due: Vec<Arc<str>> = due.map(|(_, id)| Arc::clone(id)).collect();
        for id in due {
            // What is under way may be its end; if not, the next round is soon enough.
            if self
                .entries
                .get(&id)
                .is_some_and(|entry| !entry.is_changing)
            {
                self.fence(&id, Asker::Nobody, now, effects);
            }
        }
    }
}
