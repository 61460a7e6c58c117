//! The checker: takes a history event by event, in the order of time, and reports at its end.

use crate::anomaly::{Anomaly, Kind};
use crate::availability::Waits;
use crate::claims::{Claims, Read};
use crate::event::{self, Event};
use crate::findings::Findings;
use crate::report::{Counts, Report};
use crate::rules::committed_offsets::CommittedOffsets;
use crate::rules::end_offsets::EndOffsets;
use crate::rules::exactly_once::ExactlyOnce;
use crate::rules::poll_order::PollOrder;
use crate::rules::replicas::Replicas;
use crate::rules::transactions::Transactions;
use crate::rules::{leader_epochs, lost_writes, reordered};
use crate::tables::{Offset, Tables, Value};

#[derive(Debug, Clone, Default)]
pub struct Settings {
    /// Also judge G0, which Kafka allows: it does not isolate writes.
    pub write_cycles: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Checker {
    settings: Settings,
    tables: Tables,
    findings: Findings,
    claims: Claims,
    poll_order: PollOrder,
    end_offsets: EndOffsets,
    committed_offsets: CommittedOffsets,
    transactions: Transactions,
    exactly_once: ExactlyOnce,
    replicas: Replicas,
    waits: Waits,
    counts: Counts,
    /// The number of the current event, from 1.
    event: u32,
    now_us: u64,
}

/// Checks a whole history.
pub fn check(history: impl IntoIterator<Item = Event>) -> Report {
    let mut checker = Checker::new(Settings::default());
    for event in history {
        checker.observe(&event);
    }
    checker.finish()
}

impl Checker {
    pub fn new(settings: Settings) -> Self {
        Checker {
            settings,
            ..Checker::default()
        }
    }

    /// The next event; its number is one more than that of the last, the first is 1.
    pub fn observe(&mut self, event: &Event) {
        self.counts.events += 1;
        self.event = self.event.saturating_add(1);
        if event.t_us() < self.now_us {
            self.malformed(None, None, "its time is before that of the event before it");
        }
        self.now_us = self.now_us.max(event.t_us());
        match event {
            Event::Note(_) => {}
            Event::Client(e) => {
                let client = self.tables.client(e.client);
                let client = &mut self.tables.clients[client as usize];
                (client.idempotent, client.acks) = (e.idempotent, e.acks);
                client.read_committed = e.read_committed;
            }
            Event::Topic(e) => {
                let topic = self.tables.topic(&e.topic);
                self.tables.topics[topic as usize].deletes = e.deletes;
                // A partition that nobody writes to is to be read at the end, too.
                for number in 0..e.partitions.clamp(0, PARTITIONS_MAX) {
                    self.tables.partition(&e.topic, number);
                }
            }
            Event::Send(e) => self.send(e),
            Event::Ack(e) => self.ack(e),
            Event::Fail(e) => self.fail(e),
            Event::Poll(e) => self.poll(e),
            Event::PayloadMismatch(e) => self.payload_mismatch(e),
            Event::Assigned(e) | Event::Revoked(e) => {
                let client = self.tables.client(e.client);
                for number in &e.partitions {
                    let partition = self.tables.partition(&e.topic, *number);
                    self.poll_order.forget(client, partition);
                }
            }
            Event::Seek(e) => {
                let client = self.tables.client(e.client);
                let partition = self.tables.partition(&e.topic, e.partition);
                self.poll_order
                    .seek(client, partition, e.offset, self.event);
            }
            Event::EndOffset(e) => {
                let key = (
                    self.tables.client(e.client),
                    self.tables.partition(&e.topic, e.partition),
                );
                self.end_offsets
                    .answered(&self.tables, &mut self.findings, key, e, self.event);
            }
            Event::BeginOffset(e) => {
                let partition = self.tables.partition(&e.topic, e.partition);
                let partition = &mut self.tables.partitions[partition as usize];
                partition.begin_offset = partition.begin_offset.max(e.offset);
            }
            Event::OffsetCommit(e) => {
                let partition = self.tables.partition(&e.topic, e.partition);
                self.committed_offsets.committed(partition, e, self.event);
            }
            Event::CommittedOffset(e) => {
                let partition = self.tables.partition(&e.topic, e.partition);
                self.committed_offsets.read(partition, e, self.event);
            }
            Event::Transaction(e) => self.transactions.stepped(e, self.event),
            Event::Drained(e) => {
                let (output, source) = (self.tables.topic(&e.output), self.tables.topic(&e.source));
                self.exactly_once.drained(output, source);
            }
            Event::FinalRead(e) => self.final_read(e),
            Event::ReplicaLog(e) => {
                let partition = self.tables.partition(&e.topic, e.partition);
                self.replicas
                    .log(&self.tables, &mut self.findings, partition, e, self.event);
            }
            Event::ReplicaDigest(e) => {
                let partition = self.tables.partition(&e.topic, e.partition);
                self.replicas
                    .digest(&self.tables, &mut self.findings, partition, e, self.event);
            }
            Event::Fault(e) => self.fault(e),
        }
    }

