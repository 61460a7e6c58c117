use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use super::JOIN_EPOCH;
use super::classic::ClassicMember;
use super::config::ConsumerGroupConfig;
use crate::assignor::Assignor;
use crate::request::RequestContext;

/// Partitions by topic id, each with the epoch at which the member got it (KIP-1251); a topic without
/// partitions is not in it.
pub type EpochPartitions = BTreeMap<uuid::Uuid, BTreeMap<i32, i32>>;

/// A member of a consumer group.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConsumerMember {
    /// What it has said of itself.
    pub metadata: MemberMetadata,
    /// Where it is on its way to the target.
    pub current: CurrentAssignment,
}

impl ConsumerMember {
    /// There is a deadline for what it is to revoke. Of one that speaks the classic protocol the deadlines are
    /// those to join and to sync.
    pub(super) fn has_to_revoke_in_time(&self) -> bool {
        self.current.state == MemberState::UnrevokedPartitions && self.metadata.classic.is_none()
    }
}

/// What a member says of itself.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberMetadata {
    /// `group.instance.id`, of a static member.
    pub instance_id: Option<Arc<str>>,
    /// `client.rack`: kept and told, of no influence on the assignment.
    pub rack_id: Option<Arc<str>>,
    /// From the request's header.
    pub client_id: Arc<str>,
    /// As Kafka shows it: `/192.0.2.7`.
    pub client_host: Arc<str>,
    /// How long it may take to revoke partitions.
    pub rebalance_timeout_ms: i32,
    /// By name; topics that do not exist yet may be among them. Members of a group that name the same topics
    /// share one set.
    pub subscribed_topics: Arc<BTreeSet<Arc<str>>>,
    /// A regular expression; it subscribes to what that matches, too.
    pub subscribed_regex: Option<Arc<str>>,
    /// The assignor it asks for.
    pub assignor: Option<Assignor>,
    /// Of one that speaks the classic protocol.
    pub classic: Option<Arc<ClassicMember>>,
}

impl MemberMetadata {
    /// What a request says; what it does not say stays, and what is the same is not copied.
    pub(super) fn updated(
        &self,
        context: &RequestContext,
        request: &ConsumerGroupHeartbeatRequest,
        assignor: Option<Assignor>,
    ) -> Self {
        let names = request.subscribed_topic_names.as_ref();
        let names = names.map(|names| names.iter().map(|name| Arc::from(name.as_str())));
        let names = names.map(BTreeSet::from_iter);
        let regex = request.subscribed_topic_regex.as_deref();
        Self {
            instance_id: optional(&self.instance_id, request.instance_id.as_deref()),
            rack_id: optional(&self.rack_id, request.rack_id.as_deref()),
            client_id: text(&self.client_id, &context.client_id),
            client_host: text(&self.client_host, &context.client_host),
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                -1 => self.rebalance_timeout_ms,
                timeout_ms => timeout_ms,
            },
            subscribed_topics: match names {
                Some(names) if names != *self.subscribed_topics => Arc::new(names),
                _ => self.subscribed_topics.clone(),
            },
            // An empty one says that there is none any more.
            subscribed_regex: optional(&self.subscribed_regex, regex)
                .filter(|regex| !regex.is_empty()),
            assignor: assignor.or(self.assignor),
            // Whoever sends it speaks KIP-848.
            classic: None,
        }
    }

    /// How long it may stay silent.
    pub(super) fn session_timeout_ms(&self, config: &ConsumerGroupConfig) -> i32 {
        let classic = self.classic.as_ref();
        classic.map_or(config.session_timeout_ms, |classic| {
            classic.session_timeout_ms
        })
    }
}

fn optional(old: &Option<Arc<str>>, new: Option<&str>) -> Option<Arc<str>> {
    match (old, new) {
        (_, None) => old.clone(),
        (Some(old), Some(new)) => Some(text(old, new)),
        (None, Some(new)) => Some(Arc::from(new)),
    }
}

fn text(old: &Arc<str>, new: &str) -> Arc<str> {
    if **old == *new {
        old.clone()
    } else {
        Arc::from(new)
    }
}

/// Where a member is on its way to the target assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// Of the target it has last moved to; 0 before the first, -2 while a static member is away.
    pub epoch: i32,
    /// The one before, as long as it may not have heard of the new one.
    pub previous_epoch: i32,
    /// What it waits for.
    pub state: MemberState,
    /// What it is to read.
    pub assigned: EpochPartitions,
    /// What it is to let go of first.
    pub pending_revocation: EpochPartitions,
}

