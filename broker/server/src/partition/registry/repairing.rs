//! Mends what could not be used.

use foz_log::TopicPartition;
use foz_metadata::Image;
use foz_metadata::image::Partition as Assigned;
use uuid::Uuid;

use super::{InDoubt, Partitions};
use crate::broker::Broker;
use crate::partition::Partition;
use crate::partition::damage::{Repair, repair};
use crate::partition::data_directory::InFailed;
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
    /// The logs that do not have what they had, as far as that is known by now. Not those that are readable up to the
    /// damage while nobody else can lead: told of these, the quorum takes the only leader away. Reads files.
    pub(crate) fn in_doubt(&self, broker: &Broker) -> Vec<InDoubt> {
        let image = broker.image();
        let damaged = self.offline.damaged().into_iter();
        let damaged = damaged.flat_map(|name| self.damaged_in_doubt(&image, &name));
        let lost = self.offline.lost().into_iter().filter_map(|name| {
            let topic = image.topic(&name.topic)?;
            let assigned = topic.partition(name.partition)?;
            must_tell_of_loss(assigned, broker.node_id).then(|| InDoubt {
                topic_id: Some(topic.id),
                name,
                is_missing: true,
            })
        });
        let held = self.all();
        let must_leave = held.iter().filter(|partition| {
            let repair = repair_of(broker, &image, partition);
            repair.is_some_and(|(repair, _)| repair == Repair::LeaveIsr)
        });
        let found_since = must_leave.map(|partition| InDoubt {
            topic_id: Some(partition.key().0),
            name: partition.topic_partition().clone(),
            is_missing: false,
        });
        damaged.chain(lost).chain(found_since).collect()
    }

    /// What is there under this name, and the replica that has no log because of it.
    fn damaged_in_doubt(&self, image: &Image, name: &TopicPartition) -> Vec<InDoubt> {
        let found = self.directories.offline(name);
        let mut topic_ids: Vec<Option<Uuid>> = found
            .map(|it| it.logs().topic_id_of_offline(name))
            .collect();
        // Where a file does not tell, every topic of that name is meant already.
        if !topic_ids.contains(&None) {
            let replica = image.topic(&name.topic).map(|topic| Some(topic.id));
            topic_ids.extend(replica.filter(|id| !topic_ids.contains(id)));
        }
        if topic_ids.is_empty() {
            topic_ids.push(None);
        }
        let in_doubt = topic_ids.into_iter().map(|topic_id| InDoubt {
            name: name.clone(),
            topic_id,
            is_missing: false,
        });
        in_doubt.collect()
    }

    /// Makes the logs that could not be made, and has damaged data fetched again where that is possible. Says
    /// whether this broker has to register anew for the sake of what is left.
    pub(crate) fn repair(&self, broker: &Broker) -> Option<Leave> {
        let image = broker.image();
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
            damaged += i64::from(partition.damage().is_some());
            let Some((repair, assigned)) = repair_of(broker, &image, &partition) else {
                continue;
            };
            match repair {
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
            let topic = image.topic(&name.topic);
            let Some((topic, assigned)) =
                topic.and_then(|t| Some((t, t.partition(name.partition)?)))
            else {
                continue;
            };
            let key = (topic.id, name.partition);
            match self.directories.in_failed(&name, key) {
                InFailed::Its => {}
                // Once this broker is registered without that directory, one that is made now is the newer one.
                InFailed::GivenUp => leave = Some(Leave::WithAllData),
                InFailed::Nothing if !assigned.offline.contains(&broker.node_id) => {
                    let settings = TopicSettings::on(broker, &image, topic);
                    self.follow(broker, &settings, name.partition, assigned);
                }
                // The quorum does not know of it: it was made while this broker registered. The next registration names it.
                InFailed::Nothing if self.is_here(&name, key) => leave = Some(Leave::WithAllData),
                InFailed::Nothing => {}
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

/// What can be done about the damage in this log, and who is counted on for it. `None` where there is none, or nobody wants
/// the log.
fn repair_of<'a>(
    broker: &Broker,
    image: &'a Image,
    partition: &Partition,
) -> Option<(Repair, &'a Assigned)> {
    let damage = partition.damage()?;
    let (topic_id, index) = partition.key();
    let assigned = image.topic_by_id(topic_id)?.partition(index)?;
    let can_lead = |id| image.can_lead(id);
    let repair = repair(damage, assigned, can_lead, broker.node_id, broker.epoch());
    Some((repair, assigned))
}
