use foz_transactions::{AppendError, TransactionConfig, TransactionState};
use kafka_protocol::ResponseError as E;

use crate::harness::*;

use TransactionState::{
    CompleteAbort, CompleteCommit, Empty, Ongoing, PrepareAbort, PrepareCommit,
};

const DAY_MS: i64 = 24 * 60 * 60 * 1_000;

#[test]
fn a_transaction_is_aborted_when_its_time_is_over() {
    for (level, version) in [(0, 0), (1, 0), (2, 2)] {
        let config = TransactionConfig {
            transaction_version: level,
            ..TransactionConfig::default()
        };
        let mut harness = Harness::loaded_with(config, transaction(Empty, (10, 7)));
        assert_eq!(harness.add_v3((10, 7), &[0]), 0);
        harness.advance(i64::from(TIMEOUT_MS) - 1);
        assert_eq!(harness.state(), "Ongoing");
        // More partitions give no more time; it is looked for every 10 s.
        assert_eq!(harness.add_v3((10, 7), &[1]), 0);
        harness.advance(10_001);
        assert_eq!(harness.state(), "PrepareAbort");
        let markers = harness.markers[0].clone();
        assert_eq!((markers.producer_epoch, markers.commit), (8, false));
        assert_eq!(markers.transaction_version, version);
        harness.report(foz_transactions::MarkerOutcome::Written);
        assert_eq!(harness.state(), "CompleteAbort");
        // Who had it is fenced, or, from version 2 on, may only abort what is aborted.
        assert_eq!(harness.add_v3((10, 7), &[0]), code(E::ProducerFenced));
        assert_eq!(harness.end(3, (10, 7), true).0, code(E::ProducerFenced));
        if level == 2 {
            assert_eq!(harness.end(5, (10, 7), true).0, code(E::InvalidTxnState));
            assert_eq!(harness.end(5, (10, 7), false), (0, 10, 8));
        } else {
            assert_eq!(harness.end(5, (10, 7), false).0, code(E::ProducerFenced));
        }
    }
}

/// After a fail-over: others are served in between.
#[test]
fn many_that_are_over_their_time_are_aborted_some_at_a_time() {
    let mut harness = Harness::new();
    for number in 0..2_500 {
        let value = transaction(Ongoing, (number, 7));
        harness
            .log
            .push(record(&format!("id-{number}"), Some(value)));
    }
    harness.restart();
    harness.confirms = false;
    let now_ms = harness.now.monotonic_ms + i64::from(TIMEOUT_MS) + 10_000;
    harness.move_clock_to(now_ms);
    let mut aborted = Vec::new();
    for _ in 0..4 {
        let effects = harness.coordinator.on_timer(harness.now);
        aborted.push(effects.len());
        harness.absorb(effects);
        let next_ms = harness.coordinator.next_deadline().unwrap();
        assert!(next_ms > harness.now.monotonic_ms, "it would not rest");
        harness.move_clock_to(next_ms);
    }
    assert_eq!(aborted, [1_000, 1_000, 500, 0]);
}

#[test]
fn those_that_cannot_be_aborted_keep_no_others_from_it() {
    const COUNT: usize = 1_500;
    let mut harness = Harness::new();
    for number in 0..COUNT {
        let value = transaction(Ongoing, (number as i64, 7));
        harness
            .log
            .push(record(&format!("id-{number}"), Some(value)));
    }
    harness.restart();
    harness.confirms = false;
    let due_ms = harness.now.monotonic_ms + i64::from(TIMEOUT_MS) + 10_000;
    harness.move_clock_to(due_ms);
    let interval_ms = 10_000;
    let mut tried = Vec::new();
    while harness.now.monotonic_ms < due_ms + 2 * interval_ms {
        let effects = harness.coordinator.on_timer(harness.now);
        tried.push((harness.now.monotonic_ms - due_ms, effects.len()));
        harness.absorb(effects);
        while harness.fail(AppendError::NotAvailable) {}
        let next_ms = harness.coordinator.next_deadline().unwrap();
        harness.move_clock_to(next_ms);
    }
    tried.retain(|(_, count)| *count > 0);
    assert_eq!(tried[..2], [(0, 1_000), (100, 500)]);
    let again: usize = tried[2..].iter().map(|(_, count)| count).sum();
    assert!((COUNT..=2 * COUNT).contains(&again), "{tried:?}");
    assert!(tried[2].0 >= interval_ms, "{tried:?}");
}

#[test]
fn a_transaction_that_ended_in_time_is_left_alone() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.writes_markers = true;
    harness.end(5, (10, 7), true);
    harness.advance(200_000);
    assert_eq!(harness.state(), "CompleteCommit");
    // The time of the next one is its own.
    assert_eq!(harness.add_v5((10, 8), &[0]), 0);
    harness.advance(i64::from(TIMEOUT_MS) - 1);
    assert_eq!(harness.state(), "Ongoing");
}

#[test]
fn an_end_that_is_under_way_is_not_cut_off() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    let waiter = harness.send(5, end_request((10, 7), true));
    harness.advance(200_000);
    assert_eq!(harness.pending.len(), 1);
    assert_eq!(harness.ended(waiter).0, code(E::CoordinatorNotAvailable));
    harness.confirm();
    assert_eq!(harness.state(), "PrepareCommit");
}

