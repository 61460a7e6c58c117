//! Short words for histories. One topic `t`; time goes on by a millisecond with each event.

use foz_judge::event::*;
use foz_judge::{Event, Kind, Report, check};

#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub events: Vec<Event>,
    pub now_us: u64,
}

pub(crate) const TOPIC: &str = "t";

impl History {
    pub(crate) fn push(&mut self, event: impl FnOnce(u64) -> Event) -> &mut Self {
        self.now_us += 1000;
        self.events.push(event(self.now_us));
        self
    }

    pub(crate) fn client(
        &mut self,
        client: u32,
        idempotent: bool,
        acks: i16,
        read_committed: bool,
    ) -> &mut Self {
        let name = String::new();
        self.push(|t_us| {
            Event::Client(Client {
                t_us,
                client,
                name,
                idempotent,
                acks,
                read_committed,
            })
        })
    }

    pub(crate) fn topic(&mut self, deletes: bool) -> &mut Self {
        self.push(|t_us| {
            Event::Topic(Topic {
                t_us,
                topic: TOPIC.into(),
                partitions: 1,
                deletes,
            })
        })
    }

    pub(crate) fn send_in(
        &mut self,
        client: u32,
        partition: i32,
        values: &[u64],
        transaction: Option<u64>,
    ) -> &mut Self {
        let (topic, values) = (TOPIC.into(), values.to_vec());
        self.push(|t_us| {
            Event::Send(Send {
                t_us,
                client,
                topic,
                partition,
                values,
                transaction,
                sources: None,
            })
        })
    }

    pub(crate) fn send(&mut self, client: u32, values: &[u64]) -> &mut Self {
        self.send_in(client, 0, values, None)
    }

    /// The first value at `offset`, the others behind it.
    pub(crate) fn ack(&mut self, client: u32, values: &[u64], offset: i64) -> &mut Self {
        let offsets = (offset..).take(values.len()).collect();
        let (topic, values) = (TOPIC.into(), values.to_vec());
        self.push(|t_us| {
            Event::Ack(Ack {
                t_us,
                client,
                topic,
                partition: 0,
                values,
                offsets,
            })
        })
    }

    pub(crate) fn fail(&mut self, client: u32, values: &[u64], definite: bool) -> &mut Self {
        let (topic, values, error) = (TOPIC.into(), values.to_vec(), "timed out".into());
        self.push(|t_us| {
            Event::Fail(Fail {
                t_us,
                client,
                topic,
                partition: 0,
                values,
                error,
                definite,
            })
        })
    }

    pub(crate) fn poll_as(
        &mut self,
        client: u32,
        records: &[(i64, u64)],
        transaction: Option<u64>,
    ) -> &mut Self {
        let (topic, records) = (TOPIC.into(), records_of(records));
        let (position_before, position_after) = (None, None);
        self.push(|t_us| {
            Event::Poll(Poll {
                t_us,
                client,
                topic,
                partition: 0,
                records,
                position_before,
                position_after,
                transaction,
            })
        })
    }

    /// Offset and value of each record.
    pub(crate) fn poll(&mut self, client: u32, records: &[(i64, u64)]) -> &mut Self {
        self.poll_as(client, records, None)
    }

    pub(crate) fn assigned(&mut self, client: u32) -> &mut Self {
        self.push(|t_us| {
            Event::Assigned(Assignment {
                t_us,
                client,
                topic: TOPIC.into(),
                partitions: vec![0],
            })
        })
    }

    pub(crate) fn seek(&mut self, client: u32, offset: i64) -> &mut Self {
        self.push(|t_us| {
            Event::Seek(Seek {
                t_us,
                client,
                topic: TOPIC.into(),
                partition: 0,
                offset,
            })
        })
    }

    /// Asked `ago_us` before the answer.
    pub(crate) fn end_offset(&mut self, client: u32, offset: i64, ago_us: u64) -> &mut Self {
        self.push(|t_us| Event::EndOffset(offset_read(t_us, ago_us, client, offset)))
    }

    pub(crate) fn begin_offset(&mut self, client: u32, offset: i64) -> &mut Self {
        self.push(|t_us| Event::BeginOffset(offset_read(t_us, 0, client, offset)))
    }

    pub(crate) fn commit(
        &mut self,
        client: u32,
        offset: i64,
        outcome: Outcome,
        ago_us: u64,
    ) -> &mut Self {
        let (group, topic) = ("g".into(), TOPIC.into());
        self.push(|t_us| {
            let asked_us = Some(t_us - ago_us);
            Event::OffsetCommit(OffsetCommit {
                t_us,
                asked_us,
                client,
                group,
                topic,
                partition: 0,
                offset,
                outcome,
            })
        })
    }

