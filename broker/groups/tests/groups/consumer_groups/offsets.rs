//! What members commit and fetch, and how long it stays.

use super::*;

#[test]
fn members_commit_and_fetch_with_their_epoch() {
    let mut harness = harness();
    assert_eq!(epoch(&mut harness, join("a")), 1);
    assert_eq!(harness.commit("a", 1, "orders", 7), 0);
    assert_eq!(harness.commit("a", 2, "orders", 8), STALE);
    assert_eq!(harness.commit("b", 1, "orders", 8), UNKNOWN_MEMBER);
    assert_eq!(harness.commit("", -1, "orders", 8), UNKNOWN_MEMBER);
    let old = commit_request("a", 1, "orders", 8);
    let Response::OffsetCommit(response) = harness.call(8, Request::OffsetCommit(old)) else {
        panic!("no answer")
    };
    let refused = response.topics[0].partitions[0].error_code;
    assert_eq!(refused, ResponseError::UnsupportedVersion.code());

    harness.advance(1_000);
    assert_eq!(epoch(&mut harness, join("b")), 2);
    // One of its two partitions is to be revoked, at epoch 1; then it is at 2.
    assert_eq!(epoch(&mut harness, request("a", 1)), 1);
    assert_eq!(harness.commit("a", 1, "orders", 8), 0);
    assert_eq!(epoch(&mut harness, owning("a", 1, &[0])), 2);
    // It has had partition 0 since epoch 1 (KIP-1251), and never had the other topic.
    assert_eq!(harness.commit("a", 1, "orders", 9), 0);
    assert_eq!(harness.commit("a", 1, "other", 9), STALE);
    assert_eq!(harness.commit("a", 1, "unheard-of", 9), STALE);
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 9)]);

    for (member_id, epoch, expected) in [
        (Some("a"), 2, 0),
        (Some("a"), 1, STALE),
        (Some("c"), 2, UNKNOWN_MEMBER),
        (None, -1, 0),
        (None, 2, UNKNOWN_MEMBER),
    ] {
        assert_eq!(fetched(&mut harness, member_id, epoch), expected);
    }
}

/// Whether the member's epoch is the right one is known when its change is committed.
#[test]
fn a_member_fetches_after_its_change_is_committed() {
    let mut harness = harness();
    harness.confirms = false;
    send(&mut harness, join("a"));
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(GROUP))
        .with_member_id(Some(text("a")))
        .with_member_epoch(1);
    let request = OffsetFetchRequest::default().with_groups(vec![group]);
    let fetching = harness.send(9, Request::OffsetFetch(request));
    assert!(harness.is_open(fetching));
    harness.confirm();
    assert!(!harness.is_open(fetching));
}

#[test]
fn offsets_of_subscribed_topics_stay() {
    let mut harness = harness();
    assert_eq!(epoch(&mut harness, join("a")), 1);
    for topic in ["orders", "other"] {
        assert_eq!(harness.commit("a", 1, topic, 7), 0);
    }
    let of = |topic: &str| {
        OffsetDeleteRequestTopic::default()
            .with_name(TopicName(text(topic)))
            .with_partitions(vec![OffsetDeleteRequestPartition::default()])
    };
    let request = OffsetDeleteRequest::default()
        .with_group_id(group_id(GROUP))
        .with_topics(vec![of("orders")]);
    let Response::OffsetDelete(response) = harness.call(0, Request::OffsetDelete(request)) else {
        panic!("no answer")
    };
    let subscribed = ResponseError::GroupSubscribedToTopic.code();
    assert_eq!(response.topics[0].partitions[0].error_code, subscribed);

    // Seven days later.
    let week_ms = 7 * 24 * 60 * 60 * 1_000;
    harness.now.wall_ms += week_ms;
    let effects = harness.coordinator.expire_offsets(harness.now);
    harness.absorb(effects);
    assert_eq!(harness.offsets(), [("orders".to_owned(), 0, 7)]);
    assert_eq!(epoch(&mut harness, request_to_leave()), -1);
    let effects = harness.coordinator.expire_offsets(harness.now);
    harness.absorb(effects);
    for _ in 0..2 {
        assert_eq!(harness.offsets(), []);
        assert_eq!(listed(&mut harness, &[], &[]), []);
        harness.restart();
    }
}
