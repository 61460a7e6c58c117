//! A pod that loses its volume with its restart: because a person wants an empty one in its place
//! (`foz.dev/replace-volume` on the pod), or because its claim is being deleted, which Kubernetes does once the pod is
//! gone. Pure.
//!
//! What is on it must be elsewhere: every partition that the broker has needs another replica in sync, and a controller
//! others. Unlike partitions that are only not available for a while, this is never put aside. A person who forces a
//! restart (`foz.dev/force-restart`) has the pod restarted, and its volume left alone.

use crate::cluster::roll::input::RollInput;
use crate::names::Role;

/// So many partitions are named; the rest is counted.
const NAMED_MAX: usize = 3;

/// The volume that a pod loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostVolume {
    /// Its claim.
    pub claim: String,
    /// The claim's uid: no other claim of that name is deleted.
    pub uid: String,
    /// The claim is to be deleted still.
    pub delete: bool,
}

/// The volume that a pod loses with its restart; `None` when it keeps it.
pub(super) fn lost(input: &RollInput, role: Role, ordinal: i32) -> Option<LostVolume> {
    let pod = input.pods.get(&(role, ordinal))?;
    let claim = input.claims.get(&(role, ordinal));
    let is_asked = pod.replace_asked && !pod.force_asked;
    let is_going = claim.is_some_and(|claim| claim.deleting);
    (is_asked || is_going).then(|| LostVolume {
        claim: input.name.claim(role, ordinal),
        uid: claim.map(|claim| claim.uid.clone()).unwrap_or_default(),
        // One that is not there any more comes back by itself.
        delete: is_asked && claim.is_some() && !is_going,
    })
}

/// Why a node must not lose its volume.
pub(super) fn refusal(input: &RollInput, role: Role, node_id: i32) -> Option<String> {
    match role {
        Role::Controller => {
            // Those that have not joined yet have nothing.
            let voters = input.quorum.as_ref().map(|view| &view.voters.voters);
            let alone = voters.is_some_and(|voters| !voters.is_empty() && voters.len() < 2);
            let controllers = input.sets.get(&role).map_or(0, |set| set.replicas);
            (alone || controllers < 2).then(|| {
                "it keeps its volume: it is the only controller, and nobody else has the metadata"
                    .to_owned()
            })
        }
        Role::Broker => only_copies(input.only_copies.get(&node_id)?),
    }
}

/// A sentence about partitions that nobody else has in sync; `None` when there are none.
#[must_use]
pub fn only_copies(partitions: &[String]) -> Option<String> {
    let named = partitions
        .get(..NAMED_MAX.min(partitions.len()))?
        .join(", ");
    let more = match partitions.len().saturating_sub(NAMED_MAX) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    (!partitions.is_empty()).then(|| {
        format!(
            "it keeps its volume: no other broker has these partitions in sync: {named}{more}; wait for their replicas, give their topics another replica, or delete them"
        )
    })
}
