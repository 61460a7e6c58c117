//! A metadata quorum that keeps topics and settings in memory, and can be told to misbehave.

#[path = "quorum/admin.rs"]
mod admin;
#[path = "quorum/deleted.rs"]
mod deleted;
#[path = "quorum/faulty.rs"]
mod faulty;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};

use faulty::Faulty;
use foz_api::v1::admin_server::AdminServer;
use foz_api::v1::cluster_event::{ConfigsChanged, Event, Features, TopicDeleted, Voters};
use foz_api::v1::*;
use foz_operator::names::CONTROLLER_PORT;
use tokio::sync::broadcast;
use tonic::Status;

use super::faults::Faults;

/// The quorum; clones are the same one.
#[derive(Clone)]
pub(crate) struct Quorum {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<ClusterEvent>,
}

#[derive(Default)]
pub(crate) struct State {
    pub(crate) topics: BTreeMap<String, Topic>,
    pub(crate) broker_config: BTreeMap<String, String>,
    pub(crate) brokers: BTreeMap<i32, Broker>,
    pub(crate) epoch: i64,
    pub(crate) epochs_acquired: usize,
    /// Topics that were deleted, in this order, and are kept.
    pub(crate) deleted: Vec<Topic>,
    /// How often these were asked for.
    pub(crate) listings_of_deleted: usize,
    /// The next creation, or the next time that a topic is brought back, is carried out, and its answer is lost.
    pub(crate) lose_next_answer: bool,
    /// Brokers that hear of no deletion.
    pub(crate) behind: Vec<i32>,
    pub(crate) grants: BTreeMap<i32, Grant>,
    /// Every question for a restart, as it was asked.
    pub(crate) asked: Vec<AcquireRestartRequest>,
    /// Brokers are denied their restart, for this reason.
    pub(crate) denies: Option<String>,
    /// Grants are given, and nobody is told.
    pub(crate) keeps_grants_to_itself: bool,
    pub(crate) voters: Voters,
    /// Of `foz.version`: those that were finalised.
    pub(crate) levels: Vec<i32>,
    /// Node ids that were removed or added, in order; those that were removed are negative.
    pub(crate) voters_changed: Vec<i32>,
    /// The next removal is refused, for this reason.
    pub(crate) keeps_voter: Option<String>,
    /// The newest.
    pub(crate) rebalance: Option<Rebalance>,
    /// Every wish to move replicas.
    pub(crate) started: Vec<StartRebalanceRequest>,
    pub(crate) last_rebalance: i64,
    last_grant: i64,
    next_id: u8,
}

impl Quorum {
    /// Serves on the controllers' port of a loopback address of its own.
    pub(crate) async fn start(address: IpAddr, brokers: i32) -> Self {
        let quorum = Self::start_with(address, Faults::default()).await;
        quorum.with(|state| {
            state.voters.voters = vec![1000, 1001, 1002];
            state.brokers = (0..brokers)
                .map(|node_id| (node_id, broker(node_id, 0)))
                .collect();
        });
        quorum
    }

    /// Without brokers. The operator crashes where these say.
    pub(crate) async fn start_with(address: IpAddr, faults: Faults) -> Self {
        let quorum = Self {
            state: Arc::default(),
            events: broadcast::channel(1024).0,
        };
        let service = Faulty {
            inner: AdminServer::new(quorum.clone()),
            faults,
        };
        let server = tonic::transport::Server::builder().add_service(service);
        let port = u16::try_from(CONTROLLER_PORT).expect("a port");
        let served = server.serve(SocketAddr::new(address, port));
        tokio::spawn(async move { served.await.expect("a free address") });
        quorum
    }

    pub(crate) fn with<T>(&self, look: impl FnOnce(&mut State) -> T) -> T {
        look(
            &mut self
                .state
                .lock()
                .expect("no test panics while it holds this"),
        )
    }

    /// As an administrator would, past the operator.
    pub(crate) fn make(&self, name: &str, partitions: i32) -> Topic {
        self.make_on(name, partitions, 1)
    }

    /// The same, on so many brokers.
    pub(crate) fn make_on(&self, name: &str, partitions: i32, factor: usize) -> Topic {
        let id = self.with(|state| {
            state.next_id += 1;
            vec![state.next_id; 16]
        });
        self.make_replicated(name, id, partitions, factor)
    }

    fn make_replicated(&self, name: &str, id: Vec<u8>, partitions: i32, factor: usize) -> Topic {
        let topic = self.with(|state| {
            let partition = |index| Partition {
                index,
                replicas: (0..).take(factor).collect(),
                isr: (0..).take(factor).collect(),
                ..Partition::default()
            };
            let topic = Topic {
                name: name.to_owned(),
                id,
                partitions: (0..partitions).map(partition).collect(),
                ..Topic::default()
            };
            state.topics.insert(name.to_owned(), topic.clone());
            topic
        });
        self.tell(Event::TopicChanged(topic.clone()));
        topic
    }

