use foz_api::v1::plan_rebalance_response::Answer;
use foz_api::v1::{PlanRebalanceRequest, PlanRebalanceResponse};
use tonic::Status;

use super::rebalances::{copied_bytes_per_second, goal, plan_now, threshold};
use crate::rebalance::preview;
use crate::services::calls::Calls;

pub(super) async fn plan_rebalance(
    calls: &Calls,
    request: PlanRebalanceRequest,
) -> Result<PlanRebalanceResponse, Status> {
    calls.check_active().await?;
    let asked = goal(request.goal, &request.broker_ids)
        .and_then(|goal| Ok((goal, threshold(request.threshold_percent)?)));
    let planned = match asked {
        Ok((goal, threshold_percent)) => plan_now(calls, &goal, threshold_percent).await?,
        Err(why) => Err(why),
    };
    let answer = match planned {
        Ok(planned) => Answer::Plan(preview(&planned, copied_bytes_per_second(calls))),
        Err(why) => Answer::Refused(why),
    };
    Ok(PlanRebalanceResponse {
        answer: Some(answer),
    })
}
