//! Between the messages of `foz-api` and the types of `foz-metadata`.

use std::collections::BTreeMap;

use foz_api::v1;
use foz_metadata::Image;
use foz_metadata::image::{
    Broker, Grant, LevelRange, Partition, Rebalance, RebalanceGoal, RebalanceState, Resource,
    SupportedFeatures, Topic,
};
use foz_metadata::rules::{ErrorCode, Refusal};
use tonic::{Code, Status};
use uuid::Uuid;

pub(crate) fn topic(image: &Image, topic: &Topic) -> v1::Topic {
    let config = image.configs(&Resource::Topic(topic.name.clone()));
    v1::Topic {
        name: topic.name.to_string(),
        id: topic.id.as_bytes().to_vec(),
        partitions: topic.indexed_partitions().map(partition).collect(),
        config: config
            .map(|config| BTreeMap::clone(config))
            .unwrap_or_default(),
        internal: topic.internal,
    }
}

fn partition((index, partition): (i32, &Partition)) -> v1::Partition {
    v1::Partition {
        index,
        replicas: partition.replicas.clone(),
        leader: partition.leader,
        leader_epoch: partition.leader_epoch,
        isr: partition.isr.clone(),
        elr: partition.elr.clone(),
        last_known_elr: partition.last_known_elr.clone(),
        partition_epoch: partition.partition_epoch,
        adding_replicas: partition.adding_replicas.clone(),
        removing_replicas: partition.removing_replicas.clone(),
        offline: partition.offline.clone(),
    }
}

pub(crate) fn broker(image: &Image, broker: &Broker) -> v1::Broker {
    v1::Broker {
        node_id: broker.node_id,
        epoch: broker.epoch,
        incarnation: broker.incarnation.as_bytes().to_vec(),
        host: broker.host.clone(),
        port: i32::from(broker.port),
        rack: image.rack(broker.node_id).map(str::to_owned),
        fenced: broker.fenced,
        version: broker.version.clone(),
        replication_host: broker.replication_host.clone(),
        replication_port: i32::from(broker.replication_port),
        stopping: broker.stopping,
        cordoned: image.is_cordoned(broker.node_id),
        foz_version_max: broker.features.foz_version_max(),
        short_of_space: broker.short_of_space,
    }
}

pub(crate) fn features(features: &[v1::SupportedFeature]) -> SupportedFeatures {
    let levels = |it: &v1::SupportedFeature| LevelRange {
        min: it.min_level,
        max: it.max_level,
    };
    let features = features.iter();
    features.map(|it| (it.name.clone(), levels(it))).collect()
}

pub(crate) fn supported(features: &SupportedFeatures) -> Vec<v1::SupportedFeature> {
    let features = features.iter().map(|(name, levels)| v1::SupportedFeature {
        name: name.to_owned(),
        min_level: levels.min,
        max_level: levels.max,
    });
    features.collect()
}

pub(crate) fn grant(grant: &Grant) -> v1::Grant {
    v1::Grant {
        node_id: grant.node_id,
        grant_epoch: grant.epoch,
        incarnation: grant.incarnation.as_bytes().to_vec(),
        reason: grant.reason.clone(),
        operator_epoch: grant.operator_epoch,
        unprotected: grant.unprotected.clone(),
    }
}

pub(crate) fn rebalance(rebalance: &Rebalance) -> v1::Rebalance {
    use v1::rebalance::State;
    let goal = match rebalance.goal {
        RebalanceGoal::Full => v1::RebalanceGoal::Full,
        RebalanceGoal::AddedBrokers(_) => v1::RebalanceGoal::AddedBrokers,
        RebalanceGoal::DrainBrokers(_) => v1::RebalanceGoal::DrainBrokers,
    };
    let state = match rebalance.state {
        RebalanceState::Running => State::Running,
        RebalanceState::Completed => State::Completed,
        RebalanceState::Cancelled => State::Cancelled,
        RebalanceState::Failed => State::Failed,
    };
    let progress = &rebalance.progress;
    v1::Rebalance {
        rebalance_id: rebalance.id,
        goal: goal.into(),
        broker_ids: rebalance.goal.broker_ids().collect(),
        state: state.into(),
        message: rebalance.message.clone(),
        moves_total: count(progress.moves_total),
        moves_done: count(progress.moves_done),
        bytes_total: long(progress.bytes_total),
        bytes_done: long(progress.bytes_done),
        seconds_left: progress.seconds_left.map_or(-1, long),
    }
}

/// More than can be said is as much as can be.
pub(crate) fn count(count: impl TryInto<i32>) -> i32 {
    count.try_into().unwrap_or(i32::MAX)
}

/// As above, for bytes and seconds.
pub(crate) fn long(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn configs_changed(
    image: &Image,
    resource: &Resource,
) -> v1::cluster_event::ConfigsChanged {
    let (kind, name) = match resource {
        Resource::Topic(name) => (v1::ResourceType::Topic, name.to_string()),
        Resource::DefaultBroker => (v1::ResourceType::Broker, String::new()),
        Resource::Broker(node_id) => (v1::ResourceType::Broker, node_id.to_string()),
        Resource::Group(group_id) => (v1::ResourceType::Group, group_id.to_string()),
    };
    let config = image.configs(resource);
    v1::cluster_event::ConfigsChanged {
        r#type: kind.into(),
        name,
        config: config
            .map(|config| BTreeMap::clone(config))
            .unwrap_or_default(),
    }
}

pub(crate) fn outcome<T>(result: &Result<T, Refusal>) -> v1::Outcome {
    match result {
        Ok(_) => v1::Outcome::default(),
        Err(refusal) => v1::Outcome {
            kafka_code: i32::from(refusal.code.kafka_code()),
            message: refusal.message.clone(),
        },
    }
}

/// A refusal of a whole call.
pub(crate) fn status(refusal: &Refusal) -> Status {
    let code = match refusal.code {
        ErrorCode::StaleOperatorEpoch | ErrorCode::StaleBrokerEpoch => Code::Aborted,
        ErrorCode::DuplicateBrokerRegistration => Code::AlreadyExists,
        ErrorCode::BrokerIdNotRegistered => Code::NotFound,
        ErrorCode::UnknownServerError => Code::Internal,
        _ => Code::InvalidArgument,
    };
    Status::new(code, refusal.message.clone())
}

/// `field` is for the error.
pub(crate) fn id(field: &str, bytes: &[u8]) -> Result<Uuid, Status> {
    Uuid::from_slice(bytes).map_err(|_| {
        Status::invalid_argument(format!("{field} must have 16 bytes, not {}", bytes.len()))
    })
}

pub(crate) fn assignments(assignments: Vec<v1::Assignment>) -> Vec<Vec<i32>> {
    assignments
        .into_iter()
        .map(|assignment| assignment.replicas)
        .collect()
}