#[test]
fn an_abort_that_was_not_written_is_tried_again() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.confirms = false;
    harness.advance(100_000);
    for _ in 0..3 {
        assert!(harness.fail(AppendError::NotAvailable));
        assert_eq!(harness.state(), "Ongoing");
        harness.advance(10_000);
    }
    harness.confirm();
    assert_eq!(harness.markers[0].producer_epoch, 8);
}

#[test]
fn an_abort_at_the_last_epoch_takes_the_next_producer_id() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, i16::MAX - 1)));
    harness.allocates = false;
    harness.advance(100_000);
    assert_eq!(harness.state(), "Ongoing");
    harness.refuse_producer_id();
    harness.advance(10_000);
    harness.allocate();
    harness.report(foz_transactions::MarkerOutcome::Written);
    assert_eq!(harness.describe(ID).producer_id.0, FIRST);
}

#[test]
fn the_time_a_transaction_was_open_counts_over_a_restart() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.advance(40_000);
    harness.restart();
    harness.advance(19_000);
    assert_eq!(harness.state(), "Ongoing");
    harness.advance(11_001);
    assert_eq!(harness.state(), "PrepareAbort");
}

#[test]
fn a_wall_clock_that_is_set_aborts_nothing() {
    let mut harness = Harness::loaded(transaction(Ongoing, (10, 7)));
    harness.now.wall_ms += 300 * DAY_MS;
    harness.advance(i64::from(TIMEOUT_MS) - 1);
    assert_eq!(harness.state(), "Ongoing");
    // Nor does one that was set back before a restart make a transaction last for ever.
    harness.now.wall_ms -= 600 * DAY_MS;
    harness.restart();
    harness.advance(i64::from(TIMEOUT_MS) + 10_000);
    assert_eq!(harness.state(), "PrepareAbort");
}

#[test]
fn ids_are_forgotten_after_a_week_without_a_transaction() {
    let cases = [
        (Empty, true),
        (CompleteCommit, true),
        (CompleteAbort, true),
        (PrepareCommit, false),
        (PrepareAbort, false),
    ];
    for (state, expires) in cases {
        let mut harness = Harness::loaded(transaction(state, (10, 7)));
        harness.advance(7 * DAY_MS - 1);
        assert_eq!(harness.describe(ID).error_code, 0, "{state:?}");
        harness.advance(60 * 60 * 1_000);
        let not_found = code(E::TransactionalIdNotFound);
        let error = if expires { not_found } else { 0 };
        assert_eq!(harness.describe(ID).error_code, error, "{state:?}");
        assert_eq!(
            harness.log.last().expect("a record").value.is_none(),
            expires
        );
        harness.restart();
        assert_eq!(harness.describe(ID).error_code, error, "{state:?}");
        let mapping = code(E::InvalidProducerIdMapping);
        if expires {
            assert_eq!(harness.add_v5((10, 7), &[0]), mapping);
            assert_eq!(harness.init(Some((10, 7))), (0, FIRST, 0));
        }
    }
}

#[test]
fn while_an_id_expires_nobody_gets_in() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    harness.confirms = false;
    harness.advance(8 * DAY_MS);
    assert_eq!(harness.pending.len(), 1);
    let concurrent = code(E::ConcurrentTransactions);
    assert_eq!(harness.add_v5((10, 7), &[0]), concurrent);
    assert_eq!(harness.init(None).0, concurrent);
    harness.fail(AppendError::NotAvailable);
    harness.confirms = true;
    assert_eq!(harness.init(None), (0, 10, 8));
}

#[test]
fn an_id_that_is_being_written_does_not_expire() {
    let mut harness = Harness::loaded(transaction(Empty, (10, 7)));
    harness.now.wall_ms += 8 * DAY_MS;
    harness.confirms = false;
    harness.send(3, client_add((10, 7), &[0]));
    harness.advance(2 * 60 * 60 * 1_000);
    assert_eq!(harness.pending.len(), 1, "only its own record");
}

#[test]
fn many_ids_expire_in_batches_that_fit() {
    let mut harness = Harness::new();
    let short = (0..4_500).map(|index| format!("short-{index}"));
    let long = (0..30).map(|index| format!("{}{index}", "x".repeat(32_000)));
    for id in short.chain(long) {
        harness
            .log
            .push(record(&id, Some(transaction(Empty, (10, 7)))));
    }
    harness.restart();
    harness.confirms = false;
    harness.advance(8 * DAY_MS);
    let keys = |records: &[foz_transactions::Record]| {
        let lengths = records.iter().map(|record| record.transactional_id.len());
        (records.len(), lengths.sum::<usize>())
    };
    let batches: Vec<(usize, usize)> = harness
        .pending
        .iter()
        .map(|(_, records)| keys(records))
        .collect();
    assert_eq!(batches.iter().map(|(count, _)| count).sum::<usize>(), 4_530);
    for (count, bytes) in batches {
        assert!(count <= 2_000 && bytes <= 256 * 1024, "{count} {bytes}");
    }
    while harness.confirm() {}
    assert_eq!(harness.coordinator.next_deadline(), None);
}
