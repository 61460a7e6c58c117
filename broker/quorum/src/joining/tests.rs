use super::*;
use crate::identity::raft_id;
use crate::kafka_uuid::KafkaUuid;

fn member(node_id: i32) -> Member {
    let directory_id = KafkaUuid::random();
    Member {
        raft_id: raft_id(node_id, &directory_id),
        node_id,
        directory_id,
        address: format!("h{node_id}:1"),
    }
}

fn kinds(step: &JoinStep) -> Vec<(ConfChangeType, u64)> {
    let JoinStep::Propose(change) = step else {
        panic!("{step:?}")
    };
    let changes = change.changes.iter();
    changes
        .map(|one| (one.get_change_type(), one.node_id))
        .collect()
}

const CONFIGURED: [i32; 3] = [1000, 1001, 1002];

fn asks(member: &Member) -> Joining<'_> {
    Joining {
        member,
        configured: &CONFIGURED,
        renew: false,
    }
}

/// The group, in which everybody holds up to `matched` of 1,000 entries.
struct Group {
    membership: Membership,
    state: ConfState,
    change_pending: bool,
    matched: Option<u64>,
    asking: BTreeMap<i32, u64>,
}

impl Group {
    fn of(founders: &[Member]) -> Self {
        let membership = Membership::founding(founders.to_vec());
        Self {
            state: membership.founding_conf_state(),
            membership,
            change_pending: false,
            matched: None,
            asking: BTreeMap::new(),
        }
    }

    fn step(&self, joining: Joining<'_>) -> JoinStep {
        let everybody = self.membership.members.keys();
        let matched = everybody
            .filter_map(|id| Some((*id, self.matched?)))
            .collect();
        let view = JoinView {
            conf_state: &self.state,
            membership: &self.membership,
            change_pending: self.change_pending,
            committed: 1000,
            matched: &matched,
            asking: &self.asking,
        };
        next_join_step(&view, joining)
    }

    fn judge(&self, readmitted: &[i32], joining: Joining<'_>) -> JoinAnswer {
        let readmitted = readmitted.iter().copied().collect();
        judge(&self.membership, &self.state, &readmitted, joining)
    }

    /// It takes the step and learns of it.
    fn becomes_learner(&mut self, joining: &Member) {
        let JoinStep::Propose(change) = self.step(asks(joining)) else {
            panic!("{joining:?}")
        };
        let kind = (ConfChangeType::AddLearnerNode, joining.raft_id);
        assert_eq!(kinds(&JoinStep::Propose(change.clone())), [kind]);
        let change = MembershipChange::of(&change).unwrap();
        assert_eq!(change.members, std::slice::from_ref(joining));
        self.state.learners.push(joining.raft_id);
        self.asking.insert(joining.node_id, joining.raft_id);
        let index = self.membership.index + 1;
        self.membership.apply(index, change, &self.state);
    }
}

#[test]
fn a_wiped_controller_becomes_a_learner_then_takes_its_old_place() {
    let founders = [member(1000), member(1001), member(1002)];
    let mut group = Group::of(&founders);
    let joining = member(1001);
    group.change_pending = true;
    assert_eq!(group.step(asks(&joining)), JoinStep::Wait);
    group.change_pending = false;
    group.becomes_learner(&joining);
    assert_eq!(group.membership.members.len(), 4);
    for behind in [None, Some(0), Some(900)] {
        group.matched = behind;
        assert_eq!(group.step(asks(&joining)), JoinStep::Wait);
    }
    group.matched = Some(990);
    let (add, remove) = (ConfChangeType::AddNode, ConfChangeType::RemoveNode);
    assert_eq!(
        kinds(&group.step(asks(&joining))),
        [(remove, founders[1].raft_id), (add, joining.raft_id)]
    );

    group.state.learners.clear();
    group.state.voters_outgoing = group.state.voters.clone();
    group.state.voters = vec![founders[0].raft_id, founders[2].raft_id, joining.raft_id];
    let none = MembershipChange::default;
    group.membership.apply(8, none(), &group.state);
    assert!(
        !group.membership.is_removed(founders[1].raft_id),
        "it still votes in the old half"
    );
    assert_eq!(
        kinds(&group.step(asks(&joining))),
        [],
        "leave the joint half"
    );

    group.state.voters_outgoing.clear();
    group.membership.apply(9, none(), &group.state);
    assert!(group.membership.is_removed(founders[1].raft_id));
    assert_eq!(group.membership.members.len(), 3);
    assert_eq!(group.step(asks(&joining)), JoinStep::Done);
    assert_eq!(
        Membership::from_wire(group.membership.to_wire()),
        Some(group.membership)
    );
}

