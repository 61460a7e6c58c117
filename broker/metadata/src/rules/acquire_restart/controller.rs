//! Whether a controller may stop: the quorum has to keep its majority.

use super::{AcquireRestart, DeniedReason, QuorumHealth, Unavailable, Verdict};
use crate::image::Image;

/// How the quorum is named among what a grant leaves unprotected.
const QUORUM: &str = "the metadata quorum";

pub(super) fn may_stop(image: &Image, request: &AcquireRestart, quorum: &QuorumHealth) -> Verdict {
    let node_id = request.node_id;
    let voters = &quorum.voters;
    let majority = voters.len() / 2 + 1;
    let is_granted = |id: &i32| image.grant(*id).is_some();
    let others = || voters.iter().copied().filter(|id| *id != node_id);
    let staying: Vec<i32> = others()
        .filter(|id| quorum.reachable.contains(id) || *id == quorum.active)
        .filter(|id| !is_granted(id))
        .collect();
    let has_majority = staying.len() >= majority;
    let costs = if has_majority {
        Vec::new()
    } else {
        vec![QUORUM.to_owned()]
    };
    if request.insist {
        return Ok(costs);
    }
    // One after the other even where a majority would allow more: the next one should meet a quorum that has shown that
    // the last one is back.
    if let Some(other) = others().find(is_granted) {
        let grant = image.grant(other).expect("it was found by its grant");
        return Err((
            DeniedReason::AnotherGrant,
            format!(
                "controller {node_id} has to wait for controller {other}, which may stop by restart grant {} \
                 ({}): one controller restarts at a time",
                grant.epoch, grant.reason
            ),
        ));
    }
    if has_majority {
        return Ok(costs);
    }
    // One voter, or two: there is no majority without any of them.
    let can_never_do_without = voters.len() - 1 < majority;
    match request.unavailable {
        Unavailable::Allow if can_never_do_without => Ok(costs),
        Unavailable::Deny if can_never_do_without => Err((
            DeniedReason::Unavailable,
            format!(
                "{QUORUM} of {} has no majority without controller {node_id}, and nothing may become unavailable",
                voters.len()
            ),
        )),
        _ => Err((
            DeniedReason::Quorum,
            format!(
                "without controller {node_id}, {} of {} voters of {QUORUM} are there ({staying:?}); a majority is \
                 {majority}",
                staying.len(),
                voters.len()
            ),
        )),
    }
}
