//! Mends what could not be used.

use super::{InDoubt, Partitions};
use crate::broker::Broker;
use crate::partition::damage::{Repair, repair};
use crate::partition::offline::{must_leave, must_tell_of_loss};
use crate::partition::topic_settings::TopicSettings;

/// How to register anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Leave {
    /// As after any restart.
    WithAllData,
    WithoutSomeData,
}

impl Partitions {
    /// The logs that do not have what they had, as far as that is known by now.
    pub(crate) fn in_doubt(&self) -> Vec<InDoubt> {
        let without_data = self.offline.without_data().into_iter().flat_map(|name| {
            let directories = self.directories.offline(&name);
            let mut topic_ids: Vec<_> = directories
                .map(|it| it.logs().topic_id_of_offline(&name))
                .collect();
            if topic_ids.is_empty() {
                topic_ids.push(None);
            }
            topic_ids.into_iter().map(move |topic_id| InDoubt {
                name: name.clone(),
                topic_id,
                is_missing: false,
            })
        });
        let held = self.all();
        let damaged = held.iter().filter(|partition| partition.damage().is_some());
        let damaged = damaged.map(|partition| InDoubt {
            topic_id: Some(partition.key().0),
            name: partition.log.partition().clone(),
            is_missing: false,
        });
        without_data.chain(damaged).collect()
    }

    /// Makes the logs that could not be made, and has damaged data fetched again where that is possible. Says
    /// whether this broker has to register anew for the sake of what is left.
    pub(crate) fn repair(&self, broker: &Broker) -> Option<Leave> {
        let image = broker.image();
        let registered = broker.epoch();
        if image.offset() < *broker.registered_offset.borrow() {
            return None;
        }
        let mut leave = self.make_logs(broker);
        let mut damaged = 0;
        for partition in self.all() {
            if partition.forget_deleted_damage()
                && let Some(position) = partition.fetch_position()
            {
                broker.fetchers.join(broker, position.leader, &partition);
            }
            let Some(damage) = partition.damage() else {
                continue;
            };
            damaged += 1;
            let key = partition.key();
            let topic = image.topic_by_id(key.0);
            let Some(assigned) = topic.and_then(|topic| topic.partition(key.1)) else {
                continue;
            };
            let can_lead = |id| image.can_lead(id);
            match repair(damage, assigned, can_lead, broker.node_id, registered) {
                Repair::Wait => {}
                Repair::LeaveIsr => leave = Some(Leave::WithoutSomeData),
                Repair::Cut => {
                    if partition.cut_damage() {
                        damaged -= 1;
                        broker.fetchers.join(broker, assigned.leader, &partition);
                    }
                }
            }
        }
        self.metrics.damaged_logs.set(damaged);
        leave
    }

    /// Tries again what could not be made. Says whether this broker has to leave the ISR of one that still cannot, or of
    /// one that is lost.
    fn make_logs(&self, broker: &Broker) -> Option<Leave> {
        let image = self.applied.lock();
        let can_lead = |id| image.can_lead(id);
        let mut leave = None;
        for name in self.offline.not_made() {
            let topic = image.topic(&name.topic);
            let Some((topic, assigned)) =
                topic.and_then(|t| Some((t, t.partition(name.partition)?)))
            else {
                continue;
            };
            let settings = TopicSettings::on(broker, &image, topic);
            self.follow(broker, &settings, name.partition, assigned);
            // Room comes back, and until then the quorum knows who leads: what is here of other partitions counts meanwhile.
            let waits = !self.offline.contains(&name) || self.offline.lacks_room(&name);
            if !waits && must_leave(assigned, can_lead, broker.node_id) {
                leave = Some(Leave::WithAllData);
            }
        }
        for name in self.offline.offline() {
            // The quorum does not know of it: it was made while this broker registered. The next registration names it.
            let topic = image.topic(&name.topic);
            if topic.is_some_and(|topic| self.is_here(&name, (topic.id, name.partition))) {
                leave = Some(Leave::WithAllData);
            }
        }
        for name in self.offline.without_data() {
            let assigned = image.partition(&name.topic, name.partition);
            if assigned.is_some_and(|it| must_tell_of_loss(it, broker.node_id)) {
                leave = Some(Leave::WithoutSomeData);
            }
        }
        leave
    }
}
