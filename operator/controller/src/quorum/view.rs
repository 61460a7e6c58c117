//! The cluster as its metadata quorum tells it, event by event. Pure.

mod only_copies;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foz_api::v1::{ClusterEvent, Partition, ResourceType, Topic, cluster_event::Event};

use crate::quorum::rebalance::{RebalanceState, RebalanceView};

/// Those that wait for the end of one hear of it, though another one has begun.
const REBALANCES_REMEMBERED: usize = 16;

/// A topic, reduced to what the operator needs: a cluster may have many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicView {
    /// 16 bytes.
    pub id: Vec<u8>,
    /// Partitions.
    pub partitions: i32,
    /// Replicas of the partition that has fewest; those that are still being copied do not count.
    pub replication_factor: i32,
    /// How many replicas the partitions have, and are to have: one entry, as long as all are alike.
    pub factors: Vec<Factor>,
    /// Partitions without a leader.
    pub offline: i32,
    /// Partitions with fewer in-sync replicas than replicas.
    pub under_replicated: i32,
    /// What is set on the topic.
    pub config: BTreeMap<String, String>,
    /// The brokers' own.
    pub internal: bool,
    /// Node id and partition, where no other broker has the partition in sync. Nobody may have.
    pub only_copies: Vec<(i32, i32)>,
    /// Replicas of the partition that has, or is to have, most.
    pub replicas_max: i32,
    /// By node id: partitions that the broker has a replica of, or is getting one.
    pub on_brokers: Vec<(i32, i32)>,
    /// Partitions that are on their way to other brokers.
    pub moving: i32,
    /// By node id: replicas that the broker cannot use.
    pub offline_replicas: Vec<(i32, i32)>,
}

/// Partitions of a topic that have equally many replicas, and are to have equally many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Factor {
    /// Without those that are still being copied.
    pub now: i32,
    /// When nothing is under way any more.
    pub target: i32,
    /// Something is under way.
    pub moving: bool,
    /// How many partitions.
    pub partitions: i32,
}

/// A registered broker.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct BrokerView {
    /// Hexadecimal; another one with every start of the process.
    pub incarnation: String,
    /// Failure domain.
    pub rack: Option<String>,
    /// Without a lease.
    pub fenced: bool,
    /// What it runs.
    pub version: String,
    /// It gets no new replicas.
    pub cordoned: bool,
    /// The highest level of `foz.version` that it knows.
    pub foz_version_max: i32,
}

/// A restart grant: this process may stop.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct GrantView {
    /// The process, hexadecimal; no other of the same node may stop.
    pub incarnation: String,
    /// Never given to another grant.
    pub grant_epoch: i64,
    /// 0: the process itself has asked, or a hand.
    pub operator_epoch: i64,
    /// Why.
    pub reason: String,
}

/// Controllers by node id, as the active one sees them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VotersView {
    /// They vote. Empty: not told.
    pub voters: BTreeSet<i32>,
    /// They catch up, and are to vote.
    pub learners: BTreeSet<i32>,
    /// They were removed, and stay out until they are let in again.
    pub removed: BTreeSet<i32>,
}

/// All that the events said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct View {
    /// Empty until synced.
    pub cluster_id: String,
    /// Everything that was there at the start has been told.
    pub synced: bool,
    /// By name.
    pub topics: HashMap<String, TopicView>,
    /// By node id.
    pub brokers: BTreeMap<i32, BrokerView>,
    /// Who may stop, by node id: brokers and controllers.
    pub grants: BTreeMap<i32, GrantView>,
    /// What is set for all brokers.
    pub broker_config: BTreeMap<String, String>,
    /// Who votes in the quorum.
    pub voters: VotersView,
    /// The levels that are finalised, by feature.
    pub features: BTreeMap<String, i32>,
    /// Partitions of all topics.
    pub partitions: i64,
    /// Of them without a leader.
    pub offline: i64,
    /// Of them under-replicated.
    pub under_replicated: i64,
    /// Of them those that are on their way to other brokers.
    pub moving: i64,
    /// By node id: replicas on a broker, also those that it is getting or losing. No entry for none.
    pub replicas: BTreeMap<i32, i64>,
    /// By node id: those of them that the broker cannot use. No entry for none.
    pub offline_replicas: BTreeMap<i32, i64>,
    /// The newest rebalances that were told of, by their number; the last one may run.
    pub rebalances: BTreeMap<i64, RebalanceView>,
}

/// What an event changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Nothing that anybody here asks for.
    Nothing,
    /// The topic of this name.
    Topic(String),
    /// Brokers, what is set for all of them, restart grants, or a rebalance.
    Cluster,
    /// All has been told.
    Synced,
}

