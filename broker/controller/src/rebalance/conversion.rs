//! The metadata and the loads as `foz-balance` takes them.

use std::collections::BTreeSet;
use std::sync::Arc;

use foz_balance::{Broker, Cluster, InvalidCluster, Partition};
use foz_metadata::Image;
use foz_metadata::image::Topic;

use super::loads::Loads;

/// A cluster to plan for. Topics are numbered by their position here.
#[derive(Debug)]
pub(super) struct Converted {
    pub(super) cluster: Cluster,
    pub(super) topics: Vec<Arc<Topic>>,
    /// Whether the load of each partition was told.
    pub(super) knows_loads: bool,
}

/// While a partition is reassigned, by whomever, it is taken for what it will be.
pub(super) fn convert(image: &Image, loads: &Loads) -> Result<Converted, InvalidCluster> {
    let mut topics: Vec<Arc<Topic>> = Vec::with_capacity(image.topic_count());
    let mut partitions = Vec::with_capacity(image.partition_count());
    let mut holders = BTreeSet::new();
    let mut knows_loads = true;
    for (topic, index, partition) in image.partitions() {
        if topics.last().is_none_or(|last| last.id != topic.id) {
            topics.push(topic.clone());
        }
        let load = loads.partition(topic.id, index);
        knows_loads &= load.is_some();
        let load = load.unwrap_or_default();
        let replicas = partition.target_replicas();
        let stays = |id: &&i32| replicas.contains(id);
        let offline = partition.offline.iter().filter(stays).copied().collect();
        holders.extend(&replicas);
        partitions.push(Partition {
            topic: u32::try_from(topics.len() - 1).unwrap_or(u32::MAX),
            partition: index,
            replicas,
            offline,
            bytes: load.bytes,
            bytes_in_per_second: load.bytes_in_per_second,
            bytes_out_per_second: load.bytes_out_per_second,
        });
    }
    let mut brokers = brokers(image, loads);
    // No rule lets it come to that; should it ever, a drain can still take the replicas off.
    let registered: BTreeSet<i32> = brokers.iter().map(|broker| broker.node_id).collect();
    brokers.extend(holders.difference(&registered).map(|node_id| Broker {
        node_id: *node_id,
        rack: None,
        capacity_bytes: None,
        cordoned: true,
        alive: false,
    }));
    Ok(Converted {
        cluster: Cluster::new(brokers, partitions)?,
        topics,
        knows_loads,
    })
}

/// What a plan depends on, of brokers.
pub(super) fn brokers(image: &Image, loads: &Loads) -> Vec<Broker> {
    image
        .brokers()
        .map(|broker| Broker {
            node_id: broker.node_id,
            rack: image.rack(broker.node_id).map(str::to_owned),
            capacity_bytes: loads.disk(broker.node_id).map(|disk| disk.bytes_total),
            cordoned: image.is_cordoned(broker.node_id),
            alive: is_there(image, broker.node_id),
        })
        .collect()
}

/// One that restarts with a grant comes back in a moment: plans are not for the time until then.
pub(super) fn is_there(image: &Image, node_id: i32) -> bool {
    image.is_alive(node_id) || image.broker(node_id).is_some() && image.grant(node_id).is_some()
}
