//! Producers (acks=all, idempotent, one request at a time each) and consumers.

use std::collections::BTreeMap;

use foz_protocol::error::ErrorCode;

use crate::context::{Context, Timer};
use crate::message::{Message, Unanswered};

const CALL_MAX_MS: i64 = 1_000;
const CONSUME_PAUSE_MS: i64 = 300;
/// So many refusals in a row, and a producer begins anew under another id, as after a fatal error.
const OUT_OF_ORDER_MAX: u32 = 10;
const PRODUCERS_PER_PARTITION: u32 = 2;

#[derive(Debug, Default)]
pub(crate) struct Clients {
    producers: Vec<Producer>,
    consumers: Vec<Consumer>,
    /// By partition: the leader and its epoch, as heard last.
    leaders: BTreeMap<i32, (i32, i32)>,
    /// No new records any more.
    is_ending: bool,
}

#[derive(Debug)]
struct Producer {
    slot: u32,
    partition: i32,
    id: u32,
    sequence: u32,
    call: Option<u64>,
    /// The record was sent and is not known to be safe.
    is_unsure: bool,
    out_of_order: u32,
}

#[derive(Debug)]
struct Consumer {
    partition: i32,
    offset: i64,
    call: Option<u64>,
}

impl Clients {
    pub(crate) fn start(ctx: &mut Context<'_>) -> Self {
        let mut producers = Vec::new();
        let mut consumers = Vec::new();
        for partition in 0..ctx.scenario.partitions {
            for _ in 0..PRODUCERS_PER_PARTITION {
                let slot = producers.len() as u32;
                producers.push(Producer {
                    slot,
                    partition,
                    id: slot,
                    sequence: 0,
                    call: None,
                    is_unsure: false,
                    out_of_order: 0,
                });
                ctx.remind(500, Timer::Produce { producer: slot });
            }
            consumers.push(Consumer {
                partition,
                offset: 0,
                call: None,
            });
            ctx.remind(CONSUME_PAUSE_MS, Timer::Consume { partition });
        }
        Self {
            producers,
            consumers,
            leaders: BTreeMap::new(),
            is_ending: false,
        }
    }

    pub(crate) fn end(&mut self) {
        self.is_ending = true;
    }

    /// Nothing that was sent is without an answer.
    pub(crate) fn are_done(&self) -> bool {
        self.is_ending && self.producers.iter().all(|it| !it.is_unsure)
    }

    pub(crate) fn remember(&mut self, timer: Timer, ctx: &mut Context<'_>) {
        match timer {
            Timer::Produce { producer } => self.produce(producer as usize, ctx),
            Timer::Consume { partition } => self.consume(partition, ctx),
            Timer::ClientOver { call } => self.call_over(call, ctx),
            _ => {}
        }
    }

    pub(crate) fn hear(&mut self, message: Message, ctx: &mut Context<'_>) {
        match message {
            Message::Produced { call, result, .. } => self.produced(call, result, ctx),
            Message::Consumed { call, result, .. } => self.consumed(call, result),
            Message::Described { leaders } => {
                for (partition, leader, epoch) in leaders {
                    let known = self.leaders.get(&partition);
                    // A broker that is behind knows less than was heard before (KIP-320).
                    if known.is_none_or(|(_, newest)| epoch >= *newest) {
                        self.leaders.insert(partition, (leader, epoch));
                    }
                }
            }
            Message::Refused {
                what: Unanswered::Client(call),
            } => self.call_over(call, ctx),
            _ => {}
        }
    }

    fn produce(&mut self, slot: usize, ctx: &mut Context<'_>) {
        let Some(producer) = self.producers.get_mut(slot) else {
            return;
        };
        if producer.call.is_some() || (self.is_ending && !producer.is_unsure) {
            return;
        }
        let leader = self.leaders.get(&producer.partition).map(|it| it.0);
        let Some(leader) = leader.filter(|leader| *leader >= 0) else {
            Self::try_again(producer.slot, ctx);
            return;
        };
        let call = ctx.chance.number();
        producer.call = Some(call);
        producer.is_unsure = true;
        let produce = Message::Produce {
            call,
            partition: producer.partition,
            producer: producer.id,
            sequence: producer.sequence,
        };
        ctx.send(leader, produce);
        ctx.remind(CALL_MAX_MS, Timer::ClientOver { call });
    }

    /// Looks for the leader first.
    fn try_again(slot: u32, ctx: &mut Context<'_>) {
        let brokers = ctx.scenario.brokers;
        let anybody = ctx.chance.below(brokers) as i32;
        ctx.send(anybody, Message::Describe);
        let pause_ms = ctx.chance.between(50, 150);
        ctx.remind(pause_ms, Timer::Produce { producer: slot });
    }

    fn produced(&mut self, call: u64, result: Result<i64, ErrorCode>, ctx: &mut Context<'_>) {
        let mut producers = self.producers.iter_mut();
        let Some(producer) = producers.find(|it| it.call == Some(call)) else {
            return;
        };
        producer.call = None;
        match result {
            Ok(_) => {
                producer.is_unsure = false;
                producer.sequence += 1;
                producer.out_of_order = 0;
                let pause_ms = ctx.scenario.produce_pause_ms;
                let pause_ms = ctx.chance.between(1, 2 * pause_ms);
                let producer = producer.slot;
                ctx.remind(pause_ms, Timer::Produce { producer });
            }
            Err(error) => {
                if error == ErrorCode::OutOfOrderSequenceNumber {
                    producer.out_of_order += 1;
                    if producer.out_of_order > OUT_OF_ORDER_MAX {
                        producer.id += 1_000;
                        producer.sequence = 0;
                        producer.out_of_order = 0;
                    }
                }
                Self::try_again(producer.slot, ctx);
            }
        }
    }

    fn call_over(&mut self, call: u64, ctx: &mut Context<'_>) {
        let mut producers = self.producers.iter_mut();
        if let Some(producer) = producers.find(|it| it.call == Some(call)) {
            producer.call = None;
            Self::try_again(producer.slot, ctx);
        }
        let mut consumers = self.consumers.iter_mut();
        if let Some(consumer) = consumers.find(|it| it.call == Some(call)) {
            consumer.call = None;
        }
    }

    fn consume(&mut self, partition: i32, ctx: &mut Context<'_>) {
        ctx.remind(CONSUME_PAUSE_MS, Timer::Consume { partition });
        let brokers = ctx.scenario.brokers;
        let mut consumers = self.consumers.iter_mut();
        let consumer = consumers.find(|it| it.partition == partition && it.call.is_none());
        let Some(consumer) = consumer.filter(|_| !self.is_ending) else {
            return;
        };
        let call = ctx.chance.number();
        consumer.call = Some(call);
        let offset = consumer.offset;
        let to = ctx.chance.below(brokers) as i32;
        ctx.send(
            to,
            Message::Consume {
                call,
                partition,
                offset,
            },
        );
        ctx.remind(CALL_MAX_MS, Timer::ClientOver { call });
    }

    fn consumed(&mut self, call: u64, result: Result<i64, ErrorCode>) {
        let mut consumers = self.consumers.iter_mut();
        if let Some(consumer) = consumers.find(|it| it.call == Some(call)) {
            consumer.call = None;
            if let Ok(end_offset) = result {
                consumer.offset = consumer.offset.max(end_offset);
            }
        }
    }
}