impl View {
    /// Takes an event in.
    pub fn apply(&mut self, event: ClusterEvent) -> Change {
        match event.event {
            Some(Event::TopicChanged(topic)) => {
                let name = topic.name.clone();
                self.forget(&name);
                let view = topic_view(topic);
                self.count(&view, 1);
                self.topics.insert(name.clone(), view);
                Change::Topic(name)
            }
            Some(Event::TopicDeleted(deleted)) => {
                // Made again under the same name meanwhile: the event is of the old one.
                if self
                    .topics
                    .get(&deleted.name)
                    .is_some_and(|topic| topic.id == deleted.id)
                {
                    self.forget(&deleted.name);
                }
                Change::Topic(deleted.name)
            }
            Some(Event::BrokerChanged(broker)) => {
                let view = BrokerView {
                    incarnation: hex(&broker.incarnation),
                    rack: broker.rack,
                    fenced: broker.fenced,
                    version: broker.version,
                    cordoned: broker.cordoned,
                    foz_version_max: broker.foz_version_max,
                };
                self.brokers.insert(broker.node_id, view);
                Change::Cluster
            }
            Some(Event::BrokerRemoved(node_id)) => {
                self.brokers.remove(&node_id);
                Change::Cluster
            }
            Some(Event::ConfigsChanged(changed)) => match changed.r#type() {
                ResourceType::Topic => {
                    let config = changed.config.into_iter().collect();
                    if let Some(topic) = self.topics.get_mut(&changed.name) {
                        topic.config = config;
                    }
                    Change::Topic(changed.name)
                }
                ResourceType::Broker if changed.name.is_empty() => {
                    self.broker_config = changed.config.into_iter().collect();
                    Change::Cluster
                }
                ResourceType::Broker | ResourceType::Group | ResourceType::Unspecified => {
                    Change::Nothing
                }
            },
            Some(Event::Synced(synced)) => {
                self.synced = true;
                self.cluster_id = synced.cluster_id;
                Change::Synced
            }
            Some(Event::GrantChanged(grant)) => {
                let view = GrantView {
                    incarnation: hex(&grant.incarnation),
                    grant_epoch: grant.grant_epoch,
                    operator_epoch: grant.operator_epoch,
                    reason: grant.reason,
                };
                self.grants.insert(grant.node_id, view);
                Change::Cluster
            }
            Some(Event::FeaturesChanged(features)) => {
                self.features = features.finalized.into_iter().collect();
                Change::Cluster
            }
            Some(Event::VotersChanged(voters)) => {
                self.voters = VotersView {
                    voters: voters.voters.into_iter().collect(),
                    learners: voters.learners.into_iter().collect(),
                    removed: voters.removed.into_iter().collect(),
                };
                Change::Cluster
            }
            Some(Event::GrantEnded(node_id)) => {
                self.grants.remove(&node_id);
                Change::Cluster
            }
            Some(Event::RebalanceChanged(rebalance)) => {
                self.take_rebalance(rebalance.into());
                Change::Cluster
            }
            // Of a newer controller.
            None => Change::Nothing,
        }
    }

    /// Brokers that get new replicas.
    #[must_use]
    pub fn room(&self) -> Room {
        let open = self.brokers.values().filter(|broker| !broker.cordoned);
        Room {
            alive: open.clone().filter(|broker| !broker.fenced).count(),
            brokers: open.count(),
        }
    }

    fn forget(&mut self, name: &str) {
        if let Some(topic) = self.topics.remove(name) {
            self.count(&topic, -1);
        }
    }

    fn count(&mut self, topic: &TopicView, sign: i64) {
        self.partitions += sign * i64::from(topic.partitions);
        self.offline += sign * i64::from(topic.offline);
        self.under_replicated += sign * i64::from(topic.under_replicated);
        self.moving += sign * i64::from(topic.moving);
        for (counted, counts) in [
            (&mut self.replicas, &topic.on_brokers),
            (&mut self.offline_replicas, &topic.offline_replicas),
        ] {
            for (broker, count) in counts {
                let replicas = counted.entry(*broker).or_default();
                *replicas += sign * i64::from(*count);
                if *replicas == 0 {
                    counted.remove(broker);
                }
            }
        }
    }

    /// One that ran, and is not told as ended before the next, ended because the next took its place.
    fn take_rebalance(&mut self, newest: RebalanceView) {
        for before in self.rebalances.values_mut() {
            if before.runs() && before.id < newest.id {
                before.state = RebalanceState::Cancelled;
            }
        }
        self.rebalances.insert(newest.id, newest);
        while self.rebalances.len() > REBALANCES_REMEMBERED {
            self.rebalances.pop_first();
        }
    }
}

/// How many brokers get new replicas.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Room {
    /// They are registered, and not cordoned.
    pub brokers: usize,
    /// Of them, those that hold a lease: they can lead what is made now.
    pub alive: usize,
}

