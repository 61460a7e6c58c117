//! Takes changes of the ISR to the active controller, and its word back.

use foz_metadata::rules::{AlterPartitions, ErrorCode, IsrChange, PartitionState};
use foz_protocol::error::ErrorCode as KafkaCode;
use foz_replication::{IsrProposal, ProposalOutcome};

use super::Broker;
use super::membership::controller;
use crate::context::{Context, Timer};
use crate::controller::topic_id;
use crate::message::{Denied, Message};
use crate::mutation::Mutation;

/// After that nobody knows; the leader asks again. Much less than the lag time.
const ANSWER_MAX_MS: i64 = 1_000;
const RETRY_MS: i64 = 50;

/// A request under way.
#[derive(Debug)]
pub(super) struct Carrying {
    call: u64,
    batch: Vec<(i32, IsrProposal)>,
    target: usize,
    until_ms: i64,
}

type Answer = Result<Vec<Result<PartitionState, ErrorCode>>, Denied>;

impl Broker {
    pub(super) fn carry(&mut self, ctx: &mut Context<'_>) {
        if self.carrying.is_some() || self.proposals.is_empty() {
            return;
        }
        self.carrying = Some(Carrying {
            call: 0,
            batch: std::mem::take(&mut self.proposals),
            target: 0,
            until_ms: ctx.now_ms + ANSWER_MAX_MS,
        });
        self.ask(ctx);
    }

    fn ask(&mut self, ctx: &mut Context<'_>) {
        let knows_no_epochs = ctx.has(Mutation::BrokerEpochNotChecked);
        let (broker_id, broker_epoch) = (self.node_id, self.epoch);
        let Some(carrying) = &mut self.carrying else {
            return;
        };
        carrying.call = ctx.chance.number();
        let member = |(node_id, epoch): &(i32, i64)| {
            let epoch = if knows_no_epochs { -1 } else { *epoch };
            (*node_id, epoch)
        };
        let change = |(index, proposal): &(i32, IsrProposal)| IsrChange {
            topic_id: topic_id(),
            index: *index,
            leader_epoch: proposal.leader_epoch,
            partition_epoch: proposal.partition_epoch,
            new_isr: proposal.new_isr.iter().map(member).collect(),
        };
        let request = Box::new(AlterPartitions {
            broker_id,
            broker_epoch,
            partitions: carrying.batch.iter().map(change).collect(),
        });
        let call = carrying.call;
        let to = controller(carrying.target);
        ctx.send(to, Message::AlterPartitions { call, request });
        let left_ms = carrying.until_ms - ctx.now_ms;
        ctx.remind(left_ms.max(1), Timer::AltersOver { call });
    }

    pub(super) fn altered(&mut self, call: u64, answer: Answer, ctx: &mut Context<'_>) {
        let Some(carrying) = self.carrying.as_mut().filter(|it| it.call == call) else {
            return;
        };
        match answer {
            Ok(results) if results.len() == carrying.batch.len() => {
                let outcomes = results.into_iter().map(outcome).collect();
                self.settle(outcomes, ctx);
            }
            Err(Denied::NotActive) if ctx.now_ms < carrying.until_ms => {
                carrying.target += 1;
                ctx.remind(RETRY_MS, Timer::AltersAgain);
            }
            _ => self.settle(Vec::new(), ctx),
        }
    }

    pub(super) fn alters_again(&mut self, ctx: &mut Context<'_>) {
        self.ask(ctx);
    }

    pub(super) fn call_failed(&mut self, call: u64, ctx: &mut Context<'_>) {
        self.registration_failed(call, ctx);
        self.altered(call, Err(Denied::NotActive), ctx);
    }

    pub(super) fn alters_over(&mut self, call: u64, ctx: &mut Context<'_>) {
        if self.carrying.as_ref().is_some_and(|it| it.call == call) {
            self.settle(Vec::new(), ctx);
        }
    }

    /// Without an outcome for it, nobody knows what became of a proposal.
    fn settle(&mut self, outcomes: Vec<ProposalOutcome>, ctx: &mut Context<'_>) {
        let Some(Carrying { batch, .. }) = self.carrying.take() else {
            return;
        };
        let mut outcomes = outcomes.into_iter();
        for (index, proposal) in batch {
            let outcome = outcomes.next().unwrap_or(ProposalOutcome::Unknown);
            ctx.note(|| {
                format!(
                    "proposal for {index} of {:?}: {outcome:?}",
                    proposal.new_isr
                )
            });
            self.proposal_answered(index, &proposal, outcome, ctx);
        }
    }
}

fn outcome(result: Result<PartitionState, ErrorCode>) -> ProposalOutcome {
    match result {
        Ok(state) => ProposalOutcome::Committed {
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: state.isr,
        },
        Err(code) => ProposalOutcome::refused(KafkaCode::from(code.kafka_code())),
    }
}
