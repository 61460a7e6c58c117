//! What is in a directory.

use uuid::Uuid;

use super::LogDirectory;

impl LogDirectory {
    /// Every log that is here, by topic id and the partition's number: online, offline (where its files tell of which topic
    /// it is), buried, or on its way there.
    #[must_use]
    pub fn listed(&self) -> Vec<(Uuid, i32)> {
        // A log that goes from one to the next meanwhile is in one at least.
        let logs = self.logs().into_iter();
        let mut listed: Vec<_> = logs
            .map(|log| (log.topic_id(), log.partition().partition))
            .collect();
        for partition in self.offline() {
            let topic_id = self.topic_id_of_offline(&partition);
            listed.extend(topic_id.map(|topic_id| (topic_id, partition.partition)));
        }
        let burials = self.burials.lock();
        listed.extend(
            burials
                .iter()
                .map(|(name, it)| (it.topic_id, name.partition)),
        );
        drop(burials);
        listed.extend(self.buried.lock().keys());
        listed.sort_unstable();
        listed.dedup();
        listed
    }
}
