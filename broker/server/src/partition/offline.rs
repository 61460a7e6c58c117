//! Partitions of this broker without a log that can be used.
//!
//! A log that could not be made (no room, too many open files) is tried again until it can. A replica without
//! a log is whole, since it never had any records, but it neither leads nor follows. So where others can lead,
//! the broker registers anew, which takes it out of the ISR like any restart, and from then on only a
//! follower that has caught up comes back into it.

use std::collections::HashMap;

use foz_log::{OpenError, TopicPartition};
use foz_metadata::image::Partition as Assigned;
use parking_lot::Mutex;
use prometheus::IntGauge;
use tracing::error;

#[derive(Debug)]
pub(super) struct Offline {
    partitions: Mutex<HashMap<TopicPartition, Why>>,
    count: IntGauge,
}

#[derive(Debug, PartialEq, Eq)]
enum Why {
    /// Recovery found damage.
    Damaged,
    /// It was kept while its topic was deleted, and is not here.
    Lost,
    /// The quorum knows that this broker cannot use it.
    Offline,
    /// It could not be made, for the reason that was said last.
    NotMade(String),
    /// As above, for want of room.
    NoRoom(String),
}

impl Offline {
    pub(super) fn new(damaged: impl Iterator<Item = TopicPartition>, count: IntGauge) -> Self {
        let partitions: HashMap<_, _> = damaged.map(|name| (name, Why::Damaged)).collect();
        count.set(partitions.len() as i64);
        Self {
            partitions: Mutex::new(partitions),
            count,
        }
    }

    pub(super) fn contains(&self, name: &TopicPartition) -> bool {
        self.partitions.lock().contains_key(name)
    }

    pub(super) fn is_damaged(&self, name: &TopicPartition) -> bool {
        self.partitions.lock().get(name) == Some(&Why::Damaged)
    }

    /// Whose data is not here, or cannot be used.
    pub(super) fn without_data(&self) -> Vec<TopicPartition> {
        self.that_are(|why| matches!(why, Why::Damaged | Why::Lost))
    }

    /// Whose logs are here, and cannot be used.
    pub(super) fn damaged(&self) -> Vec<TopicPartition> {
        self.that_are(|why| *why == Why::Damaged)
    }

    /// Whose logs should be here, and are not.
    pub(super) fn lost(&self) -> Vec<TopicPartition> {
        self.that_are(|why| *why == Why::Lost)
    }

    /// Its log should be here and is not. As long as this broker is counted on, none is made in its place.
    pub(super) fn add_lost(&self, name: &TopicPartition) {
        let mut partitions = self.partitions.lock();
        if partitions.insert(name.clone(), Why::Lost) != Some(Why::Lost) {
            error!(partition = %name, "the log of a topic that was brought back is not here");
        }
        self.count.set(partitions.len() as i64);
    }

    /// The quorum says that it cannot be used: none is made in its place.
    pub(super) fn add_offline(&self, name: &TopicPartition) {
        let mut partitions = self.partitions.lock();
        if partitions.get(name) == Some(&Why::Damaged) {
            return;
        }
        if partitions.insert(name.clone(), Why::Offline) != Some(Why::Offline) {
            error!(partition = %name, "this replica is offline: its directory cannot be used");
        }
        self.count.set(partitions.len() as i64);
    }

    /// It can be used again.
    pub(super) fn remove_offline(&self, name: &TopicPartition) {
        let mut partitions = self.partitions.lock();
        if partitions.get(name) == Some(&Why::Offline) {
            partitions.remove(name);
            self.count.set(partitions.len() as i64);
        }
    }

    /// Which cannot be used, as the quorum says.
    pub(super) fn offline(&self) -> Vec<TopicPartition> {
        self.that_are(|why| *why == Why::Offline)
    }

    /// Its log is there, and cannot be opened.
    pub(super) fn add_damaged(&self, name: TopicPartition) {
        let mut partitions = self.partitions.lock();
        partitions.insert(name, Why::Damaged);
        self.count.set(partitions.len() as i64);
    }

    /// Whose logs are to be made.
    pub(super) fn not_made(&self) -> Vec<TopicPartition> {
        self.that_are(|why| !matches!(why, Why::Damaged | Why::Offline))
    }

    /// There never was a log of it.
    pub(super) fn is_not_made(&self, name: &TopicPartition) -> bool {
        let partitions = self.partitions.lock();
        matches!(partitions.get(name), Some(Why::NotMade(_) | Why::NoRoom(_)))
    }

    pub(super) fn lacks_room(&self, name: &TopicPartition) -> bool {
        matches!(self.partitions.lock().get(name), Some(Why::NoRoom(_)))
    }

