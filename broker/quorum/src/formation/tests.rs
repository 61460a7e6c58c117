use super::*;
use crate::status::Member;

fn view(node_id: i32) -> PeerView {
    PeerView {
        node_id,
        directory_id: KafkaUuid::from_slice(&u128::try_from(node_id).unwrap().to_be_bytes())
            .unwrap(),
        cluster_id: None,
        configured: vec![1000, 1001, 1002],
        membership: None,
    }
}

fn membership(index: u64, views: &[&PeerView]) -> Membership {
    let members = views.iter().map(|view| Member {
        raft_id: view.raft_id(),
        node_id: view.node_id,
        directory_id: view.directory_id,
        address: String::new(),
    });
    Membership {
        index,
        ..Membership::founding(members)
    }
}

fn formed(mut view: PeerView, cluster_id: &str, membership: &Membership) -> PeerView {
    view.cluster_id = Some(cluster_id.into());
    view.membership = Some(membership.clone());
    view
}

fn peers<'a>(views: impl IntoIterator<Item = &'a PeerView>) -> BTreeMap<i32, PeerView> {
    views
        .into_iter()
        .map(|view| (view.node_id, view.clone()))
        .collect()
}

fn waits_for(action: &Action, reason: &str) {
    assert!(
        matches!(action, Action::Wait(why) if why.contains(reason)),
        "{action:?}"
    );
}

#[test]
fn one_controller_founds_alone() {
    let mut me = view(1000);
    me.configured = vec![1000];
    assert_eq!(decide(&me, &BTreeMap::new()), Action::Found);
}

#[test]
fn only_the_lowest_founds_and_only_when_all_are_there_and_empty() {
    let [low, middle, high] = [view(1000), view(1001), view(1002)];
    assert_eq!(decide(&low, &peers([&middle, &high])), Action::Found);
    waits_for(&decide(&middle, &peers([&low, &high])), "node 1000 founds");
    waits_for(&decide(&low, &peers([&middle])), "[1002] have not answered");
    waits_for(&decide(&low, &BTreeMap::new()), "[1001, 1002]");

    let mut lost = high.clone();
    lost.cluster_id = Some("old".into());
    waits_for(&decide(&low, &peers([&middle, &lost])), "cluster old");
    waits_for(&decide(&lost, &peers([&low, &middle])), "cluster old");

    let mut alone = high;
    alone.configured = vec![1002];
    waits_for(&decide(&low, &peers([&middle, &alone])), "differs");
}

#[test]
fn a_founder_adopts_the_founding_however_often_it_was_interrupted() {
    let [low, middle, high] = [view(1000), view(1001), view(1002)];
    let founding = membership(FOUNDING_INDEX, &[&low, &middle, &high]);
    let founder = formed(low.clone(), "C", &founding);
    let adopt = Action::Adopt {
        cluster_id: "C".into(),
        membership: founding.clone(),
    };
    // The others in any state: silent, empty, or founded already.
    assert_eq!(decide(&high, &peers([&founder])), adopt);
    assert_eq!(decide(&high, &peers([&founder, &middle])), adopt);
    let second = formed(middle, "C", &founding);
    assert_eq!(decide(&high, &peers([&second])), adopt);
    // The founder lost its disk at once: it is another volume now, and enters what it founded.
    let mut wiped = low;
    wiped.directory_id = KafkaUuid::random();
    assert_eq!(
        decide(&wiped, &peers([&second])),
        Action::Enter {
            cluster_id: "C".into()
        }
    );
}

#[test]
fn an_empty_disk_never_founds_beside_a_quorum() {
    let [low, middle, high] = [view(1000), view(1001), view(1002)];
    let mut wiped = low.clone();
    wiped.directory_id = KafkaUuid::random();
    let grown = membership(99, &[&low, &middle, &high]);
    let enter = Action::Enter {
        cluster_id: "C".into(),
    };
    assert_eq!(
        decide(&wiped, &peers([&formed(middle.clone(), "C", &grown)])),
        enter
    );
    // It was a founder; but the membership has changed since, and only the leader knows what it is.
    assert_eq!(
        decide(&low, &peers([&formed(middle.clone(), "C", &grown)])),
        enter
    );

    let two = [formed(middle, "C", &grown), formed(high, "D", &grown)];
    waits_for(&decide(&wiped, &peers(&two)), "several clusters");
}

