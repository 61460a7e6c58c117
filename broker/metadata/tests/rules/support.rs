//! A cluster to command, and the commands most tests give it.

use std::collections::BTreeMap;

use foz_metadata::config::Effect;
use foz_metadata::image::{Image, Partition, SupportedFeatures};
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    AcquireRestart, AlterConfigs, AlterPartitionReassignments, AlterPartitions, AlterResource,
    Answer, ConfigChange, ConfigOperation, CreateTopics, DataDirectory, Decision, DeniedReason,
    ErrorCode, IsrChange, NewTopic, PartitionState, QuorumHealth, Reassignment, Refusal,
    RegisterBroker, ResourceName, Unavailable, acquire_restart, alter_configs,
    alter_partition_reassignments, alter_partitions, cordon, create_topics, fence_broker,
    found_cluster, register_broker, stop_broker, unfence_broker,
};
use uuid::Uuid;

pub(crate) fn commit<A>(image: &mut Image, decision: Decision<A>) -> A {
    if !decision.records.is_empty() {
        let batch = Batch {
            follows: image.offset(),
            term: 1,
            records: decision.records,
        };
        *image = image.apply(&batch).unwrap();
    }
    decision.answer
}

pub(crate) fn registration(node_id: i32, incarnation: u128) -> RegisterBroker {
    RegisterBroker {
        node_id,
        incarnation: Uuid::from_u128(incarnation),
        directories: vec![DataDirectory {
            id: Uuid::from_u128(1000 + u128::try_from(node_id).unwrap()),
            disk_epoch: -1,
            intact: false,
            logs: Vec::new(),
        }],
        offline_directories: 0,
        in_doubt: Vec::new(),
        cluster_id: String::new(),
        host: format!("broker-{node_id}"),
        port: 9092,
        rack: Some("a".to_owned()),
        version: "0.1.0".to_owned(),
        features: SupportedFeatures::of_this_program(),
        replication_host: format!("broker-{node_id}"),
        replication_port: 9091,
    }
}

pub(crate) fn cluster(brokers: i32) -> Image {
    let mut image = Image::default();
    let decision = found_cluster(&image, "cluster-1").unwrap();
    commit(&mut image, decision);
    for node_id in 0..brokers {
        let decision = register_broker(&image, &registration(node_id, 1)).unwrap();
        let epoch = commit(&mut image, decision);
        let decision = unfence_broker(&image, node_id, epoch).unwrap();
        commit(&mut image, decision);
    }
    image
}

pub(crate) fn new_topic(name: &str) -> NewTopic {
    let id = name
        .bytes()
        .fold(1, |id: u128, byte| id.wrapping_mul(257) + u128::from(byte));
    NewTopic {
        name: name.to_owned(),
        id: Uuid::from_u128(id),
        partitions: -1,
        replication_factor: -1,
        ..NewTopic::default()
    }
}

pub(crate) fn try_create(
    image: &Image,
    topics: Vec<NewTopic>,
) -> Decision<Vec<Result<(), Refusal>>> {
    let request = CreateTopics {
        topics,
        validate_only: false,
        operator_epoch: 0,
        seed: 1,
    };
    let decision = create_topics(image, &BTreeMap::new(), &request).unwrap();
    let answer = decision
        .answer
        .into_iter()
        .map(|result| result.map(|_| ()))
        .collect();
    Decision {
        records: decision.records,
        answer,
    }
}

pub(crate) fn refusal_of(image: &Image, topic: NewTopic) -> (ErrorCode, String) {
    let decision = try_create(image, vec![topic]);
    assert_eq!(decision.records, [], "a refused topic writes nothing");
    let refusal = decision.answer.into_iter().next().unwrap().unwrap_err();
    (refusal.code, refusal.message)
}

pub(crate) fn create(image: &mut Image, topic: NewTopic) {
    let decision = try_create(image, vec![topic]);
    for result in commit(image, decision) {
        result.unwrap();
    }
}

pub(crate) fn set(key: &str, value: &str) -> ConfigChange {
    ConfigChange {
        key: key.to_owned(),
        operation: ConfigOperation::Set,
        value: value.to_owned(),
    }
}

pub(crate) fn alter(
    image: &Image,
    name: ResourceName,
    changes: &[ConfigChange],
) -> Result<Decision<Vec<Effect>>, Refusal> {
    let resource = AlterResource {
        name,
        changes: changes.to_vec(),
    };
    let request = AlterConfigs {
        resources: vec![resource],
        replaces: false,
        validate_only: false,
        operator_epoch: 0,
    };
    let decision = alter_configs(image, &BTreeMap::new(), &request)?;
    let effects = decision.answer.into_iter().next().unwrap()?;
    let answer = effects.into_iter().map(|effect| effect.effect).collect();
    Ok(Decision {
        records: decision.records,
        answer,
    })
}

pub(crate) fn alter_broker_default(image: &mut Image, key: &str, value: &str) {
    let decision = alter(
        image,
        ResourceName::Broker(String::new()),
        &[set(key, value)],
    )
    .unwrap();
    commit(image, decision);
}

/// One partition of three replicas, of the topic `t`.
pub(crate) fn replicated(min_insync: &str) -> Image {
    partition_on(3, &[0, 1, 2], min_insync)
}

pub(crate) fn epoch(image: &Image, node_id: i32) -> i64 {
    image.broker(node_id).unwrap().epoch
}

pub(crate) fn partition(image: &Image) -> &Partition {
    image.partition("t", 0).unwrap()
}

