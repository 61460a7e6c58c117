//! What a heartbeat moves, as far as a batch holds it: the group to a new target, if that is due, and the member
//! towards the target.

use std::sync::Arc;

use kafka_protocol::ResponseError;

use super::JOIN_EPOCH;
use super::config::ConsumerGroupConfig;
use super::member::MemberState;
use super::reconcile::Reconciliation;
use super::record::ConsumerRecord;
use super::refused::Refused;
use super::target;
use super::timer::ConsumerTimer;
use super::too_large::TooLarge;
use super::turn::{Savepoint, Turn};
use crate::assignor::Partitions;
use crate::now::Now;

/// What a member asks for.
pub(super) struct Step<'a> {
    pub(super) member_id: &'a Arc<str>,
    /// What it says that it has; `None` when it says nothing.
    pub(super) owned: Option<&'a Partitions>,
    pub(super) has_subscription_changed: bool,
    /// It joins, or says something else of itself than before.
    pub(super) is_news: bool,
    /// Before any of that was written.
    pub(super) start: Savepoint,
}

/// What it got.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// It is to read something else than before.
    pub(super) has_assignment_changed: bool,
    pub(super) too_large: Option<TooLarge>,
}

impl Step<'_> {
    /// Nobody is refused for what others have made too large: the group stays with the target it has, and the
    /// member with what it has, for as long as must be. Only what is new in the request itself has to fit.
    pub(super) fn take(
        &self,
        turn: &mut Turn<'_>,
        config: &ConsumerGroupConfig,
        now: Now,
    ) -> Result<Taken, Refused> {
        let said = turn.savepoint();
        let kept_epoch = turn.group.target_epoch.epoch;
        let has_assigned = target::update(turn, config, now);
        let has_assignment_changed = self.reconcile(turn);
        if self.is_possible(turn, config) {
            if has_assigned {
                turn.group.target_failed_ms = None;
            }
            return Ok(Taken {
                has_assignment_changed,
                too_large: None,
            });
        }
        let (bytes, bytes_max) = (turn.batch_bytes(), config.batch_bytes_max);
        let refused = too_large_to_ask_for(bytes, bytes_max);
        let mut too_large = TooLarge::Step {
            member_id: self.member_id.clone(),
            bytes,
            bytes_max,
        };
        if has_assigned {
            // The target of one that is alone is what it has asked for itself.
            let is_own =
                turn.group.members.len() == 1 && (self.has_subscription_changed || kept_epoch == 0);
            if self.is_news && is_own {
                turn.roll_back(self.start);
                return Err(refused);
            }
            too_large = TooLarge::Target {
                epoch: turn.group.epoch.epoch,
                kept_epoch,
                bytes,
                bytes_max,
            };
            turn.roll_back(said);
            turn.group.target_failed_ms = Some(now.monotonic_ms);
            let has_assignment_changed = self.reconcile(turn);
            if self.is_possible(turn, config) {
                return Ok(Taken {
                    has_assignment_changed,
                    too_large: Some(too_large),
                });
            }
        }
        turn.roll_back(said);
        if !self.is_possible(turn, config) {
            turn.roll_back(self.start);
            if self.is_news || !self.has_epoch(turn) {
                return Err(refused);
            }
        }
        Ok(Taken {
            has_assignment_changed: false,
            too_large: Some(too_large),
        })
    }

    fn is_possible(&self, turn: &Turn<'_>, config: &ConsumerGroupConfig) -> bool {
        self.has_epoch(turn) && turn.fits(config)
    }

    /// It can be told of none before it has moved to a target.
    fn has_epoch(&self, turn: &Turn<'_>) -> bool {
        let member = turn.group.members.get(self.member_id);
        member.is_some_and(|member| member.current.epoch > JOIN_EPOCH)
    }

    /// Says whether what the member is to read has changed.
    fn reconcile(&self, turn: &mut Turn<'_>) -> bool {
        let group = &*turn.group;
        let member = &group.members[self.member_id];
        let target_epoch = group.target_epoch.epoch;
        if !self.has_subscription_changed && member.current.is_reconciled_to(target_epoch) {
            return false;
        }
        let nothing = Partitions::new();
        let reconciliation = Reconciliation {
            current: &member.current,
            target_epoch,
            target: group.target.get(self.member_id).unwrap_or(&nothing),
            is_subscribed: &|topic_id| group.is_subscriber(&member.metadata, topic_id, turn.topics),
            has_subscription_changed: self.has_subscription_changed,
            is_taken: &|topic_id, partition| {
                let owner = group.owner(topic_id, partition);
                owner.is_some_and(|owner| owner != self.member_id)
            },
            owned: self.owned,
        };
        let next = reconciliation.next();
        if next == member.current {
            return false;
        }
        let has_changed = next.assigned != member.current.assigned;
        let has_deadline =
            next.state == MemberState::UnrevokedPartitions && member.metadata.classic.is_none();
        let revocation_ms = has_deadline.then_some(member.metadata.rebalance_timeout_ms);
        turn.write(ConsumerRecord::Current {
            member_id: self.member_id.clone(),
            assignment: Some(next),
        });
        turn.set_timer(self.member_id, ConsumerTimer::Revocation, revocation_ms);
        has_changed
    }
}

fn too_large_to_ask_for(bytes: usize, bytes_max: usize) -> Refused {
    Refused::new(
        ResponseError::UnknownServerError,
        format!(
            "what the request asks of the group takes {bytes} bytes; max.message.bytes of __consumer_offsets is \
             {bytes_max}"
        ),
    )
}
