//! What a controller tells Prometheus.
//!
//! Names are those under which Kafka's JMX exporter is known, where the meaning is the same. Gauges are
//! computed from the image when they are scraped, so they cannot drift from it. Every controller tells the
//! same of the image; elections are counted by the one that held them.

use std::sync::Arc;

use foz_metadata::Image;
use foz_metadata::image::{NO_LEADER, Partition, RebalanceProgress, Topic};
use foz_metadata::record::{Fact, NodeIds, PartitionChangeRecord, Record};
use foz_metadata::rules::{min_insync_replicas, partition_min_insync};
use foz_quorum::Quorum;
use prometheus::{Histogram, HistogramOpts, IntCounter, PullingGauge, Registry};
use uuid::Uuid;

use crate::metadata::Metadata;

/// What is observed rather than computed.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// From the proposal of a batch until it is committed and applied.
    pub(crate) commit_seconds: Histogram,
    elections: IntCounter,
    eligible_elections: IntCounter,
    unclean_elections: IntCounter,
    deleted_topics_freed: IntCounter,
}

/// How many partitions got another leader.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Elections {
    all: u64,
    /// From the eligible leader replicas.
    eligible: u64,
    /// From neither these nor the ISR.
    unclean: Vec<UncleanElection>,
}

/// A leader that may lack acknowledged records.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UncleanElection {
    topic: String,
    partition: i32,
    leader: i32,
}

/// Of one batch, so many are named in the log, and the others are counted.
const UNCLEAN_NAMED_MAX: usize = 100;

type ImageGauge = (&'static str, &'static str, fn(&Image) -> usize);

const IMAGE_GAUGES: [ImageGauge; 16] = [
    (
        "kafka_controller_kafkacontroller_globaltopiccount",
        "Topics in the metadata.",
        Image::topic_count,
    ),
    (
        "kafka_controller_kafkacontroller_globalpartitioncount",
        "Partitions in the metadata.",
        Image::partition_count,
    ),
    (
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        "Partitions without a leader.",
        |image| image.partitions_led_by(NO_LEADER).count(),
    ),
    (
        "kafka_controller_kafkacontroller_activebrokercount",
        "Brokers that are registered and not fenced.",
        |image| image.alive_brokers().count(),
    ),
    (
        "kafka_controller_kafkacontroller_fencedbrokercount",
        "Brokers that are registered and fenced.",
        |image| image.brokers().filter(|broker| broker.fenced).count(),
    ),
    (
        "foz_brokers_short_of_space",
        "Brokers that are alive and whose disks have no room.",
        |image| {
            image
                .alive_brokers()
                .filter(|broker| broker.short_of_space)
                .count()
        },
    ),
    (
        "kafka_controller_kafkacontroller_preferredreplicaimbalancecount",
        "Partitions that their preferred leader does not lead.",
        |image| count(image, |_, it| it.leader != it.preferred_leader()),
    ),
    // Kafka has these two on each broker, of what it leads; here they are of the whole cluster.
    (
        "foz_under_replicated_partitions",
        "Partitions with replicas that are not in sync.",
        |image| count(image, |_, it| it.isr.len() < it.replicas.len()),
    ),
    (
        "foz_under_min_isr_partitions",
        "Partitions that take no acks=all, as fewer replicas are in sync than min.insync.replicas.",
        |image| {
            count(image, |topic, it| {
                let wanted = min_insync_replicas(image, topic);
                it.isr.len() < partition_min_insync(wanted, it)
            })
        },
    ),
    (
        "foz_rebalance_running",
        "1 while replicas are being rebalanced.",
        |image| usize::from(image.running_rebalance().is_some()),
    ),
    (
        "foz_rebalance_moves_left",
        "Partitions that the running rebalance has still to move.",
        |image| {
            of_rebalance(image, |it| {
                (it.moves_total - it.moves_done.min(it.moves_total)).into()
            })
        },
    ),
    (
        "foz_rebalance_moves_done",
        "Partitions that the running rebalance has moved.",
        |image| of_rebalance(image, |it| it.moves_done.into()),
    ),
    (
        "foz_rebalance_bytes_left",
        "What the running rebalance has still to copy.",
        |image| of_rebalance(image, |it| it.bytes_total.saturating_sub(it.bytes_done)),
    ),
    (
        "foz_deleted_topics",
        "Topics that were deleted and can be brought back.",
        Image::deleted_topic_count,
    ),
    (
        "foz_deleted_topic_partitions",
        "Partitions of topics that were deleted and can be brought back.",
        Image::deleted_partition_count,
    ),
    (
        "foz_metadata_offset",
        "Batches of records that were committed and applied here.",
        |image| usize::try_from(image.offset()).unwrap_or_default(),
    ),
];

