use foz_groups::{Request, Response};

use crate::harness::*;

const RETENTION_MS: i64 = 7 * 24 * 60 * 60 * 1_000;

fn expire(harness: &mut Harness) {
    let effects = harness.coordinator.expire_offsets(harness.now);
    harness.absorb(effects);
}

fn topics(harness: &mut Harness) -> Vec<String> {
    harness
        .offsets()
        .into_iter()
        .map(|(topic, _, _)| topic)
        .collect()
}

#[test]
fn offsets_of_a_consumer_that_assigns_itself_age_from_their_commit() {
    let mut harness = Harness::new();
    assert_eq!(harness.commit("", -1, "old", 1), 0);
    harness.advance(RETENTION_MS / 2);
    assert_eq!(harness.commit("", -1, "young", 1), 0);
    harness.advance(RETENTION_MS / 2 - 1);
    expire(&mut harness);
    assert_eq!(topics(&mut harness), ["old", "young"]);
    harness.advance(1);
    expire(&mut harness);
    assert_eq!(topics(&mut harness), ["young"]);
    assert_eq!(harness.state(), "Empty");
    harness.advance(RETENTION_MS);
    expire(&mut harness);
    for _ in 0..2 {
        assert_eq!(harness.state(), "Dead");
        assert_eq!(harness.offsets(), []);
        harness.restart();
    }
    let before = harness.log.len();
    expire(&mut harness);
    assert_eq!(harness.log.len(), before, "nothing is left to expire");
}

#[test]
fn offsets_of_a_group_age_from_when_it_became_empty() {
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 1), 0);
    for _ in 0..1_000 {
        harness.advance(RETENTION_MS / 500);
        harness.coordinator.on_timer(harness.now);
        expire(&mut harness);
    }
    // The member timed out long ago, and with it the group and its offsets.
    assert_eq!(harness.state(), "Dead");

    let mut harness = Harness::new();
    let ids = harness.stable(1);
    assert_eq!(harness.commit(&ids[0], 1, "orders", 1), 0);
    for _ in 0..20 {
        harness.advance(9_000);
        assert_eq!(harness.heartbeat(&ids[0], 1), 0);
    }
    assert_eq!(harness.leave(&ids[0]), 0);
    harness.restart();
    harness.advance(RETENTION_MS - 1);
    expire(&mut harness);
    assert_eq!(topics(&mut harness), ["orders"]);
    harness.advance(1);
    expire(&mut harness);
    assert_eq!(harness.state(), "Dead");
}

#[test]
fn a_living_group_loses_only_topics_it_no_longer_reads() {
    let mut harness = Harness::new();
    let session = |id: &str| join_request(id).with_session_timeout_ms(1_800_000);
    let waiter = harness.send(3, Request::JoinGroup(session("")));
    harness.advance(3_000);
    let id = harness.joined(waiter).member_id.to_string();
    harness.sync(&id, 1, &[]);
    assert_eq!(harness.commit(&id, 1, "orders", 1), 0);
    assert_eq!(harness.commit(&id, 1, "former", 1), 0);
    for _ in 0..400 {
        harness.advance(RETENTION_MS / 399);
        assert_eq!(harness.heartbeat(&id, 1), 0);
    }
    expire(&mut harness);
    assert_eq!(topics(&mut harness), ["orders"]);
    assert_eq!(harness.state(), "Stable");
}

#[test]
fn a_retention_that_the_commit_names_counts() {
    let mut harness = Harness::new();
    let mut request = commit_request("", -1, "orders", 1).with_retention_time_ms(5_000);
    request.topics[0].partitions[0].committed_leader_epoch = -1;
    harness.call(2, Request::OffsetCommit(request));
    harness.restart();
    harness.advance(4_999);
    expire(&mut harness);
    assert_eq!(topics(&mut harness), ["orders"]);
    harness.advance(1);
    expire(&mut harness);
    assert_eq!(harness.state(), "Dead");
}

#[test]
fn an_offset_that_is_being_written_does_not_expire() {
    let mut harness = Harness::new();
    assert_eq!(harness.commit("", -1, "orders", 1), 0);
    harness.advance(RETENTION_MS);
    harness.confirms = false;
    let waiter = harness.send(
        9,
        Request::OffsetCommit(commit_request("", -1, "orders", 2)),
    );
    expire(&mut harness);
    while harness.confirm() {}
    assert!(matches!(harness.take(waiter), Response::OffsetCommit(_)));
    harness.restart();
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 2)]);
}

#[test]
fn a_group_that_someone_is_about_to_join_stays() {
    let mut harness = Harness::new();
    let id = harness.member_id(join_request(""));
    expire(&mut harness);
    let waiter = harness.join(join_request(&id));
    harness.advance(3_000);
    assert_eq!(harness.joined(waiter).error_code, 0);
}

#[test]
fn offsets_go_with_their_topic() {
    let mut harness = Harness::new();
    assert_eq!(harness.commit("", -1, "orders", 1), 0);
    assert_eq!(harness.commit("", -1, "other", 1), 0);
    let committed = harness.coordinator.committed_topics();
    assert_eq!(Vec::from_iter(committed), ["orders", "other"]);
    harness.confirms = false;
    let other_group = commit_request("", -1, "orders", 1).with_group_id(group_id("second"));
    harness.send(9, Request::OffsetCommit(other_group));
    let effects = harness
        .coordinator
        .on_topics_deleted(&["orders", "unheard-of"], harness.now);
    harness.absorb(effects);
    while harness.confirm() {}
    harness.restart();
    assert_eq!(topics(&mut harness), ["other"]);
    // Only the name of the second group is left of it.
    assert!(harness.log.iter().any(|record| record.value.is_none()));
}

#[test]
fn many_removals_come_in_bounded_batches() {
    let mut harness = Harness::new();
    let mut request = commit_request("", -1, "orders", 1);
    let partition = request.topics[0].partitions[0].clone();
    request.topics[0].partitions = (0..5_000)
        .map(|index| partition.clone().with_partition_index(index))
        .collect();
    harness.call(9, Request::OffsetCommit(request));
    for group in 0..2_500 {
        let simple = commit_request("", -1, "t", 1).with_group_id(group_id(&format!("g{group}")));
        harness.call(9, Request::OffsetCommit(simple));
    }
    harness.advance(RETENTION_MS);
    harness.confirms = false;
    expire(&mut harness);
    assert!(harness.pending.len() >= 5);
    assert!(
        harness
            .pending
            .iter()
            .all(|(_, records)| records.len() <= 2_001)
    );
    while harness.confirm() {}
    assert_eq!(harness.offsets(), []);
    // The large group itself goes with the next check.
    assert_eq!(harness.state(), "Empty");
    harness.confirms = true;
    expire(&mut harness);
    assert_eq!(harness.state(), "Dead");
    assert_eq!(
        harness
            .coordinator
            .counts()
            .classic(foz_groups::GroupState::Empty),
        0
    );
}
