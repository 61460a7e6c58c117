//! Whatever commands come in whatever order, the image stays right.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "rules_properties/check.rs"]
mod check;
#[path = "rules_properties/command.rs"]
mod command;
#[path = "rules_properties/deleted.rs"]
mod deleted;
#[path = "rules_properties/rebalance.rs"]
mod rebalance;
#[path = "rules_properties/replicas.rs"]
mod replicas;

use std::collections::{BTreeMap, BTreeSet, HashMap};

use foz_metadata::image::{Image, NO_LEADER, SupportedFeatures};
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    AcquireRestart, AlterConfigs, AlterResource, Answer, ConfigChange, ConfigOperation,
    CreatePartitions, CreateTopics, DataDirectory, Decision, DeleteTopics, ElectLeaders, Increase,
    NewTopic, QuorumHealth, Refusal, RegisterBroker, ResourceName, TopicRef, Unavailable,
    acquire_operator_epoch, acquire_restart, allocate_producer_ids, alter_configs, assign_racks,
    balance_leaders, cordon, create_partitions, create_topics, delete_topics, elect_leaders,
    elect_unclean_where_allowed, end_restart, end_restarts_done, fence_broker, found_cluster,
    raise_internal_topics, register_broker, report_space, stop_broker, unfence_broker,
    unregister_broker,
};
use proptest::prelude::*;
use uuid::Uuid;

use check::check_step;
use command::{Command, NODES, Second, command};

const UNCLEAN_ELECTION: &str = "unclean.leader.election.enable";

struct Cluster {
    image: Image,
    batches: Vec<Batch>,
    ids_made: u128,
    topic_ids_seen: BTreeSet<Uuid>,
    producer_ids_seen: BTreeSet<i64>,
}

impl Cluster {
    fn new() -> Self {
        let mut cluster = Self {
            image: Image::default(),
            batches: Vec::new(),
            ids_made: 0,
            topic_ids_seen: BTreeSet::new(),
            producer_ids_seen: BTreeSet::new(),
        };
        let decision = found_cluster(&cluster.image, "the-cluster").unwrap();
        cluster.commit(decision);
        cluster
    }

    fn commit<A>(&mut self, decision: Decision<A>) -> A {
        if decision.records.is_empty() {
            return decision.answer;
        }
        let term = 1 + i64::try_from(self.batches.len() / 5).unwrap();
        let batch = Batch {
            follows: self.image.offset(),
            term,
            records: decision.records,
        };
        let after = self.image.apply(&batch).unwrap();
        check_step(&self.image, &batch, &after);
        for topic in after
            .topics()
            .filter(|topic| self.image.topic_by_id(topic.id).is_none())
        {
            let is_restored = self.image.deleted_topic(topic.id).is_some();
            assert!(
                self.topic_ids_seen.insert(topic.id) != is_restored,
                "topic id {} was used before",
                topic.id
            );
        }
        self.image = after;
        self.batches.push(batch);
        decision.answer
    }

    fn commit_if_allowed<A>(&mut self, decided: Result<Decision<A>, Refusal>) -> Option<A> {
        match decided {
            Ok(decision) => Some(self.commit(decision)),
            Err(refusal) => {
                assert!(!refusal.message.is_empty() && refusal.code.kafka_code() != 0);
                None
            }
        }
    }

    fn epoch(&self, node_id: i32) -> i64 {
        self.image.broker(node_id).map_or(-1, |broker| broker.epoch)
    }

