//! Commands about the replicas of partitions: where they are, which are in sync, and which a broker lost.

use foz_metadata::image::{NO_LEADER, Partition};
use foz_metadata::rules::{
    AlterPartitionReassignments, AlterPartitions, ChangeReplicationFactor, IsrChange, Reassignment,
    ReplicationFactorChange, ReportOfflineReplicas, alter_partition_reassignments,
    alter_partitions, change_replication_factor, report_offline_replicas,
};
use uuid::Uuid;

use super::{Cluster, topic};

impl Cluster {
    pub(crate) fn report_offline(&mut self, node_id: i32, modulus: i32, is_stale: bool) {
        let image = self.image.clone();
        let held = image.partitions_on(node_id);
        let some = held.filter(|(_, index, _)| index % modulus == 0);
        let unknown = (Uuid::from_u128(1), 0);
        let request = ReportOfflineReplicas {
            node_id,
            broker_epoch: self.epoch(node_id) - i64::from(is_stale),
            replicas: some
                .map(|(topic, index, _)| (topic.id, index))
                .chain([unknown])
                .collect(),
        };
        let decided = report_offline_replicas(&image, &request);
        let is_taken = self.commit_if_allowed(decided).is_some();
        assert_eq!(is_taken, image.broker(node_id).is_some() && !is_stale);
        if is_taken {
            for (topic, index, partition) in self.image.partitions_on(node_id) {
                let was = image
                    .topic_by_id(topic.id)
                    .unwrap()
                    .partition(index)
                    .unwrap();
                let is_meant = request.replicas.contains(&(topic.id, index));
                let expected = is_meant || was.offline.contains(&node_id);
                assert_eq!(partition.offline.contains(&node_id), expected);
            }
            let again = report_offline_replicas(&self.image, &request).unwrap();
            assert_eq!(again.records, []);
        }
    }

    pub(crate) fn reassign(&mut self, at: usize, target: &[i32]) {
        let image = self.image.clone();
        let Some((topic, index, _)) = image.partitions().nth(at) else {
            return;
        };
        let wanted = Reassignment {
            topic: topic.name.to_string(),
            index,
            replicas: (!target.is_empty()).then_some(target.to_vec()),
        };
        let request = AlterPartitionReassignments {
            partitions: vec![wanted],
            allow_replication_factor_change: true,
            operator_epoch: 0,
        };
        let decided = alter_partition_reassignments(&image, &request);
        let result = self.commit_if_allowed(decided).unwrap().remove(0).2;
        let after = self.image.partition(&topic.name, index).unwrap();
        match result {
            Ok(()) if target.is_empty() => assert!(!after.is_reassigning()),
            Ok(()) => assert_eq!(after.target_replicas(), target),
            Err(_) => assert_eq!(self.image, image),
        }
    }

    pub(crate) fn change_factor(&mut self, name: u8, replication_factor: i32) {
        let image = self.image.clone();
        let request = ChangeReplicationFactor {
            topics: vec![ReplicationFactorChange {
                name: topic(name),
                id: None,
                replication_factor,
            }],
            validate_only: false,
            operator_epoch: 0,
        };
        let decided = change_replication_factor(&image, &request);
        let result = self.commit_if_allowed(decided).unwrap().remove(0);
        if result.is_err() {
            assert_eq!(self.image, image);
            return;
        }
        for partition in &self.image.topic(&topic(name)).unwrap().partitions {
            let target = i32::try_from(partition.target_replicas().len()).unwrap();
            assert_eq!(target, replication_factor);
        }
    }

    pub(crate) fn propose(&mut self, at: usize, members: &[bool], behind: i32) {
        let image = self.image.clone();
        let led = |(_, _, partition): &(_, _, &Partition)| partition.leader != NO_LEADER;
        let Some((topic, index, partition)) = image.partitions().filter(led).nth(at) else {
            return;
        };
        let new_isr = partition
            .replicas
            .iter()
            .zip(members)
            .filter(|(node_id, is_member)| **is_member || **node_id == partition.leader)
            .map(|(node_id, _)| (*node_id, self.epoch(*node_id)))
            .collect();
        let request = AlterPartitions {
            broker_id: partition.leader,
            broker_epoch: self.epoch(partition.leader),
            partitions: vec![IsrChange {
                topic_id: topic.id,
                index,
                leader_epoch: partition.leader_epoch,
                partition_epoch: partition.partition_epoch - behind,
                new_isr,
            }],
        };
        let result = self
            .commit_if_allowed(alter_partitions(&image, &request))
            .unwrap()
            .remove(0);
        assert!(behind == 0 || result.is_err());
        if let Ok(state) = result {
            let after = self.image.partition(&topic.name, index).unwrap();
            assert_eq!(
                (state.leader, state.leader_epoch, state.partition_epoch),
                (after.leader, after.leader_epoch, after.partition_epoch)
            );
            assert_eq!(state.isr, after.isr);
        }
    }
}