#[test]
fn the_majority_says_which_cluster_this_is() {
    let [low, middle, high] = [view(1000), view(1001), view(1002)];
    let founding = membership(FOUNDING_INDEX, &[&low, &middle, &high]);
    let good = [formed(low, "C", &founding), formed(middle, "C", &founding)];
    let foreign = formed(high.clone(), "D", &membership(FOUNDING_INDEX, &[&high]));
    let refusal = Refusal::WrongCluster {
        found: "D".into(),
        expected: "C".into(),
        peers: vec![1000, 1001],
    };
    assert_eq!(
        decide_running(&foreign, &peers(&good), true),
        RunningAction::Refuse(refusal.clone())
    );
    assert!(has_all_configured(&good[0]));
    assert!(
        !has_all_configured(&foreign),
        "it leads itself and must go on asking"
    );
    let mut lost = foreign.clone();
    lost.membership = None;
    assert_eq!(decide(&lost, &peers(&good)), Action::Refuse(refusal));
    // One of two cannot tell who is wrong, and the good ones are not stopped by the foreign one.
    assert_eq!(
        decide_running(&foreign, &peers(&good[..1]), true),
        RunningAction::Rest
    );
    assert_eq!(
        decide_running(&good[0], &peers([&foreign]), true),
        RunningAction::Rest
    );
}

#[test]
fn a_volume_that_was_replaced_refuses() {
    let [low, middle, high] = [view(1000), view(1001), view(1002)];
    let mut new_high = high.clone();
    new_high.directory_id = KafkaUuid::random();
    let founding = membership(FOUNDING_INDEX, &[&low, &middle, &high]);
    let later = membership(50, &[&low, &middle, &new_high]);
    let old = formed(high.clone(), "C", &founding);
    let peer = formed(low.clone(), "C", &later);
    assert_eq!(
        decide_running(&old, &peers([&peer]), true),
        RunningAction::Refuse(Refusal::Removed {
            cluster_id: "C".into(),
            node_id: 1002,
            directory_id: high.directory_id,
        })
    );
    // A peer that is behind proves nothing.
    let new = formed(new_high, "C", &later);
    let behind = formed(low, "C", &founding);
    assert_eq!(
        decide_running(&new, &peers([&behind]), true),
        RunningAction::Rest
    );
    // One that does not vote yet asks to.
    assert_eq!(
        decide_running(&new, &peers([&peer]), false),
        RunningAction::Join
    );
}

#[test]
fn a_quorum_that_is_there_is_entered_whatever_its_members_are_configured_with() {
    let [low, new, other] = [view(1000), view(1001), view(1002)];
    let mut alone = formed(low.clone(), "C", &membership(FOUNDING_INDEX, &[&low]));
    alone.configured = vec![1000];
    let enter = Action::Enter {
        cluster_id: "C".into(),
    };
    assert_eq!(decide(&new, &peers([&alone, &other])), enter);
    // While it does not answer, nobody founds another one: it is not the new ones' to do, and they wait for it.
    waits_for(&decide(&new, &peers([&other])), "[1000] have not answered");
    let grown = formed(low.clone(), "C", &membership(7, &[&low, &other]));
    assert_eq!(decide(&new, &peers([&grown])), enter);
}

