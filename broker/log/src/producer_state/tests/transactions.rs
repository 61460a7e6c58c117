use super::*;
use crate::verifications::Verifications;

fn marker(producer_id: i64, producer_epoch: i16, coordinator_epoch: i32) -> TransactionMarker {
    TransactionMarker {
        producer_id,
        producer_epoch,
        coordinator_epoch,
        is_commit: false,
    }
}

fn end(producers: &mut Producers, epoch: i16, offset: i64) -> Option<EndedTransaction> {
    producers.record_marker(&marker_batch(1, epoch, offset), &marker(1, epoch, 7))
}

fn code(result: Result<Sequence, AppendError>) -> ErrorCode {
    result.unwrap_err().error_code()
}

/// Of a batch whose transaction the coordinator has confirmed.
struct Question(Verifications);

impl Question {
    fn about(batch: &BatchHeader, has_epoch_per_transaction: bool) -> Self {
        let mut verifications = Verifications::default();
        verifications.begin(batch, has_epoch_per_transaction, 0);
        Self(verifications)
    }

    fn answered(&self) -> Circumstances<'_> {
        let verification = self.0.get(1);
        Circumstances {
            verification,
            guard: verification.map(|it| it.guard),
            ..NOTHING
        }
    }
}

#[test]
fn a_transaction_begins_with_its_first_batch_and_ends_with_its_marker() {
    let mut producers = Producers::default();
    assert_eq!(producers.record(&batch(1, 0, 0, 1, 0)), None);
    assert_eq!(producers.record(&transactional(1, 0, 1, 5)), Some(5));
    assert_eq!(producers.record(&transactional(1, 0, 2, 8)), None);
    assert_eq!(producers.record(&transactional(2, 0, 0, 9)), Some(9));
    let expected = EndedTransaction {
        producer_id: 1,
        first_offset: 5,
        marker_offset: 11,
        is_commit: false,
    };
    let (header, marker) = (marker_batch(1, 0, 11), marker(1, 0, 7));
    assert_eq!(producers.ended_by(&header, &marker), Some(expected));
    assert_eq!(end(&mut producers, 0, 11), Some(expected));
    // Again, and for somebody who wrote nothing here.
    assert_eq!(end(&mut producers, 0, 12), None);
    let unknown = producers.record_marker(&marker_batch(3, 4, 13), &marker);
    assert_eq!((unknown, producers.len()), (None, 3));
    // What is sent twice is still known, and the sequence goes on in the same epoch.
    let again = producers.check(&transactional(1, 0, 2, 99), NOTHING);
    assert!(matches!(again, Ok(Sequence::Duplicate(_))));
    assert_eq!(producers.record(&transactional(1, 0, 3, 14)), Some(14));
}

#[test]
fn a_marker_that_raises_the_epoch_begins_the_sequences_anew() {
    let mut producers = Producers::default();
    producers.record(&transactional(1, 3, 8, 0));
    assert!(end(&mut producers, 4, 1).is_some());
    for (epoch, sequence, expected) in [
        (4, 9, Some(ErrorCode::OutOfOrderSequenceNumber)),
        (3, 9, Some(ErrorCode::InvalidProducerEpoch)),
        (5, 1, Some(ErrorCode::OutOfOrderSequenceNumber)),
        (4, 0, None),
        (5, 0, None),
    ] {
        let next = transactional(1, epoch, sequence, 2);
        let question = Question::about(&next, false);
        let found = producers.check(&next, question.answered()).err();
        let found = found.map(|error| error.error_code());
        assert_eq!(found, expected, "{epoch} {sequence}");
    }
}