    /// Each partition is brought to so many replicas, or on its way there.
    pub(crate) fn move_to(&self, name: &str, factor: i32, at_once: bool) {
        let topic = self.with(|state| {
            let topic = state.topics.get_mut(name).expect("the topic");
            for partition in &mut topic.partitions {
                let before = partition.replicas.len() - partition.adding_replicas.len();
                let before = i32::try_from(before).expect("few");
                let all: Vec<i32> = (0..factor).collect();
                let is_new = |id: &i32| *id >= before && !at_once;
                partition.adding_replicas = all.iter().copied().filter(is_new).collect();
                partition.isr = all.iter().copied().filter(|id| !is_new(id)).collect();
                partition.replicas = all;
            }
            topic.clone()
        });
        self.tell(Event::TopicChanged(topic));
    }

    pub(crate) fn remove(&self, name: &str) {
        if let Some(topic) = self.with(|state| state.topics.remove(name)) {
            self.with(|state| state.deleted.push(topic.clone()));
            self.tell(Event::TopicDeleted(TopicDeleted {
                name: topic.name,
                id: topic.id,
            }));
        }
    }

    /// A broker has registered and holds a lease.
    pub(crate) fn add_broker(&self, node_id: i32) {
        self.register(broker(node_id, 0));
    }

    /// A process of a broker has registered, and is in every ISR.
    pub(crate) fn start_broker(&self, node_id: i32) {
        let known = self.with(|state| state.brokers.contains_key(&node_id));
        if known {
            self.restart_broker(node_id);
        } else {
            self.add_broker(node_id);
        }
    }

    /// A broker has lost its lease.
    pub(crate) fn fence(&self, node_id: i32) {
        let known = self.with(|state| state.brokers.get(&node_id).cloned());
        if let Some(mut broker) = known {
            broker.fenced = true;
            self.register(broker);
        }
    }

    /// Another process of a broker has registered, and is in every ISR.
    pub(crate) fn restart_broker(&self, node_id: i32) {
        let start = self.with(|state| state.brokers[&node_id].incarnation[1]) + 1;
        self.register(broker(node_id, start));
        self.end_grant(node_id);
    }

    fn register(&self, broker: Broker) {
        self.with(|state| state.brokers.insert(broker.node_id, broker.clone()));
        self.tell(Event::BrokerChanged(broker));
    }

    fn end_grant(&self, node_id: i32) -> bool {
        let ended = self.with(|state| state.grants.remove(&node_id)).is_some();
        if ended {
            self.tell(Event::GrantEnded(node_id));
        }
        ended
    }

    /// Tells of grants that nobody was told of.
    pub(crate) fn tell_grants(&self) {
        for grant in self.with(|state| state.grants.clone()).into_values() {
            self.tell(Event::GrantChanged(grant));
        }
    }

    pub(crate) fn set_config(&self, name: &str, key: &str, value: &str) {
        let topic = self.with(|state| {
            let topic = state.topics.get_mut(name).expect("the topic");
            topic.config.insert(key.to_owned(), value.to_owned());
            topic.clone()
        });
        let (name, config) = (topic.name, topic.config);
        self.tell(Event::ConfigsChanged(ConfigsChanged {
            r#type: ResourceType::Topic.into(),
            name,
            config,
        }));
    }

    /// The level of `foz.version` that is finalised from now on.
    pub(crate) fn tell_level(&self, level: i32) {
        self.with(|state| state.levels.push(level));
        self.tell(Event::FeaturesChanged(Features {
            finalized: [("foz.version".to_owned(), level)].into(),
        }));
    }

    /// A broker runs a version that knows levels up to this one.
    pub(crate) fn upgrade_broker(&self, node_id: i32, foz_version_max: i32) {
        let mut broker = self.with(|state| state.brokers[&node_id].clone());
        broker.foz_version_max = foz_version_max;
        self.register(broker);
    }

    /// One that is added joins at once.
    fn change_voter(&self, node_id: i32, is_added: bool) {
        let voters = self.with(|state| {
            let change = if is_added { node_id } else { -node_id };
            state.voters_changed.push(change);
            let (to, from) = if is_added {
                (&mut state.voters.voters, &mut state.voters.removed)
            } else {
                (&mut state.voters.removed, &mut state.voters.voters)
            };
            from.retain(|it| *it != node_id);
            to.retain(|it| *it != node_id);
            to.push(node_id);
            state.voters.clone()
        });
        self.tell(Event::VotersChanged(voters));
    }

    pub(super) fn tell(&self, event: Event) {
        // Nobody may watch.
        let _ = self.events.send(ClusterEvent { event: Some(event) });
    }

    fn check(&self, epoch: i64) -> Result<(), Status> {
        let newest = self.with(|state| state.epoch);
        if epoch < newest {
            return Err(Status::aborted(format!(
                "epoch {epoch} is older than {newest}"
            )));
        }
        Ok(())
    }
}

fn broker(node_id: i32, start: u8) -> Broker {
    let mut incarnation = vec![0xb0; 16];
    incarnation[0] = u8::try_from(node_id).expect("few");
    incarnation[1] = start;
    Broker {
        node_id,
        incarnation,
        version: "0.1.0".into(),
        ..Broker::default()
    }
}
