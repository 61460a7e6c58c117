use std::collections::BTreeMap;
use std::time::Duration;

use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::{
    DescribeQuorumRequest, FinalizeFeatureLevelRequest, FinalizeFeatureLevelResponse,
};
use foz_metadata::rules::{self, FOZ_VERSION_MAX};
use futures::future::join_all;
use tonic::Status;
use tonic::transport::Endpoint;

use super::as_outcome::as_outcome;
use crate::convert;
use crate::services::calls::Calls;

/// A controller that takes longer to say what it knows counts as one that does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);

pub(super) async fn finalize_feature_level(
    calls: &Calls,
    request: FinalizeFeatureLevelRequest,
) -> Result<FinalizeFeatureLevelResponse, Status> {
    calls.check_active().await?;
    let request = rules::FinalizeFeatureLevel {
        name: request.name,
        level: request.level,
        controllers: controllers(calls).await,
        is_downgrade: request.is_downgrade,
        validate_only: request.validate_only,
        operator_epoch: request.operator_epoch,
    };
    let (name, level) = (request.name.clone(), request.level);
    let outcome = calls
        .change(move |image| as_outcome(rules::finalize_feature_level(image, &request)))
        .await?;
    match &outcome {
        Ok(()) => tracing::info!(name, level, "a feature level is finalised"),
        Err(refusal) => tracing::info!(name, level, %refusal, "a feature level is not finalised"),
    }
    Ok(FinalizeFeatureLevelResponse {
        outcome: Some(convert::outcome(&outcome)),
    })
}

/// What each of them knows. A controller says it for itself: it registers nowhere, and another program may run on its
/// volume at any time.
async fn controllers(calls: &Calls) -> BTreeMap<i32, Option<i32>> {
    let me = calls.shared.config.node_id;
    let members = calls.shared.quorum.status().borrow().members.clone();
    let asked = members.into_iter().map(|member| async move {
        let node_id = member.member.node_id;
        if node_id == me {
            return (node_id, Some(FOZ_VERSION_MAX));
        }
        let max = tokio::time::timeout(ANSWER_MAX, ask(member.member.address)).await;
        (node_id, max.ok().flatten())
    });
    let mut controllers = BTreeMap::new();
    for (node_id, max) in join_all(asked).await {
        // A node is two members while a volume takes the place of another: only one of them answers.
        let known = controllers.entry(node_id).or_insert(max);
        *known = (*known).or(max);
    }
    controllers
}

async fn ask(address: String) -> Option<i32> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let mut admin = AdminClient::new(endpoint.connect().await.ok()?);
    let described = admin.describe_quorum(DescribeQuorumRequest {}).await;
    Some(described.ok()?.into_inner().foz_version_max.max(1))
}
