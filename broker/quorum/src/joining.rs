//! How a controller becomes a voter: what the leader does when it asks. No I/O.
//!
//! - It is a learner first, so that an empty voter never counts for a majority.
//! - A volume that takes the place of another of its node does so in one step, by joint consensus.
//! - Voters of new nodes are added so that their number stays odd, two in one step where two have caught up: two
//!   voters survive less than one, and four no more than three. So a controller whose fellow does not come
//!   waits, and nobody is worse off than before.
//!   Only a volume that asks itself is such a fellow: one that was lost on the way stays a learner until its node
//!   asks with another, and must not take the other's place.
//! - Who is on the way is not turned back because others, that were configured later, have overtaken it.
//! - A node that was removed comes back when somebody lets it in, and under another Raft id.

use std::collections::{BTreeMap, BTreeSet};

use raft::eraftpb::{ConfChangeType, ConfChangeV2, ConfState};

use crate::membership::{Membership, MembershipChange, single};
use crate::status::Member;

/// A learner this close to the leader's committed entries may vote.
const CAUGHT_UP_ENTRIES_MAX: u64 = 64;
/// Twice as many as anybody should run.
const CONTROLLERS_MAX: usize = 9;

/// What the leader does next for a controller that wants to vote.
#[derive(Debug, PartialEq)]
pub(crate) enum JoinStep {
    Propose(ConfChangeV2),
    /// It catches up, a change is under way, or another controller is waited for.
    Wait,
    /// It votes already.
    Done,
}

/// A controller that asks.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Joining<'a> {
    pub(crate) member: &'a Member,
    /// The node ids in its `controller.quorum.voters`.
    pub(crate) configured: &'a [i32],
    /// It was a member, and asks whether its node may come back with another directory id.
    pub(crate) renew: bool,
}

/// What a controller that asks is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum JoinAnswer {
    /// This controller does not lead.
    NotLeader,
    /// It is on its way.
    Welcome,
    /// Its node may come back, and not under this Raft id.
    Renew,
    /// Why not.
    Refused(String),
}

/// What the leader knows when it is asked.
#[derive(Debug)]
pub(crate) struct JoinView<'a> {
    pub(crate) conf_state: &'a ConfState,
    pub(crate) membership: &'a Membership,
    /// A configuration change is in the log and not yet applied.
    pub(crate) change_pending: bool,
    pub(crate) committed: u64,
    /// The last index that a member which answers is known to hold, by Raft id.
    pub(crate) matched: &'a BTreeMap<u64, u64>,
    /// By node id, the Raft id under which it has asked this leader last.
    pub(crate) asking: &'a BTreeMap<i32, u64>,
}

/// Whether the controller may join at all. `readmitted` are nodes that were removed and may come back.
pub(crate) fn judge(
    membership: &Membership,
    conf_state: &ConfState,
    readmitted: &BTreeSet<i32>,
    joining: Joining<'_>,
) -> JoinAnswer {
    let Member {
        raft_id, node_id, ..
    } = *joining.member;
    if membership.retired.contains(&node_id) && !readmitted.contains(&node_id) {
        return JoinAnswer::Refused(removed_sentence(node_id));
    }
    let mut unnamed: Vec<i32> = voters(membership, conf_state)
        .map(|voter| voter.node_id)
        .filter(|voter| !joining.configured.contains(voter))
        .collect();
    unnamed.sort_unstable();
    if !unnamed.is_empty() && !was_overtaken(membership, conf_state, joining, &unnamed) {
        return JoinAnswer::Refused(format!(
            "controller.quorum.voters of node {node_id} has {:?}, and these vote, too: {unnamed:?}",
            joining.configured
        ));
    }
    if joining.renew || membership.is_removed(raft_id) {
        return if membership.node_ids().contains(&node_id) {
            JoinAnswer::Refused(format!(
                "another volume took the place of this one of node {node_id}; empty it to join again"
            ))
        } else {
            JoinAnswer::Renew
        };
    }
    if let Some(known) = membership.members.get(&raft_id)
        && (known.node_id, known.directory_id) != (node_id, joining.member.directory_id)
    {
        return JoinAnswer::Refused(format!(
            "the volume has the same raft id, {raft_id:016x}, as that of node {}; empty it once more",
            known.node_id
        ));
    }
    let nodes = membership.node_ids();
    if nodes.len() >= CONTROLLERS_MAX && !nodes.contains(&node_id) {
        return JoinAnswer::Refused(format!(
            "the quorum has {} controllers, and at most {CONTROLLERS_MAX} are possible",
            nodes.len()
        ));
    }
    JoinAnswer::Welcome
}

