use foz_api::v1::start_rebalance_response::{Answer, NothingToDo, Started};
use foz_api::v1::{StartRebalanceRequest, StartRebalanceResponse};
use foz_metadata::rules::{self, PlannedRebalance, StartRebalance, StartedRebalance};
use tonic::Status;

use super::rebalances::{goal, plan_now};
use crate::convert::{count, long};
use crate::services::calls::Calls;

pub(super) async fn start_rebalance(
    calls: &Calls,
    request: StartRebalanceRequest,
) -> Result<StartRebalanceResponse, Status> {
    calls.check_active().await?;
    let answer = match goal(request.goal, &request.broker_ids) {
        Ok(goal) => {
            let planned = match plan_now(calls, &goal).await? {
                Ok(planned) => planned.summary(),
                Err(why) => PlannedRebalance::Impossible(why),
            };
            let request = StartRebalance {
                goal,
                planned,
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