#[test]
fn one_becomes_three_in_one_step_and_never_two() {
    let first = member(1000);
    let mut group = Group::of(std::slice::from_ref(&first));
    let (second, third) = (member(1001), member(1002));
    group.becomes_learner(&second);
    group.matched = Some(1000);
    assert_eq!(group.step(asks(&second)), JoinStep::Wait, "it would be two");
    group.becomes_learner(&third);
    let add = ConfChangeType::AddNode;
    let step = group.step(asks(&third));
    assert_eq!(kinds(&step), [(add, third.raft_id), (add, second.raft_id)]);
    let JoinStep::Propose(change) = step else {
        unreachable!()
    };
    let members = MembershipChange::of(&change).unwrap().members;
    assert_eq!(members, [third.clone(), second.clone()]);
    // The other one does not answer.
    group.matched = Some(10);
    assert_eq!(group.step(asks(&third)), JoinStep::Wait);
    // Who is configured with two wants two.
    group.matched = Some(1000);
    group.state.learners.pop();
    let two = Joining {
        configured: &[1000, 1001],
        ..asks(&second)
    };
    assert_eq!(kinds(&group.step(two)), [(add, second.raft_id)]);
}

#[test]
fn a_volume_that_is_replaced_waits_for_nobody() {
    let founders = [member(1000), member(1001), member(1002)];
    let mut group = Group::of(&founders);
    let (new, replacing) = (member(1003), member(1002));
    group.becomes_learner(&new);
    group.becomes_learner(&replacing);
    group.matched = Some(1000);
    let (add, remove) = (ConfChangeType::AddNode, ConfChangeType::RemoveNode);
    assert_eq!(
        kinds(&group.step(asks(&replacing))),
        [(remove, founders[2].raft_id), (add, replacing.raft_id)]
    );
    // And is no fellow of one that is new.
    let five = Joining {
        configured: &[1000, 1001, 1002, 1003, 1004],
        ..asks(&new)
    };
    assert_eq!(group.step(five), JoinStep::Wait);
}

#[test]
fn a_volume_that_was_lost_on_the_way_is_nobodys_fellow() {
    let founders = [member(1000), member(1001), member(1002)];
    let mut group = Group::of(&founders);
    let (lost, new, other) = (member(1003), member(1003), member(1004));
    group.becomes_learner(&lost);
    group.becomes_learner(&other);
    // What it had counts as caught up: hardly anything was written since.
    group.matched = Some(1000);
    group.becomes_learner(&new);
    let (add, remove) = (ConfChangeType::AddNode, ConfChangeType::RemoveNode);
    let five = Joining {
        configured: &[1000, 1001, 1002, 1003, 1004],
        ..asks(&other)
    };
    assert_eq!(
        kinds(&group.step(five)),
        [
            (remove, lost.raft_id),
            (add, other.raft_id),
            (add, new.raft_id)
        ]
    );
    // A new leader waits until it has heard from the node itself.
    group.asking.clear();
    assert_eq!(group.step(five), JoinStep::Wait);
}

