use foz_protocol::error::ErrorCode;

use super::*;

mod transactions;

const NOTHING: Circumstances<'static> = Circumstances {
    is_of_coordinator: false,
    leads_for_ms: None,
    verification: None,
    guard: None,
};

fn leads_for(leads_for_ms: Option<i64>) -> Circumstances<'static> {
    Circumstances {
        leads_for_ms,
        ..NOTHING
    }
}

pub(crate) fn batch(
    producer_id: i64,
    epoch: i16,
    sequence: i32,
    count: i32,
    offset: i64,
) -> BatchHeader {
    BatchHeader {
        base_offset: offset,
        batch_length: 49,
        partition_leader_epoch: 0,
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: 1000,
        max_timestamp: 1000,
        producer_id,
        producer_epoch: epoch,
        base_sequence: sequence,
        record_count: count,
    }
}

/// One record of a transaction.
pub(crate) fn transactional(
    producer_id: i64,
    epoch: i16,
    sequence: i32,
    offset: i64,
) -> BatchHeader {
    BatchHeader {
        attributes: 0x10,
        ..batch(producer_id, epoch, sequence, 1, offset)
    }
}

pub(crate) fn marker_batch(producer_id: i64, epoch: i16, offset: i64) -> BatchHeader {
    BatchHeader {
        attributes: 0x30,
        ..batch(producer_id, epoch, -1, 1, offset)
    }
}

fn append(producers: &mut Producers, batch: &BatchHeader) {
    assert_eq!(producers.check(batch, NOTHING).unwrap(), Sequence::Next);
    producers.record(batch);
}

#[test]
fn the_last_five_batches_are_known_again() {
    let mut producers = Producers::default();
    for n in 0..7 {
        append(&mut producers, &batch(1, 0, n * 2, 2, i64::from(n) * 2));
    }
    for n in 2..7 {
        let Ok(Sequence::Duplicate(found)) = producers.check(&batch(1, 0, n * 2, 2, 99), NOTHING)
        else {
            panic!("batch {n} is a duplicate");
        };
        assert_eq!(found.first_offset(), i64::from(n) * 2);
    }
    let error = producers
        .check(&batch(1, 0, 2, 2, 99), NOTHING)
        .unwrap_err();
    assert!(matches!(
        error,
        AppendError::OutOfOrderSequence {
            expected: 14,
            found: 2,
            ..
        }
    ));
}

#[test]
fn same_end_but_other_length_is_no_duplicate() {
    let mut producers = Producers::default();
    append(&mut producers, &batch(1, 0, 0, 4, 0));
    let error = producers
        .check(&batch(1, 0, 1, 3, 99), NOTHING)
        .unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::OutOfOrderSequenceNumber);
}

/// As after [`crate::producer_snapshot`].
fn only_the_last_is_known(appended: &BatchHeader) -> Producers {
    let mut producers = Producers::default();
    producers.record(appended);
    let producer = producers.by_id.get_mut(&appended.producer_id).unwrap();
    producer.has_earlier_batches = true;
    producers
}

#[test]
fn the_log_is_asked_once_for_what_a_snapshot_does_not_hold() {
    let mut producers = only_the_last_is_known(&batch(1, 0, 8, 2, 108));
    assert_eq!(
        producers.check(&batch(1, 0, 6, 2, 99), NOTHING).unwrap(),
        Sequence::Earlier {
            upper_bound_offset: 108
        }
    );
    // A gap is a gap, and another epoch has nothing to do with it.
    assert!(producers.check(&batch(1, 0, 11, 1, 99), NOTHING).is_err());
    assert!(producers.check(&batch(1, 1, 6, 2, 99), NOTHING).is_err());
    append(&mut producers, &batch(1, 0, 10, 1, 110));

    let earlier: VecDeque<_> = (0..4)
        .map(|n| AppendedBatch::of(&batch(1, 0, n * 2, 2, 100 + i64::from(n) * 2)))
        .collect();
    producers.insert_earlier(1, &earlier);
    for sequence in [2, 4, 6, 8] {
        let Ok(Sequence::Duplicate(found)) =
            producers.check(&batch(1, 0, sequence, 2, 99), NOTHING)
        else {
            panic!("{sequence} is a duplicate");
        };
        assert_eq!(found.first_offset(), 100 + i64::from(sequence));
    }
    assert!(producers.check(&batch(1, 0, 0, 2, 99), NOTHING).is_err());
    append(&mut producers, &batch(1, 0, 11, 1, 111));
}