    fn run(&mut self, command: Command) {
        let properties = BTreeMap::new();
        let image = self.image.clone();
        match command {
            Command::Register {
                node_id,
                incarnation,
                log_intact,
                is_same_disk,
                second,
            } => {
                let request = RegisterBroker {
                    node_id,
                    incarnation: Uuid::from_u128(incarnation.into()),
                    directories: self.directories(node_id, log_intact, is_same_disk, second),
                    offline_directories: i32::from(second == Second::Failed),
                    in_doubt: Vec::new(),
                    cluster_id: "the-cluster".to_owned(),
                    host: "localhost".to_owned(),
                    port: 9092,
                    rack: None,
                    version: "1".to_owned(),
                    features: SupportedFeatures::of_this_program(),
                    replication_host: "localhost".to_owned(),
                    replication_port: 9091,
                };
                if self
                    .commit_if_allowed(register_broker(&image, &request))
                    .is_some()
                {
                    // Who asks again is told what was decided.
                    let is_new =
                        self.epoch(node_id) > image.broker(node_id).map_or(-1, |it| it.epoch);
                    let all_are_here = is_new && second != Second::Failed;
                    for (_, _, partition) in self.image.partitions_on(node_id) {
                        assert!(!(all_are_here && partition.offline.contains(&node_id)));
                    }
                }
            }
            Command::ReportOffline {
                node_id,
                modulus,
                is_stale,
            } => self.report_offline(node_id, modulus, is_stale),
            Command::Fence { node_id } => {
                let decided = fence_broker(&image, node_id, self.epoch(node_id));
                self.commit_if_allowed(decided);
                assert!(!self.image.is_alive(node_id));
            }
            Command::Unfence { node_id } => {
                let decided = unfence_broker(&image, node_id, self.epoch(node_id));
                self.commit_if_allowed(decided);
            }
            Command::Stop { node_id } => {
                let decided = stop_broker(&image, node_id, self.epoch(node_id));
                if let Some(state) = self.commit_if_allowed(decided) {
                    assert_eq!(state.leads, self.image.partitions_led_by(node_id).count());
                    let again = stop_broker(&self.image, node_id, self.epoch(node_id)).unwrap();
                    assert_eq!(again.records, []);
                }
            }
            Command::Propose {
                at,
                members,
                behind,
            } => self.propose(at, &members, behind),
            Command::Elect(kind) => {
                let request = ElectLeaders {
                    kind,
                    partitions: None,
                    operator_epoch: 0,
                };
                self.commit_if_allowed(elect_leaders(&image, &request));
            }
            Command::Balance => {
                let moved = self.commit_if_allowed(balance_leaders(&image, &properties));
                let unmoved = balance_leaders(&self.image, &properties).unwrap();
                assert_eq!((moved.is_some(), unmoved.answer), (true, 0));
            }
            Command::Raise => {
                self.commit_if_allowed(raise_internal_topics(&image, &properties));
            }
            Command::ElectUnclean => {
                let properties = BTreeMap::from([(UNCLEAN_ELECTION.to_owned(), "true".to_owned())]);
                self.commit_if_allowed(elect_unclean_where_allowed(&image, &properties));
                for (_, _, partition) in self.image.partitions() {
                    let mut replicas = partition.replicas.iter();
                    assert!(
                        partition.leader != NO_LEADER
                            || !replicas.any(|node_id| self.image.can_lead(*node_id)
                                && !partition.offline.contains(node_id))
                    );
                }
            }
            Command::Create {
                names,
                partitions,
                replication_factor,
                assigned_to,
                validate_only,
            } => {
                self.create(
                    &names,
                    (partitions, replication_factor),
                    assigned_to,
                    validate_only,
                );
            }
            Command::Delete { names } => {
                let topics = names
                    .iter()
                    .map(|name| TopicRef {
                        name: topic(*name),
                        id: None,
                    })
                    .collect();
                let request = DeleteTopics {
                    topics,
                    now_ms: self.now_ms(),
                    operator_epoch: image.operator_epoch(),
                };
                let deleted = self.commit_if_allowed(delete_topics(&image, &properties, &request));
                for gone in deleted.unwrap().into_iter().flatten() {
                    assert!(self.image.topic(&gone.name).is_none());
                }
            }
            Command::Increase { name, count } => {
                let request = CreatePartitions {
                    topics: vec![Increase {
                        name: topic(name),
                        count,
                        assignments: vec![],
                    }],
                    validate_only: false,
                    operator_epoch: 0,
                    seed: 3,
                };
                self.commit_if_allowed(create_partitions(&image, &request));
            }
            Command::Configure {
                name,
                operation,
                value,
            } => {
                self.configure(name, operation, value);
            }
            Command::ProducerIds { node_id } => {
                let decided = allocate_producer_ids(&image, node_id, self.epoch(node_id));
                if let Some(block) = self.commit_if_allowed(decided) {
                    for id in block.first_id..block.first_id + i64::from(block.count) {
                        assert!(self.producer_ids_seen.insert(id));
                    }
                }
            }
            Command::Operator => {
                let epoch = self
                    .commit_if_allowed(acquire_operator_epoch(&image, "me"))
                    .unwrap();
                assert!(epoch > image.operator_epoch());
                let stale = assign_racks(&self.image, &BTreeMap::new(), epoch - 1);
                assert_eq!(stale.is_err(), epoch > 1);
            }
            Command::Rack { node_id, rack } => {
                let rack = if rack == 0 {
                    String::new()
                } else {
                    format!("rack-{rack}")
                };
                let racks = BTreeMap::from([(node_id, rack.clone())]);
                self.commit_if_allowed(assign_racks(&image, &racks, 0))
                    .unwrap();
                assert_eq!(self.image.rack(node_id).unwrap_or_default(), rack);
            }
            Command::Reassign { at, target } => self.reassign(at, &target),
            Command::ChangeFactor {
                name,
                replication_factor,
            } => self.change_factor(name, replication_factor),
            Command::Cordon { node_id, cordoned } => {
                let decided = cordon(&image, &BTreeSet::from([node_id]), cordoned, 0);
                self.commit_if_allowed(decided).unwrap();
                assert_eq!(self.image.is_cordoned(node_id), cordoned);
            }
            Command::Space { node_id, is_short } => {
                let decided = report_space(&image, node_id, self.epoch(node_id), is_short);
                if self.commit_if_allowed(decided).is_some() {
                    let again = report_space(&self.image, node_id, self.epoch(node_id), is_short);
                    assert_eq!(again.unwrap().records, []);
                }
            }
            Command::Unregister { node_id } => {
                let is_known = image.broker(node_id).is_some();
                let is_free = !image.is_alive(node_id) && image.replica_count(node_id) == 0;
                let done = self.commit_if_allowed(unregister_broker(&image, node_id, 0));
                assert_eq!(done.is_some(), is_known && is_free);
                assert!(done.is_none() || self.image.broker(node_id).is_none());
            }
            Command::AskToRestart { node_id, insist } => self.ask_to_restart(node_id, insist),
            Command::EndRestart { node_id } => {
                let epoch = image.grant(node_id).map_or(-1, |grant| grant.epoch);
                let ended = self.commit_if_allowed(end_restart(&image, node_id, epoch, 0));
                assert_eq!(ended, Some(epoch >= 0));
                assert_eq!(self.image.grant(node_id), None);
            }
            Command::StartRebalance { drained } => self.start_rebalance(&drained),
            Command::StepRebalance { at, target, end } => self.step_rebalance(at, &target, end),
            Command::CancelRebalance => self.cancel_rebalance(),
            Command::Restore { at, new_name } => self.restore(at, new_name),
            Command::Purge { at } => self.purge(at),
            Command::Expire => self.expire(),
            Command::FreeForRoom { node_id } => self.free_for_room(node_id),
            Command::EndRestartsDone => {
                self.commit_if_allowed(end_restarts_done(&image)).unwrap();
                let again = end_restarts_done(&self.image).unwrap();
                assert_eq!(again.records, []);
            }
        }
    }