#[test]
fn a_quorum_of_one_whose_configuration_names_more_goes_on() {
    let [low, new, other] = [view(1000), view(1001), view(1002)];
    let alone = formed(low.clone(), "C", &membership(FOUNDING_INDEX, &[&low]));
    for round in [peers([]), peers([&new, &other])] {
        assert_eq!(decide_running(&alone, &round, true), RunningAction::Rest);
    }
    assert!(!has_all_configured(&alone));
    // Its volume is gone: whatever the new ones say of their disks, it does not found beside what it was.
    let mut lost = low.clone();
    lost.directory_id = KafkaUuid::random();
    lost.cluster_id = Some("C".into());
    waits_for(&decide(&lost, &peers([&new, &other])), "cluster C");
    let entered = formed(new.clone(), "C", &membership(7, &[&low, &new, &other]));
    assert_eq!(
        decide(&lost, &peers([&entered])),
        Action::Enter {
            cluster_id: "C".into()
        }
    );
}

#[test]
fn who_was_removed_stays_out() {
    let [low, middle, high] = [view(1000), view(1001), view(1002)];
    let founding = membership(FOUNDING_INDEX, &[&low, &middle, &high]);
    let mut later = membership(50, &[&low, &middle]);
    later.retired = [1002].into();
    later.removed = vec![high.raft_id()];
    let peer = formed(low.clone(), "C", &later);
    // It has not heard of it, or has.
    for mine in [&founding, &later] {
        let me = formed(high.clone(), "C", mine);
        assert_eq!(
            decide_running(&me, &peers([&peer]), mine == &founding),
            RunningAction::StayOut
        );
    }
    let heard_of_it = formed(high.clone(), "C", &later);
    assert_eq!(
        decide_running(&heard_of_it, &peers([]), false),
        RunningAction::StayOut
    );
    assert!(has_all_configured(&peer), "nobody asks for it any more");
    // It was let in again with another volume: this one is of no use.
    let mut new_high = high;
    new_high.directory_id = KafkaUuid::random();
    let back = formed(low, "C", &membership(60, &[&middle, &new_high]));
    assert!(matches!(
        decide_running(&heard_of_it, &peers([&back]), false),
        RunningAction::Refuse(Refusal::Removed { .. })
    ));
    // One that is about to join knows the membership, and is not in it.
    let joining = formed(new_high, "C", &later);
    assert_eq!(
        decide_running(&joining, &peers([&peer]), false),
        RunningAction::Join
    );
}

#[test]
fn views_survive_the_wire() {
    let [low, middle] = [view(1000), view(1001)];
    let founding = membership(FOUNDING_INDEX, &[&low, &middle]);
    for view in [low.clone(), formed(low, "C", &founding)] {
        assert_eq!(PeerView::from_wire(view.to_wire()), Some(view));
    }
    let mut malformed = middle.to_wire();
    malformed.directory_id = vec![1, 2].into();
    assert_eq!(PeerView::from_wire(malformed), None);
}

#[test]
fn a_majority_that_is_not_there_is_told_by_name() {
    let [low, middle, high] = [view(1000), view(1001), view(1002)];
    let status = |view: &PeerView, is_voter: bool| MemberStatus {
        member: Member {
            raft_id: view.raft_id(),
            node_id: view.node_id,
            directory_id: view.directory_id,
            address: String::new(),
        },
        is_voter,
        matched: None,
        is_active: None,
    };
    let learner = view(1003);
    let members = [
        status(&high, true),
        status(&middle, true),
        status(&low, true),
        status(&learner, false),
    ];
    let answered = |views: &[&PeerView]| views.iter().map(|view| view.raft_id()).collect();
    assert_eq!(no_majority(&members, &answered(&[&low, &high])), None);
    let mut emptied = view(1001);
    emptied.directory_id = KafkaUuid::random();
    for there in [&[&low][..], &[&low, &learner, &emptied]] {
        assert_eq!(
            no_majority(&members, &answered(there)).unwrap(),
            "of 3 voters [1001, 1002] do not answer, or not with the volume that votes: there is no majority"
        );
    }
    // A half is none.
    assert!(no_majority(&members[..2], &answered(&[&high])).is_some());
    assert_eq!(no_majority(&members[..1], &answered(&[&high])), None);
}
