//! What clients get.

use foz_protocol::error::ErrorCode;
use foz_replication::acks::{self, Reached, Required};

use super::log::Sequence;
use super::{Broker, Role};
use crate::context::{Context, Observation};
use crate::message::Message;
use crate::mutation::Mutation;
use crate::scenario::TOPIC;

const ACKS_ALL: i16 = -1;
/// Records that a consumer gets at once.
const RECORDS_MAX: i64 = 20;

#[derive(Debug)]
pub(super) struct Produce {
    pub(super) from: i32,
    pub(super) call: u64,
    pub(super) partition: i32,
    pub(super) producer: u32,
    pub(super) sequence: u32,
}

/// A produce that waits to be safe.
#[derive(Debug)]
pub(super) struct Produced {
    from: i32,
    call: u64,
    partition: i32,
    leader_epoch: i32,
    offset: i64,
    required: Required,
}

impl Broker {
    pub(super) fn produce(&mut self, produce: &Produce, ctx: &mut Context<'_>) {
        let index = produce.partition;
        let (call, from) = (produce.call, produce.from);
        match self.append(produce) {
            Ok((offset, required, leader_epoch)) => {
                self.produced.push(Produced {
                    from,
                    call,
                    partition: index,
                    leader_epoch,
                    offset,
                    required: if ctx.has(Mutation::AcknowledgedBeforeReplicated) {
                        Required::Leader
                    } else {
                        required
                    },
                });
                if ctx.scenario.flushes_each {
                    self.flush(index, ctx);
                }
                self.appended(index, ctx);
            }
            Err(error) => answer(from, call, Err(error), ctx),
        }
    }

    fn append(&mut self, produce: &Produce) -> Result<(i64, Required, i32), ErrorCode> {
        let &Produce {
            producer, sequence, ..
        } = produce;
        let (leader, log) = self
            .log_of_leader(produce.partition)
            .ok_or(ErrorCode::NotLeaderOrFollower)?;
        let required = acks::required(ACKS_ALL, leader.has_min_insync())?;
        let epoch = leader.leader_epoch();
        let offset = match log.sequence(producer, sequence) {
            Sequence::Next => log.append(epoch, producer, sequence),
            Sequence::Duplicate(offset) if offset >= 0 => offset,
            Sequence::Duplicate(_) => return Err(ErrorCode::DuplicateSequenceNumber),
            Sequence::OutOfOrder => return Err(ErrorCode::OutOfOrderSequenceNumber),
        };
        Ok((offset, required, epoch))
    }

    pub(super) fn answer_produced(&mut self, ctx: &mut Context<'_>) {
        for produced in std::mem::take(&mut self.produced) {
            match self.outcome(&produced, ctx) {
                None => self.produced.push(produced),
                Some(result) => {
                    let Produced {
                        from,
                        call,
                        partition,
                        offset,
                        ..
                    } = produced;
                    if result.is_ok() {
                        ctx.observe(Observation::Acknowledged { partition, offset });
                    }
                    let result = result.map(|()| offset);
                    answer(from, call, result, ctx);
                }
            }
        }
    }

    fn outcome(&self, produced: &Produced, ctx: &Context<'_>) -> Option<Result<(), ErrorCode>> {
        let (Some(Role::Leads(leader)), Some(log)) = (
            self.roles.get(&produced.partition),
            self.disk.logs.get(&produced.partition),
        ) else {
            return Some(Err(ErrorCode::NotLeaderOrFollower));
        };
        if leader.leader_epoch() != produced.leader_epoch {
            return Some(Err(ErrorCode::NotLeaderOrFollower));
        }
        let reached = Reached {
            durable_offset: log.local(ctx.scenario.flushes_each).durable_offset,
            high_watermark: log.high_watermark(),
            has_min_insync: leader.has_min_insync(),
        };
        acks::acknowledged(produced.required, produced.offset + 1, &reached)
    }

    /// Also a follower serves what it knows to be committed (KIP-392).
    pub(super) fn consume(
        &mut self,
        from: i32,
        call: u64,
        partition: i32,
        offset: i64,
        ctx: &mut Context<'_>,
    ) {
        let may_read = matches!(
            self.roles.get(&partition),
            Some(Role::Leads(_) | Role::Follows { .. })
        );
        let log = self.disk.logs.get(&partition).filter(|_| may_read);
        let result = match log {
            None => Err(ErrorCode::NotLeaderOrFollower),
            Some(log) if offset > log.end() => Err(ErrorCode::OffsetOutOfRange),
            Some(log) => {
                let end_offset = log.high_watermark().min(offset + RECORDS_MAX).max(offset);
                if end_offset > offset {
                    ctx.observe(Observation::Read {
                        partition,
                        end_offset,
                    });
                }
                Ok(end_offset)
            }
        };
        ctx.send(from, Message::Consumed { call, result });
    }

    pub(super) fn describe(&self, from: i32, ctx: &mut Context<'_>) {
        let topic = self.image.topic(TOPIC);
        let partitions = topic.iter().flat_map(|topic| topic.indexed_partitions());
        let leaders = partitions
            .map(|(index, partition)| (index, partition.leader, partition.leader_epoch))
            .collect();
        ctx.send(from, Message::Described { leaders });
    }
}

fn answer(to: i32, call: u64, result: Result<i64, ErrorCode>, ctx: &mut Context<'_>) {
    ctx.send(to, Message::Produced { call, result });
}
