//! Metadata (3): brokers, topics, leaders. Creates topics on the way where the cluster allows it.

use foz_api::v1::create_topics_request::NewTopic;
use foz_metadata::image::{Partition, Topic};
use foz_metadata::{Image, topic_name};
use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use uuid::Uuid;

use super::{authorized_operations, text, topic_view};
use crate::authorizer::{Operation, Resource};
use crate::internal_topics::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use crate::request::RequestContext;
use crate::transactions;

pub(crate) async fn handle(context: RequestContext, request: MetadataRequest) -> MetadataResponse {
    let wanted = Wanted::of(&context, &request);
    if request.allow_auto_topic_creation
        && let Wanted::Some(topics) = &wanted
    {
        create_missing(&context, topics).await;
    }
    let image = context.broker.image();
    let view = View {
        context: &context,
        image: &image,
        operations: request.include_topic_authorized_operations,
    };
    let topics = match wanted {
        Wanted::All => view.all(),
        Wanted::Some(topics) => topics.iter().map(|topic| view.one(topic)).collect(),
    };
    MetadataResponse::default()
        .with_brokers(brokers(&image))
        .with_cluster_id(Some(text(image.cluster_id())))
        .with_controller_id(BrokerId(controller_id(&image)))
        .with_topics(topics)
        .with_cluster_authorized_operations(authorized_operations::bits(
            &context,
            &Resource::Cluster,
            request.include_cluster_authorized_operations,
        ))
}

/// Clients send what only the active controller may do to this broker. Every broker passes such
/// requests on, so any that is alive will do; the lowest id gives all clients the same answer.
pub(super) fn controller_id(image: &Image) -> i32 {
    image
        .alive_brokers()
        .map(|broker| broker.node_id)
        .next()
        .unwrap_or(-1)
}

enum Wanted {
    All,
    Some(Vec<Named>),
}

enum Named {
    Name(String),
    Id(Uuid),
    /// Versions 10 and 11 have the field of the id, but none may ask by it (KAFKA-10774).
    IdTooEarly(Option<TopicName>),
}

/// From this version on a topic may be asked for by its id.
const ASKING_BY_ID_FROM: i16 = 12;

impl Wanted {
    fn of(context: &RequestContext, request: &MetadataRequest) -> Self {
        match &request.topics {
            None => Self::All,
            // Version 0 has no null: an empty list means all.
            Some(topics) if topics.is_empty() && context.version == 0 => Self::All,
            Some(topics) => Self::Some(
                topics
                    .iter()
                    .map(|topic| match &topic.name {
                        Some(name) if topic.topic_id.is_nil() => Named::Name(name.to_string()),
                        name if context.version < ASKING_BY_ID_FROM => {
                            Named::IdTooEarly(name.clone())
                        }
                        _ => Named::Id(topic.topic_id),
                    })
                    .collect(),
            ),
        }
    }
}

async fn create_missing(context: &RequestContext, topics: &[Named]) {
    if !context.broker.config_bool("auto.create.topics.enable") {
        return;
    }
    let image = context.broker.image();
    // What nobody said to this broker the controllers decide, as in Kafka.
    let partitions = context.broker.number_that_is_set("num.partitions");
    let replication_factor = context
        .broker
        .number_that_is_set("default.replication.factor");
    let mut missing: Vec<NewTopic> = topics
        .iter()
        .filter_map(|topic| match topic {
            Named::Name(name) => Some(name),
            Named::Id(_) | Named::IdTooEarly(_) => None,
        })
        .filter(|name| image.topic(name).is_none() && topic_name::validate(name).is_ok())
        .filter(|name| {
            context.allows(Operation::Create, &Resource::Cluster)
                || context.allows(Operation::Create, &Resource::Topic(name))
        })
        .map(|name| NewTopic {
            name: name.clone(),
            partitions: partitions.unwrap_or(-1),
            replication_factor: replication_factor.unwrap_or(-1),
            ..NewTopic::default()
        })
        .collect();
    // Made as the coordinators need them, whoever asks first.
    let mut take = |name: &str| {
        let asked = missing.len();
        missing.retain(|topic| topic.name != name);
        missing.len() < asked
    };
    if take(CONSUMER_OFFSETS) {
        context.broker.create_consumer_offsets().await;
    }
    if take(TRANSACTION_STATE) && transactions::are_served(&image) {
        context.broker.create_transaction_state().await;
    }
    if !missing.is_empty() {
        context.broker.create_topics_for_clients(missing).await;
    }
}