#[test]
fn the_first_batch_of_a_transaction_needs_the_guard_and_others_do_not() {
    let mut producers = Producers::default();
    producers.record(&batch(1, 3, 0, 1, 0));
    let first = transactional(1, 3, 1, 1);
    assert!(producers.needs_verification(&first).unwrap());
    let question = Question::about(&first, false);
    let mut answered = question.answered();
    assert_eq!(
        code(producers.check(&first, NOTHING)),
        ErrorCode::InvalidTxnState
    );
    let another = Question::about(&first, false);
    let other_guard = {
        let mut verifications = another.0;
        verifications.appended(&first);
        verifications.begin(&first, false, 0)
    };
    answered.guard = Some(other_guard);
    assert_eq!(
        code(producers.check(&first, answered)),
        ErrorCode::InvalidTxnState
    );
    answered.guard = None;
    assert_eq!(
        code(producers.check(&first, answered)),
        ErrorCode::InvalidTxnState
    );
    let next = producers.check(&first, question.answered()).unwrap();
    assert_eq!(next, Sequence::Next);
    producers.record(&first);
    let second = transactional(1, 3, 2, 2);
    assert!(!producers.needs_verification(&second).unwrap());
    append(&mut producers, &second);
    // An epoch that nobody asked about, and one that is over: the epoch is what a client hears of.
    let newer = transactional(1, 4, 0, 3);
    assert!(producers.needs_verification(&newer).unwrap());
    assert_eq!(
        code(producers.check(&newer, NOTHING)),
        ErrorCode::InvalidTxnState
    );
    let older = transactional(1, 2, 0, 3);
    assert_eq!(
        code(producers.check(&older, NOTHING)),
        ErrorCode::InvalidProducerEpoch
    );
    let asked = producers.needs_verification(&older).unwrap_err();
    assert_eq!(asked.error_code(), ErrorCode::InvalidProducerEpoch);
}

#[test]
fn what_comes_again_when_its_transaction_is_over_is_not_asked_about() {
    let mut producers = Producers::default();
    producers.record(&transactional(1, 3, 0, 0));
    producers.record(&transactional(1, 3, 1, 1));
    end(&mut producers, 3, 2);
    assert!(
        !producers
            .needs_verification(&transactional(1, 3, 0, 3))
            .unwrap()
    );
    assert!(
        !producers
            .needs_verification(&transactional(1, 3, 1, 3))
            .unwrap()
    );
    assert!(
        producers
            .needs_verification(&transactional(1, 3, 2, 3))
            .unwrap()
    );
    assert!(
        producers
            .needs_verification(&transactional(1, 4, 0, 3))
            .unwrap()
    );
}

#[test]
fn nothing_outside_of_an_open_transaction_comes_between() {
    let mut producers = Producers::default();
    producers.record(&transactional(1, 3, 0, 0));
    let outside = producers.check(&batch(1, 3, 1, 1, 1), NOTHING);
    assert!(matches!(
        outside,
        Err(AppendError::OutsideTransaction { producer_id: 1 })
    ));
    assert_eq!(
        outside.unwrap_err().error_code(),
        ErrorCode::InvalidTxnState
    );
    end(&mut producers, 3, 1);
    append(&mut producers, &batch(1, 3, 1, 1, 2));
}

#[test]
fn a_lower_sequence_that_was_asked_about_comes_first() {
    let producers = Producers::default();
    let lower = transactional(1, 3, 5, 0);
    let question = Question::about(&lower, false);
    let ahead = transactional(1, 3, 6, 0);
    let refused = producers.check(&ahead, question.answered());
    assert_eq!(code(refused), ErrorCode::OutOfOrderSequenceNumber);
    assert_eq!(
        producers.check(&lower, question.answered()).unwrap(),
        Sequence::Next
    );
    // What was asked about an epoch before says nothing of this one.
    let newer = transactional(1, 4, 6, 0);
    assert_eq!(
        producers.check(&newer, question.answered()).unwrap(),
        Sequence::Next
    );
}

#[test]
fn with_an_epoch_for_each_transaction_an_unknown_producer_begins_at_zero() {
    let producers = Producers::default();
    for (sequence, is_right) in [(0, true), (1, false)] {
        let first = transactional(1, 3, sequence, 0);
        let question = Question::about(&first, true);
        let result = producers.check(&first, question.answered());
        assert_eq!(result.is_ok(), is_right, "{sequence}");
    }
}

#[test]
fn a_coordinator_has_no_sequences() {
    let mut producers = Producers::default();
    let first = transactional(1, 3, -1, 0);
    let question = Question::about(&first, false);
    let known = Circumstances {
        is_of_coordinator: true,
        ..question.answered()
    };
    let unverified = Circumstances {
        is_of_coordinator: true,
        ..NOTHING
    };
    assert_eq!(
        code(producers.check(&first, unverified)),
        ErrorCode::InvalidTxnState
    );
    assert_eq!(producers.check(&first, known).unwrap(), Sequence::Next);
    producers.record(&first);
    // The same again is no duplicate.
    let second = producers.check(&transactional(1, 3, -1, 1), unverified);
    assert_eq!(second.unwrap(), Sequence::Next);
    end(&mut producers, 3, 2);
    let next = producers.needs_verification(&transactional(1, 3, -1, 3));
    assert!(next.unwrap());
    let older = producers.check(&transactional(1, 2, -1, 1), unverified);
    assert_eq!(code(older), ErrorCode::InvalidProducerEpoch);
}

