//! What became of what was sent.

use foz_judge::event::*;
use foz_judge::{Checker, Event, Kind, Settings};

use crate::builder::{History, TOPIC};
use crate::crafted::FOUR;

#[test]
fn lost_write() {
    History::with_written(4)
        .final_read((0, 4), &[(0, 0), (1, 1), (3, 3)])
        .guilty_of(Kind::LostWrite);
    History::with_written(4)
        .final_read((0, 4), &FOUR)
        .innocent();
    // In pieces, and out of order.
    History::with_written(4)
        .final_read((2, 4), &FOUR[2..])
        .final_read((0, 2), &FOUR[..2])
        .innocent();
}

#[test]
fn lost_write_that_somebody_had_read() {
    let mut history = History::default();
    history
        .send(1, &[0, 1])
        .poll(9, &[(0, 0)])
        .fail(1, &[0], false)
        .ack(1, &[1], 1);
    history
        .clone()
        .final_read((0, 2), &[(1, 1)])
        .guilty_of(Kind::LostWrite);
    history.final_read((0, 2), &[(0, 0), (1, 1)]).innocent();
}

#[test]
fn lost_write_at_the_begin_of_the_log() {
    let begun_late = |deletes: bool| {
        let mut history = History::default();
        history
            .topic(deletes)
            .send(1, &[0, 1, 2, 3])
            .ack(1, &[0, 1, 2, 3], 0);
        history.final_read((2, 4), &FOUR[2..]);
        history
    };
    begun_late(false).guilty_of(Kind::LostWrite);
    assert_eq!(begun_late(true).innocent().counts.deleted, 2);
}

#[test]
fn lost_write_is_no_promise_of_acks_1() {
    let mut history = History::default();
    history
        .client(1, false, 1, false)
        .send(1, &[0, 1])
        .ack(1, &[0, 1], 0)
        .final_read((0, 1), &[(0, 0)]);
    history.innocent();
}

#[test]
fn unseen() {
    History::with_written(4)
        .final_read((0, 3), &FOUR[..3])
        .guilty_of(Kind::Unseen);
    let mut waiting = History::with_written(3);
    waiting
        .send(1, &[3])
        .final_read((0, 3), &FOUR[..3])
        .innocent();
}

#[test]
fn a_partition_that_was_not_read_to_the_end_does_not_pass() {
    let report = History::with_written(4).judged();
    assert!(report.anomalies.is_empty() && !report.passed(), "{report}");
    let report = History::with_written(4)
        .final_read((0, 1), &FOUR[..1])
        .final_read((3, 4), &FOUR[3..])
        .judged();
    assert!(report.anomalies.is_empty() && !report.passed(), "{report}");
    // Read past by a poll: the loss shows all the same.
    let report = History::with_written(4)
        .poll(9, &[(0, 0)])
        .assigned(9)
        .poll(9, &[(2, 2), (3, 3)])
        .judged();
    assert_eq!(
        report.anomaly_counts.into_iter().collect::<Vec<_>>(),
        [(Kind::LostWrite, 1)]
    );
}

#[test]
fn duplicate() {
    let twice = [(0, 0), (1, 1), (2, 2), (3, 1)];
    History::with_written(3)
        .final_read((0, 4), &twice)
        .guilty_of(Kind::Duplicate);
    let mut history = History::default();
    history
        .client(1, false, -1, false)
        .send(1, &[0, 1, 2])
        .ack(1, &[0, 1, 2], 0)
        .final_read((0, 4), &twice);
    assert_eq!(history.innocent().counts.duplicates_allowed, 1);
}

#[test]
fn unknown_outcome_appears_once_or_never_but_not_twice() {
    let mut unknown = History::default();
    unknown
        .send(1, &[0, 1])
        .fail(1, &[0], false)
        .ack(1, &[1], 0);
    let counts = unknown
        .clone()
        .final_read((0, 1), &[(0, 1)])
        .innocent()
        .counts;
    assert_eq!((counts.unknown, counts.unknown_found), (1, 0));
    // Late, behind what was sent after it.
    let counts = unknown
        .clone()
        .final_read((0, 2), &[(0, 1), (1, 0)])
        .innocent()
        .counts;
    assert_eq!((counts.unknown, counts.unknown_found), (1, 1));
    unknown
        .final_read((0, 3), &[(0, 1), (1, 0), (2, 0)])
        .guilty_of(Kind::Duplicate);
}

