//! How a controller is taken out of the group: what the leader does when it is told to. No I/O.
//!
//! - Never the last one, and never so that those who are left have no majority that answers and has caught up.
//! - Never the leader itself: it hands leadership over first, and the next one removes it.
//! - One change at a time. The node id is written down as retired with the same entry of the log.

use std::collections::BTreeSet;

use raft::INVALID_ID;
use raft::eraftpb::{ConfChangeSingle, ConfChangeType, ConfChangeV2, ConfState};

use crate::membership::{Membership, MembershipChange, single};

/// Node ids that were never members can be retired, too, up to so many.
const RETIRED_MAX: usize = 256;

/// What the leader does next to remove a controller.
#[derive(Debug, PartialEq)]
pub(crate) enum RemoveStep {
    Propose(ConfChangeV2),
    /// Another change is under way.
    Wait,
    /// It is no member, or not any more, and stays out.
    Done,
    /// It is this controller, which leads.
    IsLeader,
    /// It cannot be done now; a sentence.
    Refused(String),
}

/// What the leader knows.
#[derive(Debug)]
pub(crate) struct LeaveView<'a> {
    pub(crate) conf_state: &'a ConfState,
    pub(crate) membership: &'a Membership,
    pub(crate) change_pending: bool,
    /// The leader's own.
    pub(crate) raft_id: u64,
    /// The voters that answer and have caught up, the leader among them.
    pub(crate) living: &'a BTreeSet<u64>,
}

