//! Takes changes of ISRs to the active controller, many in one request, and its word back.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use foz_api::v1::alter_partitions_response::result::Result as Answer;
use foz_api::v1::isr_change::Member;
use foz_api::v1::node_client::NodeClient;
use foz_api::v1::{AlterPartitionsRequest, AlterPartitionsResponse, IsrChange};
use foz_protocol::error::ErrorCode;
use foz_replication::ProposalOutcome;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::partition::{Proposed, monotonic_ms};

/// In one request.
const CHANGES_MAX: usize = 1_000;
/// After that nobody knows; the leader asks again.
const ANSWER_MAX: Duration = Duration::from_secs(5);

/// Runs until `stop`.
pub(crate) async fn carry(
    broker: Arc<Broker>,
    mut proposals: mpsc::UnboundedReceiver<Proposed>,
    stop: CancellationToken,
) {
    let mut said = String::new();
    loop {
        let mut batch = Vec::new();
        let count = tokio::select! {
            () = stop.cancelled() => return,
            count = proposals.recv_many(&mut batch, CHANGES_MAX) => count,
        };
        if count == 0 {
            return;
        }
        let outcomes = match ask(&broker, &batch).await {
            Ok(outcomes) => {
                said.clear();
                outcomes
            }
            Err(reason) => {
                if said != reason {
                    warn!(reason, "ISR changes not settled; they are asked for again");
                    said = reason;
                }
                VecDeque::new()
            }
        };
        settle(&broker, batch, outcomes);
    }
}

async fn ask(broker: &Broker, batch: &[Proposed]) -> Result<VecDeque<ProposalOutcome>, String> {
    let request = AlterPartitionsRequest {
        node_id: broker.node_id,
        broker_epoch: broker.epoch(),
        partitions: batch.iter().map(change).collect(),
    };
    let asking = broker.controllers.call(async |channel| {
        let answer = NodeClient::new(channel)
            .alter_partitions(request.clone())
            .await?;
        Ok(answer.into_inner())
    });
    let answer = tokio::time::timeout(ANSWER_MAX, asking)
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    if answer.results.len() != batch.len() {
        let (answered, asked) = (answer.results.len(), batch.len());
        return Err(format!("{answered} answers to {asked} changes"));
    }
    Ok(outcomes(answer))
}

fn outcomes(answer: AlterPartitionsResponse) -> VecDeque<ProposalOutcome> {
    let outcome = |result: Option<Answer>| match result {
        Some(Answer::State(state)) => ProposalOutcome::Committed {
            leader_epoch: state.leader_epoch,
            partition_epoch: state.partition_epoch,
            isr: state.isr,
        },
        Some(Answer::Error(error)) => {
            let code = i16::try_from(error.code).unwrap_or(-1);
            ProposalOutcome::refused(ErrorCode::from(code))
        }
        None => ProposalOutcome::Unknown,
    };
    let results = answer.results.into_iter();
    results.map(|result| outcome(result.result)).collect()
}

fn settle(broker: &Broker, batch: Vec<Proposed>, mut outcomes: VecDeque<ProposalOutcome>) {
    for Proposed {
        partition,
        proposal,
    } in batch
    {
        let outcome = outcomes.pop_front().unwrap_or(ProposalOutcome::Unknown);
        if let ProposalOutcome::Committed { isr, .. } = &outcome {
            info!(partition = partition.name(), ?isr, "ISR changed");
            broker.metrics.isr_changes.inc();
        }
        partition.answered(&proposal, outcome, monotonic_ms());
    }
}

fn change(proposed: &Proposed) -> IsrChange {
    let (topic_id, index) = proposed.partition.key();
    let proposal = &proposed.proposal;
    let member = |&(node_id, broker_epoch): &(i32, i64)| Member {
        node_id,
        broker_epoch,
    };
    IsrChange {
        topic_id: topic_id.as_bytes().to_vec(),
        index,
        leader_epoch: proposal.leader_epoch,
        partition_epoch: proposal.partition_epoch,
        new_isr: proposal.new_isr.iter().map(member).collect(),
    }
}
