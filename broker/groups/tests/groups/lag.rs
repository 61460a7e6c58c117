//! What metrics tell of committed offsets, and how far they are behind. That it is what OffsetFetch tells the harness checks
//! wherever offsets are asked for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use foz_groups::{
    CommittedOffset, CommittedOffsets, END_AGE_MAX_MS, GroupOffsets, LABEL_BYTES_MAX, LeftOut,
    PartitionEnd, PartitionLag, Request, Response,
};
use kafka_protocol::messages::offset_commit_request::OffsetCommitRequestPartition;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, DeleteGroupsRequest, TopicName};
use proptest::prelude::*;
use uuid::Uuid;

use crate::harness::*;
use crate::transactional_commits::{marker, txn_commit};

const ALL: usize = 1_000;

/// Commits an offset for each of the first partitions of "orders".
fn commit_of(harness: &mut Harness, group: &str, offsets: &[i64]) {
    let mut request = commit_request("", -1, "orders", 0).with_group_id(group_id(group));
    let partitions = (0..).zip(offsets).map(|(index, offset)| {
        OffsetCommitRequestPartition::default()
            .with_partition_index(index)
            .with_committed_offset(*offset)
    });
    request.topics[0].partitions = partitions.collect();
    let response = harness.call(9, Request::OffsetCommit(request));
    let Response::OffsetCommit(response) = response else {
        panic!("{response:?}")
    };
    let mut partitions = response.topics[0].partitions.iter();
    assert!(partitions.all(|it| it.error_code == 0));
}

/// Groups with topics, partitions and offsets.
type Told = Vec<(String, Vec<(String, i32, i64)>)>;

fn told(harness: &Harness) -> Told {
    let committed = harness.coordinator.committed_offsets(ALL);
    let groups = committed.groups.iter().map(|group| {
        let offsets = group.offsets.iter();
        let offsets = offsets.map(|it| (it.topic.to_string(), it.partition, it.offset));
        (group.group_id.to_string(), offsets.collect())
    });
    groups.collect()
}

fn of_group(offsets: &[(&str, i32, i64)]) -> Told {
    let offsets = offsets.iter();
    let offsets = offsets.map(|(topic, partition, offset)| ((*topic).into(), *partition, *offset));
    vec![(GROUP.to_owned(), offsets.collect())]
}

fn left_out(harness: &Harness, offsets_max: usize) -> LeftOut {
    harness.coordinator.committed_offsets(offsets_max).left_out
}

#[test]
fn what_members_of_either_protocol_or_none_commit_is_told_for_as_long_as_it_is_in_force() {
    // One that assigns itself, until its offsets expire.
    let mut harness = Harness::new();
    assert_eq!(harness.commit("", -1, "orders", 5), 0);
    assert_eq!(told(&harness), of_group(&[("orders", 0, 5)]));
    harness.restart();
    assert_eq!(told(&harness), of_group(&[("orders", 0, 5)]));
    harness.advance(harness.config.offsets_retention_ms);
    let effects = harness.coordinator.expire_offsets(harness.now);
    harness.absorb(effects);
    assert_eq!(told(&harness), []);

    // A classic member, also when the group is empty, until the group is deleted.
    let mut harness = Harness::new();
    let ids = harness.stable(1);
    assert_eq!(told(&harness), [], "nothing is committed");
    assert_eq!(harness.commit(&ids[0], 1, "orders", 6), 0);
    assert_eq!(harness.leave(&ids[0]), 0);
    assert_eq!(harness.state(), "Empty");
    assert_eq!(told(&harness), of_group(&[("orders", 0, 6)]));
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(GROUP)]);
    harness.call(2, Request::DeleteGroups(request));
    assert_eq!(harness.state(), "Dead");
    assert_eq!(told(&harness), []);

    // One of KIP-848, until one of the topics is deleted.
    let mut harness = Harness::new();
    harness.set_topics(&[("orders", 1, 1), ("other", 2, 1)]);
    let request = ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group_id(GROUP))
        .with_member_id(text("member"))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text("orders"))]))
        .with_topic_partitions(Some(vec![]));
    harness.call(1, Request::ConsumerGroupHeartbeat(request));
    assert_eq!(harness.commit("member", 1, "orders", 7), 0);
    assert_eq!(harness.commit("member", 1, "other", 8), 0);
    let both = of_group(&[("orders", 0, 7), ("other", 0, 8)]);
    assert_eq!(told(&harness), both);
    let now = harness.now;
    let effects = harness.coordinator.on_topics_deleted(&["orders"], now);
    harness.absorb(effects);
    assert_eq!(told(&harness), of_group(&[("other", 0, 8)]));
}

