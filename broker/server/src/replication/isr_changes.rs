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
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, timeout_at};
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
        let first = tokio::select! {
            () = stop.cancelled() => return,
            first = proposals.recv() => first,
        };
        let Some(first) = first else { return };
        let is_open = |it: &Proposed| it.partition.proposes(&it.proposal);
        let batch = take_open(first, &mut proposals, is_open);
        if batch.is_empty() {
            continue;
        }
        let asked = tokio::select! {
            () = stop.cancelled() => return,
            asked = ask(&broker, &batch) => asked,
        };
        let outcomes = match asked {
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

/// What may go into one request. Those that nobody waits for any more are dropped: while no controller
/// answers, leaders give up proposals and make them anew, and the queue must not grow with that.
fn take_open<T>(
    first: T,
    queue: &mut mpsc::UnboundedReceiver<T>,
    is_open: impl Fn(&T) -> bool,
) -> Vec<T> {
    let mut batch = Vec::new();
    let mut next = Some(first);
    while let Some(proposed) = next {
        if is_open(&proposed) {
            batch.push(proposed);
        }
        next = (batch.len() < CHANGES_MAX)
            .then(|| queue.try_recv().ok())
            .flatten();
    }
    batch
}

async fn ask(broker: &Broker, batch: &[Proposed]) -> Result<VecDeque<ProposalOutcome>, String> {
    let request = AlterPartitionsRequest {
        node_id: broker.node_id,
        broker_epoch: broker.epoch(),
        partitions: batch.iter().map(change).collect(),
    };
    let deadline = Instant::now() + ANSWER_MAX;
    let asking = broker.controllers.call(async |channel| {
        let answer = NodeClient::new(channel)
            .alter_partitions(request.clone())
            .await?;
        Ok(answer.into_inner())
    });
    let answer = timeout_at(deadline, asking)
        .await
        .map_err(|_| "no answer in time".to_owned())?
        .map_err(|error| error.to_string())?;
    if answer.results.len() != batch.len() {
        let (answered, asked) = (answer.results.len(), batch.len());
        return Err(format!("{answered} answers to {asked} changes"));
    }
    let applied = broker.applied_offset.subscribe();
    seen(applied, answer.metadata_offset, deadline).await?;
    Ok(outcomes(answer))
}

/// Waits until this broker knows what the controller knew when it decided. An answer that overtook the
/// metadata would let a leader go on with a new ISR and an old min.insync.replicas: with an ISR of one it
/// could acknowledge alone what the controller takes another replica to have (KIP-966).
async fn seen(
    mut applied: watch::Receiver<i64>,
    offset: i64,
    deadline: Instant,
) -> Result<(), String> {
    match timeout_at(deadline, applied.wait_for(|at| *at >= offset)).await {
        Ok(Ok(_)) => Ok(()),
        _ => Err("decided, and the metadata has not come in time".to_owned()),
    }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_answer_counts_once_the_metadata_it_speaks_of_is_here() {
        let applied = watch::Sender::new(6);
        let deadline = Instant::now() + ANSWER_MAX;
        let waiting = tokio::spawn(seen(applied.subscribe(), 7, deadline));
        tokio::time::sleep(ANSWER_MAX / 2).await;
        assert!(!waiting.is_finished(), "6 is from before the decision");
        applied.send_replace(8);
        assert_eq!(waiting.await.unwrap(), Ok(()));
        assert!(seen(applied.subscribe(), 9, deadline).await.is_err());
    }

    #[test]
    fn what_nobody_waits_for_is_dropped_and_takes_no_place_in_a_request() {
        let (sender, mut queue) = mpsc::unbounded_channel();
        // Every other one was given up; more are wanted than go into one request.
        let count = 4 * CHANGES_MAX;
        for number in 1..count {
            sender.send(number).unwrap();
        }
        let is_open = |number: &usize| number % 2 == 1;
        let batch = take_open(0, &mut queue, is_open);
        assert_eq!(batch.len(), CHANGES_MAX);
        assert!(batch.iter().all(is_open));
        assert_eq!(queue.len(), 2 * CHANGES_MAX);
        let first = queue.try_recv().unwrap();
        assert_eq!(take_open(first, &mut queue, is_open).len(), CHANGES_MAX);
        assert_eq!(take_open(0, &mut queue, is_open), Vec::<usize>::new());
        for number in 0..10 * count {
            sender.send(2 * number).unwrap();
        }
        assert_eq!(take_open(0, &mut queue, is_open), Vec::<usize>::new());
        assert!(queue.is_empty(), "{} of no use are left", queue.len());
    }
}
