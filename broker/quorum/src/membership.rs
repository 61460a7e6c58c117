//! Who is in the Raft group: what Raft's own configuration of bare ids does not say. The steps by which a
//! controller joins are in `joining`, those by which one leaves in `leaving`. No I/O.

use std::collections::{BTreeMap, BTreeSet};

use prost::Message as _;
use raft::eraftpb::{
    ConfChangeSingle, ConfChangeTransition, ConfChangeType, ConfChangeV2, ConfState,
};

use crate::kafka_uuid::KafkaUuid;
use crate::status::Member;
use crate::wire;

/// The Raft index of the founding membership: the snapshot with which every founder begins. The
/// index is above 0 so that an empty member is behind it and is sent a snapshot.
pub(crate) const FOUNDING_INDEX: u64 = 1;
pub(crate) const FOUNDING_TERM: u64 = 1;

/// Old ids are only kept so that their late messages can be told from those of members not yet known.
const REMOVED_MAX: usize = 256;

/// The members of the group, as of one Raft index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Of the last change.
    pub(crate) index: u64,
    /// By Raft id.
    pub(crate) members: BTreeMap<u64, Member>,
    /// Oldest first.
    pub(crate) removed: Vec<u64>,
    /// Node ids that somebody took out of the group, and nobody let in again: such a controller does not come
    /// back by itself, whatever volume it has and whatever it is configured with.
    pub(crate) retired: BTreeSet<i32>,
}

/// What a configuration change says beside Raft's own ids.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct MembershipChange {
    /// Who comes, or takes another place.
    pub(crate) members: Vec<Member>,
    /// Whose node id goes for good.
    pub(crate) retired: Vec<i32>,
}

impl Membership {
    /// The founders.
    pub(crate) fn founding(members: impl IntoIterator<Item = Member>) -> Self {
        let members = members
            .into_iter()
            .map(|member| (member.raft_id, member))
            .collect();
        Self {
            index: FOUNDING_INDEX,
            members,
            ..Self::default()
        }
    }

    /// Raft's configuration in which the founders begin.
    pub(crate) fn founding_conf_state(&self) -> ConfState {
        let voters: Vec<u64> = self.members.keys().copied().collect();
        ConfState::from((voters, Vec::new()))
    }

    /// Follows a configuration change that Raft applied.
    pub(crate) fn apply(&mut self, index: u64, change: MembershipChange, conf_state: &ConfState) {
        self.index = index;
        self.retired.extend(change.retired);
        for member in change.members {
            self.retired.remove(&member.node_id);
            self.members.insert(member.raft_id, member);
        }
        let known: BTreeSet<u64> = ids(conf_state).collect();
        let gone: Vec<u64> = self
            .members
            .keys()
            .copied()
            .filter(|raft_id| !known.contains(raft_id))
            .collect();
        for raft_id in gone {
            self.members.remove(&raft_id);
            self.removed.push(raft_id);
        }
        let excess = self.removed.len().saturating_sub(REMOVED_MAX);
        self.removed.drain(..excess);
    }

    /// The node ids of all members.
    pub(crate) fn node_ids(&self) -> BTreeSet<i32> {
        self.members.values().map(|member| member.node_id).collect()
    }

    /// With every volume that the node has in the group.
    pub(crate) fn raft_ids_of(&self, node_id: i32) -> impl Iterator<Item = u64> {
        let members = self.members.values();
        members
            .filter(move |member| member.node_id == node_id)
            .map(|member| member.raft_id)
    }

    /// Messages from it are from the past.
    pub(crate) fn is_removed(&self, raft_id: u64) -> bool {
        self.removed.contains(&raft_id)
    }

    pub(crate) fn to_wire(&self) -> wire::Membership {
        wire::Membership {
            index: self.index,
            members: self.members.values().map(member_to_wire).collect(),
            removed: self.removed.clone(),
            retired: self.retired.iter().copied().collect(),
        }
    }

    pub(crate) fn from_wire(membership: wire::Membership) -> Option<Self> {
        let members: Option<Vec<Member>> = membership
            .members
            .into_iter()
            .map(member_from_wire)
            .collect();
        Some(Self {
            index: membership.index,
            members: members?
                .into_iter()
                .map(|member| (member.raft_id, member))
                .collect(),
            removed: membership.removed,
            retired: membership.retired.into_iter().collect(),
        })
    }
}

impl MembershipChange {
    /// Of an entry of the log.
    pub(crate) fn of(change: &ConfChangeV2) -> Result<Self, String> {
        let context = wire::MembershipChange::decode(change.context.clone());
        let context = context.map_err(|error| error.to_string())?;
        let members = context.member.into_iter().chain(context.members);
        let members: Option<Vec<Member>> = members.map(member_from_wire).collect();
        Ok(Self {
            members: members.ok_or("no directory id")?,
            retired: context.retired,
        })
    }

    /// As an entry of the log: `changes` in one step, by joint consensus where they are several.
    pub(crate) fn with(&self, changes: Vec<ConfChangeSingle>) -> ConfChangeV2 {
        let mut change = ConfChangeV2::default();
        change.set_transition(ConfChangeTransition::Auto);
        change.set_changes(changes.into());
        let context = wire::MembershipChange {
            member: None,
            members: self.members.iter().map(member_to_wire).collect(),
            retired: self.retired.clone(),
        };
        change.context = context.encode_to_vec().into();
        change
    }
}

pub(crate) fn member_to_wire(member: &Member) -> wire::Member {
    wire::Member {
        raft_id: member.raft_id,
        node_id: member.node_id,
        directory_id: member.directory_id.as_bytes().to_vec().into(),
        address: member.address.clone(),
    }
}

/// None when it is malformed: no Raft id, or a directory id that is not 16 bytes.
pub(crate) fn member_from_wire(member: wire::Member) -> Option<Member> {
    let directory_id = KafkaUuid::from_slice(&member.directory_id)?;
    (member.raft_id != 0).then_some(Member {
        raft_id: member.raft_id,
        node_id: member.node_id,
        directory_id,
        address: member.address,
    })
}

fn ids(conf_state: &ConfState) -> impl Iterator<Item = u64> {
    let incoming = conf_state.voters.iter().chain(&conf_state.learners);
    incoming
        .chain(&conf_state.voters_outgoing)
        .chain(&conf_state.learners_next)
        .copied()
}

pub(crate) fn single(kind: ConfChangeType, raft_id: u64) -> ConfChangeSingle {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = raft_id;
    single
}