impl Room {
    /// Whether something has room now that may have had none before.
    #[must_use]
    pub const fn is_more_than(self, before: Self) -> bool {
        self.brokers > before.brokers || self.alive > before.alive
    }
}

impl GrantView {
    /// Not asked for by the process itself, or by a hand.
    #[must_use]
    pub const fn is_operators(&self) -> bool {
        self.operator_epoch != 0
    }
}

impl TopicView {
    /// The id in Kafka's way of writing: base64 for URLs, without padding (Kafka's `Uuid.toString`).
    #[must_use]
    pub fn id_text(&self) -> String {
        id_text(&self.id)
    }
}

/// A topic as the contract tells it.
#[must_use]
pub fn topic_view(topic: Topic) -> TopicView {
    let count = |of: &dyn Fn(&Partition) -> bool| {
        let found = topic
            .partitions
            .iter()
            .filter(|partition| of(partition))
            .count();
        i32::try_from(found).unwrap_or(i32::MAX)
    };
    let by_broker = |of: fn(&Partition) -> &[i32]| {
        let mut counts: BTreeMap<i32, i32> = BTreeMap::new();
        for broker in topic.partitions.iter().flat_map(of) {
            *counts.entry(*broker).or_default() += 1;
        }
        counts.into_iter().collect()
    };
    let moves = |partition: &Partition| {
        !(partition.adding_replicas.is_empty() && partition.removing_replicas.is_empty())
    };
    let factors = factors(&topic.partitions);
    let fewest = factors.iter().map(|factor| factor.now).min();
    let most = factors.iter().map(|factor| factor.target).max();
    TopicView {
        replicas_max: most.unwrap_or_default(),
        on_brokers: by_broker(|partition| &partition.replicas),
        offline_replicas: by_broker(|partition| &partition.offline),
        moving: count(&moves),
        partitions: count(&|_| true),
        offline: count(&|partition| partition.leader < 0),
        under_replicated: count(&is_under_replicated),
        replication_factor: fewest.unwrap_or_default(),
        factors,
        only_copies: topic.partitions.iter().flat_map(only_copies::of).collect(),
        id: topic.id,
        config: topic.config.into_iter().collect(),
        internal: topic.internal,
    }
}

/// A replica that is still getting the records is not missing any (KIP-455).
fn is_under_replicated(partition: &Partition) -> bool {
    let lacks = |replica: &i32| {
        !partition.isr.contains(replica) && !partition.adding_replicas.contains(replica)
    };
    partition.replicas.iter().any(lacks)
}

fn factors(partitions: &[Partition]) -> Vec<Factor> {
    let mut counts: BTreeMap<(i32, i32, bool), i32> = BTreeMap::new();
    for partition in partitions {
        let without = |gone: &[i32]| {
            let left = partition.replicas.iter().filter(|id| !gone.contains(id));
            i32::try_from(left.count()).unwrap_or(i32::MAX)
        };
        let (adding, removing) = (&partition.adding_replicas, &partition.removing_replicas);
        let moving = !(adding.is_empty() && removing.is_empty());
        *counts
            .entry((without(adding), without(removing), moving))
            .or_default() += 1;
    }
    let factor = |((now, target, moving), partitions)| Factor {
        now,
        target,
        moving,
        partitions,
    };
    counts.into_iter().map(factor).collect()
}

/// Of base64url, without padding.
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// A topic's id in Kafka's way of writing.
#[must_use]
pub fn id_text(id: &[u8]) -> String {
    let mut text = String::with_capacity(id.len().div_ceil(3) * 4);
    for chunk in id.chunks(3) {
        let bits = chunk
            .iter()
            .fold(0_u32, |bits, &byte| (bits << 8) | u32::from(byte))
            << (8 * (3 - chunk.len()));
        for sextet in 0..=chunk.len() {
            let index = (bits >> (18 - 6 * sextet)) & 0x3f;
            text.push(char::from(ALPHABET[index as usize]));
        }
    }
    text
}

/// What [`id_text`] made of 16 bytes.
#[must_use]
pub fn from_id_text(text: &str) -> Option<Vec<u8>> {
    let mut bits = 0_u128;
    for (position, character) in text.bytes().enumerate() {
        let value = ALPHABET.iter().position(|it| *it == character)?;
        // 21 characters have 126 bits; of the last one, two count.
        let count = if position < 21 { 6 } else { 2 };
        bits = (bits << count) | (u128::try_from(value).ok()? >> (6 - count));
    }
    let id = bits.to_be_bytes().to_vec();
    (id_text(&id) == text).then_some(id)
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a String takes any text");
        text
    })
}

/// What [`hex`] made.
pub(super) fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect::<Option<_>>()?;
    let (pairs, rest) = digits.as_chunks::<2>();
    let bytes = pairs.iter().map(|[high, low]| (high << 4) | low);
    rest.is_empty().then(|| bytes.collect())
}

#[cfg(test)]
mod tests;