#[test]
fn misplaced() {
    let mut history = History::default();
    history.send(1, &[0, 1]).ack(1, &[0], 0).ack(1, &[1], 7);
    history
        .clone()
        .final_read((0, 8), &[(0, 0), (1, 1)])
        .guilty_of(Kind::Misplaced);
    history
        .clone()
        .final_read((0, 8), &[(0, 0), (7, 1)])
        .innocent();
    // The read before its acknowledgement.
    let mut early = History::default();
    early
        .send(1, &[0, 1])
        .poll(9, &[(0, 0), (1, 1)])
        .ack(1, &[0], 0)
        .ack(1, &[1], 7);
    early
        .final_read((0, 8), &[(0, 0), (1, 1)])
        .guilty_of(Kind::Misplaced);
}

#[test]
fn inconsistent_offsets() {
    // Two readers at the end, and nobody knew what became of either value.
    let mut unknown = History::default();
    unknown
        .send(1, &[0])
        .send(2, &[1])
        .fail(1, &[0], false)
        .fail(2, &[1], false);
    unknown.final_read((0, 1), &[(0, 0)]);
    unknown
        .clone()
        .final_read((0, 1), &[(0, 1)])
        .guilty_of(Kind::InconsistentOffsets);
    unknown.final_read((0, 1), &[(0, 0)]).innocent();
    // Two acknowledged at one offset: then one of them is lost, too.
    let mut acked = History::default();
    acked
        .send(1, &[0])
        .send(2, &[1])
        .ack(1, &[0], 0)
        .ack(2, &[1], 0)
        .final_read((0, 1), &[(0, 0)]);
    let kinds: Vec<Kind> = acked.judged().anomaly_counts.into_keys().collect();
    assert_eq!(kinds, [Kind::LostWrite, Kind::InconsistentOffsets]);
}

#[test]
fn phantom() {
    History::with_written(1)
        .final_read((0, 2), &[(0, 0), (1, 77)])
        .guilty_of(Kind::Phantom);
    let mut elsewhere = History::with_written(1);
    elsewhere
        .send_in(1, 1, &[5], None)
        .final_read((0, 2), &[(0, 0), (1, 5)]);
    elsewhere.push(|t_us| {
        Event::FinalRead(FinalRead {
            t_us,
            topic: TOPIC.into(),
            partition: 1,
            begin_offset: 0,
            end_offset: 0,
            records: Records::default(),
            read_committed: false,
        })
    });
    elsewhere.guilty_of(Kind::Phantom);
    // The lines of two clients crossed each other.
    let mut crossed = History::default();
    crossed
        .poll(9, &[(0, 0)])
        .send(1, &[0])
        .ack(1, &[0], 0)
        .final_read((0, 1), &FOUR[..1])
        .innocent();
}

#[test]
fn payload_mismatch() {
    let mut history = History::with_written(3);
    history.push(|t_us| {
        Event::PayloadMismatch(PayloadMismatch {
            t_us,
            client: 9,
            topic: TOPIC.into(),
            partition: 0,
            offset: 1,
            value: None,
            detail: "3 bytes differ".into(),
        })
    });
    history
        .final_read((0, 3), &[(0, 0), (2, 2)])
        .guilty_of(Kind::PayloadMismatch);
}

#[test]
fn reordered() {
    let swapped = |idempotent: bool| {
        let mut history = History::default();
        history
            .client(1, idempotent, -1, false)
            .send(1, &[0])
            .send(1, &[1]);
        history
            .ack(1, &[1], 0)
            .ack(1, &[0], 1)
            .final_read((0, 2), &[(0, 1), (1, 0)]);
        history
    };
    swapped(true).guilty_of(Kind::Reordered);
    swapped(false).innocent();
    // Two clients are free to overtake each other.
    let mut two = History::default();
    two.send(1, &[0])
        .send(2, &[1])
        .ack(2, &[1], 0)
        .ack(1, &[0], 1)
        .final_read((0, 2), &[(0, 1), (1, 0)])
        .innocent();
    // Of unknown outcome, but before what had been acknowledged ahead of it.
    let mut unknown = History::default();
    unknown
        .send(1, &[0])
        .send(1, &[1])
        .ack(1, &[0], 1)
        .fail(1, &[1], false);
    unknown
        .final_read((0, 2), &[(0, 1), (1, 0)])
        .guilty_of(Kind::Reordered);
}

#[test]
fn what_is_missing_is_told_at_the_end_and_what_contradicts_at_once() {
    let mut checker = Checker::new(Settings::default());
    let mut history = History::with_written(4);
    history.poll(9, &FOUR[..2]);
    for event in &history.events {
        checker.observe(event);
    }
    assert!(checker.so_far().passed());
    let before = history.events.len();
    history.poll(8, &[(0, 0), (1, 3)]);
    checker.observe(&history.events[before]);
    let report = checker.so_far();
    assert!(
        report
            .anomaly_counts
            .contains_key(&Kind::InconsistentOffsets),
        "{report}"
    );
    let report = checker.finish();
    assert!(!report.incomplete.is_empty(), "{report}");
}