/// The next step towards the node not being in the group.
pub(crate) fn next_remove_step(view: &LeaveView<'_>, node_id: i32) -> RemoveStep {
    let state = view.conf_state;
    if view.change_pending {
        return RemoveStep::Wait;
    }
    if !state.voters_outgoing.is_empty() {
        return RemoveStep::Propose(ConfChangeV2::default());
    }
    let leaving: BTreeSet<u64> = view.membership.raft_ids_of(node_id).collect();
    let retired = &view.membership.retired;
    if leaving.is_empty() && retired.contains(&node_id) {
        return RemoveStep::Done;
    }
    if leaving.is_empty() && retired.len() >= RETIRED_MAX {
        return RemoveStep::Refused(format!(
            "{RETIRED_MAX} nodes were removed already, and node {node_id} is no member"
        ));
    }
    let left: Vec<u64> = state
        .voters
        .iter()
        .copied()
        .filter(|raft_id| !leaving.contains(raft_id))
        .collect();
    if left.is_empty() {
        let only = format!("node {node_id} is the only voter: the metadata would be lost with it");
        return RemoveStep::Refused(only);
    }
    let mut absent: Vec<i32> = left
        .iter()
        .filter(|raft_id| !view.living.contains(raft_id))
        .filter_map(|raft_id| Some(view.membership.members.get(raft_id)?.node_id))
        .collect();
    absent.sort_unstable();
    let living = left.len() - absent.len();
    if state.voters.len() > left.len() && living < left.len() / 2 + 1 {
        return RemoveStep::Refused(format!(
            "without node {node_id} the quorum would have {} voters, and of these {absent:?} do not answer or have not caught up: there would be no majority",
            left.len()
        ));
    }
    if leaving.contains(&view.raft_id) {
        return RemoveStep::IsLeader;
    }
    let change = MembershipChange {
        members: Vec::new(),
        retired: vec![node_id],
    };
    let remove = |raft_id: u64| single(ConfChangeType::RemoveNode, raft_id);
    let mut changes: Vec<ConfChangeSingle> = leaving.into_iter().map(remove).collect();
    if changes.is_empty() {
        // It may be about to join. Raft takes no change of nothing, and passes over nobody.
        changes.push(remove(INVALID_ID));
    }
    RemoveStep::Propose(change.with(changes))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::raft_id;
    use crate::kafka_uuid::KafkaUuid;
    use crate::status::Member;

    fn member(node_id: i32) -> Member {
        let directory_id = KafkaUuid::random();
        Member {
            raft_id: raft_id(node_id, &directory_id),
            node_id,
            directory_id,
            address: format!("h{node_id}:1"),
        }
    }

    struct Group {
        membership: Membership,
        conf_state: ConfState,
        change_pending: bool,
        leader: u64,
        living: BTreeSet<u64>,
    }

    impl Group {
        /// Node ids from 1000 on, the first one leads, all live.
        fn of(count: i32) -> Self {
            let members: Vec<Member> = (1000..1000 + count).map(member).collect();
            let leader = members[0].raft_id;
            let membership = Membership::founding(members);
            Self {
                conf_state: membership.founding_conf_state(),
                change_pending: false,
                leader,
                living: membership.members.keys().copied().collect(),
                membership,
            }
        }

        fn id(&self, node_id: i32) -> u64 {
            self.membership.raft_ids_of(node_id).next().unwrap()
        }

        fn step(&self, node_id: i32) -> RemoveStep {
            let view = LeaveView {
                conf_state: &self.conf_state,
                membership: &self.membership,
                change_pending: self.change_pending,
                raft_id: self.leader,
                living: &self.living,
            };
            next_remove_step(&view, node_id)
        }
    }

    fn removed(step: &RemoveStep) -> Vec<u64> {
        let RemoveStep::Propose(change) = step else {
            panic!("{step:?}")
        };
        let changes = change.changes.iter();
        changes
            .inspect(|one| assert_eq!(one.get_change_type(), ConfChangeType::RemoveNode))
            .map(|one| one.node_id)
            .collect()
    }

    fn refusal(step: RemoveStep) -> String {
        match step {
            RemoveStep::Refused(why) => why,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_voter_leaves_and_its_node_stays_out() {
        let mut group = Group::of(3);
        let leaves = group.id(1002);
        group.change_pending = true;
        assert_eq!(group.step(1002), RemoveStep::Wait);
        group.change_pending = false;
        let step = group.step(1002);
        assert_eq!(removed(&step), [leaves]);
        let RemoveStep::Propose(change) = step else {
            unreachable!()
        };
        let change = MembershipChange::of(&change).unwrap();
        assert_eq!(change.retired, [1002]);
        group.conf_state.voters.retain(|id| *id != leaves);
        group.membership.apply(9, change, &group.conf_state);
        assert!(group.membership.is_removed(leaves));
        assert_eq!(group.membership.retired, BTreeSet::from([1002]));
        assert_eq!(
            Membership::from_wire(group.membership.to_wire()),
            Some(group.membership.clone())
        );
        assert_eq!(group.step(1002), RemoveStep::Done, "asked again");
        // Never there, and perhaps about to be.
        assert_eq!(removed(&group.step(1077)), [INVALID_ID]);
        group.membership.retired.extend(2000..2255);
        assert!(refusal(group.step(1077)).contains("256 nodes"));
        assert_eq!(removed(&group.step(1001)), [group.id(1001)]);
    }

    #[test]
    fn who_is_left_must_have_a_majority_that_lives() {
        let mut group = Group::of(3);
        let (second, third) = (group.id(1001), group.id(1002));
        group.living.remove(&second);
        assert!(refusal(group.step(1002)).contains("[1001] do not answer"));
        // The one that is dead may go: the two that are left live.
        assert_eq!(removed(&group.step(1001)), [second]);
        group.living.remove(&third);
        assert!(refusal(group.step(1001)).contains("no majority"));

        let mut group = Group::of(5);
        for node_id in [1001, 1004] {
            let id = group.id(node_id);
            group.living.remove(&id);
        }
        assert_eq!(removed(&group.step(1004)), [group.id(1004)]);
        // Of 1000 to 1003 without 1003: one is dead, two are a majority of three.
        assert!(refusal(group.step(1003)).contains("[1001, 1004]"));
    }

    #[test]
    fn the_last_voter_stays_and_the_leader_goes_last() {
        assert!(refusal(Group::of(1).step(1000)).contains("the only voter"));
        assert_eq!(Group::of(3).step(1000), RemoveStep::IsLeader);
    }

    #[test]
    fn a_learner_may_go_at_any_time() {
        let mut group = Group::of(3);
        let learner = member(1003);
        group.conf_state.learners.push(learner.raft_id);
        let change = MembershipChange {
            members: vec![learner.clone()],
            retired: Vec::new(),
        };
        group.membership.apply(7, change, &group.conf_state);
        group.living = BTreeSet::from([group.leader]);
        assert_eq!(removed(&group.step(1003)), [learner.raft_id]);
        // It has come half way in the place of another volume of its node.
        group.conf_state.voters_outgoing = group.conf_state.voters.clone();
        assert_eq!(
            removed(&group.step(1003)),
            [0_u64; 0],
            "leave the joint half"
        );
    }
}