    /// Of every second partition the log is in the second one.
    fn directories(
        &self,
        node_id: i32,
        intact: bool,
        is_same_disk: bool,
        second: Second,
    ) -> Vec<DataDirectory> {
        let held: Vec<_> = self.image.partitions_on(node_id).collect();
        let ids = [100, 200].map(|id| Uuid::from_u128(id + u128::try_from(node_id).unwrap()));
        let known = self.image.broker(node_id);
        let directories = ids.into_iter().zip([0, 1]).map(|(id, remainder)| {
            let known = known.and_then(|known| known.directories.iter().find(|it| it.id == id));
            let logs = held.iter().filter(|(_, index, _)| index % 2 == remainder);
            DataDirectory {
                id,
                disk_epoch: known
                    .filter(|_| is_same_disk)
                    .map_or(-1, |known| known.epoch),
                intact,
                logs: logs.map(|(topic, index, _)| (topic.id, *index)).collect(),
            }
        });
        let mut directories: Vec<_> = directories.collect();
        match second {
            Second::Here => {}
            Second::Failed | Second::TakenOut => directories.truncate(1),
            Second::Swapped => {
                let made = u128::try_from(self.image.offset()).unwrap();
                directories[1] = DataDirectory {
                    id: Uuid::from_u128(1000 + made),
                    disk_epoch: -1,
                    intact,
                    logs: Vec::new(),
                };
            }
        }
        directories
    }

    fn ask_to_restart(&mut self, node_id: i32, insist: bool) {
        let image = self.image.clone();
        let Some(broker) = image.broker(node_id) else {
            return;
        };
        let request = AcquireRestart {
            node_id,
            incarnation: broker.incarnation,
            reason: "why not".to_owned(),
            operator_epoch: 0,
            unavailable: Unavailable::Allow,
            insist,
        };
        let quorum = QuorumHealth::default();
        let decided = acquire_restart(&image, &request, &quorum);
        let answer = self.commit_if_allowed(decided).unwrap();
        let is_granted = matches!(answer, Answer::Granted { .. });
        assert!(is_granted || !insist && self.image == image);
        assert_eq!(
            is_granted,
            self.image
                .grant(node_id)
                .is_some_and(|it| { it.incarnation == broker.incarnation })
        );
        let again = acquire_restart(&self.image, &request, &quorum).unwrap();
        assert_eq!((again.records, again.answer), (vec![], answer));
    }