impl Metrics {
    pub(crate) fn register(
        registry: &Registry,
        metadata: &Arc<Metadata>,
        quorum: &Quorum,
    ) -> Result<Self, prometheus::Error> {
        for (name, help, read) in IMAGE_GAUGES {
            let metadata = metadata.clone();
            gauge(registry, name, help, move || read(&metadata.image()) as f64)?;
        }
        let leadership = quorum.leadership();
        gauge(
            registry,
            "kafka_controller_kafkacontroller_activecontrollercount",
            "1 while this controller is the active one.",
            move || f64::from(u8::from(leadership.borrow().is_self)),
        )?;
        let leadership = quorum.leadership();
        gauge(
            registry,
            "foz_quorum_term",
            "The quorum's term.",
            move || leadership.borrow().term as f64,
        )?;
        let status = quorum.status();
        gauge(
            registry,
            "foz_quorum_stands_still",
            "1 while this controller takes part in nothing, because its disk has no room for the quorum's log.",
            move || f64::from(u8::from(status.borrow().stands_still)),
        )?;
        let buckets = prometheus::exponential_buckets(0.000_5, 2.0, 14)?;
        let options = HistogramOpts::new(
            "foz_metadata_commit_seconds",
            "Time from the proposal of a batch until it was committed and applied.",
        );
        let commit_seconds = Histogram::with_opts(options.buckets(buckets))?;
        registry.register(Box::new(commit_seconds.clone()))?;
        Ok(Self {
            commit_seconds,
            elections: counter(
                registry,
                "foz_leader_elections_total",
                "Partitions that got another leader from this controller.",
            )?,
            eligible_elections: counter(
                registry,
                "kafka_controller_controllerstats_electionfromeligibleleaderreplicas_total",
                "Of these, how many got an eligible leader replica, as nobody was in sync.",
            )?,
            unclean_elections: counter(
                registry,
                "kafka_controller_controllerstats_uncleanleaderelections_total",
                "Of these, how many got a replica that may lack acknowledged records.",
            )?,
            deleted_topics_freed: counter(
                registry,
                "foz_deleted_topics_freed_total",
                "Deleted topics that this controller purged before their time, as brokers were short of room.",
            )?,
        })
    }

    pub(crate) fn add(&self, elections: &Elections) {
        self.elections.inc_by(elections.all);
        self.eligible_elections.inc_by(elections.eligible);
        let unclean = u64::try_from(elections.unclean.len()).unwrap_or(u64::MAX);
        self.unclean_elections.inc_by(unclean);
    }

    pub(crate) fn freed(&self, deleted_topics: usize) {
        let freed = u64::try_from(deleted_topics).unwrap_or(u64::MAX);
        self.deleted_topics_freed.inc_by(freed);
    }
}

impl Elections {
    /// What `records` elect; `before` is the image that they change. An election of the last known leader
    /// counts as unclean, as in Kafka.
    pub(crate) fn count(before: &Image, records: &[Record]) -> Self {
        let mut elections = Self::default();
        for record in records {
            let Some(Fact::PartitionChange(change)) = &record.record else {
                continue;
            };
            let Some(leader) = change.leader.filter(|leader| *leader != NO_LEADER) else {
                continue;
            };
            // One that comes back is still deleted there.
            let find = |id| {
                let deleted = before.deleted_topic(id).map(|it| &it.topic);
                before.topic_by_id(id).or(deleted)
            };
            let topic = Uuid::from_slice(&change.topic_id).ok().and_then(find);
            let Some((topic, old)) =
                topic.and_then(|topic| Some((topic, topic.partition(change.index)?)))
            else {
                continue;
            };
            if old.leader == leader {
                continue;
            }
            elections.all += 1;
            if old.elr.contains(&leader) {
                elections.eligible += 1;
            } else if !old.isr.contains(&leader) && !is_end_of_move(old, change, records) {
                elections.unclean.push(UncleanElection {
                    topic: topic.name.to_string(),
                    partition: change.index,
                    leader,
                });
            }
        }
        elections
    }

