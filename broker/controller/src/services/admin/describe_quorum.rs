use foz_api::v1::DescribeQuorumResponse;
use foz_api::v1::describe_quorum_response::Controller;
use foz_metadata::rules::FOZ_VERSION_MAX;

use crate::services::calls::Calls;

/// Stands for no node.
const NONE: i32 = -1;

pub(super) fn describe_quorum(calls: &Calls) -> DescribeQuorumResponse {
    let quorum = &calls.shared.quorum;
    let leadership = quorum.leadership().borrow().clone();
    let voters = quorum.voters().into_iter();
    let status = quorum.status().borrow().clone();
    let learners = status.members.into_iter().filter(|it| !it.is_voter);
    DescribeQuorumResponse {
        cluster_id: quorum.cluster_id().borrow().clone().unwrap_or_default(),
        active_node_id: leadership
            .leader
            .as_ref()
            .map_or(NONE, |leader| leader.node_id),
        active_address: leadership
            .leader
            .map(|leader| leader.address)
            .unwrap_or_default(),
        term: i64::try_from(leadership.term).unwrap_or(i64::MAX),
        voters: voters
            .map(|voter| Controller {
                node_id: voter.node_id,
                address: voter.address,
            })
            .collect(),
        metadata_offset: calls.shared.metadata.image().offset(),
        node_id: calls.shared.config.node_id,
        version: calls.shared.config.version.clone(),
        learners: learners
            .map(|learner| Controller {
                node_id: learner.member.node_id,
                address: learner.member.address,
            })
            .collect(),
        removed: status.retired,
        foz_version_max: FOZ_VERSION_MAX,
        removal: quorum.removal().borrow().clone().unwrap_or_default(),
    }
}
