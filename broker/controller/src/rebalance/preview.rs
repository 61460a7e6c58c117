//! A plan as people and the operator are shown it.

use std::collections::BTreeMap;

use foz_api::v1::plan_rebalance_response::{BrokerLoad, Move, Plan};
use foz_balance::Partition;

use super::planning::Planned;
use crate::convert::{count, long};

/// More than anybody reads.
const MOVES_SHOWN_MAX: usize = 100;

/// `bytes_per_second` is what was copied of late; 0: nothing.
pub(crate) fn preview(planned: &Planned, bytes_per_second: u64) -> Plan {
    let (converted, plan) = (&planned.converted, &planned.plan);
    let partitions = converted.cluster.partitions();
    let mut after: BTreeMap<(u32, i32), &[i32]> = BTreeMap::new();
    for one in &plan.moves {
        after.insert((one.topic, one.partition), &one.to);
    }
    let moved = |partition: &Partition| {
        let to = after.get(&(partition.topic, partition.partition));
        to.map_or_else(|| partition.replicas.clone(), |to| to.to_vec())
    };
    let bytes = plan.copied_bytes();
    let seconds = match (converted.knows_loads, bytes, bytes_per_second) {
        (false, ..) => -1,
        (true, 0, _) => 0,
        (true, _, 0) => -1,
        (true, bytes, rate) => long(bytes.div_ceil(rate)),
    };
    let orders = plan
        .moves
        .iter()
        .filter(|one| one.adding().next().is_none());
    let name = |topic: u32| {
        let topic = usize::try_from(topic).ok();
        let topic = topic.and_then(|at| converted.topics.get(at));
        topic
            .map(|topic| topic.name.to_string())
            .unwrap_or_default()
    };
    Plan {
        moves: count(plan.moves.len()),
        bytes: long(bytes),
        seconds,
        leader_moves: count(orders.count()),
        before: loads(
            planned,
            partitions.iter().map(|it| (it.replicas.clone(), it.bytes)),
        ),
        after: loads(planned, partitions.iter().map(|it| (moved(it), it.bytes))),
        first_moves: plan
            .moves
            .iter()
            .take(MOVES_SHOWN_MAX)
            .map(|one| Move {
                topic: name(one.topic),
                index: one.partition,
                from: one.from.clone(),
                to: one.to.clone(),
                bytes: long(one.bytes),
            })
            .collect(),
        uneven: planned
            .uneven()
            .map(|it| it.to_string())
            .unwrap_or_default(),
    }
}

/// Of each broker, where partitions have these replicas and so many bytes each.
fn loads(planned: &Planned, partitions: impl Iterator<Item = (Vec<i32>, u64)>) -> Vec<BrokerLoad> {
    let brokers = planned.converted.cluster.brokers().iter();
    let mut loads: BTreeMap<i32, BrokerLoad> = brokers
        .map(|broker| {
            let node_id = broker.node_id;
            let nothing = BrokerLoad {
                node_id,
                ..BrokerLoad::default()
            };
            (node_id, nothing)
        })
        .collect();
    for (replicas, bytes) in partitions {
        for (position, node_id) in replicas.iter().enumerate() {
            let load = loads.entry(*node_id).or_default();
            load.replicas += 1;
            load.leaders += i32::from(position == 0);
            load.bytes = load.bytes.saturating_add(long(bytes));
        }
    }
    loads.into_values().collect()
}
