//! The log itself, its replicas, and histories that cannot be right.

use foz_judge::event::*;
use foz_judge::{Event, Kind};

use crate::builder::{History, TOPIC, records_of};
use crate::crafted::FOUR;

#[test]
fn leader_epoch_regression() {
    let read = |leader_epochs: &[i32]| {
        let mut history = History::with_written(3);
        let records = Records {
            leader_epochs: leader_epochs.to_vec(),
            ..records_of(&FOUR[..3])
        };
        history.final_read_of(TOPIC, (0, 3), records, false);
        history
    };
    read(&[1, 3, 2]).guilty_of(Kind::LeaderEpochRegression);
    read(&[1, 1, 4]).innocent();
    read(&[]).innocent();
    // One record under two epochs.
    let mut twice = read(&[1, 2, 2]);
    let records = Records {
        leader_epochs: vec![1, 2, 3],
        ..records_of(&FOUR[..3])
    };
    twice
        .final_read_of(TOPIC, (0, 3), records, false)
        .guilty_of(Kind::LeaderEpochRegression);
}

#[test]
fn replica_divergence() {
    let log = [(0, 1, 0), (1, 1, 1), (2, 2, 2)];
    let mut history = History::with_written(3);
    history
        .final_read((0, 3), &FOUR[..3])
        .replica(1, (0, 3), &log);
    history.clone().replica(2, (0, 3), &log).innocent();
    // It began later.
    history.clone().replica(2, (2, 3), &log[2..]).innocent();
    // In pieces.
    history
        .clone()
        .replica(2, (0, 1), &log[..1])
        .replica(2, (1, 3), &log[1..])
        .innocent();
    // Another epoch; a hole; a shorter log; an empty one.
    let guilty = Kind::ReplicaDivergence;
    history
        .clone()
        .replica(2, (0, 3), &[log[0], (1, 2, 1), log[2]])
        .guilty_of(guilty);
    history
        .clone()
        .replica(2, (0, 3), &[log[0], log[2]])
        .guilty_of(guilty);
    history
        .clone()
        .replica(2, (0, 2), &log[..2])
        .guilty_of(guilty);
    history.clone().replica(2, (0, 0), &[]).guilty_of(guilty);
    // All the same, and not what clients read.
    let mut other = History::with_written(1);
    other
        .final_read((0, 1), &FOUR[..1])
        .replica(1, (0, 1), &[(0, 1, 6)])
        .replica(2, (0, 1), &[(0, 1, 6)]);
    other.guilty_of(guilty);
}

#[test]
fn replica_divergence_by_digest() {
    let told = |first: u64, second: u64, end_offset: i64| {
        let mut history = History::with_written(1);
        history.final_read((0, 1), &FOUR[..1]);
        for (node, digest, end_offset) in [(1, first, 1), (2, second, end_offset)] {
            let (topic, partition, start_offset) = (TOPIC.into(), 0, 0);
            history.push(|t_us| {
                Event::ReplicaDigest(ReplicaDigest {
                    t_us,
                    node,
                    topic,
                    partition,
                    start_offset,
                    end_offset,
                    digest,
                })
            });
        }
        history
    };
    told(4, 5, 1).guilty_of(Kind::ReplicaDivergence);
    assert_eq!(told(4, 4, 1).innocent().counts.replicas_compared, 2);
    // Other cuts cannot be compared, and that is said.
    assert!(!told(4, 4, 2).judged().incomplete.is_empty());
}

#[test]
fn wild_offset() {
    let mut history = History::default();
    history
        .send(1, &[0])
        .fail(1, &[0], false)
        .poll(9, &[(-1, 0)])
        .final_read((0, 0), &[]);
    history.guilty_of(Kind::WildOffset);
    // Far, but nothing says that it cannot be.
    let mut far = History::default();
    far.send(1, &[0])
        .ack(1, &[0], 1 << 40)
        .final_read((0, 1 + (1 << 40)), &[(1 << 40, 0)])
        .innocent();
}

#[test]
fn malformed_history() {
    let written = || {
        let mut history = History::with_written(2);
        history.final_read((0, 2), &FOUR[..2]);
        history
    };
    let guilty = Kind::MalformedHistory;
    written().send(1, &[1]).guilty_of(guilty);
    written().ack(1, &[5], 5).guilty_of(guilty);
    written().ack(1, &[1], 1).guilty_of(guilty);
    written().send(2, &[9, 8]).guilty_of(guilty);
    let mut back = written();
    back.now_us = 0;
    back.end_offset(7, 2, 0).guilty_of(guilty);
    let mut uneven = written();
    let records = Records {
        offsets: vec![0],
        values: vec![],
        leader_epochs: vec![],
    };
    uneven
        .final_read_of(TOPIC, (0, 1), records, false)
        .guilty_of(guilty);
    written().innocent();
}
