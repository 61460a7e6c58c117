//! The controllers, as the leader of their Raft group sees them.

use std::collections::BTreeSet;
use std::time::Duration;

use foz_metadata::rules::QuorumHealth;
use foz_quorum::{MemberStatus, Quorum, QuorumStatus};
use tokio::time::Instant;

use crate::stop_wishes::StopWishes;

/// A controller this far behind what is committed counts as caught up: some entries are always on their way.
const CAUGHT_UP_ENTRIES_MAX: u64 = 100;

/// `active` is the node id of this controller, which leads. A node that is a voter twice, as its volume was lost,
/// is there when both are.
pub(crate) fn of(status: &QuorumStatus, active: i32) -> QuorumHealth {
    let all = || status.members.iter().filter(|it| it.is_voter);
    let ids = |members: &mut dyn Iterator<Item = &MemberStatus>| -> BTreeSet<i32> {
        members.map(|it| it.member.node_id).collect()
    };
    let voters = ids(&mut all());
    let missing = ids(&mut all().filter(|it| !is_there(it, status.committed)));
    QuorumHealth {
        reachable: voters.difference(&missing).copied().collect(),
        voters,
        active,
    }
}

/// Whether `wishes` are those of all controllers.
pub(crate) fn are_all_asking(health: &QuorumHealth, wishes: &StopWishes, now: Instant) -> bool {
    let (living, away): (Vec<i32>, Vec<i32>) = health
        .voters
        .iter()
        .partition(|id| health.reachable.contains(id) || **id == health.active);
    wishes.are_of_all(living.into_iter().map(|id| (id, 0)), away, now)
}

/// Returns when the quorum's status says who answers now. Raft asks itself once in an election timeout who has
/// answered since it did so last: for that long, one that has died looks alive. Right after, for the time of a
/// heartbeat, one that lives looks dead.
pub(crate) async fn wait_for_news(quorum: &Quorum, election_timeout: Duration) {
    tokio::time::sleep(election_timeout).await;
    let mut status = quorum.status();
    let all_are_there = status.wait_for(|status| {
        let mut voters = status.members.iter().filter(|it| it.is_voter);
        voters.all(|it| is_there(it, status.committed))
    });
    // Who has not answered by then is not there.
    let _ = tokio::time::timeout(election_timeout / 2, all_are_there).await;
}

fn is_there(member: &MemberStatus, committed: u64) -> bool {
    let is_caught_up = |at: u64| at.saturating_add(CAUGHT_UP_ENTRIES_MAX) >= committed;
    member.is_active == Some(true) && member.matched.is_some_and(is_caught_up)
}

#[cfg(test)]
mod tests {
    use foz_quorum::{KafkaUuid, Member};

    use super::*;

    fn member(raft_id: u64, node_id: i32, matched: u64, is_active: bool) -> MemberStatus {
        MemberStatus {
            member: Member {
                raft_id,
                node_id,
                directory_id: KafkaUuid::random(),
                address: format!("h{node_id}:1"),
            },
            is_voter: true,
            matched: Some(matched),
            is_active: Some(is_active),
        }
    }

    #[test]
    fn who_answers_and_has_caught_up_is_reachable() {
        let mut status = QuorumStatus {
            committed: 1000,
            members: vec![
                member(1, 1000, 1000, true),
                member(2, 1001, 900, true),
                member(3, 1002, 899, true),
                member(4, 1003, 1000, false),
                member(5, 1004, 1000, true),
            ],
            ..QuorumStatus::default()
        };
        status.members[4].is_voter = false;
        let health = of(&status, 1000);
        assert_eq!(health.voters, BTreeSet::from([1000, 1001, 1002, 1003]));
        assert_eq!(health.reachable, BTreeSet::from([1000, 1001]));
        assert_eq!(health.active, 1000);

        // Its old volume still votes.
        status.members.push(member(6, 1001, 1000, false));
        let health = of(&status, 1000);
        assert_eq!(health.voters.len(), 4);
        assert_eq!(health.reachable, BTreeSet::from([1000]));

        // Of a controller that does not lead.
        for member in &mut status.members {
            (member.matched, member.is_active) = (None, None);
        }
        assert_eq!(of(&status, 1000).reachable, BTreeSet::new());
        assert_eq!(of(&QuorumStatus::default(), 1000).voters.len(), 0);
    }
}
