use foz_api::v1::start_rebalance_response::{Answer, NothingToDo, Started};
use foz_api::v1::{StartRebalanceRequest, StartRebalanceResponse};
use foz_metadata::rules::{self, PlannedRebalance, StartRebalance, StartedRebalance};
use tonic::Status;

use super::rebalances::{goal, plan_now, threshold};
use crate::convert::{count, long};
use crate::rebalance::Planned;
use crate::services::calls::Calls;

pub(super) async fn start_rebalance(
    calls: &Calls,
    request: StartRebalanceRequest,
) -> Result<StartRebalanceResponse, Status> {
    calls.check_active().await?;
    let asked = goal(request.goal, &request.broker_ids)
        .and_then(|goal| Ok((goal, threshold(request.threshold_percent)?)));
    let answer = match asked {
        Ok((goal, threshold_percent)) => {
            let planned = match plan_now(calls, &goal, threshold_percent).await? {
                Ok(planned) if request.only_if_uneven => only_if_uneven(&planned),
                Ok(planned) => planned.summary(),
                Err(why) => PlannedRebalance::Impossible(why),
            };
            let request = StartRebalance {
                goal,
                planned,
                threshold_percent,
                operator_epoch: request.operator_epoch,
            };
            start(calls, request).await?
        }
        Err(why) => StartedRebalance::Refused(why),
    };
    let answer = match answer {
        StartedRebalance::Started {
            rebalance_id,
            moves,
            bytes,
        } => Answer::Started(Started {
            rebalance_id,
            moves: count(moves),
            bytes: long(bytes),
        }),
        StartedRebalance::NothingToDo => Answer::NothingToDo(NothingToDo {}),
        StartedRebalance::Refused(why) => Answer::Refused(why),
    };
    Ok(StartRebalanceResponse {
        answer: Some(answer),
    })
}

/// Nobody waits for this rebalance: without a reason it is left.
fn only_if_uneven(planned: &Planned) -> PlannedRebalance {
    let Some(uneven) = planned.uneven() else {
        return PlannedRebalance::Nothing;
    };
    tracing::info!(%uneven, "a reason to even brokers out");
    planned.summary()
}

async fn start(calls: &Calls, request: StartRebalance) -> Result<StartedRebalance, Status> {
    let goal = request.goal.clone();
    let rule = move |image: &_| rules::start_rebalance(image, &request);
    let answer = calls.change(rule).await?;
    if let StartedRebalance::Started {
        rebalance_id,
        moves,
        bytes,
    } = answer
    {
        tracing::info!(rebalance_id, %goal, moves, bytes, "a rebalance was asked for, and runs");
    }
    Ok(answer)
}
