//! A history is input like any other: nonsense is reported, and neither ends the judge nor fills its memory.

use foz_judge::event::*;
use foz_judge::{Event, Kind, check};
use proptest::prelude::*;

use crate::builder::TOPIC;

fn offset() -> impl Strategy<Value = i64> {
    prop_oneof![-2..6_i64, Just(i64::MIN), Just(i64::MAX), any::<i64>()]
}

fn value() -> impl Strategy<Value = u64> {
    prop_oneof![0..6_u64, Just(u64::MAX), any::<u64>()]
}

fn records() -> impl Strategy<Value = Records> {
    let few = 0..4_usize;
    let offsets = prop::collection::vec(offset(), few.clone());
    let values = prop::collection::vec(value(), few.clone());
    (offsets, values, prop::collection::vec(any::<i32>(), few)).prop_map(
        |(offsets, values, leader_epochs)| Records {
            offsets,
            values,
            leader_epochs,
        },
    )
}

fn event() -> impl Strategy<Value = Event> {
    let numbers = (
        0..13_u8,
        any::<u64>(),
        0..3_u32,
        any::<i32>(),
        any::<bool>(),
    );
    (numbers, records(), offset(), offset()).prop_map(
        |((what, t_us, client, partition, flag), records, one, other)| {
            let (topic, values) = (TOPIC.to_owned(), records.values.clone());
            let partition = partition % 2;
            let transaction = flag.then_some(t_us % 3);
            match what {
                0 => {
                    let sources = flag.then(|| Sources {
                        topic: "s".into(),
                        values: vec![t_us],
                    });
                    Event::Send(Send {
                        t_us,
                        client,
                        topic,
                        partition,
                        values,
                        transaction,
                        sources,
                    })
                }
                1 => {
                    let offsets = records.offsets;
                    Event::Ack(Ack {
                        t_us,
                        client,
                        topic,
                        partition,
                        values,
                        offsets,
                    })
                }
                2 => {
                    let error = String::new();
                    Event::Fail(Fail {
                        t_us,
                        client,
                        topic,
                        partition,
                        values,
                        error,
                        definite: flag,
                    })
                }
                3 | 4 => Event::Poll(Poll {
                    t_us,
                    client,
                    topic,
                    partition,
                    records,
                    position_before: flag.then_some(one),
                    position_after: Some(other),
                    transaction,
                }),
                5 => Event::Seek(Seek {
                    t_us,
                    client,
                    topic,
                    partition,
                    offset: one,
                }),
                6 => Event::EndOffset(OffsetRead {
                    t_us,
                    asked_us: flag.then_some(u64::MAX),
                    client,
                    topic,
                    partition,
                    offset: one,
                    read_committed: flag,
                }),
                7 => Event::Transaction(Transaction {
                    t_us,
                    client,
                    transaction: t_us % 3,
                    step: if flag {
                        TransactionStep::Committed
                    } else {
                        TransactionStep::Unknown
                    },
                }),
                8 => Event::FinalRead(FinalRead {
                    t_us,
                    topic,
                    partition,
                    begin_offset: one,
                    end_offset: other,
                    records,
                    read_committed: flag,
                }),
                9 => Event::ReplicaLog(ReplicaLog {
                    t_us,
                    node: client as i32,
                    topic,
                    partition,
                    start_offset: one,
                    end_offset: other,
                    entries: records
                        .offsets
                        .iter()
                        .map(|offset| ReplicaEntry {
                            offset: *offset,
                            leader_epoch: 0,
                            value: None,
                            crc: t_us as u32,
                        })
                        .collect(),
                }),
                10 => Event::Topic(Topic {
                    t_us,
                    topic,
                    partitions: partition,
                    deletes: flag,
                }),
                11 => Event::Drained(Drained {
                    t_us,
                    source: "s".into(),
                    output: topic,
                }),
                _ => Event::Fault(Fault {
                    t_us,
                    id: t_us % 2,
                    kind: "k".into(),
                    phase: if flag {
                        FaultPhase::Begin
                    } else {
                        FaultPhase::End
                    },
                    targets: vec![],
                    partitions: vec![],
                    loaded_leader: flag,
                }),
            }
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nonsense_is_survived(events in prop::collection::vec(event(), 0..60)) {
        let report = check(events.clone());
        prop_assert_eq!(report.counts.events, events.len() as u64);
    }
}

/// A subject that answers with offsets from all over must not fill the memory.
#[test]
fn scattered_offsets_are_bounded() {
    let (client, topic, partition) = (1, TOPIC.to_owned(), 0);
    let values: Vec<u64> = (0..2_000).collect();
    let offsets = values.iter().map(|value| (*value as i64) << 40).collect();
    let send = Send {
        t_us: 0,
        client,
        topic: topic.clone(),
        partition,
        values: values.clone(),
        transaction: None,
        sources: None,
    };
    let ack = Ack {
        t_us: 1,
        client,
        topic,
        partition,
        values,
        offsets,
    };
    let report = check([Event::Send(send), Event::Ack(ack)]);
    assert!(report.anomaly_counts[&Kind::WildOffset] > 1_000);
}