    /// Its log could not be made. Whether that is news.
    pub(super) fn add_not_made(&self, name: TopicPartition, error: &OpenError) -> bool {
        let mut partitions = self.partitions.lock();
        let why = match error.is_shortage() {
            true => Why::NoRoom(error.to_string()),
            false => Why::NotMade(error.to_string()),
        };
        let before = partitions.get(&name);
        if before == Some(&Why::Damaged) {
            return false;
        }
        let is_news = before != Some(&why);
        partitions.insert(name, why);
        self.count.set(partitions.len() as i64);
        is_news
    }

    /// Whether it was there.
    pub(super) fn remove(&self, name: &TopicPartition) -> bool {
        let mut partitions = self.partitions.lock();
        let removed = partitions.remove(name).is_some();
        self.count.set(partitions.len() as i64);
        removed
    }

    fn that_are(&self, is_so: impl Fn(&Why) -> bool) -> Vec<TopicPartition> {
        let partitions = self.partitions.lock();
        let found = partitions.iter().filter(|(_, why)| is_so(why));
        found.map(|(name, _)| name.clone()).collect()
    }
}

/// Whether this replica, whose log cannot be made, is to leave the ISR: others wait for it there.
pub(super) fn must_leave(
    assigned: &Assigned,
    can_lead: impl Fn(i32) -> bool,
    node_id: i32,
) -> bool {
    let mut others = assigned.isr.iter().filter(|id| **id != node_id);
    assigned.isr.contains(&node_id) && others.any(|id| can_lead(*id))
}

/// Whether this replica, which does not have what it had, is counted on for that while another one has it too.
pub(super) fn must_tell_of_loss(assigned: &Assigned, node_id: i32) -> bool {
    let mut sure = assigned.isr.iter().chain(&assigned.elr);
    sure.clone().any(|id| *id == node_id) && sure.any(|id| *id != node_id)
}

#[cfg(test)]
mod tests {
    use foz_log::StorageError;
    use foz_metadata::image::NO_LEADER;

    use super::*;

    fn refused(errno: i32) -> OpenError {
        OpenError::Storage(StorageError {
            action: "create",
            path: "orders-1".into(),
            source: std::io::Error::from_raw_os_error(errno),
        })
    }

    fn name(index: i32) -> TopicPartition {
        TopicPartition::new("orders", index)
    }

    #[test]
    fn a_reason_is_said_when_it_is_another() {
        let count = IntGauge::new("offline", "Tests.").unwrap();
        let offline = Offline::new([name(0)].into_iter(), count.clone());
        assert!(offline.is_damaged(&name(0)));
        assert!(offline.not_made().is_empty());
        for (errno, is_news) in [(28, true), (28, false), (24, true), (24, false)] {
            let said = offline.add_not_made(name(1), &refused(errno));
            assert_eq!(said, is_news, "{errno}");
            assert_eq!(offline.lacks_room(&name(1)), errno == 28);
        }
        assert!(offline.contains(&name(1)) && !offline.is_damaged(&name(1)));
        assert_eq!(offline.not_made(), [name(1)]);
        assert_eq!(count.get(), 2);
        assert!(offline.remove(&name(1)) && !offline.remove(&name(1)));
        assert_eq!(count.get(), 1);
        assert!(offline.add_not_made(name(1), &refused(24)));
        assert_eq!(offline.without_data(), [name(0)]);
    }

    #[test]
    fn who_has_no_log_leaves_the_isr_where_others_can_lead() {
        let assigned = |leader, isr: &[i32], elr: &[i32]| Assigned {
            replicas: vec![0, 1, 2],
            leader,
            isr: isr.to_vec(),
            elr: elr.to_vec(),
            leader_epoch: 1,
            partition_epoch: 1,
            last_known_elr: Vec::new(),
            never_in_sync: Vec::new(),
            adding_replicas: Vec::new(),
            removing_replicas: Vec::new(),
            rebalance_id: 0,
            offline: Vec::new(),
        };
        for (assigned, alive, expected) in [
            (assigned(0, &[0, 1, 2], &[]), [0, 1].as_slice(), true),
            (assigned(1, &[1, 0], &[]), &[0, 1], true),
            (assigned(0, &[0, 1], &[]), &[0, 2], false),
            (assigned(0, &[0], &[1]), &[0, 1], false),
            (assigned(1, &[1], &[0]), &[0, 1], false),
            (assigned(1, &[1, 2], &[]), &[0, 1, 2], false),
            (assigned(NO_LEADER, &[], &[]), &[0, 1, 2], false),
        ] {
            let can_lead = |id: i32| alive.contains(&id);
            assert_eq!(must_leave(&assigned, can_lead, 0), expected, "{assigned:?}");
        }
    }
}