    /// What is certain already while the history goes on: what its end alone can tell is left out, be it
    /// that something is missing or that it could not be judged.
    pub fn so_far(&self) -> Report {
        let mut report = self.clone().finish();
        let is_certain = |kind: Kind| !kind.waits_for_the_end();
        report.anomalies.retain(|it| is_certain(it.kind));
        report.anomaly_counts.retain(|kind, _| is_certain(*kind));
        report.incomplete.clear();
        report
    }

    /// The history has ended.
    pub fn finish(mut self) -> Report {
        let (tables, findings) = (&mut self.tables, &mut self.findings);
        self.claims.finish(tables, findings);
        for partition in &mut tables.partitions {
            let begin = partition
                .finals
                .iter()
                .map(|(begin, ..)| *begin)
                .min()
                .unwrap_or(0);
            partition.begin_offset = partition.begin_offset.max(begin);
        }
        let tables = &*tables;
        self.counts.deleted = lost_writes::judge(tables, &self.transactions, findings);
        reordered::judge(tables, findings);
        leader_epochs::judge(tables, findings);
        self.poll_order.finish(tables, &self.transactions, findings);
        self.committed_offsets.finish(tables, findings);
        self.transactions
            .finish(tables, findings, self.settings.write_cycles);
        self.exactly_once
            .finish(tables, &self.transactions, findings);
        self.replicas.finish(tables, findings);
        self.counts.replicas_compared = self.replicas.compared();
        self.counts.duplicates_allowed = self.claims.duplicates_allowed;
        for (_, slot) in tables.sent_values() {
            let unknown = !slot.is(Value::ACKED) && !slot.is(Value::DEFINITE);
            self.counts.failed += u64::from(slot.is(Value::DEFINITE));
            self.counts.unknown += u64::from(unknown);
            self.counts.unknown_found += u64::from(unknown && slot.is(Value::READ));
        }
        let (availability, stuck) = self.waits.finish(tables);
        stuck.into_iter().for_each(|says| findings.incomplete(says));
        if self.counts.events == u64::from(u32::MAX) {
            findings.incomplete("too many events: their numbers are no longer right".to_owned());
        }
        Report {
            anomalies: self.findings.anomalies,
            anomaly_counts: self.findings.counts,
            incomplete: self.findings.incomplete,
            counts: self.counts,
            availability,
        }
    }

    fn send(&mut self, send: &event::Send) {
        let partition = self.tables.partition(&send.topic, send.partition);
        let client = self.tables.client(send.client);
        let transaction = send
            .transaction
            .map_or(0, |id| self.transactions.index(id) + 1);
        let topic = self.tables.partitions[partition as usize].topic;
        for value in &send.values {
            let slot = self.tables.topics[topic as usize]
                .values
                .slot(*value, u64::MAX);
            let Some(slot) = slot.filter(|slot| !slot.is_sent()) else {
                self.malformed(Some(partition), Some(*value), "the value was sent before");
                continue;
            };
            (slot.sent, slot.client, slot.partition) = (self.event, client, partition);
            slot.transaction = transaction;
            self.tables.values_sent += 1;
            self.counts.sent += 1;
        }
        if send.values.windows(2).any(|pair| pair[0] >= pair[1])
            || !self.ascends(client, partition, send)
        {
            self.malformed(
                Some(partition),
                None,
                "a client's values for a partition must ascend",
            );
        }
        if let Some(sources) = &send.sources {
            if sources.values.len() != send.values.len() {
                self.malformed(
                    Some(partition),
                    None,
                    "sources do not stand beside the values",
                );
            }
            let source = self.tables.topic(&sources.topic);
            for (value, from) in send.values.iter().zip(&sources.values) {
                self.exactly_once.made((topic, source), *value, *from);
            }
        }
        self.waits
            .sent(partition, send.values.len(), send.t_us, self.event);
    }

