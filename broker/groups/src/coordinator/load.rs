use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Coordinator, Groups, rebalance};
use crate::append::Appends;
use crate::config::GroupConfig;
use crate::effect::Effect;
use crate::group::{Group, GroupState};
use crate::member::{Member, Protocol};
use crate::now::Now;
use crate::offsets::Offsets;
use crate::record::{Entry, GroupMetadata, MemberMetadata, RecordError, decode};
use crate::timers::Timers;

/// Builds a [`Coordinator`] from the records of its partition, from the log's start to its high
/// watermark, in order. Control batches are to be skipped by the caller.
#[derive(Debug, Default)]
pub struct Loader {
    groups: Groups,
    offsets: Offsets,
}

impl Loader {
    /// Knows nothing yet: the state of an empty partition.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next record; `None` as value is a tombstone. Records of kinds that are not known
    /// are skipped.
    ///
    /// # Errors
    /// The record is not what its version says. It changes nothing, so the caller may log it and go
    /// on, as Kafka does.
    pub fn replay(&mut self, key: &[u8], value: Option<&[u8]>) -> Result<(), RecordError> {
        match decode(key, value)? {
            None => {}
            Some(Entry::Offset(change)) => self.offsets.apply(change),
            Some(Entry::Group {
                group_id,
                value: None,
            }) => {
                self.groups.remove(&group_id);
            }
            Some(Entry::Group {
                group_id,
                value: Some(value),
            }) => {
                self.groups
                    .insert(group_id.clone(), group_of(group_id, value));
            }
        }
        Ok(())
    }

    /// All records are in. Every member gets its whole session from now, as if it had just been
    /// heard of; a group that is now larger than `group.max.size` rebalances.
    pub fn finish(self, config: GroupConfig, now: Now) -> (Coordinator, Vec<Effect>) {
        let mut groups = self.groups;
        for group_id in self.offsets.group_ids() {
            // Written by consumers that assign themselves, which leave no record of a group.
            let simple = || Group::new(Arc::clone(group_id), now.wall_ms);
            groups.entry(group_id.clone()).or_insert_with(simple);
        }
        let mut coordinator = Coordinator {
            config,
            groups,
            offsets: self.offsets,
            timers: Timers::default(),
            appends: Appends::default(),
        };
        let mut effects = Vec::new();
        let super::Parts {
            groups, mut turn, ..
        } = coordinator.parts(now, &mut effects);
        for group in groups.values_mut() {
            for member_id in group.members.keys() {
                turn.schedule_session(group, member_id);
            }
            if group.members.len() > turn.config.group_max_size {
                rebalance::prepare(group, &mut turn);
            }
        }
        (coordinator, effects)
    }
}

fn group_of(id: Arc<str>, value: GroupMetadata) -> Group {
    let protocol_name = value.protocol;
    let members: BTreeMap<Arc<str>, Member> = value
        .members
        .into_iter()
        .map(|member| {
            (
                member.member_id.clone(),
                member_of(member, protocol_name.as_ref()),
            )
        })
        .collect();
    let static_members = members
        .values()
        .filter_map(|member| Some((member.instance_id.clone()?, member.id.clone())))
        .collect();
    let leader = value.leader.filter(|leader| members.contains_key(leader));
    let known_timestamp = |timestamp_ms: &i64| *timestamp_ms != -1;
    let mut group = Group {
        id,
        state: if members.is_empty() {
            GroupState::Empty
        } else {
            GroupState::Stable
        },
        state_timestamp_ms: Some(value.current_state_timestamp_ms).filter(known_timestamp),
        generation: value.generation,
        protocol_type: Some(value.protocol_type).filter(|protocol_type| !protocol_type.is_empty()),
        protocol_name,
        leader: leader.or_else(|| members.keys().next().cloned()),
        members,
        static_members,
        pending_joins: Default::default(),
        pending_syncs: Default::default(),
        subscribed_topics: None,
        initial_delay: None,
        new_member_added: false,
        assignment_append: None,
    };
    group.subscribed_topics = group.compute_subscribed_topics();
    group
}

fn member_of(member: MemberMetadata, protocol_name: Option<&Arc<str>>) -> Member {
    let protocol = Protocol {
        name: protocol_name.cloned().unwrap_or_default(),
        metadata: member.subscription,
    };
    let rebalance_timeout_ms = match member.rebalance_timeout_ms {
        -1 => member.session_timeout_ms,
        timeout_ms => timeout_ms,
    };
    Member {
        id: member.member_id,
        instance_id: member.group_instance_id,
        client_id: member.client_id,
        client_host: member.client_host,
        rebalance_timeout_ms,
        session_timeout_ms: member.session_timeout_ms,
        protocols: vec![protocol],
        assignment: member.assignment,
        awaiting_join: None,
        awaiting_sync: None,
        is_new: false,
    }
}
