//! An immutable snapshot of the cluster's metadata.

mod apply;
mod changes;
mod deleted;
mod directory;
mod encode;
mod features;
mod grant;
mod rebalance;

use std::collections::BTreeMap;
use std::sync::Arc;

use rpds::{RedBlackTreeMapSync, RedBlackTreeSetSync};
use uuid::Uuid;

pub use apply::ApplyError;
pub use changes::Changes;
pub use deleted::DeletedTopic;
pub use directory::Directory;
pub use encode::RestoreError;
pub use features::{
    FEATURES, FOZ_VERSION, FOZ_VERSION_FEATURE, FOZ_VERSION_MAX, Feature, GROUP_VERSION_FEATURE,
    LevelRange, SupportedFeatures, TRANSACTION_VERSION_FEATURE,
};
pub use grant::{CONTROLLER_ID_FIRST, Grant};
pub use rebalance::{Rebalance, RebalanceGoal, RebalanceProgress, RebalanceState};

use crate::record::ResourceKind;

/// Stands for no leader, as in Kafka's protocol.
pub const NO_LEADER: i32 = -1;

/// All that is known at one offset of the metadata log.
///
/// The maps are persistent: a clone shares them, a change copies a path of O(log n) nodes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Image {
    pub(crate) offset: i64,
    pub(crate) term: i64,
    pub(crate) cluster_id: Arc<str>,
    pub(crate) brokers: RedBlackTreeMapSync<i32, Arc<Broker>>,
    pub(crate) topics: RedBlackTreeMapSync<Uuid, Arc<Topic>>,
    pub(crate) topic_ids: RedBlackTreeMapSync<Arc<str>, Uuid>,
    /// An id is here or in `topics`, never in both.
    pub(crate) deleted: RedBlackTreeMapSync<Uuid, Arc<DeletedTopic>>,
    /// Follows from `topics`; kept so that placing a topic does not look at every partition.
    pub(crate) preferred_counts: RedBlackTreeMapSync<i32, usize>,
    /// Follows from `topics`, as above.
    pub(crate) replica_counts: RedBlackTreeMapSync<i32, usize>,
    pub(crate) configs: RedBlackTreeMapSync<Resource, Arc<BTreeMap<String, String>>>,
    pub(crate) racks: RedBlackTreeMapSync<i32, Arc<str>>,
    pub(crate) grants: RedBlackTreeMapSync<i32, Arc<Grant>>,
    pub(crate) cordoned: RedBlackTreeSetSync<i32>,
    pub(crate) rebalance: Option<Arc<Rebalance>>,
    pub(crate) features: RedBlackTreeMapSync<Arc<str>, i32>,
    pub(crate) next_producer_id: i64,
    pub(crate) operator_epoch: i64,
    pub(crate) operator_holder: Arc<str>,
}

/// A registered broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broker {
    /// From 0.
    pub node_id: i32,
    /// Grows with every registration of any broker.
    pub epoch: i64,
    /// Of the process.
    pub incarnation: Uuid,
    /// Of its `log.dirs`: those of this registration, and those that cannot be used now and may come back. What this node
    /// is counted on for is in these.
    pub directories: Vec<Directory>,
    /// The advertised address of the client listener.
    pub host: String,
    /// The advertised port of the client listener.
    pub port: u16,
    /// Where the other nodes reach it to replicate; empty when an older version registered it.
    pub replication_host: String,
    /// The port there.
    pub replication_port: u16,
    /// What the broker itself says; [`Image::rack`] is what counts.
    pub reported_rack: Option<String>,
    /// Of the broker's program.
    pub version: String,
    /// The levels that it can do.
    pub features: SupportedFeatures,
    /// Without a lease, or not yet caught up: it leads nothing, and gets new replicas only where there are too few others.
    pub fenced: bool,
    /// Its controlled shutdown is under way: it follows, but leads nothing that another can lead, joins
    /// no ISR and gets new replicas only as one that is fenced. Ends with the next registration.
    pub stopping: bool,
    /// Its disk has no room. It serves what it has, but leads nothing that another in sync with room can lead, leaves each
    /// ISR in which `min.insync.replicas` of these stay, joins none that one of these could join, and gets new replicas
    /// only as one that is fenced.
    pub short_of_space: bool,
}

