use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::Coordinator;
use crate::asker::Asker;
use crate::effect::{Effect, MarkerOutcome, MarkerToken, SendMarkers};
use crate::entry::Markers;
use crate::now::Now;
use crate::transaction::{TopicPartition, TransactionState};

/// Until what failed first is tried again; doubled each time. Most wait for the election of a leader.
const RETRY_BACKOFF_MIN_MS: i64 = 50;
const RETRY_BACKOFF_MAX_MS: i64 = 1_000;

impl Coordinator {
    /// Takes what became of markers. Partitions may be reported in any order, one by one and more than once; an
    /// unknown token is ignored.
    pub fn on_markers(
        &mut self,
        token: MarkerToken,
        outcomes: &[(TopicPartition, MarkerOutcome)],
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        let Some(id) = self.ends.get(&token).cloned() else {
            return effects;
        };
        let entry = self.entries.get_mut(&id);
        let Some(markers) = entry.and_then(|entry| entry.markers.as_mut()) else {
            return effects;
        };
        for (partition, outcome) in outcomes {
            markers.take(partition, *outcome);
        }
        let is_to_retry = markers.retry_ms.is_none() && !markers.failed.is_empty();
        if markers.missing.is_empty() {
            self.go_on(&id, now, &mut effects);
        } else if is_to_retry {
            self.schedule_retry(&id, now);
        }
        effects
    }

    /// The decision is committed: from now on it is told to all partitions.
    pub(super) fn begin_end(&mut self, id: &Arc<str>, now: Now, effects: &mut Vec<Effect>) {
        let token = MarkerToken(self.next_token());
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let partitions = entry
            .committed
            .as_ref()
            .map(|current| current.partitions.clone());
        let missing = partitions.unwrap_or_default();
        entry.markers = Some(Markers {
            token,
            failed: missing.clone(),
            missing,
            retry_ms: None,
            attempts: 0,
            is_stuck: false,
        });
        self.ends.insert(token, Arc::clone(id));
        self.go_on(id, now, effects);
    }

    /// Tries again what failed and is due.
    pub(super) fn retry_ends(&mut self, now: Now, effects: &mut Vec<Effect>) {
        while let Some((due_ms, id)) = self.retries.pop_first() {
            if due_ms > now.monotonic_ms {
                self.retries.insert((due_ms, id));
                return;
            }
            let entry = self.entries.get_mut(&id);
            let Some(markers) = entry.and_then(|entry| entry.markers.as_mut()) else {
                continue;
            };
            // It may be of an earlier end of the same id.
            if markers.retry_ms == Some(due_ms) {
                markers.retry_ms = None;
                self.go_on(&id, now, effects);
            }
        }
    }

    pub(super) fn schedule_retry(&mut self, id: &Arc<str>, now: Now) {
        let entry = self.entries.get_mut(id);
        let Some(markers) = entry.and_then(|entry| entry.markers.as_mut()) else {
            return;
        };
        let backoff_ms = RETRY_BACKOFF_MIN_MS << markers.attempts.min(10);
        markers.attempts = markers.attempts.saturating_add(1);
        let due_ms = now
            .monotonic_ms
            .saturating_add(backoff_ms.min(RETRY_BACKOFF_MAX_MS));
        markers.retry_ms = Some(due_ms);
        self.retries.insert((due_ms, Arc::clone(id)));
    }

    /// Sends the markers that are to be sent; without any missing, writes that the transaction is complete.
    fn go_on(&mut self, id: &Arc<str>, now: Now, effects: &mut Vec<Effect>) {
        let Some(entry) = self.entries.get_mut(id).filter(|entry| !entry.is_changing) else {
            return;
        };
        let (Some(current), Some(markers)) = (entry.committed.as_ref(), entry.markers.as_mut())
        else {
            return;
        };
        if markers.missing.is_empty() {
            let next = current.completed(now.wall_ms);
            self.append(id, next, Asker::Nobody, now, effects);
        } else if !markers.failed.is_empty() {
            effects.push(Effect::SendMarkers(SendMarkers {
                token: markers.token,
                transactional_id: Arc::clone(id),
                producer_id: current.producer_id,
                producer_epoch: current.producer_epoch,
                coordinator_epoch: self.coordinator_epoch,
                commit: current.state == TransactionState::PrepareCommit,
                transaction_version: current.client_transaction_version,
                partitions: std::mem::take(&mut markers.failed),
            }));
        }
    }
}

impl Markers {
    fn take(&mut self, partition: &TopicPartition, outcome: MarkerOutcome) {
        if !self.missing.contains(partition) {
            return;
        }
        match outcome {
            MarkerOutcome::Written | MarkerOutcome::PartitionGone => {
                self.missing.remove(partition);
                self.failed.remove(partition);
            }
            // The partition knows a newer producer or coordinator. It is not for this one to say what became of
            // the transaction there, so it is not complete; the coordinator that comes next tries again.
            MarkerOutcome::Failed(
                ResponseError::InvalidProducerEpoch | ResponseError::TransactionCoordinatorFenced,
            ) => self.is_stuck = true,
            MarkerOutcome::Failed(_) => {
                self.failed.insert(partition.clone());
            }
        }
    }
}
