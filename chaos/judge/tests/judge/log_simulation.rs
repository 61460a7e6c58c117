//! A simple log that keeps its word, and clients that write down what they see of it. Everything that a
//! correct Kafka may do is in here: unknown outcomes that appear late or never, retries of producers without
//! idempotence, aborted transactions, retention, rebalances, new leaders.

use std::collections::{BTreeMap, VecDeque};

use foz_judge::Event;
use foz_judge::event::*;

use crate::builder::{History, TOPIC};

pub(crate) const PARTITIONS: i32 = 2;
const IDEMPOTENT: u32 = 1;
const RETRYING: u32 = 2;
const TRANSACTIONAL: [u32; 2] = [3, 4];
pub(crate) const READER: u32 = 8;
pub(crate) const COMMITTED_READER: u32 = 9;
const PROBER: u32 = 7;

#[derive(Debug, Clone, Copy)]
struct Entry {
    value: Option<u64>,
    leader_epoch: i32,
    transaction: Option<u64>,
}

#[derive(Debug, Clone)]
struct Batch {
    client: u32,
    partition: i32,
    values: Vec<u64>,
    transaction: Option<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Simulation {
    pub history: History,
    deletes: bool,
    logs: BTreeMap<i32, Vec<Entry>>,
    begins: BTreeMap<i32, i64>,
    leader_epoch: i32,
    next_value: u64,
    next_transaction: u64,
    in_flight: VecDeque<Batch>,
    late: Vec<Batch>,
    /// Appended, not yet acknowledged: with the first offset.
    appended: VecDeque<(Batch, i64)>,
    /// By client.
    open: BTreeMap<u32, u64>,
    aborted: Vec<u64>,
    positions: BTreeMap<(u32, i32), i64>,
    committed: BTreeMap<i32, i64>,
}

impl Simulation {
    /// Each step is one thing that happens: what, and two numbers to choose by.
    pub(crate) fn run(deletes: bool, steps: &[(u8, u16, u16)]) -> Simulation {
        let mut simulation = Simulation {
            deletes,
            ..Simulation::default()
        };
        let (topic, partitions) = (TOPIC.to_owned(), PARTITIONS);
        simulation.history.push(|t_us| {
            Event::Topic(Topic {
                t_us,
                topic,
                partitions,
                deletes,
            })
        });
        simulation
            .history
            .client(RETRYING, false, -1, false)
            .client(COMMITTED_READER, true, -1, true);
        for partition in 0..PARTITIONS {
            simulation.logs.insert(partition, vec![]);
            simulation.begins.insert(partition, 0);
        }
        for (what, left, right) in steps {
            simulation.step(*what, usize::from(*left), usize::from(*right));
        }
        simulation.end();
        simulation
    }

    fn step(&mut self, what: u8, left: usize, right: usize) {
        let partition = (right % PARTITIONS as usize) as i32;
        match what % 16 {
            0..=2 => self.send(left, partition, right),
            3..=4 => self.append(left),
            5..=6 => self.acknowledge(),
            7 => self.give_up(left, right),
            8 => self.append_late(left),
            9..=10 => self.poll(
                if left.is_multiple_of(2) {
                    READER
                } else {
                    COMMITTED_READER
                },
                partition,
                right,
            ),
            11 => self.end_transaction(TRANSACTIONAL[left % 2], right),
            12 => {
                let reader = if left.is_multiple_of(2) {
                    READER
                } else {
                    COMMITTED_READER
                };
                self.positions.remove(&(reader, partition));
                self.history.push(|t_us| {
                    let topic = TOPIC.into();
                    Event::Assigned(Assignment {
                        t_us,
                        client: reader,
                        topic,
                        partitions: vec![partition],
                    })
                });
            }
            13 => self.probe(partition, left),
            14 => self.commit(partition, left),
            _ if left.is_multiple_of(3) => self.retention(partition, right),
            _ => self.leader_epoch += 1,
        }
    }

    fn send(&mut self, left: usize, partition: i32, right: usize) {
        let client = [IDEMPOTENT, RETRYING, TRANSACTIONAL[0], TRANSACTIONAL[1]][left % 4];
        let transaction = TRANSACTIONAL.contains(&client).then(|| {
            *self.open.entry(client).or_insert_with(|| {
                self.next_transaction += 1;
                self.next_transaction
            })
        });
        let values: Vec<u64> = (self.next_value..).take(1 + right / 4 % 4).collect();
        self.next_value += values.len() as u64;
        self.history
            .send_in(client, partition, &values, transaction);
        self.in_flight.push_back(Batch {
            client,
            partition,
            values,
            transaction,
        });
    }

    /// The leader takes a request: the oldest of some client.
    fn append(&mut self, left: usize) {
        if self.in_flight.is_empty() {
            return;
        }
        let client = self.in_flight[left % self.in_flight.len()].client;
        let oldest = self
            .in_flight
            .iter()
            .position(|batch| batch.client == client);
        let Some(batch) = oldest.and_then(|at| self.in_flight.remove(at)) else {
            return;
        };
        let offset = self.write(&batch);
        self.appended.push_back((batch, offset));
    }

