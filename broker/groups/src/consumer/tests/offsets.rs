use kafka_protocol::ResponseError;

use super::harness::*;
use crate::consumer::CommitApi;

#[test]
fn commits_are_taken_from_who_has_the_partition() {
    let mut harness = two_members();
    let [topic_id] = *Vec::from_iter(orders(&[0]).into_keys()) else {
        panic!()
    };
    let commit = |harness: &Harness, version, member_id: &str, epoch, partition| {
        let api = CommitApi::OffsetCommit(version);
        let rule = harness.group.check_commit(api, member_id, None, epoch);
        let checked = rule.and_then(|rule| rule.check(&topic_id, partition));
        checked.map_or_else(|error| error.code(), |()| 0)
    };
    for (version, member_id, epoch, partition, code) in [
        (9, "a", 2, 0, 0),
        // At the newest epoch it may commit whatever it has read.
        (9, "a", 2, 3, 0),
        (9, "a", 3, 0, STALE_MEMBER_EPOCH),
        // Since epoch 1 it has had these.
        (9, "a", 1, 1, 0),
        (9, "a", 0, 1, STALE_MEMBER_EPOCH),
        (9, "a", 1, 2, STALE_MEMBER_EPOCH),
        (9, "b", 1, 2, STALE_MEMBER_EPOCH),
        (9, "b", 2, 2, 0),
        (8, "a", 2, 0, ResponseError::UnsupportedVersion.code()),
        (9, "c", 2, 0, UNKNOWN_MEMBER_ID),
        (9, "", -1, 0, UNKNOWN_MEMBER_ID),
    ] {
        let got = commit(&harness, version, member_id, epoch, partition);
        assert_eq!(got, code, "{version} {member_id} {epoch} {partition}");
    }
    // What is being revoked may be committed till it is.
    harness.advance(1_000);
    harness.ok(&join("c", &["orders"]));
    let losing = if told(&harness.ok(&request("a", 2))).is_some() {
        "a"
    } else {
        "b"
    };
    harness.ok(&request(losing, 2));
    let member = &harness.group.members()[losing];
    let pending = &member.current.pending_revocation[&topic_id];
    let (partition, since) = pending.first_key_value().unwrap();
    assert_eq!(commit(&harness, 9, losing, *since, *partition), 0);

    harness.advance(10_000);
    assert_eq!(commit(&harness, 9, "", -1, 0), 0);
    assert_eq!(commit(&harness, 9, "a", 2, 0), UNKNOWN_MEMBER_ID);
}

#[test]
fn offsets_are_told_to_members_of_the_right_epoch_and_to_tools() {
    let harness = two_members();
    for (member_id, epoch, code) in [
        (None, -1, 0),
        (Some("a"), 2, 0),
        (Some("a"), 1, STALE_MEMBER_EPOCH),
        (Some("a"), -1, STALE_MEMBER_EPOCH),
        (Some("c"), 2, UNKNOWN_MEMBER_ID),
        (None, 2, UNKNOWN_MEMBER_ID),
    ] {
        let checked = harness.group.check_fetch(member_id, epoch);
        let got = checked.map_or_else(|error| error.code(), |()| 0);
        assert_eq!(got, code, "{member_id:?} {epoch}");
    }
}

#[test]
fn producers_commit_for_members_or_for_nobody() {
    let harness = two_members();
    let [topic_id] = *Vec::from_iter(orders(&[0]).into_keys()) else {
        panic!()
    };
    for (member_id, instance_id, epoch, partition, code) in [
        ("", None, -1, 0, 0),
        ("", Some("i"), -1, 0, UNKNOWN_MEMBER_ID),
        ("", None, 2, 0, UNKNOWN_MEMBER_ID),
        ("c", None, -1, 0, UNKNOWN_MEMBER_ID),
        ("a", None, 2, 3, 0),
        ("a", None, 1, 1, 0),
        ("a", None, 1, 2, STALE_MEMBER_EPOCH),
        ("a", None, -1, 0, STALE_MEMBER_EPOCH),
        ("a", None, 3, 0, STALE_MEMBER_EPOCH),
    ] {
        let api = CommitApi::TxnOffsetCommit;
        let rule = harness
            .group
            .check_commit(api, member_id, instance_id, epoch);
        let checked = rule.and_then(|rule| rule.check(&topic_id, partition));
        let got = checked.map_or_else(|error| error.code(), |()| 0);
        assert_eq!(got, code, "{member_id} {instance_id:?} {epoch} {partition}");
    }
}