    fn create(
        &mut self,
        names: &[u8],
        (partitions, replication_factor): (i32, i32),
        assigned_to: Option<i32>,
        validate: bool,
    ) {
        let topics = names
            .iter()
            .map(|name| {
                self.ids_made += 1;
                NewTopic {
                    name: topic(*name),
                    id: Uuid::from_u128(self.ids_made << 64),
                    partitions: if assigned_to.is_some() {
                        -1
                    } else {
                        partitions
                    },
                    replication_factor: if assigned_to.is_some() {
                        -1
                    } else {
                        replication_factor
                    },
                    assignments: assigned_to
                        .map(|node_id| vec![node_id])
                        .into_iter()
                        .collect(),
                    config: BTreeMap::from([("retention.ms".to_owned(), "60000".to_owned())]),
                    internal: *name < 2,
                }
            })
            .collect();
        let request = CreateTopics {
            topics,
            validate_only: validate,
            operator_epoch: 0,
            seed: 7,
        };
        let before = self.image.clone();
        let decided = create_topics(&before, &BTreeMap::new(), &request);
        let created = self.commit_if_allowed(decided).unwrap();
        if validate {
            assert_eq!(self.image, before);
            return;
        }
        for topic in created.into_iter().flatten() {
            assert_eq!(
                self.image.topic(&topic.name).map(|found| &**found),
                Some(&topic)
            );
        }
    }

    fn configure(&mut self, name: u8, operation: ConfigOperation, value: u8) {
        let (key, value) = if value < 2 {
            (
                "cleanup.policy",
                ["compact", "delete"][usize::from(value)].to_owned(),
            )
        } else {
            ("min.insync.replicas", value.to_string())
        };
        let change = ConfigChange {
            key: key.to_owned(),
            operation,
            value,
        };
        let resource = AlterResource {
            name: ResourceName::Topic(topic(name)),
            changes: vec![change],
        };
        let request = AlterConfigs {
            resources: vec![resource],
            replaces: false,
            validate_only: false,
            operator_epoch: self.image.operator_epoch(),
        };
        let decided = alter_configs(&self.image, &BTreeMap::new(), &request);
        self.commit_if_allowed(decided);
    }
}

fn topic(name: u8) -> String {
    // Two of the names collide with each other.
    ["a", "b", "c", "d", "e", "f", "g.h", "g_h"][usize::from(name)].to_owned()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn any_commands_keep_the_image_right(commands in prop::collection::vec(command(), 1..60)) {
        let mut cluster = Cluster::new();
        for command in commands {
            cluster.run(command);
        }
        // A snapshot is the image, in bytes that equal images share.
        let bytes = cluster.image.encode();
        let restored = Image::decode(&bytes).unwrap();
        prop_assert_eq!(&restored, &cluster.image);
        prop_assert_eq!(restored.encode(), bytes);
        // Replaying the log, as bytes, gives the same image.
        let mut replayed = Image::default();
        for batch in &cluster.batches {
            let batch = Batch::decode_from(&batch.encode_to_bytes()).unwrap();
            replayed = replayed.apply(&batch).unwrap();
        }
        prop_assert_eq!(&replayed, &cluster.image);
        // A batch applies once, and only where it follows.
        if let Some(last) = cluster.batches.last() {
            prop_assert!(cluster.image.apply(last).is_err());
            prop_assert!(Image::default().apply(last).is_err() || cluster.batches.len() == 1);
        }
    }

    #[test]
    fn placement_stays_within_one(
        topics in prop::collection::vec((1..20i32, any::<u64>()), 1..20),
        nodes in 1..6i32,
    ) {
        let mut cluster = Cluster::new();
        for node_id in 0..nodes {
            cluster.run(Command::Register { node_id, incarnation: 1, log_intact: true, is_same_disk: true, second: Second::Here });
            cluster.run(Command::Unfence { node_id });
        }
        for (position, (partitions, seed)) in topics.into_iter().enumerate() {
            let new = NewTopic {
                name: format!("topic-{position}"),
                id: Uuid::from_u128(u128::try_from(position).unwrap() + 1),
                partitions,
                replication_factor: 1,
                ..NewTopic::default()
            };
            let request =
                CreateTopics { topics: vec![new], validate_only: false, operator_epoch: 0, seed };
            let decision = create_topics(&cluster.image, &BTreeMap::new(), &request).unwrap();
            let created = cluster.commit(decision).remove(0).unwrap();
            let mut all: HashMap<i32, i32> = (0..nodes).map(|node_id| (node_id, 0)).collect();
            let mut here = all.clone();
            for (_, _, partition) in cluster.image.partitions() {
                *all.get_mut(&partition.leader).unwrap() += 1;
            }
            for partition in &created.partitions {
                *here.get_mut(&partition.leader).unwrap() += 1;
            }
            for counts in [all, here] {
                let spread = counts.values().max().unwrap() - counts.values().min().unwrap();
                prop_assert!(spread <= 1, "{:?}", counts);
            }
        }
    }

    #[test]
    fn damaged_bytes_are_an_error_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let _ = Image::decode(&bytes);
        if let Ok(batch) = Batch::decode_from(&bytes) {
            let _ = Image::default().apply(&batch);
        }
    }
}