#[test]
fn who_is_overtaken_by_others_that_were_configured_later_is_welcome_still() {
    let first = member(1000);
    let mut group = Group::of(std::slice::from_ref(&first));
    let (second, third) = (member(1001), member(1002));
    group.becomes_learner(&second);
    for later in [member(1003), member(1004)] {
        group.state.voters.push(later.raft_id);
        let change = MembershipChange {
            members: vec![later],
            retired: Vec::new(),
        };
        group.membership.apply(7, change, &group.state);
    }
    for joining in [asks(&second), asks(&third)] {
        assert_eq!(group.judge(&[], joining), JoinAnswer::Welcome);
    }
    group.becomes_learner(&third);
    group.matched = Some(1000);
    let add = ConfChangeType::AddNode;
    assert_eq!(
        kinds(&group.step(asks(&third))),
        [(add, third.raft_id), (add, second.raft_id)]
    );
    // Not so one that takes the place of a voter, and did not begin to.
    group.state.learners.clear();
    group.state.voters.extend([second.raft_id, third.raft_id]);
    let replacing = member(1002);
    let JoinAnswer::Refused(why) = group.judge(&[], asks(&replacing)) else {
        panic!()
    };
    assert!(why.contains("[1003, 1004]"), "{why}");
    group.state.learners.push(replacing.raft_id);
    let change = MembershipChange {
        members: vec![replacing.clone()],
        retired: Vec::new(),
    };
    group.membership.apply(9, change, &group.state);
    assert_eq!(group.judge(&[], asks(&replacing)), JoinAnswer::Welcome);
}

#[test]
fn who_knows_all_voters_is_welcome() {
    let founders = [member(1000), member(1001)];
    let group = Group::of(&founders);
    let new = member(1002);
    assert_eq!(group.judge(&[], asks(&new)), JoinAnswer::Welcome);
    let stranger = Joining {
        configured: &[1000, 1002],
        ..asks(&new)
    };
    let JoinAnswer::Refused(why) = group.judge(&[], stranger) else {
        panic!()
    };
    assert!(
        why.contains("[1000, 1002]") && why.contains("[1001]"),
        "{why}"
    );
    let twin = Member {
        raft_id: founders[0].raft_id,
        ..member(1002)
    };
    let JoinAnswer::Refused(why) = group.judge(&[], asks(&twin)) else {
        panic!()
    };
    assert!(why.contains("same raft id"), "{why}");

    let many: Vec<Member> = (1000..1009).map(member).collect();
    let ids: Vec<i32> = (1000..1010).collect();
    let group = Group::of(&many);
    let tenth = member(1009);
    let tenth = Joining {
        configured: &ids,
        ..asks(&tenth)
    };
    let JoinAnswer::Refused(why) = group.judge(&[], tenth) else {
        panic!()
    };
    assert!(why.contains("at most 9"), "{why}");
}

#[test]
fn who_was_removed_stays_out_until_it_is_let_in_and_comes_back_under_another_id() {
    let founders = [member(1000), member(1001), member(1002)];
    let mut group = Group::of(&founders);
    let old = founders[2].clone();
    group.state.voters.retain(|id| *id != old.raft_id);
    let retired = MembershipChange {
        members: Vec::new(),
        retired: vec![1002],
    };
    group.membership.apply(5, retired, &group.state);
    let renews = Joining {
        renew: true,
        ..asks(&old)
    };
    let emptied = member(1002);
    for joining in [renews, asks(&old), asks(&emptied)] {
        let refused = JoinAnswer::Refused(removed_sentence(1002));
        assert_eq!(group.judge(&[], joining), refused);
        assert_eq!(group.judge(&[1003], joining), refused);
    }
    assert_eq!(group.judge(&[1002], renews), JoinAnswer::Renew);
    assert_eq!(group.judge(&[1002], asks(&old)), JoinAnswer::Renew);
    assert_eq!(group.judge(&[1002], asks(&emptied)), JoinAnswer::Welcome);
    group.becomes_learner(&emptied);
    assert!(group.membership.retired.is_empty());
    // It is in; its old volume is of no use any more.
    let JoinAnswer::Refused(why) = group.judge(&[], asks(&old)) else {
        panic!()
    };
    assert!(why.contains("another volume"), "{why}");
}
