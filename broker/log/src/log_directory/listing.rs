//! What is in a directory.

use uuid::Uuid;

use super::LogDirectory;

impl LogDirectory {
    /// Every log that is here, by topic id and the partition's number: online, offline (where its files tell of which topic
    /// it is), buried, or on its way there.
    #[must_use]
    pub fn listed(&self) -> Vec<(Uuid, i32)> {
        // A log that goes from one to the next meanwhile is in one at least, whether it is buried or comes back.
        let mut listed: Vec<_> = self.online_ids().chain(self.offline_ids()).collect();
        let burials = self.burials.lock();
        listed.extend(
            burials
                .iter()
                .map(|(name, it)| (it.topic_id, name.partition)),
        );
        drop(burials);
        listed.extend(self.buried.lock().keys());
        listed.extend(self.coming_back.lock().iter());
        // It may have found no room to come back.
        listed.extend(self.buried.lock().keys());
        listed.extend(self.offline_ids());
        listed.extend(self.online_ids());
        listed.sort_unstable();
        listed.dedup();
        listed
    }

    fn online_ids(&self) -> impl Iterator<Item = (Uuid, i32)> {
        let logs = self.logs().into_iter();
        logs.map(|log| (log.topic_id(), log.partition().partition))
    }

    fn offline_ids(&self) -> impl Iterator<Item = (Uuid, i32)> {
        self.offline().into_iter().filter_map(|partition| {
            let topic_id = self.topic_id_of_offline(&partition)?;
            Some((topic_id, partition.partition))
        })
    }
}