/// What a member waits for, with Kafka's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemberState {
    /// Nothing: it has all of the target of its epoch.
    Stable,
    /// That it revokes partitions; it stays at its epoch till then.
    UnrevokedPartitions,
    /// That others let go of some of its partitions.
    UnreleasedPartitions,
    /// A state that this version does not know: it has to start anew, with nothing.
    Unknown,
}

impl MemberState {
    /// As it is in the records.
    pub const fn code(self) -> i8 {
        match self {
            Self::Stable => 0,
            Self::UnrevokedPartitions => 1,
            Self::UnreleasedPartitions => 2,
            Self::Unknown => 127,
        }
    }

    /// From a record.
    pub const fn from_code(code: i8) -> Self {
        match code {
            0 => Self::Stable,
            1 => Self::UnrevokedPartitions,
            2 => Self::UnreleasedPartitions,
            _ => Self::Unknown,
        }
    }
}

impl Default for CurrentAssignment {
    fn default() -> Self {
        Self {
            epoch: JOIN_EPOCH,
            previous_epoch: JOIN_EPOCH,
            state: MemberState::Stable,
            assigned: EpochPartitions::new(),
            pending_revocation: EpochPartitions::new(),
        }
    }
}

impl CurrentAssignment {
    /// It has all of the target of that epoch.
    pub(super) fn is_reconciled_to(&self, target_epoch: i32) -> bool {
        self.state == MemberState::Stable && self.epoch == target_epoch
    }

    /// Everything that nobody else may have.
    pub(super) fn owned(&self) -> impl Iterator<Item = (&uuid::Uuid, i32)> {
        let topics = self.assigned.iter().chain(&self.pending_revocation);
        topics.flat_map(|(topic_id, partitions)| {
            partitions
                .keys()
                .map(move |partition| (topic_id, *partition))
        })
    }
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::TopicName;

    use super::*;
    use crate::response::wire;

    /// A heartbeat that says nothing costs nothing, whatever its member subscribes to.
    #[test]
    fn what_is_the_same_is_not_copied() {
        let context = |client_id: &str| RequestContext {
            waiter: 1,
            api_version: 1,
            connection: 1,
            client_id: client_id.to_owned(),
            client_host: "/192.0.2.1".to_owned(),
            member_uuid: uuid::Uuid::nil(),
        };
        let names = ["one", "other"].map(|name| TopicName(wire(name)));
        let all = ConsumerGroupHeartbeatRequest::default()
            .with_instance_id(Some(wire("instance")))
            .with_rack_id(Some(wire("rack")))
            .with_rebalance_timeout_ms(5)
            .with_subscribed_topic_names(Some(names.to_vec()))
            .with_subscribed_topic_regex(Some(wire("o.*")));
        let nothing = ConsumerGroupHeartbeatRequest::default()
            .with_rebalance_timeout_ms(-1)
            .with_subscribed_topic_names(None);
        let before = MemberMetadata::default().updated(&context("client"), &all, None);
        assert_eq!(before.subscribed_topics.len(), 2);
        for request in [all, nothing] {
            let after = before.updated(&context("client"), &request, None);
            assert_eq!(after, before);
            assert!(Arc::ptr_eq(
                &after.subscribed_topics,
                &before.subscribed_topics
            ));
            for (after, before) in [
                (after.instance_id, &before.instance_id),
                (after.rack_id, &before.rack_id),
                (after.subscribed_regex, &before.subscribed_regex),
                (Some(after.client_id), &Some(before.client_id.clone())),
                (Some(after.client_host), &Some(before.client_host.clone())),
            ] {
                let (after, before) = (after.unwrap(), before.as_ref().unwrap());
                assert!(Arc::ptr_eq(&after, before), "{before} is copied");
            }
        }
        let other = before.updated(
            &context("other"),
            &ConsumerGroupHeartbeatRequest::default(),
            None,
        );
        assert_eq!(&*other.client_id, "other");
    }

    #[test]
    fn states_keep_their_codes() {
        for code in [0, 1, 2, 127] {
            assert_eq!(MemberState::from_code(code).code(), code);
        }
        assert_eq!(MemberState::from_code(3), MemberState::Unknown);
        assert_eq!(MemberState::from_code(-1), MemberState::Unknown);
    }
}
