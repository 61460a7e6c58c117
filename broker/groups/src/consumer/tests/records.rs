use super::harness::*;
use crate::consumer::{ConsumerGroupState, ConsumerRecord, MemberState};

#[test]
fn deadlines_are_there_again_after_a_restart() {
    let mut harness = Harness::new();
    let mut log = harness.beat(&join("a", &["orders"])).unwrap().records;
    harness.advance(1_000);
    log.extend(harness.beat(&join("b", &["orders"])).unwrap().records);
    log.extend(harness.beat(&request("a", 1)).unwrap().records);
    let before = harness.group.clone();
    harness.restart(&log);
    assert!(harness.group == before);
    assert_eq!(
        harness.group.members()["a"].current.state,
        MemberState::UnrevokedPartitions
    );
    assert_eq!(harness.advance(3_000).len(), 1);
    assert_eq!(harness.advance(7_000).len(), 1);
    assert_eq!(harness.group.state(), ConsumerGroupState::Empty);
}

#[test]
fn tombstones_leave_nothing_of_a_group() {
    let mut harness = two_members();
    let tombstones = harness.group.tombstones();
    // They may be all that is left in the log.
    for _ in 0..2 {
        for record in &tombstones {
            harness.group.apply(record);
        }
        assert!(harness.group.is_unused());
        assert!(harness.group == replayed(&[]));
    }
}

#[test]
fn a_member_of_a_state_from_the_future_starts_anew() {
    let mut harness = two_members();
    let mut current = harness.group.members()["a"].current.clone();
    current.state = MemberState::Unknown;
    harness.group.apply(&ConsumerRecord::Current {
        member_id: "a".into(),
        assignment: Some(current),
    });
    assert_eq!(harness.refused(&request("a", 2)), FENCED_MEMBER_EPOCH);
    let response = harness.ok(&join("a", &["orders"]));
    assert_eq!(told(&response), Some(orders(&[0, 1])));
    assert_eq!(harness.group.state(), ConsumerGroupState::Stable);
}

#[test]
fn a_member_that_goes_leaves_tombstones() {
    let mut harness = two_members();
    let records = harness.beat(&request("a", -1)).unwrap().records;
    let member_id = || "a".into();
    let [
        ConsumerRecord::Current {
            member_id: of_current,
            assignment: None,
        },
        ConsumerRecord::Target {
            member_id: of_target,
            partitions: None,
        },
        ConsumerRecord::Member {
            member_id: of_member,
            metadata: None,
        },
        ConsumerRecord::Epoch(Some(_)),
    ] = &records[..]
    else {
        panic!("{records:?}")
    };
    assert_eq!([of_current, of_target, of_member], [&member_id(); 3]);
}

/// A log that was compacted in part still has what a member had before another got it.
#[test]
fn replay_does_not_take_a_partition_from_who_got_it_later() {
    let mut harness = two_members();
    let current = |harness: &Harness, member_id: &str| ConsumerRecord::Current {
        member_id: member_id.into(),
        assignment: Some(harness.group.members()[member_id].current.clone()),
    };
    let of_b = current(&harness, "b");
    let of_a = current(&harness, "a");
    let mut had = harness.group.members()["b"].current.clone();
    had.epoch = 1;
    for record in [
        ConsumerRecord::Current {
            member_id: "a".into(),
            assignment: Some(had),
        },
        of_b,
        of_a,
    ] {
        harness.group.apply(&record);
    }
    let topic_id = *harness.group.target("b").unwrap().keys().next().unwrap();
    assert_eq!(
        harness.group.owner(&topic_id, 2).map(|owner| &**owner),
        Some("b")
    );
    assert_eq!(
        harness.group.owner(&topic_id, 0).map(|owner| &**owner),
        Some("a")
    );
}
