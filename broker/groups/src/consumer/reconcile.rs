//! How a member comes from what it has to the target: first it revokes what is not in the target, at its old
//! epoch; then it moves to the target's epoch and gets what is free; then it waits for the rest.

use uuid::Uuid;

use super::member::{CurrentAssignment, EpochPartitions, MemberState};
use crate::assignor::Partitions;

/// What decides the next step of a member.
pub(super) struct Reconciliation<'a> {
    pub(super) current: &'a CurrentAssignment,
    pub(super) target_epoch: i32,
    /// What it is to have.
    pub(super) target: &'a Partitions,
    /// A target can be older than the member's subscription.
    pub(super) is_subscribed: &'a dyn Fn(&Uuid) -> bool,
    pub(super) has_subscription_changed: bool,
    /// Whether another member has the partition.
    pub(super) is_taken: &'a dyn Fn(&Uuid, i32) -> bool,
    /// What it says that it has; `None` when it says nothing.
    pub(super) owned: Option<&'a Partitions>,
}

impl Reconciliation<'_> {
    /// Where the member is after this heartbeat.
    pub(super) fn next(&self) -> CurrentAssignment {
        let current = self.current;
        let can_move = match current.state {
            MemberState::Stable => current.epoch != self.target_epoch,
            MemberState::UnrevokedPartitions => !self.owns_any(&current.pending_revocation),
            MemberState::UnreleasedPartitions | MemberState::Unknown => true,
        };
        if can_move {
            self.towards_target()
        } else if self.has_subscription_changed {
            self.without_unsubscribed()
        } else {
            current.clone()
        }
    }

    fn towards_target(&self) -> CurrentAssignment {
        let current = self.current;
        let is_in_target = |topic_id: &Uuid, partition: i32| {
            let partitions = self.target.get(topic_id);
            (self.is_subscribed)(topic_id)
                && partitions.is_some_and(|partitions| partitions.contains(&partition))
        };
        let (mut assigned, revoked) = split(&current.assigned, is_in_target);
        if !revoked.is_empty() && self.owns_any(&revoked) {
            return CurrentAssignment {
                epoch: current.epoch,
                previous_epoch: current.epoch,
                state: MemberState::UnrevokedPartitions,
                assigned,
                pending_revocation: revoked,
            };
        }
        let mut waits = false;
        let subscribed = self.target.iter();
        let subscribed = subscribed.filter(|(topic_id, _)| (self.is_subscribed)(topic_id));
        for (topic_id, partitions) in subscribed {
            for partition in partitions {
                if contains(&assigned, topic_id, *partition) {
                    continue;
                }
                if (self.is_taken)(topic_id, *partition) {
                    waits = true;
                } else {
                    let of_topic = assigned.entry(*topic_id).or_default();
                    of_topic.insert(*partition, self.target_epoch);
                }
            }
        }
        CurrentAssignment {
            epoch: self.target_epoch,
            previous_epoch: current.epoch,
            state: if waits {
                MemberState::UnreleasedPartitions
            } else {
                MemberState::Stable
            },
            assigned,
            pending_revocation: EpochPartitions::new(),
        }
    }

    /// The member cannot move on, and is not to read what it no longer subscribes to.
    fn without_unsubscribed(&self) -> CurrentAssignment {
        let current = self.current;
        let is_subscribed = |topic_id: &Uuid, _| (self.is_subscribed)(topic_id);
        let (assigned, revoked) = split(&current.assigned, is_subscribed);
        if revoked.is_empty() {
            return current.clone();
        }
        let mut next = CurrentAssignment {
            previous_epoch: current.epoch,
            assigned,
            ..current.clone()
        };
        if self.owns_any(&revoked) || !current.pending_revocation.is_empty() {
            next.state = MemberState::UnrevokedPartitions;
            for (topic_id, partitions) in revoked {
                let of_topic = next.pending_revocation.entry(topic_id).or_default();
                of_topic.extend(partitions);
            }
        }
        next
    }

    /// Who does not say has all yet.
    fn owns_any(&self, partitions: &EpochPartitions) -> bool {
        let Some(owned) = self.owned else {
            return true;
        };
        let mut owned = owned.iter();
        owned.any(|(topic_id, owned)| {
            let mut owned = owned.iter();
            owned.any(|partition| contains(partitions, topic_id, *partition))
        })
    }
}

fn contains(partitions: &EpochPartitions, topic_id: &Uuid, partition: i32) -> bool {
    let of_topic = partitions.get(topic_id);
    of_topic.is_some_and(|of_topic| of_topic.contains_key(&partition))
}

/// Those that pass, and those that do not.
fn split(
    partitions: &EpochPartitions,
    passes: impl Fn(&Uuid, i32) -> bool,
) -> (EpochPartitions, EpochPartitions) {
    let mut parts = (EpochPartitions::new(), EpochPartitions::new());
    for (topic_id, of_topic) in partitions {
        for (partition, epoch) in of_topic {
            let part = if passes(topic_id, *partition) {
                &mut parts.0
            } else {
                &mut parts.1
            };
            let of_topic = part.entry(*topic_id).or_default();
            of_topic.insert(*partition, *epoch);
        }
    }
    parts
}
