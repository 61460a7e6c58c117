//! A batch on the disk that is not what was written: it is fetched again from another replica.
//!
//! Whoever cuts off what others count on must not be counted any more. So the broker first registers anew
//! and says that data is missing, which takes it out of every ISR and ELR; only then is the log cut before
//! the damage. From the discovery to the cut this replica fetches nothing, so that nobody takes it into an
//! ISR meanwhile, and a proposal on its way names the earlier registration and is refused (KIP-903).

use std::sync::Arc;
use std::sync::atomic::Ordering;

use foz_log::OpenError;
use foz_metadata::image::Partition as Assigned;
use tracing::{error, warn};

use super::role::Role;
use super::{Located, Partition, wall_clock_ms};

/// What was found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damage {
    /// Everything from here on has to be fetched again.
    from_offset: i64,
    /// This broker's registration when it was found.
    broker_epoch: i64,
}

/// What can be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Repair {
    /// Nobody else has the data, at the moment: what is readable is served.
    Wait,
    /// Register anew.
    LeaveIsr,
    /// Cut and fetch again.
    Cut,
}

/// `registered` is the broker's newest registration, and the metadata knows it.
pub(super) fn repair(
    damage: Damage,
    assigned: &Assigned,
    can_lead: impl Fn(i32) -> bool,
    node_id: i32,
    registered: i64,
) -> Repair {
    let others_lead = assigned
        .isr
        .iter()
        .any(|id| *id != node_id && can_lead(*id));
    if !others_lead {
        return Repair::Wait;
    }
    let counts = assigned.isr.contains(&node_id) || assigned.elr.contains(&node_id);
    if damage.broker_epoch == registered || counts {
        Repair::LeaveIsr
    } else if assigned.leader != node_id {
        Repair::Cut
    } else {
        Repair::Wait
    }
}

impl Partition {
    /// Nothing was found there or before.
    pub(super) fn is_new_damage(&self, from_offset: i64) -> bool {
        let known = self.damage();
        known.is_none_or(|known| from_offset < known.from_offset)
    }

    /// From this offset on the log is not what was written. Where it has moved since, that is of no account: what was copied
    /// was checked, and the end of a move keeps this waiting. False then.
    pub(crate) fn found_damage(&self, located: &Located, from_offset: i64) -> bool {
        let mut damage = self.damage.lock();
        if !Arc::ptr_eq(&located.log, &self.log()) {
            return false;
        }
        let broker_epoch = self.reports.broker_epoch.load(Ordering::Acquire);
        let known = damage.get_or_insert(Damage {
            from_offset,
            broker_epoch,
        });
        known.from_offset = known.from_offset.min(from_offset);
        located.log.found_damage(known.from_offset);
        drop(damage);
        self.reports.damage.notify_one();
        true
    }

    pub(super) fn damage(&self) -> Option<Damage> {
        *self.damage.lock()
    }

    /// Forgets damage in what was deleted for good, once nothing is left that a start has put off. Whether there was some.
    pub(super) fn forget_deleted_damage(&self) -> bool {
        let log = self.log();
        let start = log.durable_log_start_offset();
        let mut damage = self.damage.lock();
        let is_deleted =
            damage.is_some_and(|damage| damage.from_offset < start) && !log.has_unchecked_batches();
        if is_deleted {
            *damage = None;
            log.forget_damage();
        }
        is_deleted
    }

    /// Cuts the log before the damage. True when it is to be fetched again.
    pub(super) fn cut_damage(&self) -> bool {
        let Some(damage) = self.damage() else {
            return false;
        };
        // Nobody writes meanwhile, and nobody waits: a large segment takes its time to be copied.
        let following = {
            let _role_change = self.role_change.lock();
            let mut role = self.role.write();
            let Some(following) = role.following() else {
                return false;
            };
            *role = Role::Idle;
            following
        };
        let is_cut = self.cut_from(damage.from_offset);
        let _role_change = self.role_change.lock();
        let mut role = self.role.write();
        match *role {
            Role::Idle => *role = Role::Follows(following),
            Role::Follows(_) => {}
            // Elected uncleanly, with the log as it was: the metadata has to say it once more.
            Role::Leads(_) => *role = Role::Idle,
        }
        is_cut
    }

    fn cut_from(&self, from_offset: i64) -> bool {
        let located = self.located();
        let Located { log, directory } = &**located;
        let quarantined = (directory.logs()).quarantine(log, from_offset, wall_clock_ms());
        match quarantined {
            Ok(kept) => {
                warn!(
                    partition = self.name(),
                    from_offset = log.log_end_offset(),
                    copies = ?kept,
                    "damaged data was set aside; it is fetched again"
                );
                let mut damage = self.damage.lock();
                *damage = None;
                log.forget_damage();
                true
            }
            Err(OpenError::Unusable(..)) => false,
            Err(error) => {
                if self.said.is_new(error.to_string()) {
                    error!(partition = self.name(), %error, "damaged data cannot be set aside");
                }
                if log.has_failed() {
                    let partition = self.topic_partition();
                    directory.failure().log_stopped(partition, &error);
                } else {
                    directory.failure().open_failed(&error);
                }
                false
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use foz_metadata::image::NO_LEADER;

    use super::*;

    const ME: i32 = 0;
    const FOUND: Damage = Damage {
        from_offset: 5,
        broker_epoch: 10,
    };

    fn assigned(leader: i32, isr: &[i32], elr: &[i32]) -> Assigned {
        Assigned {
            replicas: vec![0, 1, 2],
            leader,
            isr: isr.to_vec(),
            elr: elr.to_vec(),
            last_known_elr: Vec::new(),
            never_in_sync: Vec::new(),
            adding_replicas: Vec::new(),
            removing_replicas: Vec::new(),
            rebalance_id: 0,
            offline: Vec::new(),
            leader_epoch: 1,
            partition_epoch: 1,
        }
    }

    fn decide(assigned: &Assigned, alive: &[i32], registered: i64) -> Repair {
        repair(FOUND, assigned, |id| alive.contains(&id), ME, registered)
    }

    #[test]
    fn nothing_is_cut_while_anybody_counts_on_it() {
        let all = [0, 1, 2];
        for known in [
            assigned(ME, &[0, 1], &[]),
            assigned(1, &[1, 0], &[]),
            assigned(1, &[1], &[0]),
            // A proposal that takes it in may be on its way.
            assigned(1, &[1, 2], &[]),
        ] {
            assert_eq!(decide(&known, &all, 10), Repair::LeaveIsr, "{known:?}");
        }
        for known in [assigned(1, &[1, 0], &[]), assigned(1, &[1], &[0])] {
            assert_eq!(decide(&known, &all, 11), Repair::LeaveIsr, "{known:?}");
        }
        assert_eq!(decide(&assigned(1, &[1, 2], &[]), &all, 11), Repair::Cut);
    }

    #[test]
    fn the_only_one_that_has_the_data_keeps_what_it_has() {
        for registered in [10, 11] {
            for (known, alive) in [
                (assigned(ME, &[0], &[]), [0, 1, 2].as_slice()),
                (assigned(ME, &[0, 1], &[]), &[0, 2]),
                (assigned(NO_LEADER, &[1, 2], &[]), &[0]),
                (assigned(NO_LEADER, &[], &[1]), &[0]),
            ] {
                assert_eq!(decide(&known, alive, registered), Repair::Wait, "{known:?}");
            }
        }
    }
}