/// A topic and its partitions.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    /// Never used again for another topic.
    pub id: Uuid,
    /// Unique while the topic exists.
    pub name: Arc<str>,
    /// Made by the brokers for themselves.
    pub internal: bool,
    /// So many partitions, the first ones, were brought back from deletion: a replica of theirs without a log may have lost
    /// it.
    pub restored_partitions: i32,
    /// The position is the partition's index.
    pub partitions: Vec<Partition>,
}

/// Who holds a partition and who leads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partition {
    /// The first is the preferred leader. Never empty, no node twice.
    pub replicas: Vec<i32>,
    /// In-sync replicas, a subset of `replicas`.
    pub isr: Vec<i32>,
    /// A member of `isr`, or [`NO_LEADER`] when that is empty.
    pub leader: i32,
    /// Grows whenever the leader changes, also to none.
    pub leader_epoch: i32,
    /// Grows with every change.
    pub partition_epoch: i32,
    /// Eligible leader replicas (KIP-966): not in sync any more, yet they have every record that was
    /// acknowledged. Empty while the ISR has enough members to acknowledge more.
    pub elr: Vec<i32>,
    /// While the ISR is empty, the last leader: the one to lead again should all eligible replicas be
    /// lost (KIP-966). Empty when that one lost its disk.
    pub last_known_elr: Vec<i32>,
    /// Replicas that have not been in the ISR since their disk was new: they may lack everything that the
    /// others have. Those that are so for longest come first.
    pub never_in_sync: Vec<i32>,
    /// Replicas that a reassignment brings (KIP-455): in `replicas` already, gone from there when it is cancelled.
    pub adding_replicas: Vec<i32>,
    /// Replicas that are gone when the reassignment is complete. One that an earlier target brought, and a newer
    /// one does not want, is in both lists while it is in sync.
    pub removing_replicas: Vec<i32>,
    /// The rebalance that began the reassignment under way; 0 where somebody else did, or none is.
    pub rebalance_id: i64,
    /// Replicas whose broker said, since it was registered or when it was, that it cannot use their logs. They lead nothing
    /// and are in no ISR and no ELR. What they have may come back, with a registration of the broker.
    pub offline: Vec<i32>,
}

/// What configs are set on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// By name.
    Topic(Arc<str>),
    /// The default of all brokers.
    DefaultBroker,
    /// One broker, by node id.
    Broker(i32),
    /// By group id, never empty. Last: [`Image::configured_groups`] looks from here on.
    Group(Arc<str>),
}