    /// Whether the send goes on above the client's last value for the partition.
    fn ascends(&mut self, client: u32, partition: u32, send: &event::Send) -> bool {
        let (Some(first), Some(last)) = (send.values.first(), send.values.last()) else {
            return true;
        };
        match self.tables.last_sent.insert((client, partition), *last) {
            Some(before) => before < *first,
            None => true,
        }
    }

    fn ack(&mut self, ack: &event::Ack) {
        let partition = self.tables.partition(&ack.topic, ack.partition);
        let client = self.tables.client(ack.client);
        let promised = self.tables.clients[client as usize].acks == -1;
        if !ack.offsets.is_empty() && ack.offsets.len() != ack.values.len() {
            self.malformed(
                Some(partition),
                None,
                "offsets do not stand beside the values",
            );
            return;
        }
        let (mut answered, mut sent_last, mut end) = (0, 0, -1);
        for (at, value) in ack.values.iter().enumerate() {
            let flags = Value::ACKED | if promised { Value::PROMISED } else { 0 };
            let Some(sent) = self.answer(client, partition, *value, flags) else {
                continue;
            };
            answered += 1;
            sent_last = sent_last.max(sent);
            self.counts.acknowledged += 1;
            if promised && let Some(offset) = ack.offsets.get(at) {
                let (tables, findings) = (&mut self.tables, &mut self.findings);
                self.claims
                    .acknowledged(tables, findings, partition, *offset, *value, self.event);
                end = end.max(offset.saturating_add(1));
            }
        }
        if end > 0 {
            self.end_offsets
                .reaches(partition, end, ack.t_us, self.event);
        }
        if answered > 0 {
            self.waits
                .acknowledged(partition, answered, ack.t_us, sent_last);
        }
    }

    fn fail(&mut self, fail: &event::Fail) {
        let partition = self.tables.partition(&fail.topic, fail.partition);
        let client = self.tables.client(fail.client);
        let flags = Value::FAILED | if fail.definite { Value::DEFINITE } else { 0 };
        let answered = fail
            .values
            .iter()
            .filter_map(|value| self.answer(client, partition, *value, flags));
        let answered = answered.count();
        self.waits.failed(partition, answered, fail.t_us);
    }

    /// Notes a send's answer; the event of the send. None if it makes no sense.
    fn answer(&mut self, client: u32, partition: u32, value: u64, flags: u16) -> Option<u32> {
        let event = self.event;
        let wrong = match self.tables.value_mut(partition, value) {
            None => "it was answered, and never sent",
            Some(slot) if slot.answered != 0 => "it was answered twice",
            Some(slot) if (slot.client, slot.partition) != (client, partition) => {
                "it was answered to another client or for another partition than it was sent"
            }
            Some(slot) => {
                slot.answered = event;
                slot.flags |= flags;
                return Some(slot.sent);
            }
        };
        self.malformed(Some(partition), Some(value), wrong);
        None
    }

    fn poll(&mut self, poll: &event::Poll) {
        let partition = self.tables.partition(&poll.topic, poll.partition);
        let client = self.tables.client(poll.client);
        if !self.well_formed(partition, &poll.records) {
            return;
        }
        let key = (client, partition);
        self.poll_order
            .polled(&self.tables, &mut self.findings, key, poll, self.event);
        let committed = self.tables.clients[client as usize].read_committed;
        let within = poll.transaction.map(|id| self.transactions.index(id));
        self.counts.polled += poll.records.offsets.len() as u64;
        self.records(
            partition,
            &poll.records,
            poll.t_us,
            (committed, within, false),
        );
        if let Some(last) = poll.records.offsets.iter().max() {
            self.end_offsets
                .reaches(partition, last.saturating_add(1), poll.t_us, self.event);
        }
    }