fn brokers(image: &Image) -> Vec<MetadataResponseBroker> {
    image
        .alive_brokers()
        .map(|broker| {
            MetadataResponseBroker::default()
                .with_node_id(BrokerId(broker.node_id))
                .with_host(text(&broker.host))
                .with_port(i32::from(broker.port))
                .with_rack(image.rack(broker.node_id).map(text))
        })
        .collect()
}

struct View<'a> {
    context: &'a RequestContext,
    image: &'a Image,
    operations: bool,
}

impl View<'_> {
    fn all(&self) -> Vec<MetadataResponseTopic> {
        self.image
            .topics()
            .filter(|topic| {
                self.context
                    .allows(Operation::Describe, &Resource::Topic(&topic.name))
            })
            .map(|topic| self.topic(topic))
            .collect()
    }

    fn one(&self, wanted: &Named) -> MetadataResponseTopic {
        match wanted {
            Named::Name(name) => self.by_name(name),
            Named::IdTooEarly(name) => missing(
                // Before version 12 the name must not be null.
                Some(name.as_deref().map_or("", |name| name.as_str())),
                Uuid::nil(),
                ErrorCode::InvalidRequest,
            ),
            Named::Id(id) => match self.image.topic_by_id(*id) {
                Some(topic) if self.allowed(&topic.name) => self.topic(topic),
                Some(_) => missing(None, *id, ErrorCode::TopicAuthorizationFailed),
                None => missing(None, *id, ErrorCode::UnknownTopicId),
            },
        }
    }

    fn by_name(&self, name: &str) -> MetadataResponseTopic {
        let error = |error| missing(Some(name), Uuid::nil(), error);
        if !self.allowed(name) {
            return error(ErrorCode::TopicAuthorizationFailed);
        }
        match self.image.topic(name) {
            Some(topic) => self.topic(topic),
            None if topic_name::validate(name).is_err() => error(ErrorCode::InvalidTopicException),
            None => error(ErrorCode::UnknownTopicOrPartition),
        }
    }

    fn allowed(&self, name: &str) -> bool {
        self.context
            .allows(Operation::Describe, &Resource::Topic(name))
    }

    fn partition(&self, index: i32, partition: &Partition) -> MetadataResponsePartition {
        let shows_all = self.context.version >= DEAD_REPLICAS_FROM;
        let shown = |ids: &[i32]| {
            let ids = ids.iter().copied();
            topic_view::broker_ids(ids.filter(|id| shows_all || self.image.is_alive(*id)))
        };
        let (replicas, isr) = (shown(&partition.replicas), shown(&partition.isr));
        let is_short = replicas.len() < partition.replicas.len() || isr.len() < partition.isr.len();
        let error = match topic_view::partition_error(self.image, partition) {
            ErrorCode::None if is_short => ErrorCode::ReplicaNotAvailable,
            error => error,
        };
        MetadataResponsePartition::default()
            .with_error_code(error.code())
            .with_partition_index(index)
            .with_leader_id(topic_view::leader(self.image, partition))
            .with_leader_epoch(partition.leader_epoch)
            .with_replica_nodes(replicas)
            .with_isr_nodes(isr)
            .with_offline_replicas(topic_view::offline_replicas(self.image, partition))
    }

    fn topic(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = topic
            .indexed_partitions()
            .map(|(index, partition)| self.partition(index, partition))
            .collect();
        MetadataResponseTopic::default()
            .with_name(Some(TopicName(text(&*topic.name))))
            .with_topic_id(topic.id)
            .with_is_internal(topic.internal)
            .with_partitions(partitions)
            .with_topic_authorized_operations(authorized_operations::bits(
                self.context,
                &Resource::Topic(&topic.name),
                self.operations,
            ))
    }
}

/// Version 0 leaves out replicas that are not alive, and says `REPLICA_NOT_AVAILABLE` for it.
const DEAD_REPLICAS_FROM: i16 = 1;

fn missing(name: Option<&str>, id: Uuid, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default()
        .with_error_code(error.code())
        .with_name(name.map(|name| TopicName(text(name))))
        .with_topic_id(id)
        .with_topic_authorized_operations(authorized_operations::NOT_ASKED)
}
