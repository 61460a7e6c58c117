//! Which brokers are short of room, and how many deleted topics go for it. Pure.

use std::collections::{BTreeMap, BTreeSet};

use crate::rebalance::Disk;

/// By broker: how often it has told, and what it told last.
type Disks = BTreeMap<i32, (u64, Disk)>;

/// What this term has purged for room.
#[derive(Debug, Default)]
pub(super) struct FreeRoom {
    /// By broker: how often it had told when topics were purged. What it told then says nothing of what that brought.
    known: BTreeMap<i32, u64>,
    /// How many the last purge took; 0 where there was room since.
    last: usize,
}

impl FreeRoom {
    /// Brokers of which one disk has less than `percent` free, also after the last purge.
    pub(super) fn short(&mut self, disks: &Disks, percent: u64) -> BTreeSet<i32> {
        let is_short = |disk: &Disk| {
            let (free, total) = (disk.fullest_bytes_free, disk.fullest_bytes_total);
            u128::from(free) * 100 < u128::from(total) * u128::from(percent)
        };
        let short = disks.iter().filter(|(_, (_, disk))| is_short(disk));
        let short: Vec<_> = short
            .map(|(node_id, (told, _))| (*node_id, *told))
            .collect();
        if short.is_empty() {
            self.last = 0;
        }
        let is_new =
            |(node_id, told): &(i32, u64)| self.known.get(node_id).is_none_or(|it| it < told);
        let short = short.into_iter().filter(is_new);
        short.map(|(node_id, _)| node_id).collect()
    }

    /// How large what is deleted is, nobody knows here: so one goes first, and twice as many each time while that is not
    /// enough.
    pub(super) fn topics_max(&self) -> usize {
        self.last.saturating_mul(2).max(1)
    }

    /// So many were purged by what these told.
    pub(super) fn freed(&mut self, disks: &Disks, topics: usize) {
        let known = disks.iter();
        self.known = known
            .map(|(node_id, (told, _))| (*node_id, *told))
            .collect();
        self.last = topics;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn disks(all: &[(i32, u64, u64)]) -> Disks {
        let disk = |bytes_free| Disk {
            // The others have room.
            bytes_total: 1 << 40,
            bytes_free: 1 << 40,
            fullest_bytes_total: 1_000,
            fullest_bytes_free: bytes_free,
            ..Disk::default()
        };
        let all = all.iter();
        all.map(|(node_id, told, free)| (*node_id, (*told, disk(*free))))
            .collect()
    }

    #[test]
    fn a_broker_is_short_with_less_than_its_part_free() {
        let mut room = FreeRoom::default();
        let told = disks(&[(0, 1, 99), (1, 1, 100), (2, 1, 0)]);
        assert_eq!(room.short(&told, 10), BTreeSet::from([0, 2]));
        assert_eq!(room.short(&told, 0), BTreeSet::new());
        assert_eq!(room.short(&Disks::new(), 10), BTreeSet::new());
        let huge = Disk {
            bytes_total: u64::MAX,
            bytes_free: u64::MAX,
            fullest_bytes_total: u64::MAX,
            fullest_bytes_free: u64::MAX / 2,
            ..Disk::default()
        };
        assert!(room.short(&[(0, (1, huge))].into(), 50).contains(&0));
        assert!(room.short(&[(0, (1, huge))].into(), 49).is_empty());
    }

    #[test]
    fn after_a_purge_a_broker_is_short_only_by_what_it_told_since() {
        let mut room = FreeRoom::default();
        let told = disks(&[(0, 1, 0), (1, 4, 500)]);
        assert_eq!(room.short(&told, 10), BTreeSet::from([0]));
        room.freed(&told, 1);
        assert_eq!(room.short(&told, 10), BTreeSet::new());
        // A purge brings room to others too, and one that joins has told nothing before.
        assert_eq!(room.short(&disks(&[(1, 4, 0)]), 10), BTreeSet::new());
        let told = disks(&[(0, 2, 0), (1, 5, 0), (2, 1, 0)]);
        assert_eq!(room.short(&told, 10), BTreeSet::from([0, 1, 2]));
    }

    #[test]
    fn twice_as_many_go_while_that_is_not_enough() {
        let mut room = FreeRoom::default();
        let mut told = 1;
        for expected in [1, 2, 4, 8] {
            let disks = disks(&[(0, told, 0)]);
            assert_eq!(room.short(&disks, 10).len(), 1);
            assert_eq!(room.topics_max(), expected);
            room.freed(&disks, expected);
            told += 1;
        }
        assert_eq!(room.short(&disks(&[(0, told, 500)]), 10), BTreeSet::new());
        assert_eq!(room.topics_max(), 1);
    }
}