#[test]
fn what_is_not_in_force_is_not_told() {
    const PRODUCER: i64 = 4_001;
    let mut harness = Harness::new();
    for (is_commit, expected) in [(false, &[][..]), (true, &[("orders", 0, 9)])] {
        let request = txn_commit(PRODUCER, "orders", 9);
        harness.call(5, Request::TxnOffsetCommit(request));
        assert_eq!(told(&harness), [], "its transaction is open");
        harness.call(2, marker(PRODUCER, is_commit));
        let expected = of_group(expected);
        let expected = expected.iter().filter(|(_, offsets)| !offsets.is_empty());
        assert_eq!(told(&harness), expected.cloned().collect::<Vec<_>>());
    }

    // Not committed yet by the log, and after that in a log that the next coordinator finds so.
    harness.confirms = false;
    let request = commit_request("", -1, "orders", 10);
    let waiter = harness.send(9, Request::OffsetCommit(request));
    assert_eq!(told(&harness), of_group(&[("orders", 0, 9)]));
    harness.restart_with_tail(1);
    assert!(!harness.is_open(waiter));
    assert!(harness.is_loading());
    assert_eq!(told(&harness), [], "10 or 9, nobody knows");
    harness.confirm();
    assert_eq!(told(&harness), of_group(&[("orders", 0, 10)]));
}

