use foz_protocol::error::ErrorCode;

use super::*;

fn batch(producer_id: i64, epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
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

fn append(producers: &mut Producers, batch: &BatchHeader) {
    assert_eq!(producers.check(batch).unwrap(), Sequence::Next);
    producers.record(batch);
}

#[test]
fn the_last_five_batches_are_known_again() {
    let mut producers = Producers::default();
    for n in 0..7 {
        append(&mut producers, &batch(1, 0, n * 2, 2, i64::from(n) * 2));
    }
    for n in 2..7 {
        let Ok(Sequence::Duplicate(found)) = producers.check(&batch(1, 0, n * 2, 2, 99)) else {
            panic!("batch {n} is a duplicate");
        };
        assert_eq!(found.first_offset(), i64::from(n) * 2);
    }
    let error = producers.check(&batch(1, 0, 2, 2, 99)).unwrap_err();
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
    let error = producers.check(&batch(1, 0, 1, 3, 99)).unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::OutOfOrderSequenceNumber);
}

#[test]
fn gaps_are_refused_and_other_producers_do_not_matter() {
    let mut producers = Producers::default();
    append(&mut producers, &batch(1, 0, 0, 3, 0));
    append(&mut producers, &batch(2, 0, 0, 1, 3));
    assert!(producers.check(&batch(1, 0, 4, 1, 0)).is_err());
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
        producers.check(&wrapping),
        Ok(Sequence::Duplicate(_))
    ));
    append(&mut producers, &batch(1, 0, 2, 1, 4));
}

#[test]
fn an_older_epoch_is_fenced_and_a_newer_one_begins_at_zero() {
    let mut producers = Producers::default();
    append(&mut producers, &batch(1, 5, 0, 3, 0));
    let error = producers.check(&batch(1, 4, 3, 1, 0)).unwrap_err();
    assert!(matches!(
        error,
        AppendError::InvalidProducerEpoch {
            current: 5,
            found: 4,
            ..
        }
    ));
    assert!(producers.check(&batch(1, 6, 3, 1, 0)).is_err());
    append(&mut producers, &batch(1, 6, 0, 1, 3));
    let error = producers.check(&batch(1, 5, 0, 3, 0)).unwrap_err();
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
        producers.check(&batch(0, 0, 5, 1, 0)).is_ok(),
        "the oldest went"
    );
    let newest = PRODUCERS_PER_PARTITION_MAX as i64;
    assert!(
        producers.check(&batch(newest, 0, 5, 1, 0)).is_err(),
        "the newest stayed"
    );
}