    fn final_read(&mut self, read: &event::FinalRead) {
        let partition = self.tables.partition(&read.topic, read.partition);
        if !self.well_formed(partition, &read.records) {
            return;
        }
        let inside = read.begin_offset..read.end_offset;
        if read
            .records
            .offsets
            .iter()
            .any(|offset| !inside.contains(offset))
        {
            self.malformed(
                Some(partition),
                None,
                "a final read has records outside its bounds",
            );
        }
        self.counts.read_finally += read.records.offsets.len() as u64;
        self.records(
            partition,
            &read.records,
            read.t_us,
            (read.read_committed, None, true),
        );
        let slot = &mut self.tables.partitions[partition as usize];
        slot.finals
            .push((read.begin_offset, read.end_offset, self.event));
        slot.final_committed |= read.read_committed;
    }

    fn records(
        &mut self,
        partition: u32,
        records: &event::Records,
        t_us: u64,
        (committed, within, in_final): (bool, Option<u32>, bool),
    ) {
        for (at, (offset, value)) in records.offsets.iter().zip(&records.values).enumerate() {
            let (offset, value) = (*offset, *value);
            let leader_epoch = records.leader_epochs.get(at).copied().unwrap_or(-1);
            let event = self.event;
            let read = Read {
                partition,
                offset,
                value,
                leader_epoch,
                event,
                committed,
                in_final,
            };
            self.claims.read(&mut self.tables, &mut self.findings, read);
            if let Some(slot) = self
                .tables
                .value(partition, value)
                .filter(|slot| slot.transaction > 0)
            {
                let (when, what) = ((t_us, event), (offset, value));
                self.transactions
                    .was_read(slot, committed, within, when, what);
            }
            let partition = &mut self.tables.partitions[partition as usize];
            partition.lowest_read = partition.lowest_read.min(offset);
            if offset > partition.highest_read {
                (partition.highest_read, partition.highest_read_event) = (offset, event);
            }
        }
    }

    fn well_formed(&mut self, partition: u32, records: &event::Records) -> bool {
        let many = records.offsets.len();
        let epochs = records.leader_epochs.len();
        if records.values.len() == many && (epochs == 0 || epochs == many) {
            return true;
        }
        self.malformed(
            Some(partition),
            None,
            "offsets, values and epochs are not side by side",
        );
        false
    }

    fn payload_mismatch(&mut self, mismatch: &event::PayloadMismatch) {
        let partition = self.tables.partition(&mismatch.topic, mismatch.partition);
        let event = self.event;
        if let Some(slot) = self.tables.offset_slot(partition, mismatch.offset) {
            if slot.is(Offset::MISMATCH) {
                return; // every reader meets it again
            }
            slot.flags |= Offset::MISMATCH;
        }
        self.findings.add(Kind::PayloadMismatch, || {
            let says = format!("client {} read: {}", mismatch.client, mismatch.detail);
            let anomaly = Anomaly::new(Kind::PayloadMismatch, says)
                .partition(&self.tables, partition)
                .offset(mismatch.offset)
                .events([event]);
            match mismatch.value {
                Some(value) => anomaly.value(value),
                None => anomaly,
            }
        });
    }

    fn fault(&mut self, fault: &event::Fault) {
        let touched = if fault.partitions.is_empty() {
            (0..self.tables.partitions.len() as u32).collect()
        } else {
            fault
                .partitions
                .iter()
                .map(|at| self.tables.partition(&at.0, at.1))
                .collect()
        };
        self.counts.faults += u64::from(fault.phase == event::FaultPhase::Begin);
        if !self.waits.fault(fault, touched, self.event) {
            self.malformed(None, None, "a fault begins twice or ends without begin");
        }
    }

    fn malformed(&mut self, partition: Option<u32>, value: Option<u64>, says: &str) {
        self.findings.add(Kind::MalformedHistory, || {
            let mut anomaly =
                Anomaly::new(Kind::MalformedHistory, says.to_owned()).events([self.event]);
            if let Some(partition) = partition {
                anomaly = anomaly.partition(&self.tables, partition);
            }
            anomaly.value = value;
            anomaly
        });
    }
}

/// A topic of more is not believed.
const PARTITIONS_MAX: i32 = 1 << 20;
