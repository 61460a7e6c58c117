//! Commands about deleted topics, and what must be so after each.

use std::collections::{BTreeMap, BTreeSet};

use foz_metadata::image::{Partition, Resource};
use foz_metadata::rules::{
    DeletedTopicRef, PurgeDeletedTopics, RestoreTopic, expire_deleted_topics, free_for_room,
    purge_deleted_topics, restore_topic,
};

use super::{Cluster, topic};

/// Some are over at the next deletion, some are not.
const GRACE_MS: i64 = 86_400_000;

impl Cluster {
    /// Days pass with the batches.
    pub(crate) fn now_ms(&self) -> i64 {
        self.image.offset() * GRACE_MS / 10
    }

    pub(crate) fn restore(&mut self, at: usize, new_name: Option<u8>) {
        let image = self.image.clone();
        let Some(deleted) = image.deleted_topics().nth(at) else {
            return;
        };
        let request = RestoreTopic {
            topic: DeletedTopicRef::Id(deleted.topic.id),
            new_name: new_name.map(topic),
            now_ms: self.now_ms(),
            operator_epoch: 0,
        };
        let name = new_name.map_or_else(|| deleted.topic.name.to_string(), topic);
        let decided = restore_topic(&image, &BTreeMap::new(), &request);
        let Some(restored) = self.commit_if_allowed(decided) else {
            let may_have_name = image
                .topic_names()
                .all(|it| it.replace('.', "_") != name.replace('.', "_"))
                && (!deleted.topic.internal || *deleted.topic.name == *name);
            assert!(!may_have_name || deleted.check_has_data().is_err());
            return;
        };
        assert_eq!(Some(&restored), self.image.topic(&name));
        let configs = self.image.configs(&Resource::topic(&name));
        assert_eq!(configs.cloned().unwrap_or_default(), deleted.configs);
        for (index, partition) in restored.indexed_partitions() {
            let old = deleted.topic.partition(index).unwrap();
            // Who leads had all, as far as anybody can have.
            let mut surer = old.sure_to_have_all().iter();
            assert!(
                partition.leader < 0
                    || old.sure_to_have_all().contains(&partition.leader)
                    || old.elr.contains(&partition.leader)
                    || !surer.any(|id| image.can_lead(*id) && partition.replicas.contains(id)),
                "{old:?} {partition:?}"
            );
            let is_undisturbed = !old.is_reassigning()
                && old.isr.contains(&old.leader)
                && old.isr.iter().all(|id| image.can_lead(*id));
            if is_undisturbed {
                let expected = Partition {
                    leader_epoch: old.leader_epoch + 1,
                    partition_epoch: old.partition_epoch + 1,
                    rebalance_id: 0,
                    elr: partition.elr.clone(),
                    ..old.clone()
                };
                assert_eq!(*partition, expected);
            }
        }
    }

    pub(crate) fn purge(&mut self, at: usize) {
        let image = self.image.clone();
        let Some(deleted) = image.deleted_topics().nth(at) else {
            return;
        };
        let name = deleted.topic.name.to_string();
        let request = PurgeDeletedTopics {
            topics: vec![
                DeletedTopicRef::Name(name.clone()),
                DeletedTopicRef::Id(deleted.topic.id),
            ],
            operator_epoch: 0,
        };
        let results = self.commit_if_allowed(purge_deleted_topics(&image, &request));
        assert!(results.unwrap().iter().all(Result::is_ok));
        assert!(
            self.image
                .deleted_topics()
                .all(|it| *it.topic.name != *name)
        );
    }

    pub(crate) fn expire(&mut self) {
        let (image, now_ms) = (self.image.clone(), self.now_ms());
        let purged = self.commit_if_allowed(expire_deleted_topics(&image, now_ms, now_ms));
        let left = self.image.deleted_topic_count();
        assert_eq!(purged, Some(image.deleted_topic_count() - left));
        let mut left = self.image.deleted_topics();
        assert!(left.all(|it| it.grace_ends_at_ms > now_ms));
    }

    pub(crate) fn free_for_room(&mut self, node_id: i32) {
        let image = self.image.clone();
        let decided = free_for_room(&image, &BTreeSet::from([node_id]), 2);
        let freed = self.commit_if_allowed(decided).unwrap();
        assert!(freed.len() <= 2);
        for freed in freed {
            let mut partitions = freed.topic.partitions.iter();
            assert!(partitions.any(|it| it.replicas.contains(&node_id)));
        }
    }
}