    fn write(&mut self, batch: &Batch) -> i64 {
        let leader_epoch = self.leader_epoch;
        let log = self
            .logs
            .get_mut(&batch.partition)
            .expect("every partition has a log");
        let offset = log.len() as i64;
        log.extend(batch.values.iter().map(|value| Entry {
            value: Some(*value),
            leader_epoch,
            transaction: batch.transaction,
        }));
        offset
    }

    fn acknowledge(&mut self) {
        let Some((batch, offset)) = self.appended.pop_front() else {
            return;
        };
        let Batch {
            client,
            partition,
            values,
            ..
        } = batch;
        let offsets = (offset..).take(values.len()).collect();
        self.history.push(|t_us| {
            Event::Ack(Ack {
                t_us,
                client,
                topic: TOPIC.into(),
                partition,
                values,
                offsets,
            })
        });
    }

    /// A time-out before the request arrived, after it did, or a refusal.
    fn give_up(&mut self, left: usize, right: usize) {
        let (batch, definite) = match left % 3 {
            0 => match self
                .appended
                .iter()
                .position(|(batch, _)| batch.transaction.is_none())
            {
                Some(at) => (self.appended.remove(at).expect("just found").0, false),
                None => return,
            },
            which => match self
                .in_flight
                .iter()
                .position(|batch| batch.transaction.is_none())
            {
                Some(at) => (self.in_flight.remove(at).expect("just found"), which == 1),
                None => return,
            },
        };
        let written = left.is_multiple_of(3);
        let Batch {
            client,
            partition,
            values,
            ..
        } = batch.clone();
        self.history.push(|t_us| {
            let (topic, error) = (TOPIC.into(), "time-out".into());
            Event::Fail(Fail {
                t_us,
                client,
                topic,
                partition,
                values,
                error,
                definite,
            })
        });
        // Without idempotence what was written may be written again.
        if !definite && (!written || client == RETRYING && right.is_multiple_of(2)) {
            self.late.push(batch);
        }
    }

    fn append_late(&mut self, left: usize) {
        if !self.late.is_empty() {
            let batch = self.late.swap_remove(left % self.late.len());
            self.write(&batch);
        }
    }

    /// The last stable offset.
    fn stable(&self, partition: i32) -> i64 {
        let log = &self.logs[&partition];
        let open = |entry: &Entry| {
            entry
                .transaction
                .is_some_and(|id| self.open.values().any(|open| *open == id))
        };
        log.iter().position(open).unwrap_or(log.len()) as i64
    }

    fn visible(&self, partition: i32, (from, to): (i64, i64), committed: bool) -> Records {
        let mut records = Records::default();
        for (offset, entry) in self.logs[&partition]
            .iter()
            .enumerate()
            .take(to as usize)
            .skip(from as usize)
        {
            let aborted = entry
                .transaction
                .is_some_and(|id| self.aborted.contains(&id));
            let Some(value) = entry.value.filter(|_| !(committed && aborted)) else {
                continue;
            };
            records.offsets.push(offset as i64);
            records.values.push(value);
            records.leader_epochs.push(entry.leader_epoch);
        }
        records
    }

    fn poll(&mut self, client: u32, partition: i32, right: usize) {
        let committed = client == COMMITTED_READER;
        let end = if committed {
            self.stable(partition)
        } else {
            self.logs[&partition].len() as i64
        };
        let begin = self.begins[&partition];
        let known = self.positions.get(&(client, partition)).copied();
        let position = known.unwrap_or_else(|| begin + right as i64 % 3).max(begin);
        let to = end.min(position + 1 + right as i64 % 7);
        if position >= to {
            return;
        }
        let records = self.visible(partition, (position, to), committed);
        self.positions.insert((client, partition), to);
        let told = right.is_multiple_of(2);
        // A position that is not told is one after the last record.
        if !told {
            let after = records.offsets.last().map_or(position, |last| last + 1);
            self.positions.insert((client, partition), after);
        }
        self.history.push(|t_us| {
            let (topic, position_before, position_after) = (TOPIC.into(), None, told.then_some(to));
            Event::Poll(Poll {
                t_us,
                client,
                topic,
                partition,
                records,
                position_before,
                position_after,
                transaction: None,
            })
        });
    }

