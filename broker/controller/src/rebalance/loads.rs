//! What brokers tell of their load. Kept in memory only: another active controller is told everything anew.

use std::collections::BTreeMap;

use foz_metadata::Image;
use rpds::HashTrieMapSync;
use uuid::Uuid;

/// So many partitions that are gone by now may be remembered before they are looked for.
const GONE_MAX: usize = 1_000;

/// (topic id, index)
type PartitionId = (Uuid, i32);

/// A clone shares what it has: whoever plans takes one, and reports go on.
#[derive(Debug, Clone, Default)]
pub(crate) struct Loads {
    /// In which it was told.
    term: u64,
    partitions: HashTrieMapSync<PartitionId, LoadedPartition>,
    disks: BTreeMap<i32, Disk>,
    /// By the broker that copies.
    copies: HashTrieMapSync<i32, BTreeMap<PartitionId, u64>>,
    /// By broker that has told anything: how often.
    told: BTreeMap<i32, u64>,
}

/// What the leader of a partition knows of it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct LoadedPartition {
    /// Of one replica.
    pub(crate) bytes: u64,
    pub(crate) bytes_in_per_second: u64,
    pub(crate) bytes_out_per_second: u64,
}

/// The disks of a broker: all of them together, and one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Disk {
    pub(crate) bytes_total: u64,
    pub(crate) bytes_free: u64,
    /// Of the one with the smallest part free.
    pub(crate) fullest_bytes_total: u64,
    pub(crate) fullest_bytes_free: u64,
    /// Of the one with most bytes free.
    pub(crate) roomiest_bytes_total: u64,
    pub(crate) roomiest_bytes_free: u64,
}

/// A disk keeps this part, one in so many, free of moves.
const RESERVE: u64 = 10;

impl Disk {
    /// That moves may bring.
    pub(crate) fn bytes_for_moves(&self) -> u64 {
        self.bytes_free.saturating_sub(self.bytes_total / RESERVE)
    }

    /// The largest replica that a move may bring: it lies on one disk.
    pub(crate) fn bytes_for_one_replica(&self) -> u64 {
        let reserve = self.roomiest_bytes_total / RESERVE;
        self.roomiest_bytes_free.saturating_sub(reserve)
    }
}

/// A replica that a reassignment brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CopiedPartition {
    pub(crate) topic_id: Uuid,
    pub(crate) index: i32,
    pub(crate) bytes: u64,
}

/// What one broker tells.
#[derive(Debug, Clone, Default)]
pub(crate) struct Report {
    pub(crate) node_id: i32,
    /// That it leads, and whose figures differ from what it told before.
    pub(crate) partitions: Vec<(PartitionId, LoadedPartition)>,
    /// `None`: it does not know.
    pub(crate) disk: Option<Disk>,
    /// All that it copies.
    pub(crate) copies: Vec<CopiedPartition>,
}

impl Loads {
    /// Takes in what a broker tells in a term of this controller; what was told in another is forgotten.
    pub(crate) fn report(&mut self, term: u64, image: &Image, report: Report) {
        if term != self.term {
            *self = Self {
                term,
                ..Self::default()
            };
        }
        *self.told.entry(report.node_id).or_default() += 1;
        for ((topic_id, index), load) in report.partitions {
            let topic = image.topic_by_id(topic_id);
            if topic.is_some_and(|topic| topic.partition(index).is_some()) {
                self.partitions.insert_mut((topic_id, index), load);
            }
        }
        let copies = report.copies.into_iter();
        let copies: BTreeMap<_, _> = copies
            .map(|copy| ((copy.topic_id, copy.index), copy.bytes))
            .collect();
        if copies.is_empty() {
            self.copies.remove_mut(&report.node_id);
        } else {
            self.copies.insert_mut(report.node_id, copies);
        }
        match report.disk {
            Some(disk) => self.disks.insert(report.node_id, disk),
            None => self.disks.remove(&report.node_id),
        };
        self.disks
            .retain(|node_id, _| image.broker(*node_id).is_some());
        self.forget_gone(image);
    }

    /// Whether every broker that is alive has told its load.
    pub(crate) fn are_told(&self, image: &Image) -> bool {
        let mut alive = image.alive_brokers();
        alive.all(|broker| self.told.contains_key(&broker.node_id))
    }

    /// `None`: nobody has told.
    pub(crate) fn partition(&self, topic_id: Uuid, index: i32) -> Option<LoadedPartition> {
        self.partitions.get(&(topic_id, index)).copied()
    }

    pub(crate) fn disk(&self, node_id: i32) -> Option<Disk> {
        self.disks.get(&node_id).copied()
    }

    /// Every disk that was told of in this term, with how often its broker has told.
    pub(crate) fn disks(&self, term: u64) -> BTreeMap<i32, (u64, Disk)> {
        let is_told = term == self.term;
        let told = |node_id: &i32| self.told.get(node_id).copied().unwrap_or_default();
        let disks = self.disks.iter().filter(|_| is_told);
        disks
            .map(|(node_id, disk)| (*node_id, (told(node_id), *disk)))
            .collect()
    }