    /// Says what may be lost. Once they are committed, by the active controller alone.
    pub(crate) fn warn(&self) {
        for election in self.unclean.iter().take(UNCLEAN_NAMED_MAX) {
            let UncleanElection {
                topic,
                partition,
                leader,
            } = election;
            tracing::warn!(
                topic,
                partition,
                leader,
                "unclean election: acknowledged records may be lost"
            );
        }
        if let more @ 1.. = self.unclean.len().saturating_sub(UNCLEAN_NAMED_MAX) {
            tracing::warn!(more, "more unclean elections in the same batch");
        }
    }
}

/// A move ends with the record that takes the last of its replicas into the ISR, because the old leader says that it
/// has everything: with that record it may also become the leader. A leader that is gone has said nothing.
fn is_end_of_move(old: &Partition, change: &PartitionChangeRecord, records: &[Record]) -> bool {
    let list = |change: &Option<NodeIds>, old: &[i32]| match change {
        Some(list) => list.node_ids.clone(),
        None => old.to_vec(),
    };
    let is_over = list(&change.adding_replicas, &old.adding_replicas).is_empty()
        && list(&change.removing_replicas, &old.removing_replicas).is_empty();
    let goes = |record: &Record| match &record.record {
        Some(Fact::BrokerFence(fence)) => fence.fenced && fence.node_id == old.leader,
        Some(Fact::RegisterBroker(registered)) => registered.node_id == old.leader,
        Some(Fact::UnregisterBroker(gone)) => gone.node_id == old.leader,
        _ => false,
    };
    old.is_reassigning()
        && is_over
        && list(&change.replicas, &old.replicas) == old.target_replicas()
        && old.leader != NO_LEADER
        && !records.iter().any(goes)
}

fn count(image: &Image, is_so: impl Fn(&Topic, &Partition) -> bool) -> usize {
    image
        .partitions()
        .filter(|(topic, _, partition)| is_so(topic, partition))
        .count()
}

/// 0 while none runs.
fn of_rebalance(image: &Image, number: impl Fn(&RebalanceProgress) -> u64) -> usize {
    let running = image.running_rebalance();
    let number = running.map_or(0, |rebalance| number(&rebalance.progress));
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn counter(registry: &Registry, name: &str, help: &str) -> Result<IntCounter, prometheus::Error> {
    let counter = IntCounter::new(name, help)?;
    registry.register(Box::new(counter.clone()))?;
    Ok(counter)
}

fn gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    read: impl Fn() -> f64 + Send + Sync + 'static,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(PullingGauge::new(name, help, Box::new(read))?))
}

#[cfg(test)]
mod tests {
    use foz_metadata::record::{
        Batch, BrokerFenceRecord, DeleteTopicRecord, PartitionRecord, RestoreTopicRecord,
        TopicRecord,
    };

    use super::*;