#[test]
fn offsets_that_are_none_and_ids_that_are_no_labels_are_not_told() {
    let mut harness = Harness::new();
    commit_of(&mut harness, GROUP, &[-1, 3, i64::MIN, 0, i64::MAX]);
    let expected = [("orders", 1, 3), ("orders", 3, 0), ("orders", 4, i64::MAX)];
    assert_eq!(told(&harness), of_group(&expected));
    assert_eq!(left_out(&harness, ALL), LeftOut::default());

    let longest = "ü".repeat(LABEL_BYTES_MAX / 2);
    for (group, is_told) in [
        ("", true),
        (r#"with "quotes" and \"#, true),
        (&longest, true),
        (&format!("{longest}x"), false),
        ("two\nlines", false),
        ("\0", false),
        ("a tab\t", false),
    ] {
        let mut harness = Harness::new();
        commit_of(&mut harness, group, &[1, 2, -1]);
        let group_ids: Vec<String> = told(&harness).into_iter().map(|(id, _)| id).collect();
        let expected = if is_told {
            &[group.to_owned()][..]
        } else {
            &[]
        };
        assert_eq!(group_ids, expected);
        let expected = LeftOut {
            group_id: if is_told { 0 } else { 2 },
            limit: 0,
        };
        assert_eq!(left_out(&harness, ALL), expected, "{group:?}");
    }
}

/// Groups, by number, with so many offsets each.
fn committed(groups: &[(u8, usize)]) -> CommittedOffsets {
    let groups = groups.iter().map(|(number, count)| {
        let offsets = (0..*count as i32).map(|partition| CommittedOffset {
            topic: Arc::from("orders"),
            topic_id: Uuid::nil(),
            partition,
            offset: 1,
        });
        GroupOffsets {
            group_id: Arc::from(format!("group-{number:03}")),
            offsets: offsets.collect(),
        }
    });
    CommittedOffsets {
        groups: groups.collect(),
        left_out: LeftOut::default(),
    }
}

fn count(committed: &CommittedOffsets) -> usize {
    committed.groups.iter().map(|it| it.offsets.len()).sum()
}

#[test]
fn a_group_that_does_not_fit_hides_no_other() {
    let mut one = committed(&[(1, 2), (4, 1)]);
    let mut other = committed(&[(2, 100), (3, 2), (5, 1)]);
    CommittedOffsets::limit(&mut [&mut one, &mut other], 5);
    assert_eq!(one, committed(&[(1, 2), (4, 1)]));
    let expected = CommittedOffsets {
        left_out: LeftOut {
            group_id: 0,
            limit: 101,
        },
        ..committed(&[(3, 2)])
    };
    assert_eq!(other, expected);
}

#[test]
fn what_was_committed_for_a_topic_that_is_gone_or_another_by_now_is_forgotten() {
    let of = |topic: &str, topic_id: u128, partition: i32| CommittedOffset {
        topic: Arc::from(topic),
        topic_id: Uuid::from_u128(topic_id),
        partition,
        offset: 1,
    };
    let group = |id: &str, offsets: &[CommittedOffset]| GroupOffsets {
        group_id: Arc::from(id),
        offsets: offsets.to_vec(),
    };
    let mut committed = CommittedOffsets {
        groups: vec![
            group("gone", &[of("gone", 0, 0), of("orders", 6, 0)]),
            group(
                "some",
                &[
                    of("orders", 0, -1),
                    of("orders", 0, 0),
                    of("orders", 7, 1),
                    of("orders", 0, 2),
                ],
            ),
        ],
        left_out: LeftOut::default(),
    };
    committed.retain_existing(|name| (name == "orders").then_some((Uuid::from_u128(7), 2)));
    let expected = group("some", &[of("orders", 7, 0), of("orders", 7, 1)]);
    assert_eq!(committed.groups, [expected]);
}

fn lag(committed: i64, end: i64, age_ms: i64) -> Option<i64> {
    let lag = PartitionLag {
        committed: CommittedOffset {
            topic: Arc::from("orders"),
            topic_id: Uuid::nil(),
            partition: 0,
            offset: committed,
        },
        end: Some(PartitionEnd {
            offset: end,
            asked_ms: 1_000,
        }),
    };
    assert_eq!(
        PartitionLag {
            end: None,
            ..lag.clone()
        }
        .lag(1_000),
        None
    );
    lag.lag(1_000 + age_ms)
}

#[test]
fn the_lag_is_told_until_the_end_is_from_long_ago() {
    assert_eq!(lag(3, 10, 0), Some(7));
    assert_eq!(lag(10, 10, END_AGE_MAX_MS), Some(0));
    assert_eq!(lag(3, 10, END_AGE_MAX_MS + 1), None);
    assert_eq!(lag(3, 10, i64::MAX - 1_000), None);
    assert_eq!(lag(11, 10, 0), Some(0), "the log was cut");
}

proptest! {
    #[test]
    fn a_lag_is_never_negative_and_no_more_than_the_end(
        committed in 0..=i64::MAX,
        end in 0..=i64::MAX,
        age_ms in 0..2 * END_AGE_MAX_MS,
    ) {
        match lag(committed, end, age_ms) {
            None => prop_assert!(age_ms > END_AGE_MAX_MS),
            Some(lag) => {
                prop_assert!(age_ms <= END_AGE_MAX_MS);
                prop_assert!((0..=end).contains(&lag));
                prop_assert!(committed > end || committed + lag == end);
            }
        }
    }

    #[test]
    fn no_more_is_told_than_the_limit_and_what_is_not_told_is_counted(
        groups in proptest::collection::btree_map(any::<u8>(), (0..3_usize, 1..20_usize), 0..30),
        offsets_max in 0..100_usize,
    ) {
        let mut of_all: Vec<CommittedOffsets> = (0..3)
            .map(|number| {
                let groups = groups.iter().filter(|(_, (coordinator, _))| *coordinator == number);
                committed(&groups.map(|(id, (_, count))| (*id, *count)).collect::<Vec<_>>())
            })
            .collect();
        let before = of_all.clone();
        CommittedOffsets::limit(&mut of_all.iter_mut().collect::<Vec<_>>(), offsets_max);
        let told: usize = of_all.iter().map(count).sum();
        prop_assert!(told <= offsets_max);
        let mut least_left_out = usize::MAX;
        for (before, after) in before.iter().zip(&of_all) {
            prop_assert_eq!(count(before), count(after) + after.left_out.limit);
            let told: BTreeSet<_> = after.groups.iter().map(|it| &it.group_id).collect();
            for group in &before.groups {
                let is_whole = after.groups.contains(group);
                prop_assert_eq!(is_whole, told.contains(&group.group_id));
                if !is_whole {
                    least_left_out = least_left_out.min(group.offsets.len());
                }
            }
        }
        // None is left out that would have fitted.
        prop_assert!(least_left_out > offsets_max - told);
    }

    /// The limit of a coordinator is as that of all.
    #[test]
    fn a_coordinator_tells_no_more_than_it_is_asked_for(
        counts in proptest::collection::btree_map("[a-c]{1,2}", 1..6_usize, 0..8),
        offsets_max in 0..30_usize,
    ) {
        let mut harness = Harness::new();
        for (group, count) in &counts {
            commit_of(&mut harness, group, &vec![1; *count]);
        }
        let mut expected = harness.coordinator.committed_offsets(ALL);
        let all: BTreeMap<String, usize> = expected
            .groups
            .iter()
            .map(|group| (group.group_id.to_string(), group.offsets.len()))
            .collect();
        prop_assert_eq!(&all, &counts);
        CommittedOffsets::limit(&mut [&mut expected], offsets_max);
        prop_assert_eq!(harness.coordinator.committed_offsets(offsets_max), expected);
    }
}