/// ISR, ELR, last known ELR, leader.
pub(crate) fn state(image: &Image) -> (&[i32], &[i32], &[i32], i32) {
    let it = partition(image);
    (&it.isr, &it.elr, &it.last_known_elr, it.leader)
}

pub(crate) fn fence(image: &mut Image, node_id: i32) {
    let decision = fence_broker(image, node_id, epoch(image, node_id)).unwrap();
    commit(image, decision);
}

pub(crate) fn unfence(image: &mut Image, node_id: i32) {
    let decision = unfence_broker(image, node_id, epoch(image, node_id)).unwrap();
    commit(image, decision);
}

pub(crate) fn stop(image: &mut Image, node_id: i32) -> usize {
    let decision = stop_broker(image, node_id, epoch(image, node_id)).unwrap();
    commit(image, decision).leads
}

/// Another process of the node; `is_clean`: its disk has everything.
pub(crate) fn restart(image: &mut Image, node_id: i32, is_clean: bool) {
    let known = image.broker(node_id).unwrap().clone();
    let mut request = registration(node_id, known.incarnation.as_u128() + 1);
    request.directories[0].disk_epoch = known.epoch;
    request.directories[0].intact = is_clean;
    let decision = register_broker(image, &request).unwrap();
    commit(image, decision);
}

pub(crate) fn proposal(image: &Image, isr: &[i32]) -> AlterPartitions {
    proposal_at(image, 0, isr)
}

fn proposal_at(image: &Image, index: i32, isr: &[i32]) -> AlterPartitions {
    let it = image.partition("t", index).unwrap();
    AlterPartitions {
        broker_id: it.leader,
        broker_epoch: image.broker(it.leader).map_or(-1, |broker| broker.epoch),
        partitions: vec![IsrChange {
            topic_id: image.topic("t").unwrap().id,
            index,
            leader_epoch: it.leader_epoch,
            partition_epoch: it.partition_epoch,
            new_isr: isr.iter().map(|id| (*id, epoch(image, *id))).collect(),
        }],
    }
}

pub(crate) fn propose(image: &mut Image, isr: &[i32]) -> Result<PartitionState, Refusal> {
    let decision = alter_partitions(image, &proposal(image, isr)).unwrap();
    commit(image, decision).remove(0)
}

/// The leader of any partition of the topic `t` changes its ISR.
pub(crate) fn propose_at(image: &mut Image, index: i32, isr: &[i32]) {
    let decision = alter_partitions(image, &proposal_at(image, index, isr)).unwrap();
    commit(image, decision).remove(0).unwrap();
}

/// The registered process of a node asks for its restart.
pub(crate) fn restart_of(image: &Image, node_id: i32) -> AcquireRestart {
    AcquireRestart {
        node_id,
        incarnation: image.broker(node_id).unwrap().incarnation,
        reason: "image changed".to_owned(),
        operator_epoch: 0,
        unavailable: Unavailable::Allow,
        insist: false,
    }
}

pub(crate) fn ask(image: &mut Image, request: &AcquireRestart) -> Answer {
    let decision = acquire_restart(image, request, &QuorumHealth::default()).unwrap();
    commit(image, decision)
}

/// The epoch of the grant, and what it leaves unprotected.
pub(crate) fn grant(image: &mut Image, node_id: i32) -> (i64, Vec<String>) {
    let request = restart_of(image, node_id);
    match ask(image, &request) {
        Answer::Granted {
            grant_epoch,
            unprotected,
        } => (grant_epoch, unprotected),
        Answer::Denied { reason, message } => panic!("{reason:?}: {message}"),
    }
}

pub(crate) fn denied(image: &mut Image, request: &AcquireRestart) -> (DeniedReason, String) {
    let before = image.clone();
    match ask(image, request) {
        Answer::Denied { reason, message } => {
            assert_eq!(*image, before, "a denial writes nothing");
            (reason, message)
        }
        granted @ Answer::Granted { .. } => panic!("{granted:?}"),
    }
}

/// Moves the partition of the topic `t`, or cancels that.
pub(crate) fn reassign(image: &mut Image, replicas: Option<&[i32]>) -> Result<(), Refusal> {
    let request = AlterPartitionReassignments {
        partitions: vec![Reassignment {
            topic: "t".to_owned(),
            index: 0,
            replicas: replicas.map(<[i32]>::to_vec),
        }],
        allow_replication_factor_change: true,
        operator_epoch: 0,
    };
    let decision = alter_partition_reassignments(image, &request).unwrap();
    commit(image, decision).remove(0).2
}

/// Replicas, those that come, those that go.
pub(crate) fn moving(image: &Image) -> (&[i32], &[i32], &[i32]) {
    let it = partition(image);
    (&it.replicas, &it.adding_replicas, &it.removing_replicas)
}

pub(crate) fn cordon_brokers(image: &mut Image, node_ids: &[i32], cordoned: bool) {
    let node_ids = node_ids.iter().copied().collect();
    let decision = cordon(image, &node_ids, cordoned, 0).unwrap();
    commit(image, decision);
}

/// One partition of the topic `t`, with these replicas, in a cluster of so many brokers.
pub(crate) fn partition_on(brokers: i32, replicas: &[i32], min_insync: &str) -> Image {
    let mut image = cluster(brokers);
    let topic = NewTopic {
        assignments: vec![replicas.to_vec()],
        config: [("min.insync.replicas".to_owned(), min_insync.to_owned())].into(),
        ..new_topic("t")
    };
    create(&mut image, topic);
    image
}
