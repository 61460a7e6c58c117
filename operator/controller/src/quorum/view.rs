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
                ResourceType::Broker | ResourceType::Unspecified => Change::Nothing,
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

    /// Brokers that are registered, hold a lease, and get new replicas.
    #[must_use]
    pub fn brokers_alive(&self) -> usize {
        self.brokers
            .values()
            .filter(|broker| !broker.fenced && !broker.cordoned)
            .count()
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
        for (broker, count) in &topic.on_brokers {
            let replicas = self.replicas.entry(*broker).or_default();
            *replicas += sign * i64::from(*count);
            if *replicas == 0 {
                self.replicas.remove(broker);
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
    let mut on_brokers: BTreeMap<i32, i32> = BTreeMap::new();
    for broker in topic.partitions.iter().flat_map(|it| &it.replicas) {
        *on_brokers.entry(*broker).or_default() += 1;
    }
    let moves = |partition: &Partition| {
        !(partition.adding_replicas.is_empty() && partition.removing_replicas.is_empty())
    };
    let factors = factors(&topic.partitions);
    let fewest = factors.iter().map(|factor| factor.now).min();
    let most = factors.iter().map(|factor| factor.target).max();
    TopicView {
        replicas_max: most.unwrap_or_default(),
        on_brokers: on_brokers.into_iter().collect(),
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

/// A topic's id in Kafka's way of writing.
#[must_use]
pub fn id_text(id: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
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
mod tests {
    use super::{Change, Factor, View, from_hex, hex, id_text, topic_view};
    use foz_api::v1::cluster_event::{ConfigsChanged, Event, Synced, TopicDeleted, Voters};
    use foz_api::v1::rebalance::State;
    use foz_api::v1::{Broker, ClusterEvent, Grant, Partition, Rebalance, ResourceType, Topic};

    use crate::quorum::rebalance::RebalanceState;

    fn event(event: Event) -> ClusterEvent {
        ClusterEvent { event: Some(event) }
    }

    fn topic(name: &str, id: u8, leaders: &[i32]) -> ClusterEvent {
        let partition = |(index, &leader): (usize, &i32)| Partition {
            index: i32::try_from(index).expect("few"),
            replicas: vec![0, 1],
            leader,
            leader_epoch: 1,
            isr: if leader < 0 { vec![1] } else { vec![0, 1] },
            ..Partition::default()
        };
        event(Event::TopicChanged(Topic {
            name: name.into(),
            id: vec![id; 16],
            partitions: leaders.iter().enumerate().map(partition).collect(),
            config: [("a".to_owned(), "1".to_owned())].into(),
            internal: false,
        }))
    }

    fn deleted(name: &str, id: u8) -> ClusterEvent {
        event(Event::TopicDeleted(TopicDeleted {
            name: name.into(),
            id: vec![id; 16],
        }))
    }

    #[test]
    fn counts_follow_the_events() {
        let mut view = View::default();
        assert_eq!(
            view.apply(topic("a", 1, &[0, 1, -1])),
            Change::Topic("a".into())
        );
        view.apply(topic("b", 2, &[0]));
        assert_eq!(
            (view.partitions, view.offline, view.under_replicated),
            (4, 1, 1)
        );
        view.apply(topic("a", 1, &[0, 1, 1, 0]));
        assert_eq!(
            (view.partitions, view.offline, view.under_replicated),
            (5, 0, 0)
        );
        assert_eq!(view.topics["a"].replication_factor, 2);
        view.apply(deleted("a", 1));
        assert_eq!((view.partitions, view.topics.len()), (1, 1));
        view.apply(deleted("a", 1));
        assert_eq!(view.partitions, 1);
    }

    #[test]
    fn replicas_that_are_still_copied_are_on_their_way_and_not_missing() {
        let moving = |index, isr: &[i32]| Partition {
            index,
            replicas: vec![0, 1, 2],
            adding_replicas: vec![1, 2],
            isr: isr.to_vec(),
            ..Partition::default()
        };
        let done = Partition {
            replicas: vec![0, 1, 2],
            isr: vec![0, 1, 2],
            ..Partition::default()
        };
        let topic = Topic {
            partitions: vec![done, moving(1, &[0]), moving(2, &[0, 2]), moving(3, &[])],
            ..Topic::default()
        };
        let view = topic_view(topic);
        assert_eq!((view.replication_factor, view.under_replicated), (1, 1));
        let factor = |now, moving, partitions| Factor {
            now,
            target: 3,
            moving,
            partitions,
        };
        assert_eq!(view.factors, [factor(1, true, 3), factor(3, false, 1)]);
    }

    #[test]
    fn the_deletion_of_an_older_topic_of_the_name_changes_nothing() {
        let mut view = View::default();
        view.apply(topic("a", 2, &[0]));
        view.apply(deleted("a", 1));
        assert_eq!(view.topics["a"].id, vec![2; 16]);
    }

    #[test]
    fn configs_land_where_they_belong() {
        let configs = |type_: ResourceType, name: &str| {
            event(Event::ConfigsChanged(ConfigsChanged {
                r#type: type_.into(),
                name: name.into(),
                config: [("k".to_owned(), "v".to_owned())].into(),
            }))
        };
        let mut view = View::default();
        view.apply(topic("a", 1, &[0]));
        assert_eq!(
            view.apply(configs(ResourceType::Topic, "a")),
            Change::Topic("a".into())
        );
        assert_eq!(view.topics["a"].config.keys().collect::<Vec<_>>(), ["k"]);
        assert_eq!(
            view.apply(configs(ResourceType::Broker, "")),
            Change::Cluster
        );
        assert_eq!(view.broker_config["k"], "v");
        assert_eq!(
            view.apply(configs(ResourceType::Broker, "1")),
            Change::Nothing
        );
    }

    #[test]
    fn brokers_that_get_no_replicas_are_no_room_for_topics() {
        let mut view = View::default();
        for (node_id, fenced, cordoned) in [(0, false, false), (1, true, false), (2, false, true)] {
            view.apply(event(Event::BrokerChanged(Broker {
                node_id,
                fenced,
                cordoned,
                ..Broker::default()
            })));
        }
        assert_eq!(view.brokers_alive(), 1);
    }

    #[test]
    fn brokers_come_and_go_and_the_view_is_synced_when_told_so() {
        let mut view = View::default();
        let broker = Broker {
            node_id: 2,
            incarnation: vec![0, 171],
            ..Broker::default()
        };
        assert_eq!(
            view.apply(event(Event::BrokerChanged(broker))),
            Change::Cluster
        );
        assert_eq!(view.brokers[&2].incarnation, "00ab");
        view.apply(event(Event::BrokerRemoved(2)));
        assert!(view.brokers.is_empty() && !view.synced);
        let synced = Synced {
            metadata_offset: 1,
            cluster_id: "c".into(),
        };
        assert_eq!(view.apply(event(Event::Synced(synced))), Change::Synced);
        assert!(view.synced && view.cluster_id == "c");
    }

    #[test]
    fn replicas_are_counted_by_broker_and_moves_as_long_as_they_last() {
        let partition = |replicas: &[i32], adding: &[i32], removing: &[i32]| Partition {
            replicas: replicas.to_vec(),
            isr: replicas.to_vec(),
            adding_replicas: adding.to_vec(),
            removing_replicas: removing.to_vec(),
            ..Partition::default()
        };
        let topic = |partitions: Vec<Partition>| {
            event(Event::TopicChanged(Topic {
                name: "a".into(),
                id: vec![1; 16],
                partitions,
                ..Topic::default()
            }))
        };
        let mut view = View::default();
        view.apply(topic(vec![
            partition(&[0, 1], &[], &[]),
            partition(&[1, 2, 3], &[3], &[1]),
        ]));
        assert_eq!(view.replicas, [(0, 1), (1, 2), (2, 1), (3, 1)].into());
        assert_eq!((view.moving, view.topics["a"].replicas_max), (1, 2));
        assert_eq!(view.topics["a"].replication_factor, 2);
        view.apply(topic(vec![Partition {
            isr: vec![1, 2],
            ..partition(&[1, 2, 3], &[3], &[1])
        }]));
        assert_eq!(view.under_replicated, 0);
        view.apply(topic(vec![Partition {
            isr: vec![1],
            ..partition(&[1, 2, 3], &[3], &[1])
        }]));
        assert_eq!(view.under_replicated, 1);
        view.apply(topic(vec![
            partition(&[0, 1], &[], &[]),
            partition(&[2, 3], &[], &[]),
        ]));
        assert_eq!(view.replicas, [(0, 1), (1, 1), (2, 1), (3, 1)].into());
        assert_eq!(view.moving, 0);
        view.apply(deleted("a", 1));
        assert!(view.replicas.is_empty());
    }

    #[test]
    fn a_rebalance_that_is_followed_by_another_has_ended() {
        let rebalance = |rebalance_id, state: State| {
            event(Event::RebalanceChanged(Rebalance {
                rebalance_id,
                state: state.into(),
                ..Rebalance::default()
            }))
        };
        let mut view = View::default();
        view.apply(rebalance(3, State::Running));
        assert_eq!(view.apply(rebalance(7, State::Running)), Change::Cluster);
        assert_eq!(view.rebalances[&3].state, RebalanceState::Cancelled);
        view.apply(rebalance(7, State::Completed));
        view.apply(rebalance(9, State::Running));
        assert_eq!(view.rebalances[&7].state, RebalanceState::Completed);
        for id in 10..100 {
            view.apply(rebalance(id, State::Running));
        }
        assert_eq!(view.rebalances.len(), 16);
        assert!(view.rebalances[&99].runs() && !view.rebalances[&98].runs());
    }

    #[test]
    fn who_votes_is_told_as_a_whole() {
        let mut view = View::default();
        let told = |voters: &[i32], removed: &[i32]| {
            event(Event::VotersChanged(Voters {
                voters: voters.to_vec(),
                learners: vec![1003],
                removed: removed.to_vec(),
            }))
        };
        let change = view.apply(told(&[1000, 1001, 1002], &[]));
        assert_eq!(change, Change::Cluster);
        view.apply(told(&[1000, 1001], &[1002]));
        assert_eq!(view.voters.voters, [1000, 1001].into());
        assert_eq!(view.voters.learners, [1003].into());
        assert_eq!(view.voters.removed, [1002].into());
    }

    #[test]
    fn grants_come_and_go_and_a_newer_one_takes_the_place_of_an_older() {
        let mut view = View::default();
        for grant_epoch in [7, 9] {
            let grant = Grant {
                node_id: 1000,
                grant_epoch,
                incarnation: vec![0xab; 16],
                operator_epoch: 3,
                ..Grant::default()
            };
            let change = view.apply(event(Event::GrantChanged(grant)));
            assert_eq!(change, Change::Cluster);
        }
        let grant = &view.grants[&1000];
        assert_eq!((grant.grant_epoch, grant.is_operators()), (9, true));
        assert_eq!(grant.incarnation, "ab".repeat(16));
        assert_eq!(view.apply(event(Event::GrantEnded(1000))), Change::Cluster);
        assert!(view.grants.is_empty());
    }

    #[test]
    fn hexadecimal_goes_there_and_back() {
        let bytes: Vec<u8> = (0..=255).collect();
        assert_eq!(from_hex(&hex(&bytes)), Some(bytes));
        assert_eq!(from_hex("0aFF"), Some(vec![10, 255]));
        for wrong in ["0", "0g", "-1", "ü0"] {
            assert_eq!(from_hex(wrong), None);
        }
    }

    /// `Uuid.toString` of Apache Kafka for the same bytes.
    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        assert_eq!(id_text(&[0; 16]), "AAAAAAAAAAAAAAAAAAAAAA");
        assert_eq!(id_text(&[0xff; 16]), "_____________________w");
        assert_eq!(id_text(b"0123456789abcdef"), "MDEyMzQ1Njc4OWFiY2RlZg");
    }
}
