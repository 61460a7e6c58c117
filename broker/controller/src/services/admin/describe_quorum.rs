use foz_api::v1::DescribeQuorumResponse;
use foz_api::v1::describe_quorum_response::{Controller, Observer, Replication};
use foz_metadata::image::SupportedFeatures;
use foz_quorum::{MemberStatus, QuorumStatus};

use crate::convert;
use crate::replica_times::Times;
use crate::services::calls::Calls;
use crate::wall_clock::wall_clock_ms;

/// Stands for no node, and for what is not known.
const NONE: i32 = -1;
const UNKNOWN: i64 = -1;

pub(super) fn describe_quorum(calls: &Calls) -> DescribeQuorumResponse {
    let quorum = &calls.shared.quorum;
    let leadership = quorum.leadership().borrow().clone();
    let status = quorum.status().borrow().clone();
    let members = |is_voter: bool| {
        let members = status.members.iter();
        let members = members.filter(move |it| it.is_voter == is_voter);
        members.map(|it| controller(calls, &status, it))
    };
    let voters = if status.members.is_empty() {
        let configured = quorum.voters().into_iter();
        let controller = configured.map(|voter| Controller {
            node_id: voter.node_id,
            address: voter.address,
            ..Controller::default()
        });
        controller.collect()
    } else {
        members(true).collect()
    };
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
        voters,
        metadata_offset: calls.shared.metadata.image().offset(),
        node_id: calls.shared.config.node_id,
        version: calls.shared.config.version.clone(),
        learners: members(false).collect(),
        features: convert::supported(&SupportedFeatures::of_this_program()),
        removal: quorum.removal().borrow().clone().unwrap_or_default(),
        committed_entries: entries(status.committed),
        observers: observers(calls, &status),
        removed: status.retired,
    }
}

fn controller(calls: &Calls, status: &QuorumStatus, it: &MemberStatus) -> Controller {
    let member = &it.member;
    let is_self = member.node_id == calls.shared.config.node_id;
    let replication = it.matched.map(|matched| {
        let now = wall_clock_ms();
        let leader = Times {
            heard_ms: now,
            caught_up_ms: Some(now),
        };
        let times = if is_self {
            Some(leader)
        } else {
            calls.shared.controller_times.lock().of(&member.raft_id)
        };
        let log_end = if is_self { status.last_index } else { matched };
        replication(entries(log_end), times)
    });
    Controller {
        node_id: member.node_id,
        address: member.address.clone(),
        directory_id: member.directory_id.as_bytes().to_vec(),
        replication,
    }
}

/// Brokers apply batches, of which each is an entry of the log; entries that hold none are for the controllers alone. So
/// a broker lacks as many entries as it lacks batches.
fn observers(calls: &Calls, status: &QuorumStatus) -> Vec<Observer> {
    let image = calls.shared.metadata.image();
    let times = calls.shared.broker_times.lock();
    let told = calls.shared.applied.told().into_iter();
    told.map(|(node_id, applied)| {
        let behind = (image.offset() - applied).max(0);
        let log_end = (entries(status.applied) - behind).max(0);
        let directory = image
            .broker(node_id)
            .and_then(|broker| broker.directories.first());
        Observer {
            node_id,
            directory_id: directory
                .map(|directory| directory.id.as_bytes().to_vec())
                .unwrap_or_default(),
            replication: Some(replication(log_end, times.of(&node_id))),
        }
    })
    .collect()
}

fn replication(log_end: i64, times: Option<Times>) -> Replication {
    Replication {
        log_end,
        heard_ms: times.map_or(UNKNOWN, |times| times.heard_ms),
        caught_up_ms: times
            .and_then(|times| times.caught_up_ms)
            .unwrap_or(UNKNOWN),
    }
}

/// Raft counts from 1: the index of an entry is how many there are up to it.
fn entries(index: u64) -> i64 {
    i64::try_from(index).unwrap_or(i64::MAX)
}
