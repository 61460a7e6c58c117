//! What becomes of a partition's replicas while they move to other brokers (KIP-455).
//!
//! The target comes first in `replicas`, whoever is to go behind it, so that one list says who has to copy and who
//! may lead. The reassignment is complete when every replica of the target is in sync; until then nobody is taken
//! away. Kafka does the same, but for two things:
//!
//! * A new target replaces the one that is under way. Kafka then takes the replicas that the first one brought
//!   for original ones, and a cancellation would keep them. Here the original ones stay known.
//! * A reassignment is not complete while nodes with a restart grant would leave the new replicas below their
//!   minimum: the grants counted on the old ones. It is complete when those grants end.

use super::min_insync::partition_min_insync;
use super::protection::is_protected;
use crate::image::{Image, Partition};

/// The replicas of a partition from now on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Reassigned {
    pub(super) replicas: Vec<i32>,
    pub(super) adding: Vec<i32>,
    pub(super) removing: Vec<i32>,
}

/// The partition moves to `target`, wherever it was moving to before.
pub(super) fn begin(partition: &Partition, target: &[i32]) -> Reassigned {
    let original = partition.original_replicas();
    // What an earlier target brought goes at once, unless somebody may need what it has.
    let is_needed = |id: &i32| {
        let Partition {
            isr,
            elr,
            last_known_elr,
            ..
        } = partition;
        [&original, isr, elr, last_known_elr]
            .iter()
            .any(|list| list.contains(id))
    };
    let removing: Vec<i32> = partition
        .replicas
        .iter()
        .copied()
        .filter(|id| !target.contains(id) && is_needed(id))
        .collect();
    let replicas: Vec<i32> = target.iter().chain(&removing).copied().collect();
    let adding = replicas
        .iter()
        .copied()
        .filter(|id| !original.contains(id))
        .collect();
    Reassigned {
        replicas,
        adding,
        removing,
    }
}

/// Where a partition cannot go back to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct CannotCancel {
    /// Of the original replicas, so many are sure to have all that was acknowledged.
    pub(super) kept: usize,
    /// So many have to be.
    pub(super) least: usize,
}

/// The partition goes back to where it was. Not where what was acknowledged would be lost, or would be on fewer
/// replicas than `min_insync_replicas` says, because only those that the reassignment brought are sure to have it.
pub(super) fn cancel(
    partition: &Partition,
    min_insync_replicas: usize,
    allows_loss: bool,
) -> Result<Reassigned, CannotCancel> {
    let replicas = partition.original_replicas();
    let (isr, elr) = (&partition.isr, &partition.elr);
    let in_sync = || isr.iter().chain(elr.iter().filter(|id| !isr.contains(id)));
    let is_original = |id: &&i32| replicas.contains(id);
    let kept = in_sync().filter(is_original).count();
    let least = partition_min_insync(min_insync_replicas, partition).min(in_sync().count());
    let sure = partition.sure_to_have_all();
    let nobody_left = !sure.is_empty() && !sure.iter().any(|id| replicas.contains(id));
    let loses = nobody_left || kept < least;
    if replicas.is_empty() || (loses && !allows_loss) {
        let kept = if nobody_left { 0 } else { kept };
        return Err(CannotCancel { kept, least });
    }
    Ok(Reassigned {
        replicas,
        adding: Vec::new(),
        removing: Vec::new(),
    })
}

/// The replicas of the target alone, when they can take over.
pub(super) fn complete(
    image: &Image,
    partition: &Partition,
    min_insync_replicas: usize,
) -> Option<Reassigned> {
    if !partition.is_reassigning() {
        return None;
    }
    let target = partition.target_replicas();
    let is_in_sync = !target.is_empty() && target.iter().all(|id| partition.isr.contains(id));
    // Who is in sync of the target is the target.
    (is_in_sync && is_protected(image, &target, &target, min_insync_replicas)).then_some(
        Reassigned {
            replicas: target,
            adding: Vec::new(),
            removing: Vec::new(),
        },
    )
}
