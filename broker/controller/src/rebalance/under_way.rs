//! The moves that are going on, by what the metadata says.

use foz_balance::{Move, MoveState};
use foz_metadata::Image;
use foz_metadata::image::NO_LEADER;
use foz_metadata::rules::waits_for_offline;
use uuid::Uuid;

use super::loads::Loads;

/// Of a move that is not of a plan: its topic has no number there.
const NO_TOPIC: u32 = u32::MAX;

#[derive(Debug)]
pub(super) struct UnderWay {
    /// (topic id, index)
    pub(super) id: (Uuid, i32),
    pub(super) name: String,
    pub(super) one: Move,
    pub(super) state: MoveState,
    /// 0: somebody else began it.
    pub(super) rebalance_id: i64,
    /// Brokers that have not caught up yet.
    pub(super) behind: Vec<i32>,
    /// Brokers of these that cannot use their replica.
    pub(super) offline: Vec<i32>,
    /// One of these for which it is not worth to wait.
    pub(super) is_hopeless: bool,
    pub(super) has_leader: bool,
}

impl UnderWay {
    /// Brokers that it brings, and that have not caught up yet.
    pub(super) fn behind_and_new(&self) -> impl Iterator<Item = i32> {
        let behind = &self.behind;
        self.one.adding().filter(|id| behind.contains(id))
    }

    /// Why it does not go on, where that is so.
    pub(super) fn waits_for(&self, image: &Image) -> Option<String> {
        let name = &self.name;
        if !self.has_leader {
            return Some(format!("{name} has no leader"));
        }
        let mut behind = self.behind.iter();
        if let Some(away) = behind.find(|id| !image.is_alive(**id)) {
            return Some(format!(
                "{name} waits for broker {away}, which is not alive"
            ));
        }
        let id = self.offline.first()?;
        Some(format!(
            "{name} waits for broker {id}, which cannot use its replica: a disk has failed there"
        ))
    }
}

pub(super) fn under_way(image: &Image, loads: &Loads) -> Vec<UnderWay> {
    image
        .reassigning_partitions()
        .map(|(topic, index, partition)| {
            let (from, to) = (partition.original_replicas(), partition.target_replicas());
            let load = loads.partition(topic.id, index).unwrap_or_default();
            let mut one = Move {
                topic: NO_TOPIC,
                partition: index,
                from,
                to,
                bytes: 0,
            };
            let adding: Vec<i32> = one.adding().collect();
            one.bytes = load.bytes.saturating_mul(adding.len() as u64);
            let copied = adding.iter().map(|node_id| {
                let copied = loads.copied(*node_id, topic.id, index);
                copied.min(load.bytes)
            });
            let copied_bytes = copied.fold(0, u64::saturating_add);
            let has_leader = partition.leader != NO_LEADER;
            let leader = if has_leader {
                partition.leader
            } else {
                one.from[0]
            };
            let behind = one.to.iter().copied();
            let behind: Vec<i32> = behind.filter(|id| !partition.isr.contains(id)).collect();
            let cannot_use = |id: &&i32| partition.offline.contains(id);
            let offline = behind.iter().filter(cannot_use).copied().collect();
            let is_hopeless = waits_for_offline(image, partition, &one.from, &one.to).is_some();
            UnderWay {
                id: (topic.id, index),
                name: format!("{}-{index}", topic.name),
                one,
                state: MoveState::Running {
                    leader,
                    copied_bytes,
                },
                rebalance_id: partition.rebalance_id,
                behind,
                offline,
                is_hopeless,
                has_leader,
            }
        })
        .collect()
}