impl Image {
    /// Batches applied since the beginning; 0 is the empty image.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.offset
    }

    /// The term of the newest batch applied.
    #[must_use]
    pub fn term(&self) -> i64 {
        self.term
    }

    /// Empty until the first active controller has written it.
    #[must_use]
    pub fn cluster_id(&self) -> &str {
        &self.cluster_id
    }

    /// Every registered broker, fenced ones too, by ascending node id.
    pub fn brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values()
    }

    /// The brokers that clients are told of.
    pub fn alive_brokers(&self) -> impl Iterator<Item = &Arc<Broker>> {
        self.brokers.values().filter(|broker| !broker.fenced)
    }

    /// A registered broker, fenced or not.
    #[must_use]
    pub fn broker(&self, node_id: i32) -> Option<&Arc<Broker>> {
        self.brokers.get(&node_id)
    }

    /// Whether the broker is registered and not fenced.
    #[must_use]
    pub fn is_alive(&self, node_id: i32) -> bool {
        self.broker(node_id).is_some_and(|broker| !broker.fenced)
    }

    /// Whether the broker may be made a leader, or a member of an ISR.
    #[must_use]
    pub fn can_lead(&self, node_id: i32) -> bool {
        self.broker(node_id).is_some_and(|broker| broker.can_lead())
    }

    /// Whether the broker may be made a leader where there is a choice: it takes what is written, too.
    #[must_use]
    pub fn can_take_over(&self, node_id: i32) -> bool {
        self.broker(node_id)
            .is_some_and(|broker| broker.can_take_over())
    }

    /// The failure domain of a node: what an administrator assigned, else what the broker says.
    #[must_use]
    pub fn rack(&self, node_id: i32) -> Option<&str> {
        match self.racks.get(&node_id) {
            Some(rack) => Some(rack),
            None => self.broker(node_id)?.reported_rack.as_deref(),
        }
    }

    /// Racks assigned by an administrator, also to nodes that have not registered yet.
    pub fn assigned_racks(&self) -> impl Iterator<Item = (i32, &str)> {
        self.racks.iter().map(|(node_id, rack)| (*node_id, &**rack))
    }

    /// Every topic by ascending name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topic_ids.values().filter_map(|id| self.topics.get(id))
    }

    /// The names of all topics in ascending order.
    pub fn topic_names(&self) -> impl Iterator<Item = &str> {
        self.topic_ids.keys().map(|name| &**name)
    }

    /// How many topics there are.
    #[must_use]
    pub fn topic_count(&self) -> usize {
        self.topics.size()
    }

    /// How many partitions all topics have together.
    #[must_use]
    pub fn partition_count(&self) -> usize {
        self.topics
            .values()
            .map(|topic| topic.partitions.len())
            .sum()
    }

    /// A topic by its name.
    #[must_use]
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(self.topic_ids.get(name)?)
    }

    /// A topic by its id.
    #[must_use]
    pub fn topic_by_id(&self, id: Uuid) -> Option<&Arc<Topic>> {
        self.topics.get(&id)
    }

    /// One partition of a topic.
    #[must_use]
    pub fn partition(&self, name: &str, index: i32) -> Option<&Partition> {
        self.topic(name)?.partition(index)
    }

    /// Every partition with its topic and index, topics by ascending id.
    pub fn partitions(&self) -> impl Iterator<Item = (&Arc<Topic>, i32, &Partition)> {
        self.topics.values().flat_map(|topic| {
            topic
                .indexed_partitions()
                .map(move |(index, partition)| (topic, index, partition))
        })
    }

    /// The partitions that a node leads.
    pub fn partitions_led_by(
        &self,
        node_id: i32,
    ) -> impl Iterator<Item = (&Arc<Topic>, i32, &Partition)> {
        self.partitions()
            .filter(move |(_, _, partition)| partition.leader == node_id)
    }

    /// The partitions that a node holds a replica of.
    pub fn partitions_on(
        &self,
        node_id: i32,
    ) -> impl Iterator<Item = (&Arc<Topic>, i32, &Partition)> {
        self.partitions()
            .filter(move |(_, _, partition)| partition.replicas.contains(&node_id))
    }

    /// The partitions whose replicas are being moved.
    pub fn reassigning_partitions(&self) -> impl Iterator<Item = (&Arc<Topic>, i32, &Partition)> {
        self.partitions()
            .filter(|(_, _, partition)| partition.is_reassigning())
    }

    /// The topics that a node holds a replica of.
    pub(crate) fn topics_on(&self, node_id: i32) -> Vec<Arc<Topic>> {
        let is_on_node = |topic: &&Arc<Topic>| {
            let mut partitions = topic.partitions.iter();
            partitions.any(|partition| partition.replicas.contains(&node_id))
        };
        self.topics.values().filter(is_on_node).cloned().collect()
    }

    /// Of how many partitions a node is the preferred leader.
    #[must_use]
    pub fn preferred_count(&self, node_id: i32) -> usize {
        self.preferred_counts
            .get(&node_id)
            .copied()
            .unwrap_or_default()
    }

    /// Of how many partitions a node holds a replica.
    #[must_use]
    pub fn replica_count(&self, node_id: i32) -> usize {
        self.replica_counts
            .get(&node_id)
            .copied()
            .unwrap_or_default()
    }

    /// What is set on a resource, or `None` when nothing is.
    #[must_use]
    pub fn configs(&self, resource: &Resource) -> Option<&Arc<BTreeMap<String, String>>> {
        self.configs.get(resource)
    }

    /// One key as it is set on a resource; no defaults.
    #[must_use]
    pub fn config(&self, resource: &Resource, key: &str) -> Option<&str> {
        self.configs.get(resource)?.get(key).map(String::as_str)
    }

    /// Every resource on which something is set.
    pub fn configured(&self) -> impl Iterator<Item = (&Resource, &Arc<BTreeMap<String, String>>)> {
        self.configs.iter()
    }

    /// Every group on which something is set; there need not be such a group.
    pub fn configured_groups(&self) -> impl Iterator<Item = &Arc<str>> {
        let groups = self.configs.range(Resource::Group("".into())..);
        groups.filter_map(|(resource, _)| match resource {
            Resource::Group(group_id) => Some(group_id),
            Resource::Topic(_) | Resource::DefaultBroker | Resource::Broker(_) => None,
        })
    }

    /// The first producer id that was not handed out.
    #[must_use]
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// The epoch of the newest operator; 0 when there was none.
    #[must_use]
    pub fn operator_epoch(&self) -> i64 {
        self.operator_epoch
    }

    /// Who acquired [`operator_epoch`](Self::operator_epoch).
    #[must_use]
    pub fn operator_holder(&self) -> &str {
        &self.operator_holder
    }
}

