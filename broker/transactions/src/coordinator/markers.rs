use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::Coordinator;
use crate::asker::Asker;
use crate::effect::{Effect, MarkerOutcome, MarkerToken, SendMarkers};
use crate::entry::{Marker, Markers, Stage};
use crate::now::Now;
use crate::transaction::{TopicPartition, TransactionState};

/// Until what failed first is tried again; doubled each time. Most wait for the election of a leader.
const RETRY_BACKOFF_MIN_MS: i64 = 50;
const RETRY_BACKOFF_MAX_MS: i64 = 1_000;
/// Until what was refused is tried again.
const REFUSED_BACKOFF_MS: i64 = 60_000;

impl Coordinator {
    /// Takes what became of markers. Partitions may be reported in any order, one by one and more than once. Of
    /// each only the outcome of the send that it was last part of counts, once; an unknown token, also of a former
    /// coordinator, is ignored.
    pub fn on_markers(
        &mut self,
        token: MarkerToken,
        outcomes: &[(TopicPartition, MarkerOutcome)],
        now: Now,
    ) -> Vec<Effect> {
        let mut effects = Vec::new();
        if token.coordinator_epoch != self.coordinator_epoch {
            return effects;
        }
        let Some(id) = self.ends.get(&token.end).cloned() else {
            return effects;
        };
        let entry = self.entries.get_mut(&id);
        let Some(markers) = entry.and_then(|entry| entry.markers.as_mut()) else {
            return effects;
        };
        let mut has_failed = false;
        for (partition, outcome) in outcomes {
            match markers.take(token.send, partition, *outcome) {
                Some(Stage::ToSend) => has_failed = true,
                Some(Stage::Refused) => {
                    let due_ms = now.monotonic_ms.saturating_add(REFUSED_BACKOFF_MS);
                    let due_ms = *markers.refused_retry_ms.get_or_insert(due_ms);
                    self.retries.insert((due_ms, Arc::clone(&id)));
                }
                Some(Stage::Sent(_)) | None => {}
            }
        }
        // It goes on by itself then, also with the record that all are written.
        let is_retried = markers.retry_ms.is_some();
        if markers.missing.is_empty() && !is_retried {
            self.go_on(&id, now, &mut effects);
        } else if has_failed && !is_retried {
            self.schedule_retry(&id, now);
        }
        effects
    }

    /// The decision is committed: from now on it is told to all partitions.
    pub(super) fn begin_end(&mut self, id: &Arc<str>, now: Now, effects: &mut Vec<Effect>) {
        let end = self.next_token();
        let Some(entry) = self.entries.get_mut(id) else {
            return;
        };
        let partitions = entry.committed.iter().flat_map(|of| &of.partitions);
        let new = Marker {
            stage: Stage::ToSend,
            is_refused: false,
        };
        let missing = partitions.map(|partition| (partition.clone(), new));
        let missing = missing.collect();
        entry.markers = Some(Markers {
            end,
            sends: 0,
            missing,
            retry_ms: None,
            attempts: 0,
            refused_retry_ms: None,
        });
        self.ends.insert(end, Arc::clone(id));
        self.go_on(id, now, effects);
    }

    /// Tries again what failed or was refused and is due.
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
            markers.retry_ms.take_if(|of_failed| *of_failed == due_ms);
            let of_refused = markers.refused_retry_ms.take_if(|ms| *ms == due_ms);
            if of_refused.is_some() {
                markers.send_refused_again();
            }
            self.go_on(&id, now, effects);
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
            return;
        }
        let (send, partitions) = markers.next_send();
        if !partitions.is_empty() {
            effects.push(Effect::SendMarkers(SendMarkers {
                token: MarkerToken {
                    coordinator_epoch: self.coordinator_epoch,
                    end: markers.end,
                    send,
                },
                transactional_id: Arc::clone(id),
                producer_id: current.producer_id,
                producer_epoch: current.producer_epoch,
                coordinator_epoch: self.coordinator_epoch,
                commit: current.state == TransactionState::PrepareCommit,
                transaction_version: current.client_transaction_version,
                partitions,
            }));
        }
    }
}

impl Markers {
    /// Where the marker of the partition comes to by the outcome of a send; none when it is written or when that
    /// send was not the one whose outcome is open. A copy of another one may be under way then: it has to come
    /// to its end first, since before version 2 it could end the next transaction.
    fn take(
        &mut self,
        send: u64,
        partition: &TopicPartition,
        outcome: MarkerOutcome,
    ) -> Option<Stage> {
        let marker = self.missing.get_mut(partition)?;
        if marker.stage != Stage::Sent(send) {
            return None;
        }
        let error = match outcome {
            MarkerOutcome::Written | MarkerOutcome::PartitionGone => {
                self.missing.remove(partition);
                return None;
            }
            MarkerOutcome::Failed(error) => error,
        };
        // The partition knows a newer producer or coordinator. It is not for this one to say what became of the
        // transaction there, so it is not complete. To ask again does no harm, and finds out when the partition
        // is deleted.
        marker.is_refused = matches!(
            error,
            ResponseError::InvalidProducerEpoch | ResponseError::TransactionCoordinatorFenced
        );
        marker.stage = if marker.is_refused {
            Stage::Refused
        } else {
            Stage::ToSend
        };
        Some(marker.stage)
    }

    fn send_refused_again(&mut self) {
        let refused = self.missing.values_mut();
        for marker in refused.filter(|marker| marker.stage == Stage::Refused) {
            marker.stage = Stage::ToSend;
        }
    }

    /// The number of the next send, and what goes with it.
    fn next_send(&mut self) -> (u64, BTreeSet<TopicPartition>) {
        self.sends += 1;
        let send = self.sends;
        let to_send = self.missing.iter_mut();
        let to_send = to_send.filter(|(_, marker)| marker.stage == Stage::ToSend);
        let partitions = to_send.map(|(partition, marker)| {
            marker.stage = Stage::Sent(send);
            partition.clone()
        });
        (send, partitions.collect())
    }
}
