//! `AcquireRestart`: may this process stop now?
//!
//! The answer is a lock in the metadata, which rolling, draining, eviction and a second operator share. Whoever has it
//! may stop the process; nobody else may stop another one that would leave a partition with too few in-sync
//! replicas. See `docs/adr/0013-the-restart-grant.md`.
//!
//! What holds from the grant to its end, whatever other rules decide meanwhile: a partition keeps
//! `min(min.insync.replicas, replicas)` members in its ISR besides all granted nodes, if it had them. Only
//! failures (a crash, a follower that lags) can take it below. A reassignment keeps to this too, see
//! `reassignment.rs`.

mod broker;
mod controller;

use std::collections::BTreeSet;

use uuid::Uuid;

use super::draft::Draft;
use super::partition_change::change_partitions_on;
use super::{Decided, ErrorCode, Refusal, check_operator_epoch};
use crate::image::Image;
use crate::record::{BrokerFenceRecord, Fact, RestartGrantRecord, id_bytes};

/// How many partitions a grant names that it leaves unprotected.
pub const UNPROTECTED_NAMED_MAX: usize = 10;
/// Longer than any sentence.
const REASON_BYTES_MAX: usize = 1024;

/// Somebody wants to stop a process.
#[derive(Debug, Clone)]
pub struct AcquireRestart {
    /// A broker, or a controller.
    pub node_id: i32,
    /// The process that is to stop.
    pub incarnation: Uuid,
    /// A sentence for people.
    pub reason: String,
    /// 0: the process itself asks, or a hand.
    pub operator_epoch: i64,
    /// What about partitions that no waiting would protect.
    pub unavailable: Unavailable,
    /// It stops in any case, and only wants to be known to.
    pub insist: bool,
}

/// What about partitions that go below their minimum with every restart, even when all their replicas are in sync: those
/// with one replica, or with as many as `min.insync.replicas`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unavailable {
    /// They are named, and hold nothing up.
    Allow,
    /// They deny the restart.
    Deny,
}

/// The controllers, as the active one sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct QuorumHealth {
    /// Node ids of all voters.
    pub voters: BTreeSet<i32>,
    /// Those that answer and have caught up. The active controller counts in any case.
    pub reachable: BTreeSet<i32>,
    /// The active controller.
    pub active: i32,
}

/// Whether it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The process may stop until the grant ends.
    Granted {
        /// For [`end_restart`](super::end_restart), and to check again before the process is stopped.
        grant_epoch: i64,
        /// Partitions, as `topic-3`, that have too few in-sync replicas while it is away; at most
        /// [`UNPROTECTED_NAMED_MAX`] of them. `the metadata quorum` where that has no majority.
        unprotected: Vec<String>,
    },
    /// Not now; ask again.
    Denied {
        /// What kind of reason.
        reason: DeniedReason,
        /// The reason as a sentence.
        message: String,
    },
}

/// Why a process may not stop now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum DeniedReason {
    /// It is not the registered process of the node: it is gone, or has not registered yet.
    Incarnation,
    /// A partition has too few other replicas in sync.
    MinInsync,
    /// It would, were it not for the grant of another node.
    AnotherGrant,
    /// A partition cannot be protected at all, and [`Unavailable::Deny`] was asked for.
    Unavailable,
    /// Too few other controllers are there for a majority.
    Quorum,
}

/// What a rule says of one node: what the stop leaves unprotected, or why it may not be.
type Verdict = Result<Vec<String>, (DeniedReason, String)>;

/// Decides whether a process may stop. A denial is an answer, not a refusal, and writes nothing.
///
/// Asked again for the same process it answers with the same grant, since an answer may have been lost, and moves
/// leadership away that could not be moved before. A grant of an earlier process of the node does not count against
/// it, and is replaced.
///
/// A broker with a grant leads nothing that another can lead, as one that is about to stop, but stays in its ISRs:
/// they shrink when it really goes.
///
/// The order of the records allows them to be split over several batches; should the later ones be lost, asking again
/// makes up for them.
pub fn acquire_restart(
    image: &Image,
    request: &AcquireRestart,
    quorum: &QuorumHealth,
) -> Decided<Answer> {
    check_operator_epoch(image, request.operator_epoch)?;
    if request.reason.is_empty() || request.reason.len() > REASON_BYTES_MAX {
        return Err(Refusal::new(
            ErrorCode::InvalidRequest,
            format!(
                "the reason of a restart must have 1 to {REASON_BYTES_MAX} bytes, not {}",
                request.reason.len()
            ),
        ));
    }
    let mut draft = Draft::new(image);
    let node_id = request.node_id;
    let is_controller = quorum.voters.contains(&node_id);
    if !is_controller && let Some(message) = broker::is_not_registered(image, request) {
        let reason = DeniedReason::Incarnation;
        return Ok(draft.decide(Answer::Denied { reason, message }));
    }
    let known = image.grant(node_id);
    if let Some(grant) = known.filter(|grant| grant.incarnation == request.incarnation) {
        let answer = Answer::Granted {
            grant_epoch: grant.epoch,
            unprotected: grant.unprotected.clone(),
        };
        hand_over(&mut draft, node_id);
        return Ok(draft.decide(answer));
    }
    let verdict = if is_controller {
        controller::may_stop(image, request, quorum)
    } else {
        broker::may_stop(image, request)
    };
    let unprotected = match verdict {
        Ok(unprotected) => unprotected,
        Err((reason, message)) => return Ok(draft.decide(Answer::Denied { reason, message })),
    };
    let grant_epoch = image.offset() + 1;
    draft.write(Fact::RestartGrant(RestartGrantRecord {
        node_id,
        grant_epoch,
        incarnation: id_bytes(request.incarnation),
        reason: request.reason.clone(),
        operator_epoch: request.operator_epoch,
        unprotected: unprotected.clone(),
    }));
    hand_over(&mut draft, node_id);
    Ok(draft.decide(Answer::Granted {
        grant_epoch,
        unprotected,
    }))
}

/// Leadership moves away from a broker and does not come back while it is about to stop. That of a controller is the
/// quorum's to move.
fn hand_over(draft: &mut Draft, node_id: i32) {
    let Some(broker) = draft.image().broker(node_id).cloned() else {
        return;
    };
    if !broker.stopping {
        draft.write(Fact::BrokerFence(BrokerFenceRecord {
            stopping: true,
            ..BrokerFenceRecord::of(&broker)
        }));
    }
    let after = draft.image().clone();
    change_partitions_on(draft, &after, node_id, |_| {});
}
