//! Transactions, and pipelines made of them.

use foz_judge::event::*;
use foz_judge::{Checker, Event, Kind, Settings};

use crate::builder::{History, TOPIC, records_of};
use crate::crafted::FOUR;

#[test]
fn aborted_read() {
    let failed = |definite| {
        let mut history = History::with_written(1);
        history
            .send(1, &[1])
            .fail(1, &[1], definite)
            .final_read((0, 2), &FOUR[..2]);
        history
    };
    failed(true).guilty_of(Kind::AbortedRead);
    failed(false).innocent();

    let aborted = |committed: bool| {
        let mut history = History::default();
        history.send_in(1, 0, &[0], Some(5)).ack(1, &[0], 0);
        history
            .transaction(1, 5, TransactionStep::Aborting)
            .transaction(1, 5, TransactionStep::Aborted);
        history.final_read_of(TOPIC, (0, 2), records_of(&[(0, 0)]), committed);
        history
    };
    aborted(true).guilty_of(Kind::AbortedRead);
    aborted(false).innocent();
}

#[test]
fn precommitted_read() {
    let read_early = |read_committed: bool| {
        let mut history = History::default();
        history
            .client(9, true, -1, read_committed)
            .send_in(1, 0, &[0], Some(5))
            .ack(1, &[0], 0);
        history.poll(9, &[(0, 0)]);
        history
            .transaction(1, 5, TransactionStep::Committing)
            .transaction(1, 5, TransactionStep::Committed);
        history.final_committed((0, 2), &[(0, 0)]);
        history
    };
    read_early(true).guilty_of(Kind::PrecommittedRead);
    read_early(false).innocent();
    // Between the question and the answer it may be visible.
    let mut history = History::default();
    history
        .client(9, true, -1, true)
        .send_in(1, 0, &[0], Some(5))
        .ack(1, &[0], 0);
    history
        .transaction(1, 5, TransactionStep::Committing)
        .poll(9, &[(0, 0)]);
    history
        .transaction(1, 5, TransactionStep::Committed)
        .final_committed((0, 2), &[(0, 0)])
        .innocent();
}

#[test]
fn torn_transaction() {
    let ended = |outcome: TransactionStep, visible: &[(i64, u64)]| {
        let mut history = History::default();
        history.send_in(1, 0, &[0, 1], Some(5)).ack(1, &[0, 1], 0);
        history
            .transaction(1, 5, TransactionStep::Committing)
            .transaction(1, 5, outcome);
        history.final_committed((0, 3), visible);
        history
    };
    ended(TransactionStep::Unknown, &[(1, 1)]).guilty_of(Kind::TornTransaction);
    ended(TransactionStep::Unknown, &[(0, 0), (1, 1)]).innocent();
    ended(TransactionStep::Unknown, &[]).innocent();
    ended(TransactionStep::Committed, &[(1, 1)]).guilty_of(Kind::LostWrite);
}

/// Two transactions that write one value each, and read what `reads` says: transaction and value.
fn two_transactions(reads: &[(u64, u64)]) -> History {
    let mut history = History::default();
    for transaction in [0, 1] {
        let client = transaction as u32 + 1;
        history
            .send_in(client, 0, &[transaction], Some(transaction))
            .ack(client, &[transaction], transaction as i64);
    }
    for (transaction, value) in reads {
        let client = 8 + *transaction as u32;
        history.poll_as(client, &[(*value as i64, *value)], Some(*transaction));
    }
    for transaction in [0, 1] {
        history.transaction(1, transaction, TransactionStep::Committing);
        history.transaction(1, transaction, TransactionStep::Committed);
    }
    history.final_committed((0, 4), &FOUR[..2]);
    history
}

#[test]
fn circular_flow() {
    two_transactions(&[(0, 1), (1, 0)]).guilty_of(Kind::CircularFlow);
    two_transactions(&[(1, 0)]).innocent();
}

#[test]
fn write_cycle_only_when_asked() {
    let mut history = History::default();
    history
        .send_in(1, 0, &[0], Some(5))
        .send_in(2, 0, &[1], Some(6))
        .send_in(1, 0, &[2], Some(5));
    history.ack(1, &[0], 0).ack(2, &[1], 1).ack(1, &[2], 2);
    for id in [5, 6] {
        history
            .transaction(1, id, TransactionStep::Committing)
            .transaction(1, id, TransactionStep::Committed);
    }
    history.final_committed((0, 5), &FOUR[..3]);
    history.innocent();
    let mut strict = Checker::new(Settings { write_cycles: true });
    history
        .events
        .iter()
        .for_each(|event| strict.observe(event));
    assert_eq!(
        strict
            .finish()
            .anomaly_counts
            .into_iter()
            .collect::<Vec<_>>(),
        [(Kind::WriteCycle, 1)]
    );
}

/// Values 0 and 1 of `t`, and outputs made from what `from` says.
fn transformed(from: &[u64], drained: bool) -> History {
    let mut history = History::with_written(2);
    let values: Vec<u64> = (0..from.len() as u64).collect();
    let offsets: Vec<i64> = (0..from.len() as i64).collect();
    let sources = Some(Sources {
        topic: TOPIC.into(),
        values: from.to_vec(),
    });
    let (client, topic, transaction) = (3, "out".to_owned(), Some(1));
    let sent = Send {
        t_us: 0,
        client,
        topic: topic.clone(),
        partition: 0,
        values: values.clone(),
        transaction,
        sources,
    };
    let acked = Ack {
        t_us: 0,
        client,
        topic,
        partition: 0,
        values: values.clone(),
        offsets: offsets.clone(),
    };
    history.push(|t_us| Event::Send(Send { t_us, ..sent }));
    history.push(|t_us| Event::Ack(Ack { t_us, ..acked }));
    history
        .transaction(3, 1, TransactionStep::Committing)
        .transaction(3, 1, TransactionStep::Committed);
    history.final_read((0, 2), &FOUR[..2]);
    let records = Records {
        offsets,
        values,
        leader_epochs: vec![],
    };
    history.final_read_of("out", (0, from.len() as i64 + 1), records, true);
    if drained {
        let (source, output) = (TOPIC.into(), "out".into());
        history.push(|t_us| {
            Event::Drained(Drained {
                t_us,
                source,
                output,
            })
        });
    }
    history
}

#[test]
fn exactly_once() {
    transformed(&[0, 1], true).innocent();
    transformed(&[0, 1, 0], true).guilty_of(Kind::ExactlyOnce);
    transformed(&[1], true).guilty_of(Kind::ExactlyOnce);
    // Not yet caught up: nothing is missing.
    transformed(&[1], false).innocent();
}

#[test]
fn poll_past_an_aborted_transaction() {
    let ended = |step: TransactionStep| {
        let mut history = History::default();
        history
            .client(9, true, -1, true)
            .send(1, &[0, 2])
            .send_in(2, 0, &[1], Some(5));
        history.ack(1, &[0], 0).ack(2, &[1], 1).ack(1, &[2], 2);
        history
            .transaction(2, 5, TransactionStep::Committing)
            .transaction(2, 5, step);
        history
            .poll(9, &[(0, 0)])
            .poll(9, &[(2, 2)])
            .final_read((0, 4), &FOUR[..3]);
        history
    };
    ended(TransactionStep::Aborted).innocent();
    ended(TransactionStep::Committed).guilty_of(Kind::PollSkip);
}
