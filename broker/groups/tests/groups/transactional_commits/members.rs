//! For whom offsets are committed.

use super::*;

#[test]
fn members_of_classic_groups_are_checked() {
    let mut harness = Harness::new();
    let mut refused = |request: TxnOffsetCommitRequest| commit(&mut harness, VERSION, request);
    let request = || txn_commit(ONE, "orders", 8);
    assert_eq!(
        refused(request().with_generation_id(0)),
        ILLEGAL_GENERATION,
        "there is no group"
    );
    let invalid = ResponseError::InvalidGroupId.code();
    assert_eq!(refused(request().with_group_id(group_id(""))), invalid);
    let long = "g".repeat(40_000);
    assert_eq!(refused(request().with_group_id(group_id(&long))), invalid);
    assert_eq!(harness.log, []);

    let ids = harness.stable(2);
    let of = |id: &str, generation: i32| {
        request()
            .with_member_id(text(id))
            .with_generation_id(generation)
    };
    let fenced = |id: &str| of(id, 1).with_group_instance_id(Some(text("nobody")));
    for (request, expected) in [
        (of(&ids[0], 1), NONE),
        (of(&ids[0], 0), ILLEGAL_GENERATION),
        (of(&ids[0], 2), ILLEGAL_GENERATION),
        (of(&ids[0], -1), ILLEGAL_GENERATION),
        (of("nobody", 1), UNKNOWN_MEMBER),
        (of("", 1), UNKNOWN_MEMBER),
        (fenced(&ids[0]), UNKNOWN_MEMBER),
        // A producer of version 2 names nobody.
        (request(), NONE),
    ] {
        assert_eq!(
            commit(&mut harness, VERSION, request.clone()),
            expected,
            "{request:?}"
        );
    }
    // In a rebalance, too: until it is over the offset is told to nobody.
    harness.join(join_request(&ids[0]).with_protocols(protocols(&["range", "sticky"])));
    assert_eq!(commit(&mut harness, VERSION, of(&ids[1], 1)), NONE);
}

#[test]
fn the_second_process_of_a_static_member_is_fenced() {
    let mut harness = Harness::new();
    let request = join_request("").with_group_instance_id(Some(text("i")));
    let first = harness.join(request.clone());
    harness.advance(3_000);
    let first = harness.joined(first).member_id.to_string();
    let waiter = harness.sync(&first, 1, &[(&first, "all")]);
    harness.synced(waiter);
    let second = harness.join(request);
    let second = harness.joined(second);
    assert_eq!(second.error_code, NONE);
    let of = |id: &str| {
        txn_commit(ONE, "orders", 8)
            .with_member_id(text(id))
            .with_generation_id(second.generation_id)
            .with_group_instance_id(Some(text("i")))
    };
    assert_eq!(commit(&mut harness, VERSION, of(&first)), FENCED_INSTANCE);
    assert_eq!(commit(&mut harness, VERSION, of(&second.member_id)), NONE);
}

#[test]
fn members_of_consumer_groups_are_checked() {
    let mut harness = Harness::new();
    harness.set_topics(&[("orders", 1, 1), ("other", 2, 1)]);
    let beat = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(GROUP))
        .with_member_id(text("a"))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text("orders"))]))
        .with_topic_partitions(Some(Vec::new()));
    let Response::ConsumerGroupHeartbeat(joined) =
        harness.call(1, Request::ConsumerGroupHeartbeat(beat))
    else {
        panic!()
    };
    assert_eq!(joined.error_code, NONE);
    let epoch = joined.member_epoch;
    let of = |id: &str, epoch: i32| {
        txn_commit(ONE, "orders", 8)
            .with_member_id(text(id))
            .with_generation_id(epoch)
    };
    let too_early = |topic: &str| {
        txn_commit(ONE, topic, 8)
            .with_member_id(text("a"))
            .with_generation_id(epoch - 1)
    };
    for (request, expected) in [
        (of("a", epoch), NONE),
        // Never STALE_MEMBER_EPOCH, which producers do not know.
        (of("a", epoch + 1), ILLEGAL_GENERATION),
        (too_early("orders"), ILLEGAL_GENERATION),
        (too_early("nowhere"), ILLEGAL_GENERATION),
        (of("b", epoch), UNKNOWN_MEMBER),
        (of("a", -1), ILLEGAL_GENERATION),
        (of("", -1), NONE),
    ] {
        for version in [3, 5] {
            let told = commit(&mut harness, version, request.clone());
            assert_eq!(told, expected, "{request:?}");
        }
    }
    end(&mut harness, ONE, true);
    assert_eq!(stable(&mut harness), Ok(8));
}
