//! Who leads a partition.

use foz_canary::{Canary, sings};

use crate::image::{Image, NO_LEADER, Partition};

/// What came of an election.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Elected {
    /// A member of the ISR.
    InSync(i32),
    /// A member of the ELR. It has everything that was acknowledged, but perhaps less than the ISR had:
    /// nobody else is in sync with it.
    Eligible(i32),
    /// Records that were acknowledged may be lost with it.
    Unclean(i32),
    /// No replica may lead.
    Nobody,
}

/// Elects the leader that a partition should have; its `leader` is the one it had, the rest is as it is about
/// to be.
///
/// An unclean election takes the first replica of the list that has been in sync on its disk, if one of those
/// may lead; else the one that has had most time to copy. Kafka takes the first that is alive, which may be one
/// whose disk is empty. More the metadata does not know: nobody is asked how far the log of each goes, which
/// KIP-966 plans as unclean recovery.
pub(super) fn elect(image: &Image, partition: &Partition, allow_unclean: bool) -> Elected {
    let is_elected_anyway = sings(Canary::OfflineReplicaIsElected);
    let is_usable = |node_id: i32| is_elected_anyway || !partition.offline.contains(&node_id);
    let can_lead = |node_id: i32| image.can_lead(node_id) && is_usable(node_id);
    let can_take_over = |node_id: i32| image.can_take_over(node_id) && is_usable(node_id);
    let first_of = |members: &[i32], may: &dyn Fn(i32) -> bool| {
        let replicas = partition.replicas.iter().copied();
        replicas
            .filter(|node_id| members.contains(node_id))
            .find(|node_id| may(*node_id))
    };
    // A leader without room takes nothing, so one with room leads, wherever there is one.
    for may in [&can_take_over as &dyn Fn(i32) -> bool, &can_lead] {
        if partition.isr.contains(&partition.leader) && may(partition.leader) {
            return Elected::InSync(partition.leader);
        }
        if let Some(node_id) = first_of(&partition.isr, may) {
            return Elected::InSync(node_id);
        }
    }
    // A broker that is about to stop goes on with what nobody else in sync can take: a member of the ELR
    // would throw away what it wrote since, and can catch up with it instead. Another that is about to stop
    // would gain nothing.
    if partition.isr.contains(&partition.leader) && image.is_alive(partition.leader) {
        return Elected::InSync(partition.leader);
    }
    if let Some(node_id) = first_of(&partition.isr, &|node_id| image.is_alive(node_id)) {
        return Elected::InSync(node_id);
    }
    let eligible = first_of(&partition.elr, &can_take_over);
    if let Some(node_id) = eligible.or_else(|| first_of(&partition.elr, &can_lead)) {
        return Elected::Eligible(node_id);
    }
    if partition.isr.is_empty() && partition.elr.is_empty() {
        // Every replica that was sure to have all lost something; the last leader has most, unless that
        // was its disk: then it is not named here.
        let last_leader = partition.last_known_elr.first();
        if let Some(node_id) = last_leader.copied().filter(|node_id| can_lead(*node_id)) {
            return Elected::Unclean(node_id);
        }
    }
    let allow_unclean = allow_unclean || sings(Canary::UncleanElectionAlways);
    if allow_unclean {
        let was_in_sync = |id: &i32| !partition.never_in_sync.contains(id);
        let replicas = partition.replicas.iter().copied();
        let has_more: Vec<i32> = replicas.filter(was_in_sync).collect();
        // Room second: what a replica has counts for more.
        for replicas in [&has_more, &partition.never_in_sync] {
            let mut with_room = replicas.iter().filter(|id| can_take_over(**id));
            let mut any = replicas.iter().filter(|id| can_lead(**id));
            if let Some(node_id) = with_room.next().or_else(|| any.next()) {
                return Elected::Unclean(*node_id);
            }
        }
    }
    Elected::Nobody
}

/// Whether any replica may lead, if only uncleanly.
pub(super) fn has_candidate(image: &Image, partition: &Partition) -> bool {
    let mut replicas = partition.replicas.iter();
    replicas.any(|id| image.can_lead(*id) && !partition.offline.contains(id))
}

impl Elected {
    pub(super) fn leader(self) -> i32 {
        match self {
            Self::InSync(node_id) | Self::Eligible(node_id) | Self::Unclean(node_id) => node_id,
            Self::Nobody => NO_LEADER,
        }
    }
}
