//! A pod that loses a volume with its restart: because a person wants an empty one in its place
//! (`foz.dev/replace-volume` on the pod), or because its claim is being deleted, which Kubernetes does once the pod is
//! gone. Pure.
//!
//! What is on it must be elsewhere: every partition that the broker has needs another replica in sync, and a controller
//! others. Unlike partitions that are only not available for a while, this is never put aside. A person who forces a
//! restart (`foz.dev/force-restart`) has the pod restarted, and its volume left alone.

use std::collections::BTreeSet;

use crate::cluster::observed::{Claims, PodState, claims_of};
use crate::cluster::roll::input::RollInput;
use crate::names::Role;
use crate::volume_id::VolumeId;

/// So many partitions are named; the rest is counted.
const NAMED_MAX: usize = 3;

/// A volume that a pod loses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LostVolume {
    /// Its claim.
    pub claim: String,
    /// The claim's uid: no other claim of that name is deleted.
    pub uid: String,
    /// The claim is to be deleted still.
    pub delete: bool,
}

/// The volumes that a pod loses with its restart.
pub(super) fn lost(input: &RollInput, role: Role, ordinal: i32) -> Vec<LostVolume> {
    let Some(pod) = input.pods.get(&(role, ordinal)) else {
        return Vec::new();
    };
    let has = has(pod, &input.claims, role, ordinal);
    let mut asked = asked(pod, &has);
    if pod.force_asked {
        asked.clear();
    }
    let loss = |id: VolumeId| {
        let claim = input.claims.get(&(role, ordinal, id));
        let is_asked = asked.contains(&id);
        let is_going = claim.is_some_and(|claim| claim.deleting);
        (is_asked || is_going).then(|| LostVolume {
            claim: input.name.claim(role, ordinal, id),
            uid: claim.map(|claim| claim.uid.clone()).unwrap_or_default(),
            // One that is not there any more comes back by itself.
            delete: is_asked && claim.is_some() && !is_going,
        })
    };
    has.iter().copied().filter_map(loss).collect()
}

/// The volumes that a pod has, or that there are claims for.
pub(in crate::cluster) fn has(
    pod: &PodState,
    claims: &Claims,
    role: Role,
    ordinal: i32,
) -> BTreeSet<VolumeId> {
    let claimed = claims_of(claims, role, ordinal).map(|(id, _)| id);
    let has = [VolumeId::FIRST].into_iter().chain(claimed);
    has.chain(pod.volumes.iter().copied()).collect()
}

/// The volumes that a person wants empty ones for.
pub(super) fn asked(pod: &PodState, has: &BTreeSet<VolumeId>) -> BTreeSet<VolumeId> {
    let asked = pod.replace_asked.as_ref().and_then(|it| meant(it, has));
    asked.unwrap_or_default()
}

/// The volumes that the annotation's value means: numbers with commas between, or `all`. Any other text without a digit
/// means the only one there is; `None` where there are several, or one that is named is not there.
pub(in crate::cluster) fn meant(
    value: &str,
    has: &BTreeSet<VolumeId>,
) -> Option<BTreeSet<VolumeId>> {
    if value.trim() == "all" {
        return Some(has.clone());
    }
    let numbers = value.split(',').map(|number| number.trim().parse().ok());
    let Some(numbers) = numbers.collect::<Option<Vec<i32>>>() else {
        // Whoever wrote a number meant one volume, and perhaps another.
        let names_one = value.contains(|it: char| it.is_ascii_digit());
        return (has.len() == 1 && !names_one).then(|| has.clone());
    };
    let named = numbers.into_iter().map(VolumeId::new);
    let named: Option<BTreeSet<VolumeId>> = named.collect();
    named.filter(|named| named.is_subset(has))
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