    fn end_transaction(&mut self, client: u32, right: usize) {
        let Some(id) = self.open.get(&client).copied() else {
            return;
        };
        // A producer flushes first.
        while let Some(at) = self
            .in_flight
            .iter()
            .position(|batch| batch.client == client)
        {
            self.append(at);
        }
        while self
            .appended
            .iter()
            .any(|(batch, _)| batch.client == client)
        {
            self.acknowledge();
        }
        let commits = !right.is_multiple_of(4);
        let asks = if commits {
            TransactionStep::Committing
        } else {
            TransactionStep::Aborting
        };
        self.history.transaction(client, id, asks);
        self.open.remove(&client);
        if !commits {
            self.aborted.push(id);
        }
        let leader_epoch = self.leader_epoch;
        for log in self.logs.values_mut() {
            if log.iter().any(|entry| entry.transaction == Some(id)) {
                log.push(Entry {
                    value: None,
                    leader_epoch,
                    transaction: None,
                });
            }
        }
        if right.is_multiple_of(5) {
            // Somebody reads before the answer is there.
            (0..PARTITIONS).for_each(|partition| self.poll(COMMITTED_READER, partition, 6));
        }
        let ended = match (right % 7, commits) {
            (0, _) => TransactionStep::Unknown,
            (_, true) => TransactionStep::Committed,
            (_, false) => TransactionStep::Aborted,
        };
        self.history.transaction(client, id, ended);
    }

    fn probe(&mut self, partition: i32, left: usize) {
        let read_committed = left.is_multiple_of(2);
        let end = if read_committed {
            self.stable(partition)
        } else {
            self.logs[&partition].len() as i64
        };
        let begin = self.begins[&partition];
        let read = |t_us, offset| {
            let asked_us = Some(t_us - left as u64 % 900);
            OffsetRead {
                t_us,
                asked_us,
                client: PROBER,
                topic: TOPIC.into(),
                partition,
                offset,
                read_committed,
            }
        };
        self.history.push(|t_us| Event::EndOffset(read(t_us, end)));
        self.history
            .push(|t_us| Event::BeginOffset(read(t_us, begin)));
    }

    fn commit(&mut self, partition: i32, left: usize) {
        let position = self.positions.get(&(READER, partition)).copied();
        let offset = position.unwrap_or(left as i64 % 3);
        let (group, topic) = ("g".to_owned(), TOPIC.to_owned());
        let outcome = [Outcome::Ok, Outcome::Ok, Outcome::Unknown, Outcome::Failed][left % 4];
        if outcome == Outcome::Ok || outcome == Outcome::Unknown && left.is_multiple_of(8) {
            self.committed.insert(partition, offset);
        }
        self.history.push(|t_us| {
            let asked_us = Some(t_us - 500);
            Event::OffsetCommit(OffsetCommit {
                t_us,
                asked_us,
                client: READER,
                group,
                topic,
                partition,
                offset,
                outcome,
            })
        });
        let (group, topic) = ("g".to_owned(), TOPIC.to_owned());
        let offset = self.committed.get(&partition).copied();
        self.history.push(|t_us| {
            let asked_us = Some(t_us - 500);
            Event::CommittedOffset(CommittedOffset {
                t_us,
                asked_us,
                client: READER,
                group,
                topic,
                partition,
                offset,
            })
        });
    }

    fn retention(&mut self, partition: i32, right: usize) {
        if self.deletes {
            let stable = self.stable(partition);
            let begin = self
                .begins
                .get_mut(&partition)
                .expect("every partition has a begin");
            *begin = stable.min(*begin + right as i64 % 4);
        }
    }

    /// All is healed: what was sent arrives, open transactions are aborted, everything is read.
    fn end(&mut self) {
        while !self.in_flight.is_empty() {
            self.append(0);
        }
        while !self.appended.is_empty() {
            self.acknowledge();
        }
        for client in TRANSACTIONAL {
            self.end_transaction(client, 4);
        }
        for partition in 0..PARTITIONS {
            let (begin, end) = (self.begins[&partition], self.logs[&partition].len() as i64);
            // Whoever fell behind learns where the log begins now.
            self.probe(partition, 0);
            let middle = begin + (end - begin) / 2;
            for (begin_offset, end_offset) in [(begin, middle), (middle, end)] {
                let records = self.visible(partition, (begin_offset, end_offset), true);
                self.history.push(|t_us| {
                    let (topic, read_committed) = (TOPIC.into(), true);
                    Event::FinalRead(FinalRead {
                        t_us,
                        topic,
                        partition,
                        begin_offset,
                        end_offset,
                        records,
                        read_committed,
                    })
                });
            }
            for node in 1..=3 {
                // One replica has not deleted yet.
                let start_offset = if node == 2 { 0 } else { begin };
                let entries = self.logs[&partition]
                    .iter()
                    .enumerate()
                    .skip(start_offset as usize);
                let entries = entries.map(|(offset, entry)| {
                    let crc = entry.value.unwrap_or(u64::MAX) as u32 ^ 0x5555;
                    ReplicaEntry {
                        offset: offset as i64,
                        leader_epoch: entry.leader_epoch,
                        value: entry.value,
                        crc,
                    }
                });
                let (topic, entries, end_offset) = (TOPIC.into(), entries.collect(), end);
                self.history.push(|t_us| {
                    Event::ReplicaLog(ReplicaLog {
                        t_us,
                        node,
                        topic,
                        partition,
                        start_offset,
                        end_offset,
                        entries,
                    })
                });
            }
        }
    }
}
