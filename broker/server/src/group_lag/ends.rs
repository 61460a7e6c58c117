//! Where partitions end for consumers, asked of their leaders.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use foz_groups::PartitionEnd;
use foz_metadata::Image;
use foz_protocol::fetch::IsolationLevel;
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::{BrokerId, ListOffsetsRequest, ListOffsetsResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use uuid::Uuid;

use crate::blocking::blocking;
use crate::broker::Broker;
use crate::handlers::leadership::LedIn;
use crate::node_queues::{Asked, NodeQueues};
use crate::partition::{OffsetQuery, monotonic_ms};
use crate::replication::NodeConnection;

/// What nodes speak with each other. A newer one only after a feature level says that all can.
const VERSION: i16 = 7;
/// Leaders answer at once, or as soon as they know that they lead.
const WAIT_MAX: Duration = Duration::from_millis(1_500);
/// As ListOffsets names the newest end.
const LATEST: i64 = -1;
/// Nobody's: whoever asks is told what consumers are.
const NO_REPLICA: BrokerId = BrokerId(-1);

/// Of a topic besides its name, and of a partition.
const TOPIC_BYTES: usize = 8;
const PARTITION_BYTES: usize = 17;

/// Partitions of one topic that one broker leads.
#[derive(Debug, Clone)]
pub(super) struct Wanted {
    pub(super) topic: Arc<str>,
    pub(super) topic_id: Uuid,
    pub(super) partitions: Vec<i32>,
}

/// Topic, partition and its high watermark.
type Told = (Uuid, i32, i64);

/// Those of a round, until the next.
pub(super) type EndQueues = NodeQueues<Asking>;

#[derive(Debug)]
pub(super) struct Asking {
    wanted: Wanted,
    told: mpsc::UnboundedSender<Vec<Told>>,
}

/// The newest ones, of partitions that somebody has committed an offset for.
#[derive(Debug, Default)]
pub(super) struct KnownEnds {
    by_partition: HashMap<(Uuid, i32), PartitionEnd>,
}

impl KnownEnds {
    pub(super) fn told(&mut self, topic_id: Uuid, partition: i32, offset: i64, asked_ms: i64) {
        let end = PartitionEnd { offset, asked_ms };
        self.by_partition.insert((topic_id, partition), end);
    }

    pub(super) fn end(&self, topic_id: Uuid, partition: i32) -> Option<PartitionEnd> {
        self.by_partition.get(&(topic_id, partition)).copied()
    }

    pub(super) fn len(&self) -> usize {
        self.by_partition.len()
    }

    /// Forgets all but these.
    pub(super) fn retain(&mut self, wanted: &BTreeMap<i32, Vec<Wanted>>) {
        let wanted = wanted.values().flatten();
        let wanted: HashSet<(Uuid, i32)> = wanted
            .flat_map(|it| it.partitions.iter().map(|index| (it.topic_id, *index)))
            .collect();
        self.by_partition
            .retain(|partition, _| wanted.contains(partition));
    }
}

/// What the leaders tell until the deadline; `wanted` by leader.
pub(super) async fn ask_for_ends(
    broker: &Arc<Broker>,
    image: &Image,
    wanted: &BTreeMap<i32, Vec<Wanted>>,
    deadline: Instant,
) -> Vec<Told> {
    let (told, mut telling) = mpsc::unbounded_channel();
    for (leader, wanted) in wanted {
        // Without a leader, or an alive one, there is nobody to ask.
        let is_alive = image.broker(*leader).is_some_and(|node| !node.fenced);
        if *leader == broker.node_id || !is_alive {
            continue;
        }
        for wanted in wanted {
            let asking = Asking {
                wanted: wanted.clone(),
                told: told.clone(),
            };
            broker.group_lags.ends.ask(broker, *leader, asking);
        }
    }
    drop(told);
    let others = async {
        let mut ends = Vec::new();
        while let Ok(Some(told)) = timeout_at(deadline, telling.recv()).await {
            ends.extend(told);
        }
        ends
    };
    let own = wanted.get(&broker.node_id).cloned().unwrap_or_default();
    let (mut ends, own) = tokio::join!(others, own_ends(broker, own, deadline));
    ends.extend(own);
    ends
}

async fn own_ends(broker: &Arc<Broker>, wanted: Vec<Wanted>, deadline: Instant) -> Vec<Told> {
    if wanted.is_empty() {
        return Vec::new();
    }
    // The one before it is still held up: no more threads are.
    let Ok(only) = Arc::clone(&broker.group_lags.own).try_lock_owned() else {
        return Vec::new();
    };
    let asked_ms = monotonic_ms();
    let leader = Arc::clone(broker);
    let looking = blocking(move || {
        let found = found_here(&leader, &wanted);
        drop(only);
        found
    });
    let Ok(found) = timeout_at(deadline, looking).await else {
        return Vec::new();
    };
    for (_, led) in &found {
        led.ask_followers(broker, asked_ms);
    }
    let mut ends = Vec::with_capacity(found.len());
    for (told, led) in found {
        // As for whoever asks by ListOffsets: another may lead already.
        if led.confirm(broker, asked_ms, deadline).await.is_ok() {
            ends.push(told);
        }
    }
    ends
}

/// With what they depend on.
fn found_here(broker: &Broker, wanted: &[Wanted]) -> Vec<(Told, LedIn)> {
    let partitions = wanted
        .iter()
        .flat_map(|it| it.partitions.iter().map(|index| (it.topic_id, *index)));
    let found = partitions.filter_map(|(topic_id, index)| {
        let partition = broker.partitions.get(topic_id, index)?;
        let latest =
            partition.find_offset(OffsetQuery::Latest, IsolationLevel::ReadUncommitted, -1);
        let latest = latest.ok()??;
        let led = LedIn {
            partition,
            leader_epoch: latest.leader_epoch,
        };
        Some(((topic_id, index, latest.offset), led))
    });
    found.collect()
}

impl Asked for Asking {
    type Answer = HashMap<TopicName, Vec<(i32, i64)>>;

    const PURPOSE: &'static str = "group-lag";
    const MAY_COME_TWICE: bool = true;

    fn bytes(&self) -> usize {
        let wanted = &self.wanted;
        TOPIC_BYTES + wanted.topic.len() + PARTITION_BYTES * wanted.partitions.len()
    }

    fn is_given_up(&self) -> bool {
        self.told.is_closed()
    }

    /// A partition that is named twice is refused.
    fn alone(&self) -> StrBytes {
        name(&self.wanted.topic)
    }

    async fn ask(connection: &mut NodeConnection, together: &[Self]) -> io::Result<Self::Answer> {
        let topics = together.iter().map(|asking| topic_of(&asking.wanted));
        let request = ListOffsetsRequest::default()
            .with_replica_id(NO_REPLICA)
            .with_topics(topics.collect());
        // A connection that waits for longer for one answer keeps the next rounds waiting, too.
        let answer = timeout(WAIT_MAX, connection.call(VERSION, &request, WAIT_MAX)).await;
        let response = answer.map_err(|_| io::ErrorKind::TimedOut)??;
        Ok(ends_of(response))
    }

    fn tell(self, answer: Option<&Self::Answer>) {
        let topic_id = self.wanted.topic_id;
        let ends = answer.and_then(|answer| answer.get(&TopicName(name(&self.wanted.topic))));
        let ends = ends.into_iter().flatten();
        let told = ends.map(|(partition, offset)| (topic_id, *partition, *offset));
        // Who comes too late is not waited for.
        let _ = self.told.send(told.collect());
    }
}

fn name(topic: &str) -> StrBytes {
    StrBytes::from_string(topic.to_owned())
}

fn topic_of(wanted: &Wanted) -> ListOffsetsTopic {
    let partitions = wanted.partitions.iter().map(|index| {
        ListOffsetsPartition::default()
            .with_partition_index(*index)
            .with_current_leader_epoch(-1)
            .with_timestamp(LATEST)
    });
    ListOffsetsTopic::default()
        .with_name(TopicName(name(&wanted.topic)))
        .with_partitions(partitions.collect())
}

/// A follower, or a leader that does not know yet what is committed, answers with an error.
fn ends_of(response: ListOffsetsResponse) -> HashMap<TopicName, Vec<(i32, i64)>> {
    let topics = response.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter();
        let told = partitions.filter(|it| it.error_code == 0 && it.offset >= 0);
        let ends = told.map(|it| (it.partition_index, it.offset)).collect();
        (topic.name, ends)
    });
    topics.collect()
}