    /// What a replica that is being brought to a broker has by now.
    pub(crate) fn copied(&self, node_id: i32, topic_id: Uuid, index: i32) -> u64 {
        let copies = self.copies.get(&node_id);
        let copied = copies.and_then(|copies| copies.get(&(topic_id, index)));
        copied.copied().unwrap_or_default()
    }

    fn forget_gone(&mut self, image: &Image) {
        if self.partitions.size() <= image.partition_count() + GONE_MAX {
            return;
        }
        let exists = |(topic_id, index): &PartitionId| {
            let topic = image.topic_by_id(*topic_id);
            topic.is_some_and(|topic| topic.partition(*index).is_some())
        };
        let kept = self.partitions.iter().filter(|(id, _)| exists(id));
        self.partitions = kept.map(|(id, load)| (*id, *load)).collect();
    }
}

#[cfg(test)]
mod tests {
    use foz_metadata::record::{Batch, Fact, PartitionRecord, RegisterBrokerRecord, TopicRecord};

    use super::*;

    const TOPIC: Uuid = Uuid::from_u128(7);

    fn image(partitions: i32) -> Image {
        let id = bytes::Bytes::copy_from_slice(TOPIC.as_bytes());
        let topic = Fact::Topic(TopicRecord {
            id: id.clone(),
            name: "t".to_owned(),
            internal: false,
            restored_partitions: 0,
        });
        let partition = |index| {
            Fact::Partition(PartitionRecord {
                topic_id: id.clone(),
                index,
                replicas: vec![0],
                ..PartitionRecord::default()
            })
        };
        let facts = std::iter::once(topic).chain((0..partitions).map(partition));
        let batch = Batch {
            follows: 0,
            term: 1,
            records: facts.map(Into::into).collect(),
        };
        Image::default().apply(&batch).unwrap()
    }

    fn report(indexes: std::ops::Range<i32>, bytes: u64) -> Report {
        let load = LoadedPartition {
            bytes,
            ..LoadedPartition::default()
        };
        Report {
            partitions: indexes.map(|index| ((TOPIC, index), load)).collect(),
            ..Report::default()
        }
    }

    #[test]
    fn what_was_told_in_another_term_is_forgotten() {
        let (image, mut loads) = (image(3), Loads::default());
        loads.report(4, &image, report(0..2, 10));
        loads.report(4, &image, report(1..3, 20));
        let bytes = |loads: &Loads| {
            let of = |index| loads.partition(TOPIC, index).map(|load| load.bytes);
            [0, 1, 2].map(of)
        };
        assert_eq!(bytes(&loads), [Some(10), Some(20), Some(20)]);
        let kept = loads.clone();
        loads.report(5, &image, report(0..1, 30));
        assert_eq!(bytes(&loads), [Some(30), None, None]);
        assert_eq!(bytes(&kept), [Some(10), Some(20), Some(20)]);
    }

    #[test]
    fn copies_are_those_of_the_newest_report() {
        let (image, mut loads) = (image(1), Loads::default());
        let copying = |bytes| Report {
            node_id: 3,
            copies: vec![CopiedPartition {
                topic_id: TOPIC,
                index: 0,
                bytes,
            }],
            ..Report::default()
        };
        for bytes in [5, 9] {
            loads.report(1, &image, copying(bytes));
            assert_eq!(loads.copied(3, TOPIC, 0), bytes);
            assert_eq!(loads.copied(4, TOPIC, 0), 0);
        }
        let none = Report {
            node_id: 3,
            ..Report::default()
        };
        loads.report(1, &image, none);
        assert_eq!(loads.copied(3, TOPIC, 0), 0);
    }

    #[test]
    fn disks_are_those_of_the_term_and_of_the_newest_reports() {
        let mut loads = Loads::default();
        let registered = 4;
        let broker = Fact::RegisterBroker(RegisterBrokerRecord {
            node_id: registered,
            incarnation: bytes::Bytes::copy_from_slice(TOPIC.as_bytes()),
            ..RegisterBrokerRecord::default()
        });
        let batch = Batch {
            follows: 0,
            term: 1,
            records: vec![broker.into()],
        };
        let image = Image::default().apply(&batch).unwrap();
        let disk = |bytes_free| Disk {
            bytes_total: 10,
            bytes_free,
            ..Disk::default()
        };
        let report = |disk| Report {
            node_id: registered,
            disk,
            ..Report::default()
        };
        for (told, free) in [(1, 5), (2, 4)] {
            loads.report(3, &image, report(Some(disk(free))));
            assert_eq!(loads.disks(3), [(registered, (told, disk(free)))].into());
            assert!(loads.disks(4).is_empty());
        }
        loads.report(3, &image, report(None));
        assert!(loads.disks(3).is_empty());
    }

    #[test]
    fn partitions_that_are_gone_are_not_kept_for_ever() {
        let mut loads = Loads::default();
        let many = 2 * i32::try_from(GONE_MAX).unwrap();
        loads.report(1, &image(many), report(0..many, 1));
        // What does not exist is not taken in either.
        loads.report(1, &image(1), report(0..many + 5, 1));
        assert_eq!(loads.partitions.size(), 1);
    }
}