    #[test]
    fn elections_are_counted_and_unclean_ones_are_named() {
        let topic_id = bytes::Bytes::copy_from_slice(Uuid::from_u128(7).as_bytes());
        let mut records = vec![Fact::Topic(TopicRecord {
            id: topic_id.clone(),
            name: "orders".to_owned(),
            internal: false,
            restored_partitions: 0,
        })];
        records.extend((0..4).map(|index| {
            Fact::Partition(PartitionRecord {
                topic_id: topic_id.clone(),
                index,
                replicas: vec![0, 1, 2, 3],
                isr: vec![0, 1],
                elr: vec![2],
                leader: 0,
                ..PartitionRecord::default()
            })
        }));
        let image = Image::default()
            .apply(&Batch {
                follows: 0,
                term: 1,
                records: records.into_iter().map(Record::from).collect(),
            })
            .unwrap();
        let change = |index, leader| {
            Record::from(Fact::PartitionChange(PartitionChangeRecord {
                topic_id: topic_id.clone(),
                index,
                leader,
                isr: Some(NodeIds { node_ids: vec![3] }),
                ..PartitionChangeRecord::default()
            }))
        };
        let changes = [
            change(0, Some(1)),
            change(1, Some(2)),
            change(2, Some(3)),
            change(3, Some(NO_LEADER)),
            change(3, None),
            change(3, Some(0)),
        ];
        let elections = Elections::count(&image, &changes);
        assert_eq!((elections.all, elections.eligible), (3, 1));
        let named = UncleanElection {
            topic: "orders".to_owned(),
            partition: 2,
            leader: 3,
        };
        assert_eq!(elections.unclean, [named]);

        // The same when it comes back.
        let deletion = Fact::DeleteTopic(DeleteTopicRecord {
            topic_id: topic_id.clone(),
            ..DeleteTopicRecord::default()
        });
        let deleted = Batch {
            follows: image.offset(),
            term: 1,
            records: vec![deletion.into()],
        };
        let image = image.apply(&deleted).unwrap();
        let restoration = Fact::RestoreTopic(RestoreTopicRecord {
            topic_id: topic_id.clone(),
            name: "orders".to_owned(),
        });
        let mut records = vec![Record::from(restoration)];
        records.extend(changes);
        let restored = Elections::count(&image, &records);
        assert_eq!((restored.all, restored.eligible), (3, 1));
        assert_eq!(restored.unclean, elections.unclean);
    }

    #[test]
    fn the_end_of_a_move_is_no_unclean_election() {
        let topic_id = bytes::Bytes::copy_from_slice(Uuid::from_u128(7).as_bytes());
        let topic = Fact::Topic(TopicRecord {
            id: topic_id.clone(),
            name: "orders".to_owned(),
            internal: false,
            restored_partitions: 0,
        });
        let moving = |leader| {
            let partition = Fact::Partition(PartitionRecord {
                topic_id: topic_id.clone(),
                index: 0,
                replicas: vec![3, 1, 0],
                adding_replicas: vec![3],
                removing_replicas: vec![0],
                isr: vec![0, 1],
                leader,
                ..PartitionRecord::default()
            });
            let records = vec![topic.clone().into(), partition.into()];
            let (follows, term) = (0, 1);
            let batch = Batch {
                follows,
                term,
                records,
            };
            Image::default().apply(&batch).unwrap()
        };
        let ids = |ids: &[i32]| Some(NodeIds::from(ids.to_vec()));
        let led_by_3 = |replicas: &[i32], isr: &[i32]| {
            Record::from(Fact::PartitionChange(PartitionChangeRecord {
                topic_id: topic_id.clone(),
                index: 0,
                leader: Some(3),
                replicas: ids(replicas),
                isr: ids(isr),
                adding_replicas: ids(&[]),
                removing_replicas: ids(&[]),
                ..PartitionChangeRecord::default()
            }))
        };
        let fenced = |node_id| {
            Record::from(Fact::BrokerFence(BrokerFenceRecord {
                node_id,
                epoch: 1,
                fenced: true,
                ..BrokerFenceRecord::default()
            }))
        };
        let end = led_by_3(&[3, 1], &[3, 1]);
        for (leader, records, unclean) in [
            (0, vec![end.clone()], 0),
            (0, vec![fenced(2), end.clone()], 0),
            // Nobody was there to say that 3 has everything.
            (0, vec![fenced(0), end.clone()], 1),
            (NO_LEADER, vec![end], 1),
            // Called off, with a loss that is allowed.
            (0, vec![led_by_3(&[1, 0], &[3])], 1),
        ] {
            let elections = Elections::count(&moving(leader), &records);
            assert_eq!(elections.all, 1);
            assert_eq!(elections.unclean.len(), unclean, "{leader} {records:?}");
        }
    }
}
