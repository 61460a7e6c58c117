//! What must hold after every batch.

use std::collections::BTreeSet;

use foz_metadata::Changes;
use foz_metadata::image::{Image, NO_LEADER, Partition, Topic};
use foz_metadata::record::{Batch, Fact};
use foz_metadata::rules::{min_insync_replicas, partition_min_insync};

use super::NODES;

fn check_partition(image: &Image, topic: &Topic, partition: &Partition) {
    let what = format!("{} {partition:?}", topic.name);
    let Partition {
        replicas,
        isr,
        leader,
        elr,
        last_known_elr,
        never_in_sync,
        adding_replicas,
        removing_replicas,
        rebalance_id,
        offline,
        ..
    } = partition;
    for list in [
        offline,
        isr,
        elr,
        last_known_elr,
        never_in_sync,
        adding_replicas,
        removing_replicas,
    ] {
        assert!(
            list.iter().all(|node_id| replicas.contains(node_id)),
            "{what}"
        );
        let distinct: BTreeSet<_> = list.iter().collect();
        assert_eq!(distinct.len(), list.len(), "{what}");
    }
    assert_ne!(partition.target_replicas(), [], "{what}");
    assert_ne!(partition.original_replicas(), [], "{what}");
    assert!(replicas.starts_with(&partition.target_replicas()), "{what}");
    assert!(!isr.iter().any(|node_id| elr.contains(node_id)), "{what}");
    let mut sure = isr.iter().chain(elr);
    assert!(
        !sure.any(|id| never_in_sync.contains(id) || offline.contains(id)),
        "{what}"
    );
    let may_lead_again = |id| !never_in_sync.contains(id) || never_in_sync.len() == replicas.len();
    assert!(last_known_elr.iter().all(may_lead_again), "{what}");
    assert!(isr.iter().all(|node_id| image.is_alive(*node_id)), "{what}");
    assert_eq!(*leader == NO_LEADER, isr.is_empty(), "{what}");
    if *leader == NO_LEADER {
        assert!(
            !elr.iter().any(|node_id| image.can_lead(*node_id)),
            "{what}"
        );
    } else {
        assert!(isr.contains(leader), "{what}");
        assert_eq!(*last_known_elr, [], "{what}");
        assert!(
            image.can_lead(*leader) || !isr.iter().any(|node_id| image.can_lead(*node_id)),
            "{what}"
        );
    }
    // What a rebalance moves is called off when it ends.
    let running = image.running_rebalance().map(|running| running.id);
    let is_moved = partition.is_reassigning() && running == Some(*rebalance_id);
    assert!(*rebalance_id == 0 || is_moved, "{what}");
    let min_insync = partition_min_insync(min_insync_replicas(image, topic), partition);
    assert!(isr.len() < min_insync || elr.is_empty(), "{what}");
    let is_short = |id: &i32| image.broker(*id).is_some_and(|it| it.short_of_space);
    let with_room = isr.iter().filter(|id| image.can_take_over(**id)).count();
    assert!(with_room == 0 || image.can_take_over(*leader), "{what}");
    assert!(
        with_room < min_insync || !isr.iter().any(is_short),
        "{what}"
    );
}

pub(crate) fn check_step(before: &Image, batch: &Batch, after: &Image) {
    assert_eq!(after.offset(), before.offset() + 1);
    for (topic, index, partition) in after.partitions() {
        check_partition(after, topic, partition);
        let old = before
            .topic_by_id(topic.id)
            .and_then(|topic| topic.partition(index));
        if let Some(old) = old {
            let id = topic.id.as_bytes();
            let changes = batch
                .records
                .iter()
                .filter_map(|record| match &record.record {
                    Some(Fact::PartitionChange(change))
                        if *change.topic_id == *id && change.index == index =>
                    {
                        Some(change)
                    }
                    _ => None,
                });
            let written = i32::try_from(changes.clone().count()).unwrap();
            assert_eq!(partition.partition_epoch, old.partition_epoch + written);
            let leader_epochs = changes.filter(|change| change.leader_epoch.is_some());
            let leader_epochs = i32::try_from(leader_epochs.count()).unwrap();
            let leader_moved = partition.leader != old.leader;
            if old.leader == NO_LEADER && old.never_in_sync.contains(&partition.leader) {
                let has_more = |id: &i32| {
                    after.can_lead(*id)
                        && !old.never_in_sync.contains(id)
                        && !partition.offline.contains(id)
                };
                assert!(!old.replicas.iter().any(has_more), "{old:?} {partition:?}");
            }
            assert_eq!(partition.leader_epoch, old.leader_epoch + leader_epochs);
            let stays = |id: &i32| partition.replicas.contains(id);
            let has_gone = !old.replicas.iter().all(stays);
            assert!(leader_epochs > 0 || !leader_moved && !has_gone);
            assert!(leader_epochs == 0 || leader_moved || has_gone || written > 1);
        }
    }
    for broker in after.brokers() {
        let old = before.broker(broker.node_id).map_or(0, |old| old.epoch);
        assert!(broker.epoch >= old && broker.epoch <= after.offset());
    }
    for node_id in NODES {
        let preferred = after
            .partitions()
            .filter(|(_, _, p)| p.preferred_leader() == node_id);
        assert_eq!(after.preferred_count(node_id), preferred.count());
        let held = after.partitions_on(node_id).count();
        assert_eq!(after.replica_count(node_id), held);
    }
    let names: Vec<_> = after.topic_names().collect();
    assert_eq!(names.len(), after.topic_count());
    assert!(!(names.contains(&"g.h") && names.contains(&"g_h")));
    check_deleted(before, after);
    check_changes(before, batch, after);
}

