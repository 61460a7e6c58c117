//! What one broker alone has: nobody may take its volume away. Pure.

use foz_api::v1::Partition;

use crate::quorum::view::{TopicView, View};

impl View {
    /// The partitions that a broker has and no other has in sync, by name.
    #[must_use]
    pub fn only_copies(&self, node_id: i32) -> Vec<String> {
        let of_topic = |(name, topic): (&String, &TopicView)| {
            let copies = topic.only_copies.iter();
            let own = copies.filter(|(of, _)| *of == node_id);
            own.map(|(_, index)| format!("{name}-{index}"))
                .collect::<Vec<_>>()
        };
        let mut copies: Vec<String> = self.topics.iter().flat_map(of_topic).collect();
        copies.sort_unstable();
        copies
    }
}

/// Node id and partition, where no other broker has the partition in sync.
pub(super) fn of(partition: &Partition) -> impl Iterator<Item = (i32, i32)> {
    let has_it_alone = |node_id: &i32| partition.isr.iter().all(|other| other == node_id);
    let copies = partition.replicas.iter().copied().filter(has_it_alone);
    copies.map(|node_id| (node_id, partition.index))
}

#[cfg(test)]
mod tests {
    use crate::quorum::view::View;
    use foz_api::v1::cluster_event::Event;
    use foz_api::v1::{ClusterEvent, Partition, Topic};

    #[test]
    fn what_one_broker_alone_has_in_sync_is_known() {
        let mut view = View::default();
        let partition = |index: i32, replicas: &[i32], isr: &[i32]| Partition {
            index,
            replicas: replicas.to_vec(),
            isr: isr.to_vec(),
            ..Partition::default()
        };
        let partitions = vec![
            partition(0, &[0, 1, 2], &[0, 1]),
            partition(1, &[0, 1], &[1]),
            partition(2, &[2], &[2]),
            partition(3, &[1, 2], &[]),
        ];
        let event = Event::TopicChanged(Topic {
            name: "a".into(),
            partitions,
            ..Topic::default()
        });
        view.apply(ClusterEvent { event: Some(event) });
        assert_eq!(view.only_copies(0), [] as [String; 0]);
        assert_eq!(view.only_copies(1), ["a-1", "a-3"]);
        assert_eq!(view.only_copies(2), ["a-2", "a-3"]);
    }
}
