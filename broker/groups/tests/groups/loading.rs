//! Records that are no state of a group: what cannot be read, and what is not kept here.

use foz_groups::{GroupConfig, Loader, Now, Request, Response, merge};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::ListGroupsResponse;
use kafka_protocol::messages::list_groups_response::ListedGroup;

use crate::harness::*;

const OFFSET_KEY: &[u8] = b"\x00\x01\x00\x05group\x00\x06orders\x00\x00\x00\x00";
const OFFSET: &[u8] =
    b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x2a\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00";

#[test]
fn a_record_that_cannot_be_read_ends_the_load() {
    let mut newer = OFFSET.to_vec();
    newer[1] = 5;
    for (key, value, cause) in [
        (
            OFFSET_KEY,
            &newer[..],
            "OffsetCommitValue has version 5; known are 0 to 4",
        ),
        (
            OFFSET_KEY,
            &OFFSET[..9],
            "OffsetCommitValue: offset needs 8 bytes, 7 are left",
        ),
        (
            OFFSET_KEY,
            b"",
            "OffsetCommitValue: the version needs 2 bytes, 0 are left",
        ),
        (
            &OFFSET_KEY[..12],
            OFFSET,
            "OffsetCommitKey: topic needs 6 bytes, 1 are left",
        ),
        (
            b"\x00",
            OFFSET,
            "the key: the type of the record needs 2 bytes, 1 are left",
        ),
        (
            b"\x00\x02\x00\x05group",
            b"\x00\x05",
            "GroupMetadataValue has version 5; known are 0 to 4",
        ),
        // Of a consumer group.
        (
            b"\x00\x03\x00\x05grou",
            b"",
            "ConsumerGroupMetadataKey: GroupId needs 5 bytes, 4 are left",
        ),
    ] {
        let mut loader = Loader::new();
        loader.replay(None, OFFSET_KEY, Some(OFFSET)).unwrap();
        let error = loader.replay(None, key, Some(value)).unwrap_err();
        assert_eq!(error.to_string(), cause);
        let error = loader
            .replay_uncommitted(None, key, Some(value))
            .unwrap_err();
        assert_eq!(error.to_string(), cause);
        assert!(loader.skipped().is_empty(), "{cause}");
    }
}

#[test]
fn records_of_other_types_are_passed_over_and_counted() {
    let mut loader = Loader::new();
    loader.replay(None, OFFSET_KEY, Some(OFFSET)).unwrap();
    assert!(loader.skipped().is_empty());
    for _ in 0..2 {
        let anything = b"\x00\x00";
        loader
            .replay(None, b"\x00\x11\x00\x05group", Some(anything))
            .unwrap();
    }
    loader
        .replay_uncommitted(None, b"\x00\x11\x00\x05group", None)
        .unwrap();
    // What Kafka wrote once of the topics of a consumer group is of no use to anyone.
    loader
        .replay(None, b"\x00\x04\x00\x05group", Some(b"\x00\x00"))
        .unwrap();
    // A share group, and a type from the future.
    loader
        .replay(None, b"\x00\x0a?", Some(b"anything"))
        .unwrap();
    loader.replay_uncommitted(None, b"\x7f\xff", None).unwrap();
    let skipped = loader.skipped().iter();
    let skipped: Vec<(i16, usize)> = skipped.map(|(of, count)| (*of, *count)).collect();
    assert_eq!(skipped, [(10, 1), (17, 3), (i16::MAX, 1)]);
    let now = Now {
        monotonic_ms: 0,
        wall_ms: 0,
    };
    let (coordinator, effects) = loader.finish(GroupConfig::default(), now);
    assert_eq!((effects, coordinator.loading_count()), (vec![], 0));
    assert!(coordinator.committed_topics().contains("orders"));
}

#[test]
fn a_list_of_groups_passes_over_partitions_that_are_not_coordinated_here() {
    let list = Request::ListGroups(Default::default());
    let failed = |error: ResponseError| list.error_response(5, error);
    let listed = |name: &str| {
        let group = ListedGroup::default().with_group_id(group_id(name));
        Response::ListGroups(ListGroupsResponse::default().with_groups(vec![group]))
    };
    let empty = list.empty_response();
    let merged = |parts| merge(parts, empty.clone());
    let elsewhere = || failed(ResponseError::NotCoordinator);
    assert_eq!(merged(vec![elsewhere()]), empty);
    assert_eq!(merged(vec![elsewhere(), listed("a")]), listed("a"));
    assert_eq!(merged(vec![listed("a"), elsewhere()]), listed("a"));
    let Response::ListGroups(loading) = merged(vec![
        elsewhere(),
        listed("a"),
        failed(ResponseError::CoordinatorLoadInProgress),
    ]) else {
        panic!("no list")
    };
    let code = ResponseError::CoordinatorLoadInProgress.code();
    assert_eq!(loading.error_code, code);
}