/// Whether the configuration of a controller that joins is right and only older than `unnamed`, which vote already:
/// these come after all that it names. One that would take the place of another volume must name everybody.
fn was_overtaken(
    membership: &Membership,
    conf_state: &ConfState,
    joining: Joining<'_>,
    unnamed: &[i32],
) -> bool {
    let mut voters = voters(membership, conf_state).map(|voter| voter.node_id);
    let is_new = !voters.any(|voter| voter == joining.member.node_id);
    let is_on_its_way = membership.members.contains_key(&joining.member.raft_id);
    let last_named = joining.configured.iter().max();
    (is_new || is_on_its_way)
        && last_named.is_some_and(|last| unnamed.iter().all(|voter| voter > last))
}

/// For people: of a node that does not come back by itself.
pub(crate) fn removed_sentence(node_id: i32) -> String {
    format!(
        "node {node_id} was removed from the quorum; it stays out until it is added again, and may be stopped"
    )
}

/// The next step towards `joining` being a voter and the only member of its node id.
pub(crate) fn next_join_step(view: &JoinView<'_>, joining: Joining<'_>) -> JoinStep {
    let (state, member) = (view.conf_state, joining.member);
    if view.change_pending {
        return JoinStep::Wait;
    }
    if !state.voters_outgoing.is_empty() {
        // Raft leaves the joint configuration by itself, unless the leader changed in between.
        return JoinStep::Propose(ConfChangeV2::default());
    }
    if state.voters.contains(&member.raft_id) {
        return JoinStep::Done;
    }
    if !state.learners.contains(&member.raft_id) {
        let learner = single(ConfChangeType::AddLearnerNode, member.raft_id);
        return JoinStep::Propose(coming(vec![member]).with(vec![learner]));
    }
    if !view.has_caught_up(member.raft_id) {
        return JoinStep::Wait;
    }
    let nodes: BTreeSet<i32> = voters(view.membership, state)
        .map(|voter| voter.node_id)
        .collect();
    let promoted = if nodes.contains(&member.node_id) {
        vec![member]
    } else {
        match together(view, &nodes, joining) {
            Some(promoted) => promoted,
            None => return JoinStep::Wait,
        }
    };
    let mut changes = Vec::new();
    for member in &promoted {
        let earlier = view.membership.raft_ids_of(member.node_id);
        let earlier = earlier.filter(|raft_id| *raft_id != member.raft_id);
        changes.extend(earlier.map(|raft_id| single(ConfChangeType::RemoveNode, raft_id)));
    }
    let add = |member: &&Member| single(ConfChangeType::AddNode, member.raft_id);
    changes.extend(promoted.iter().map(add));
    JoinStep::Propose(coming(promoted).with(changes))
}

/// Who of the new nodes is made a voter now, `joining` and perhaps another: so many that the voters are odd in number,
/// or are those that the configuration names.
fn together<'a>(
    view: &JoinView<'a>,
    nodes: &BTreeSet<i32>,
    joining: Joining<'a>,
) -> Option<Vec<&'a Member>> {
    let is_right = |count: usize| count % 2 == 1 || count == joining.configured.len();
    if is_right(nodes.len() + 1) {
        return Some(vec![joining.member]);
    }
    let learners = view.conf_state.learners.iter();
    let mut fellows = learners.filter_map(|raft_id| view.membership.members.get(raft_id));
    let fellow = fellows.find(|fellow| {
        fellow.node_id != joining.member.node_id
            && !nodes.contains(&fellow.node_id)
            && view.asking.get(&fellow.node_id) == Some(&fellow.raft_id)
            && view.has_caught_up(fellow.raft_id)
    })?;
    Some(vec![joining.member, fellow])
}

fn voters<'a>(
    membership: &'a Membership,
    conf_state: &'a ConfState,
) -> impl Iterator<Item = &'a Member> {
    let voters = conf_state.voters.iter();
    voters.filter_map(|raft_id| membership.members.get(raft_id))
}

fn coming(members: Vec<&Member>) -> MembershipChange {
    MembershipChange {
        members: members.into_iter().cloned().collect(),
        retired: Vec::new(),
    }
}

impl JoinView<'_> {
    fn has_caught_up(&self, raft_id: u64) -> bool {
        let matched = self.matched.get(&raft_id);
        matched
            .is_some_and(|at| *at > 0 && at.saturating_add(CAUGHT_UP_ENTRIES_MAX) >= self.committed)
    }
}

#[cfg(test)]
mod tests;
