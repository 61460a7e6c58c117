//! What each controller can do. It says it for itself: it registers nowhere, and another program may run on its volume at
//! any time.

use std::sync::Arc;
use std::time::Duration;

use foz_api::v1::DescribeQuorumRequest;
use foz_api::v1::admin_client::AdminClient;
use foz_metadata::image::SupportedFeatures;
use foz_metadata::rules::{ControllerFeatures, found_features, wants_features};
use futures::future::join_all;
use tokio::time::{sleep, timeout};
use tonic::transport::Endpoint;

use crate::convert;
use crate::services::Calls;

/// A controller that takes longer to say what it knows counts as one that does not answer.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// How often it is looked for features that the metadata is older than.
const LOOK: Duration = Duration::from_secs(5);

/// Asks all of them.
pub(crate) async fn controller_features(calls: &Calls) -> ControllerFeatures {
    let me = calls.shared.config.node_id;
    let members = calls.shared.quorum.status().borrow().members.clone();
    let asked = members.into_iter().map(|member| async move {
        let node_id = member.member.node_id;
        if node_id == me {
            return (node_id, Some(SupportedFeatures::of_this_program()));
        }
        let features = timeout(ANSWER_MAX, ask(member.member.address)).await;
        (node_id, features.ok().flatten())
    });
    let mut controllers = ControllerFeatures::new();
    for (node_id, features) in join_all(asked).await {
        // A node is two members while a volume takes the place of another: only one of them answers.
        let known = controllers.entry(node_id).or_default();
        *known = known.take().or(features);
    }
    controllers
}

async fn ask(address: String) -> Option<SupportedFeatures> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).ok()?;
    let mut admin = AdminClient::new(endpoint.connect().await.ok()?);
    let described = admin.describe_quorum(DescribeQuorumRequest {}).await;
    Some(convert::features(&described.ok()?.into_inner().features))
}

/// While this controller leads, writes the levels that the metadata is older than, once all nodes know them: the last node
/// of an upgrade may be a controller, which tells nobody. Ends with the quorum.
pub(crate) async fn found_missing_features(calls: Arc<Calls>) {
    let mut leadership = calls.shared.quorum.leadership();
    while leadership.wait_for(|now| now.is_self).await.is_ok() {
        if wants_features(&calls.shared.metadata.image()) {
            let controllers = controller_features(&calls).await;
            let founded = calls.run(move |image| found_features(image, &controllers));
            if let Err(error) = founded.await {
                tracing::info!(%error, "the levels of new features are not written yet");
            }
        }
        sleep(LOOK).await;
    }
}