#[test]
fn what_the_log_does_not_hold_is_out_of_order() {
    let mut producers = only_the_last_is_known(&batch(1, 0, i32::MAX, 2, 108));
    let before_the_turn = batch(1, 0, i32::MAX - 1, 1, 99);
    assert!(matches!(
        producers.check(&before_the_turn, NOTHING),
        Ok(Sequence::Earlier { .. })
    ));
    producers.insert_earlier(1, &VecDeque::new());
    assert!(producers.check(&before_the_turn, NOTHING).is_err());
}

#[test]
fn gaps_are_refused_and_other_producers_do_not_matter() {
    let mut producers = Producers::default();
    append(&mut producers, &batch(1, 0, 0, 3, 0));
    append(&mut producers, &batch(2, 0, 0, 1, 3));
    assert!(producers.check(&batch(1, 0, 4, 1, 0), NOTHING).is_err());
    append(&mut producers, &batch(1, 0, 3, 1, 4));
}

#[test]
fn sequences_wrap_from_the_greatest_to_zero() {
    let mut producers = Producers::default();
    append(&mut producers, &batch(1, 0, i32::MAX - 1, 2, 0));
    append(&mut producers, &batch(1, 0, 0, 1, 2));
    // A batch that wraps within itself.
    let mut producers = Producers::default();
    let wrapping = batch(1, 0, i32::MAX - 1, 4, 0);
    append(&mut producers, &wrapping);
    assert_eq!(wrapping.last_sequence(), 1);
    assert!(matches!(
        producers.check(&wrapping, NOTHING),
        Ok(Sequence::Duplicate(_))
    ));
    append(&mut producers, &batch(1, 0, 2, 1, 4));
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_begins_at_zero() {
    let mut producers = Producers::default();
    append(&mut producers, &batch(1, 5, 0, 3, 0));
    let error = producers.check(&batch(1, 4, 3, 1, 0), NOTHING).unwrap_err();
    assert!(matches!(
        error,
        AppendError::InvalidProducerEpoch {
            current: 5,
            found: 4,
            ..
        }
    ));
    assert!(producers.check(&batch(1, 6, 3, 1, 0), NOTHING).is_err());
    append(&mut producers, &batch(1, 6, 0, 1, 3));
    let error = producers.check(&batch(1, 5, 0, 3, 0), NOTHING).unwrap_err();
    assert_eq!(
        error.error_code(),
        ErrorCode::InvalidProducerEpoch,
        "its batches went with the old epoch"
    );
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    let mut producers = Producers::default();
    append(&mut producers, &batch(1, 3, 77, 1, 0));
}

#[test]
fn a_new_leader_lets_an_unknown_producer_begin_at_the_beginning() {
    let mut producers = Producers::default();
    let second = batch(1, 3, 15, 1, 0);
    for leads_for_ms in [0, UNDER_WAY_MAX_MS - 1] {
        let error = producers
            .check(&second, leads_for(Some(leads_for_ms)))
            .unwrap_err();
        assert_eq!(error.error_code(), ErrorCode::NotLeaderOrFollower);
    }
    // It has not led since this start, long enough, or by a clock that was put back.
    for leads_for_ms in [None, Some(UNDER_WAY_MAX_MS), Some(-1)] {
        let may = producers.check(&second, leads_for(leads_for_ms)).unwrap();
        assert_eq!(may, Sequence::Next);
    }
    let first = batch(1, 3, 0, 15, 0);
    assert_eq!(
        producers.check(&first, leads_for(Some(0))).unwrap(),
        Sequence::Next
    );
    producers.record(&first);
    assert_eq!(
        producers.check(&second, leads_for(Some(0))).unwrap(),
        Sequence::Next
    );
}

#[test]
fn the_silent_are_forgotten() {
    let mut producers = Producers::default();
    append(&mut producers, &batch(1, 0, 0, 1, 0));
    producers.expire(1999, 1000);
    assert_eq!(producers.len(), 1);
    producers.expire(2000, 1000);
    assert_eq!(producers.len(), 0);

    for id in 0..=PRODUCERS_PER_PARTITION_MAX as i64 {
        producers.record(&batch(id, 0, 0, 1, id));
    }
    assert_eq!(producers.len(), PRODUCERS_PER_PARTITION_MAX * 9 / 10 + 1);
    assert!(
        producers.check(&batch(0, 0, 5, 1, 0), NOTHING).is_ok(),
        "the oldest went"
    );
    let newest = PRODUCERS_PER_PARTITION_MAX as i64;
    assert!(
        producers
            .check(&batch(newest, 0, 5, 1, 0), NOTHING)
            .is_err(),
        "the newest stayed"
    );
}
