//! Topics that were deleted.

use foz_api::v1::Topic;
use foz_api::v1::cluster_event::Event;
use foz_api::v1::list_deleted_topics_response::DeletedTopic;

use super::Quorum;

/// Of the first; each one after it was deleted a second later.
const FIRST_DELETED_AT_MS: i64 = 1_700_000_000_000;

impl Quorum {
    /// Of these names, what was deleted last first.
    pub(super) fn deleted(&self, names: &[String]) -> Vec<DeletedTopic> {
        let all = self.with(|state| state.deleted.clone());
        let all = all.into_iter().enumerate().rev();
        let of_names = all.filter(|(_, topic)| names.contains(&topic.name));
        let listed = of_names.map(|(nth, topic)| DeletedTopic {
            name: topic.name,
            id: topic.id,
            partitions: i32::try_from(topic.partitions.len()).expect("few"),
            deleted_at_ms: FIRST_DELETED_AT_MS + 1000 * i64::try_from(nth).expect("few"),
            grace_ends_at_ms: FIRST_DELETED_AT_MS + 86_400_000,
            by_operator: false,
            lost_partition: if topic.partitions.is_empty() { 0 } else { -1 },
        });
        listed.collect()
    }

    /// One without partitions is lost.
    pub(super) fn restore(&self, id: &[u8]) -> Result<Topic, (i32, String)> {
        let topic = self.with(|state| {
            let found = state.deleted.iter().position(|it| it.id == id);
            let index = found.ok_or((100, "it is not deleted".to_owned()))?;
            let topic = state.deleted[index].clone();
            if topic.partitions.is_empty() {
                return Err((42, "no broker has the data of partition 0".to_owned()));
            }
            if state.topics.contains_key(&topic.name) {
                return Err((36, "it exists".to_owned()));
            }
            state.deleted.remove(index);
            state.topics.insert(topic.name.clone(), topic.clone());
            Ok(topic)
        })?;
        self.tell(Event::TopicChanged(topic.clone()));
        Ok(topic)
    }
}
