//! Which members of an ISR can be relied on while nodes stop by restart grants.

use super::min_insync::effective_min_insync;
use crate::image::{Image, Partition};

/// The members that nobody allowed to go: alive, not about to stop, and without a grant. A granted node counts as
/// gone until its grant ends: its new process can go again as suddenly as a moment before.
pub(super) fn staying<'a>(image: &'a Image, isr: &'a [i32]) -> impl Iterator<Item = i32> + 'a {
    isr.iter()
        .copied()
        .filter(|id| image.can_lead(*id) && image.grant(*id).is_none())
}

/// The replicas of a partition that a grant may count on. Those that a reassignment brings are not among them, since
/// a cancellation takes them away at any moment. Those that it takes away are: it is not complete before others
/// protect the partition as well, see [`is_protected`].
pub(super) fn counted_replicas(partition: &Partition) -> Vec<i32> {
    partition.original_replicas()
}

/// Whether a partition with these replicas and this ISR keeps its minimum, whatever grants allow.
pub(super) fn is_protected(
    image: &Image,
    replicas: &[i32],
    isr: &[i32],
    min_insync_replicas: usize,
) -> bool {
    let needed = effective_min_insync(min_insync_replicas, replicas.len());
    staying(image, isr).count() >= needed
}