impl Broker {
    /// Alive, and not about to stop.
    #[must_use]
    pub fn can_lead(&self) -> bool {
        !self.fenced && !self.stopping
    }

    /// As above, and with room for what is written.
    #[must_use]
    pub fn can_take_over(&self) -> bool {
        self.can_lead() && !self.short_of_space
    }
}

impl Topic {
    /// One partition.
    #[must_use]
    pub fn partition(&self, index: i32) -> Option<&Partition> {
        self.partitions.get(usize::try_from(index).ok()?)
    }

    /// The partitions with their indexes.
    pub fn indexed_partitions(&self) -> impl Iterator<Item = (i32, &Partition)> {
        (0..).zip(&self.partitions)
    }
}

impl Partition {
    /// The replica that leads while all are in sync.
    #[must_use]
    pub fn preferred_leader(&self) -> i32 {
        self.replicas.first().copied().unwrap_or(NO_LEADER)
    }

    /// Whether its replicas are being moved to other brokers.
    #[must_use]
    pub fn is_reassigning(&self) -> bool {
        !self.adding_replicas.is_empty() || !self.removing_replicas.is_empty()
    }

    /// The replicas that it is to have once its reassignment is complete.
    #[must_use]
    pub fn target_replicas(&self) -> Vec<i32> {
        without(&self.replicas, &self.removing_replicas)
    }

    /// How many [`original_replicas`](Self::original_replicas) there are.
    #[must_use]
    pub fn original_replica_count(&self) -> usize {
        self.replicas
            .len()
            .saturating_sub(self.adding_replicas.len())
    }

    /// The replicas that have everything that was acknowledged, as far as anybody knows: those in sync, else those
    /// eligible, else the last leader.
    #[must_use]
    pub fn sure_to_have_all(&self) -> &[i32] {
        let lists = [&self.isr, &self.elr, &self.last_known_elr];
        lists
            .into_iter()
            .find(|list| !list.is_empty())
            .map_or(&[], Vec::as_slice)
    }

    /// The replicas that it goes back to when its reassignment is cancelled.
    #[must_use]
    pub fn original_replicas(&self) -> Vec<i32> {
        without(&self.replicas, &self.adding_replicas)
    }
}

impl Resource {
    /// The topic of that name.
    #[must_use]
    pub fn topic(name: &str) -> Self {
        Self::Topic(name.into())
    }

    pub(crate) fn from_record(kind: i32, name: &str) -> Option<Self> {
        match ResourceKind::try_from(kind).ok()? {
            ResourceKind::Unspecified => None,
            ResourceKind::Topic => Some(Self::topic(name)),
            ResourceKind::Broker if name.is_empty() => Some(Self::DefaultBroker),
            ResourceKind::Broker => name.parse().ok().map(Self::Broker),
            ResourceKind::Group => (!name.is_empty()).then(|| Self::Group(name.into())),
        }
    }

    /// As a config record names it.
    pub(crate) fn to_record(&self) -> (ResourceKind, String) {
        match self {
            Self::Topic(name) => (ResourceKind::Topic, name.to_string()),
            Self::DefaultBroker => (ResourceKind::Broker, String::new()),
            Self::Broker(node_id) => (ResourceKind::Broker, node_id.to_string()),
            Self::Group(group_id) => (ResourceKind::Group, group_id.to_string()),
        }
    }
}

fn without(replicas: &[i32], others: &[i32]) -> Vec<i32> {
    let replicas = replicas.iter().copied();
    replicas.filter(|id| !others.contains(id)).collect()
}

impl std::fmt::Display for Resource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Topic(name) => write!(formatter, "topic {name}"),
            Self::DefaultBroker => write!(formatter, "the default of all brokers"),
            Self::Broker(node_id) => write!(formatter, "broker {node_id}"),
            Self::Group(group_id) => write!(formatter, "group {group_id:?}"),
        }
    }
}