/// A topic is deleted or not, never both; what is deleted stays as it was, but for what is known to be lost; what comes
/// back comes with newer epochs.
fn check_deleted(before: &Image, after: &Image) {
    for deleted in after.deleted_topics() {
        let topic = &deleted.topic;
        assert!(after.topic_by_id(topic.id).is_none());
        for partition in &topic.partitions {
            check_deleted_partition(partition);
        }
        let old = before.deleted_topic(topic.id);
        let was = old.map(|old| (&old.topic, &old.configs));
        let Some((old, configs)) = was else {
            assert_eq!(before.topic_by_id(topic.id), Some(topic));
            continue;
        };
        assert_eq!(*configs, deleted.configs);
        assert_eq!(old.partitions.len(), topic.partitions.len());
        for (old, new) in old.partitions.iter().zip(&topic.partitions) {
            let gains = |old: &[i32], new: &[i32]| new.iter().any(|id| !old.contains(id));
            assert!(!gains(&old.isr, &new.isr) && !gains(&old.replicas, &new.replicas));
        }
    }
    for old in before.deleted_topics() {
        let Some(topic) = after.topic_by_id(old.topic.id) else {
            continue;
        };
        assert!(topic.restored_partitions > 0);
        assert_eq!(topic.partitions.len(), old.topic.partitions.len());
        for (old, new) in old.topic.partitions.iter().zip(&topic.partitions) {
            assert!(new.leader_epoch > old.leader_epoch);
            assert!(new.partition_epoch > old.partition_epoch);
            assert!(!new.is_reassigning());
        }
    }
}

fn check_deleted_partition(partition: &Partition) {
    let Partition {
        replicas,
        isr,
        leader,
        elr,
        last_known_elr,
        never_in_sync,
        offline,
        ..
    } = partition;
    let what = format!("{partition:?}");
    assert_ne!(*replicas, [], "{what}");
    for list in [isr, elr, last_known_elr, never_in_sync, offline] {
        assert!(list.iter().all(|id| replicas.contains(id)), "{what}");
    }
    let mut sure = isr.iter().chain(elr);
    assert!(
        !sure.any(|id| never_in_sync.contains(id) || offline.contains(id)),
        "{what}"
    );
    assert!(*leader == NO_LEADER || isr.contains(leader), "{what}");
}

/// What the batch names covers what differs.
fn check_changes(before: &Image, batch: &Batch, after: &Image) {
    let named = Changes::of_batch(before, batch);
    let differ = Changes::between(before, after);
    assert_eq!(named.topics_created, differ.topics_created);
    assert_eq!(named.topics_deleted, differ.topics_deleted);
    assert_eq!(named.topics_purged, differ.topics_purged);
    assert_eq!(named.brokers_removed, differ.brokers_removed);
    assert_eq!(named.grants_changed, differ.grants_changed);
    assert_eq!(named.grants_ended, differ.grants_ended);
    assert!(named.rebalance_changed || !differ.rebalance_changed);
    assert!(named.brokers_changed.is_superset(&differ.brokers_changed));
    assert!(
        named
            .partitions_changed
            .is_superset(&differ.partitions_changed)
    );
    assert!(named.configs_changed.is_superset(&differ.configs_changed));
}