#[test]
fn a_marker_of_an_old_epoch_is_refused_unless_it_only_comes_again() {
    // transaction.version, epoch of the marker, whether a transaction of epoch 3 is open, whether it is taken
    for (version, epoch, is_open, is_taken) in [
        (0, 3, true, true),
        (1, 3, true, true),
        (1, 3, false, true),
        (1, 4, true, true),
        (1, 2, true, false),
        (2, 3, true, false),
        (2, 3, false, true),
        (2, 4, true, true),
        (2, 2, false, false),
    ] {
        let mut producers = Producers::default();
        producers.record(&transactional(1, 3, 0, 0));
        if !is_open {
            end(&mut producers, 3, 1);
        }
        let result = producers.check_marker(&marker(1, epoch, 7), version);
        let what = format!("{version} {epoch} {is_open}: {result:?}");
        assert_eq!(result.is_ok(), is_taken, "{what}");
        if let Err(error) = result {
            assert_eq!(
                error.error_code(),
                ErrorCode::InvalidProducerEpoch,
                "{what}"
            );
        }
    }
    let mut producers = Producers::default();
    assert!(
        producers.check_marker(&marker(1, 0, 0), 2).is_ok(),
        "nothing is known"
    );
    producers.record(&transactional(1, i16::MAX, 0, 0));
    assert!(
        producers.check_marker(&marker(1, i16::MAX, 0), 2).is_ok(),
        "there is no greater one"
    );
}

#[test]
fn a_marker_of_a_coordinator_that_was_replaced_is_refused() {
    let mut producers = Producers::default();
    producers.record(&transactional(1, 3, 0, 0));
    end(&mut producers, 3, 1);
    let error = producers.check_marker(&marker(1, 4, 6), 2).unwrap_err();
    assert!(matches!(
        error,
        AppendError::CoordinatorFenced {
            current: 7,
            found: 6,
            ..
        }
    ));
    assert_eq!(error.error_code(), ErrorCode::TransactionCoordinatorFenced);
    assert!(producers.check_marker(&marker(1, 4, 7), 2).is_ok());
    // A follower takes what its leader has.
    producers.record_marker(&marker_batch(1, 2, 2), &marker(1, 2, 5));
    assert!(producers.check_marker(&marker(1, 2, 5), 2).is_ok());
}

#[test]
fn an_open_transaction_is_never_forgotten() {
    let mut producers = Producers::default();
    producers.record(&transactional(0, 0, 0, 0));
    for id in 1..=2 * PRODUCERS_PER_PARTITION_MAX as i64 {
        producers.record(&batch(id, 0, 0, 1, id));
    }
    assert!(
        !producers
            .needs_verification(&transactional(0, 0, 1, 0))
            .unwrap()
    );
    producers.expire(i64::MAX, 1);
    assert_eq!(producers.len(), 1);
    // Who has had a marker last is no more silent than the others.
    let mut producers = Producers::default();
    for id in 0..PRODUCERS_PER_PARTITION_MAX as i64 {
        producers.record(&batch(id, 0, 0, 1, id));
    }
    producers.record_marker(&marker_batch(0, 1, 99_999), &marker(0, 1, 0));
    producers.record(&batch(99_998, 0, 0, 1, 100_000));
    assert!(producers.iter().any(|(id, _)| *id == 0));
    assert!(producers.iter().all(|(id, _)| *id != 1));
}

#[test]
fn what_is_left_of_a_marker_tells_the_epoch_of_who_is_known() {
    let mut producers = Producers::default();
    let emptied = BatchHeader {
        record_count: 0,
        ..marker_batch(1, 4, 9)
    };
    producers.record_emptied_marker(&emptied);
    assert_eq!(producers.len(), 0);
    producers.record(&transactional(1, 3, 8, 0));
    producers.record_emptied_marker(&emptied);
    let older = producers.check(&transactional(1, 3, 9, 10), NOTHING);
    assert_eq!(code(older), ErrorCode::InvalidProducerEpoch);
    // One of an epoch that is over says nothing.
    producers.record(&transactional(1, 5, 0, 11));
    producers.record_emptied_marker(&emptied);
    append(&mut producers, &transactional(1, 5, 1, 12));
}
