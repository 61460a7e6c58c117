//! Changes that fit in no batch, or not in one.

use super::*;

/// One LeaveGroup, one DeleteGroups and one pass of the expiry may be of more than a batch holds.
#[test]
fn many_changes_go_in_as_many_batches_as_it_takes() {
    const BATCH_BYTES_MAX: usize = 2_000;
    let mut config = GroupConfig::default();
    config.consumer.batch_bytes_max = BATCH_BYTES_MAX;
    let mut harness = Harness::with_config(config);
    harness.set_topics(&[("orders", ORDERS, 2)]);
    let ids = Vec::from_iter((0..40).map(|number| format!("member-{number}")));
    for id in &ids {
        epoch(&mut harness, join(id));
    }
    let mut commit = commit_request("", -1, "other", 1);
    let partition = commit.topics[0].partitions[0].clone();
    let partitions = (0..100).map(|index| partition.clone().with_partition_index(index));
    commit.topics[0].partitions = partitions.collect();
    harness.confirms = false;
    let leaving = harness.send(
        5,
        Request::LeaveGroup(leave_request(&Vec::from_iter(ids.iter().map(|id| &**id)))),
    );
    assert!(harness.pending.len() > 1);
    assert!(bytes_of_largest(&harness) <= BATCH_BYTES_MAX);
    harness.confirms = true;
    while harness.confirm() {}
    let Response::LeaveGroup(response) = harness.take(leaving) else {
        panic!("no answer")
    };
    assert!(response.members.iter().all(|member| member.error_code == 0));
    assert_eq!(described(&mut harness).group_state.as_str(), "Empty");

    harness.call(9, Request::OffsetCommit(commit));
    assert_eq!(harness.offsets().len(), 100);
    let week_ms = 7 * 24 * 60 * 60 * 1_000;
    harness.now.wall_ms += week_ms;
    harness.confirms = false;
    for expected in [100, 0] {
        assert_eq!(harness.offsets().len(), expected);
        let effects = harness.coordinator.expire_offsets(harness.now);
        harness.absorb(effects);
        assert!(!harness.pending.is_empty());
        assert!(bytes_of_largest(&harness) <= BATCH_BYTES_MAX);
        while harness.confirm() {}
    }
    assert_eq!(described(&mut harness).error_code, NOT_FOUND);
}

fn bytes_of_largest(harness: &Harness) -> usize {
    let bytes_of = |records: &Vec<Logged>| {
        let records = records.iter().map(|record| {
            let value = record.value.as_ref().map_or(0, |value| value.len());
            // Lengths, attributes and numbers take at least that much besides.
            record.key.len() + value + 7
        });
        HEADER_LENGTH + records.sum::<usize>()
    };
    let batches = harness.pending.iter().map(|(_, records)| bytes_of(records));
    batches.max().unwrap_or(0)
}

/// What does not fit is refused, and harms nobody.
#[test]
fn a_group_that_fits_in_no_batch_cannot_be_deleted_and_stays() {
    let mut harness = harness();
    assert_eq!(epoch(&mut harness, join("a")), 1);
    assert_eq!(harness.commit("a", 1, "orders", 7), 0);
    assert_eq!(epoch(&mut harness, request("a", -1)), -1);
    harness.fails = Some(AppendError::TooLarge);
    assert_eq!(
        delete(&mut harness),
        ResponseError::UnknownServerError.code()
    );
    harness.fails = None;
    assert_eq!(harness.offsets().len(), 1);
    assert_eq!(harness.reloads, 0);
    assert_eq!(epoch(&mut harness, join("a")), 3);
}