    pub(crate) fn committed(&mut self, client: u32, offset: Option<i64>, ago_us: u64) -> &mut Self {
        let (group, topic) = ("g".into(), TOPIC.into());
        self.push(|t_us| {
            let asked_us = Some(t_us - ago_us);
            Event::CommittedOffset(CommittedOffset {
                t_us,
                asked_us,
                client,
                group,
                topic,
                partition: 0,
                offset,
            })
        })
    }

    pub(crate) fn transaction(
        &mut self,
        client: u32,
        transaction: u64,
        step: TransactionStep,
    ) -> &mut Self {
        self.push(|t_us| {
            Event::Transaction(Transaction {
                t_us,
                client,
                transaction,
                step,
            })
        })
    }

    pub(crate) fn final_read_of(
        &mut self,
        topic: &str,
        (begin_offset, end_offset): (i64, i64),
        records: Records,
        read_committed: bool,
    ) -> &mut Self {
        let topic = topic.into();
        self.push(|t_us| {
            Event::FinalRead(FinalRead {
                t_us,
                topic,
                partition: 0,
                begin_offset,
                end_offset,
                records,
                read_committed,
            })
        })
    }

    pub(crate) fn final_read(&mut self, bounds: (i64, i64), records: &[(i64, u64)]) -> &mut Self {
        self.final_read_of(TOPIC, bounds, records_of(records), false)
    }

    pub(crate) fn final_committed(
        &mut self,
        bounds: (i64, i64),
        records: &[(i64, u64)],
    ) -> &mut Self {
        self.final_read_of(TOPIC, bounds, records_of(records), true)
    }

    /// Offset, epoch and value of each record; the crc is made from the value.
    pub(crate) fn replica(
        &mut self,
        node: i32,
        bounds: (i64, i64),
        records: &[(i64, i32, u64)],
    ) -> &mut Self {
        let entries = records
            .iter()
            .map(|(offset, leader_epoch, value)| ReplicaEntry {
                offset: *offset,
                leader_epoch: *leader_epoch,
                value: Some(*value),
                crc: *value as u32 ^ 0xabcd,
            })
            .collect();
        let (topic, (start_offset, end_offset)) = (TOPIC.into(), bounds);
        self.push(|t_us| {
            Event::ReplicaLog(ReplicaLog {
                t_us,
                node,
                topic,
                partition: 0,
                start_offset,
                end_offset,
                entries,
            })
        })
    }

    pub(crate) fn fault(&mut self, id: u64, kind: &str) -> &mut Self {
        let (kind, phase, targets, partitions) = (kind.into(), FaultPhase::Begin, vec![], vec![]);
        self.push(|t_us| {
            Event::Fault(Fault {
                t_us,
                id,
                kind,
                phase,
                targets,
                partitions,
                loaded_leader: true,
            })
        })
    }

    /// Values 0, 1, 2 … of client 1 at the offsets of the same number, acknowledged.
    pub(crate) fn with_written(values: u64) -> History {
        let mut history = History::default();
        let values: Vec<u64> = (0..values).collect();
        history.send(1, &values).ack(1, &values, 0);
        history
    }

    pub(crate) fn judged(&self) -> Report {
        check(self.events.clone())
    }

    /// Has this kind of anomaly, with evidence, and nothing else.
    #[track_caller]
    pub(crate) fn guilty_of(&self, kind: Kind) {
        let report = self.judged();
        let kinds: Vec<Kind> = report.anomaly_counts.keys().copied().collect();
        assert_eq!(kinds, [kind], "{:#?}", report.anomalies);
        assert!(report.incomplete.is_empty(), "{:?}", report.incomplete);
        assert!(!report.passed());
        for anomaly in &report.anomalies {
            assert!(!anomaly.events.is_empty(), "{anomaly}");
            assert!(
                anomaly
                    .events
                    .iter()
                    .all(|event| *event as usize <= self.events.len()),
                "{anomaly}"
            );
        }
    }

    #[track_caller]
    pub(crate) fn innocent(&self) -> Report {
        let report = self.judged();
        assert!(report.passed(), "{report}{:#?}", report.anomalies);
        report
    }
}

pub(crate) fn records_of(records: &[(i64, u64)]) -> Records {
    Records {
        offsets: records.iter().map(|record| record.0).collect(),
        values: records.iter().map(|record| record.1).collect(),
        leader_epochs: vec![],
    }
}

fn offset_read(t_us: u64, ago_us: u64, client: u32, offset: i64) -> OffsetRead {
    let (asked_us, topic) = (Some(t_us - ago_us), TOPIC.into());
    OffsetRead {
        t_us,
        asked_us,
        client,
        topic,
        partition: 0,
        offset,
        read_committed: false,
    }
}
