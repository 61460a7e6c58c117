//! Who is in the Raft group: what Raft's own configuration of bare ids does not say, and the steps by
//! which a controller joins. No I/O.

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

/// A learner this close to the leader's committed entries may vote.
const CAUGHT_UP_ENTRIES_MAX: u64 = 64;

/// The members of the group, as of one Raft index.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Membership {
    /// Of the last change.
    pub(crate) index: u64,
    /// By Raft id.
    pub(crate) members: BTreeMap<u64, Member>,
    /// Oldest first.
    pub(crate) removed: Vec<u64>,
}

/// What the leader does next for a controller that wants to vote.
#[derive(Debug, PartialEq)]
pub(crate) enum JoinStep {
    Propose(ConfChangeV2),
    /// It catches up, or a change is under way.
    Wait,
    /// It votes already.
    Done,
}

/// What the leader knows when it is asked.
#[derive(Debug)]
pub(crate) struct JoinView<'a> {
    pub(crate) conf_state: &'a ConfState,
    pub(crate) membership: &'a Membership,
    /// A configuration change is in the log and not yet applied.
    pub(crate) change_pending: bool,
    pub(crate) committed: u64,
    /// The last index that the controller is known to hold.
    pub(crate) matched: Option<u64>,
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
            removed: Vec::new(),
        }
    }

    /// Raft's configuration in which the founders begin.
    pub(crate) fn founding_conf_state(&self) -> ConfState {
        let voters: Vec<u64> = self.members.keys().copied().collect();
        ConfState::from((voters, Vec::new()))
    }

    /// Follows a configuration change that Raft applied.
    pub(crate) fn apply(&mut self, index: u64, added: Option<Member>, conf_state: &ConfState) {
        self.index = index;
        if let Some(member) = added {
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

    /// Messages from it are from the past.
    pub(crate) fn is_removed(&self, raft_id: u64) -> bool {
        self.removed.contains(&raft_id)
    }

    pub(crate) fn to_wire(&self) -> wire::Membership {
        wire::Membership {
            index: self.index,
            members: self.members.values().map(member_to_wire).collect(),
            removed: self.removed.clone(),
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
        })
    }
}

/// The next step towards `joining` being a voter and the only member of its node id: a learner first,
/// so that an empty voter never counts for a majority; then, by joint consensus, a voter in place of
/// what the node was before.
pub(crate) fn next_join_step(view: &JoinView<'_>, joining: &Member) -> JoinStep {
    let state = view.conf_state;
    if view.change_pending {
        return JoinStep::Wait;
    }
    if !state.voters_outgoing.is_empty() {
        // Raft leaves the joint configuration by itself, unless the leader changed in between.
        return JoinStep::Propose(ConfChangeV2::default());
    }
    if state.voters.contains(&joining.raft_id) {
        return JoinStep::Done;
    }
    if !state.learners.contains(&joining.raft_id) {
        let learner = single(ConfChangeType::AddLearnerNode, joining.raft_id);
        return JoinStep::Propose(change(vec![learner], joining));
    }
    let is_caught_up = view
        .matched
        .is_some_and(|at| at > 0 && at + CAUGHT_UP_ENTRIES_MAX >= view.committed);
    if !is_caught_up {
        return JoinStep::Wait;
    }
    let earlier =
        view.membership.members.values().filter(|member| {
            member.node_id == joining.node_id && member.raft_id != joining.raft_id
        });
    let mut changes: Vec<ConfChangeSingle> = earlier
        .map(|member| single(ConfChangeType::RemoveNode, member.raft_id))
        .collect();
    changes.push(single(ConfChangeType::AddNode, joining.raft_id));
    JoinStep::Propose(change(changes, joining))
}

/// The member that a configuration change brings.
pub(crate) fn added_member(change: &ConfChangeV2) -> Result<Option<Member>, String> {
    let context = wire::MembershipChange::decode(change.context.clone());
    let context = context.map_err(|error| error.to_string())?;
    match context.member {
        None => Ok(None),
        Some(member) => member_from_wire(member)
            .map(Some)
            .ok_or_else(|| "no directory id".into()),
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

fn single(kind: ConfChangeType, raft_id: u64) -> ConfChangeSingle {
    let mut single = ConfChangeSingle::default();
    single.set_change_type(kind);
    single.node_id = raft_id;
    single
}

fn change(changes: Vec<ConfChangeSingle>, member: &Member) -> ConfChangeV2 {
    let mut change = ConfChangeV2::default();
    change.set_transition(ConfChangeTransition::Auto);
    change.set_changes(changes.into());
    let context = wire::MembershipChange {
        member: Some(member_to_wire(member)),
    };
    change.context = context.encode_to_vec().into();
    change
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::raft_id;

    fn member(node_id: i32) -> Member {
        let directory_id = KafkaUuid::random();
        let raft_id = raft_id(node_id, &directory_id);
        Member {
            raft_id,
            node_id,
            directory_id,
            address: format!("h{node_id}:1"),
        }
    }

    fn kinds(step: &JoinStep) -> Vec<(ConfChangeType, u64)> {
        let JoinStep::Propose(change) = step else {
            panic!("{step:?}")
        };
        change
            .changes
            .iter()
            .map(|one| (one.get_change_type(), one.node_id))
            .collect()
    }

    #[test]
    fn a_wiped_controller_becomes_a_learner_then_takes_its_old_place() {
        let founders = [member(1000), member(1001), member(1002)];
        let mut membership = Membership::founding(founders.clone());
        let mut state = membership.founding_conf_state();
        let joining = member(1001);
        let step = |state: &ConfState, membership: &Membership, matched, change_pending| {
            let committed = 1000;
            let conf_state = state;
            next_join_step(
                &JoinView {
                    conf_state,
                    membership,
                    change_pending,
                    committed,
                    matched,
                },
                &joining,
            )
        };

        assert_eq!(step(&state, &membership, None, true), JoinStep::Wait);
        let first = step(&state, &membership, None, false);
        assert_eq!(
            kinds(&first),
            [(ConfChangeType::AddLearnerNode, joining.raft_id)]
        );
        let JoinStep::Propose(change) = first else {
            unreachable!()
        };
        assert_eq!(added_member(&change), Ok(Some(joining.clone())));

        state.learners.push(joining.raft_id);
        membership.apply(7, Some(joining.clone()), &state);
        assert_eq!(membership.members.len(), 4);
        for behind in [None, Some(0), Some(900)] {
            assert_eq!(step(&state, &membership, behind, false), JoinStep::Wait);
        }
        let second = step(&state, &membership, Some(990), false);
        let (add, remove) = (ConfChangeType::AddNode, ConfChangeType::RemoveNode);
        assert_eq!(
            kinds(&second),
            [(remove, founders[1].raft_id), (add, joining.raft_id)]
        );

        state.learners.clear();
        state.voters_outgoing = state.voters.clone();
        state.voters = vec![founders[0].raft_id, founders[2].raft_id, joining.raft_id];
        membership.apply(8, Some(joining.clone()), &state);
        assert!(
            !membership.is_removed(founders[1].raft_id),
            "it still votes in the old half"
        );
        assert_eq!(
            kinds(&step(&state, &membership, Some(990), false)),
            [],
            "leave the joint half"
        );

        state.voters_outgoing.clear();
        membership.apply(9, None, &state);
        assert!(membership.is_removed(founders[1].raft_id));
        assert_eq!(membership.members.len(), 3);
        assert_eq!(step(&state, &membership, Some(990), false), JoinStep::Done);
        assert_eq!(
            Membership::from_wire(membership.to_wire()),
            Some(membership)
        );
    }
}
