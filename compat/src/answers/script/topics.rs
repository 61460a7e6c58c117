//! Topics and their partitions.

use anyhow::Result;
use kafka_protocol::messages::create_partitions_request::{
    CreatePartitionsAssignment, CreatePartitionsTopic,
};
use kafka_protocol::messages::create_topics_request::{
    CreatableReplicaAssignment, CreatableTopic, CreatableTopicConfig,
};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    BrokerId, CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest,
    DescribeTopicPartitionsRequest, MetadataRequest,
};
use uuid::Uuid;

use super::{Asker, NOWHERE, ORDERS, TIMEOUT_MS, text, topic};

fn new(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

fn creating(topics: Vec<CreatableTopic>) -> CreateTopicsRequest {
    CreateTopicsRequest::default()
        .with_topics(topics)
        .with_timeout_ms(TIMEOUT_MS)
}

fn with_config(name: &str, key: &str, value: Option<&str>) -> CreatableTopic {
    let config = CreatableTopicConfig::default()
        .with_name(text(key))
        .with_value(value.map(text));
    new(name, 1, 1).with_configs(vec![config])
}

fn assigned(name: &str, partitions: &[(i32, &[i32])]) -> CreatableTopic {
    let assignments = partitions.iter().map(|(partition, brokers)| {
        CreatableReplicaAssignment::default()
            .with_partition_index(*partition)
            .with_broker_ids(brokers.iter().copied().map(BrokerId).collect())
    });
    new(name, -1, -1).with_assignments(assignments.collect())
}

pub(super) fn create(asker: &mut Asker) -> Result<()> {
    asker.ask("three partitions", 7, &creating(vec![new(ORDERS, 3, 1)]))?;
    for version in 2..=7 {
        let name = format!("created-{version}");
        asker.ask("one partition", version, &creating(vec![new(&name, 1, 1)]))?;
    }
    for (what, topics) in [
        ("an existing one", vec![new(ORDERS, 1, 1)]),
        ("no partitions", vec![new("new", 0, 1)]),
        ("minus two partitions", vec![new("new", -2, 1)]),
        ("no replicas", vec![new("new", 1, 0)]),
        ("two replicas", vec![new("new", 1, 2)]),
        (
            "twice in a request",
            vec![new("new", 1, 1), new("new", 2, 1)],
        ),
        ("an empty name", vec![new("", 1, 1)]),
        ("a dot", vec![new(".", 1, 1)]),
        ("a slash", vec![new("a/b", 1, 1)]),
        (
            "a name of 250 characters",
            vec![new(&"n".repeat(250), 1, 1)],
        ),
        (
            "an unknown key",
            vec![with_config("new", "no.such.key", Some("1"))],
        ),
        (
            "a key of brokers",
            vec![with_config("new", "num.partitions", Some("1"))],
        ),
        (
            "a value that is no number",
            vec![with_config("new", "retention.ms", Some("soon"))],
        ),
        (
            "a value too small",
            vec![with_config("new", "segment.bytes", Some("1"))],
        ),
        (
            "a value of null",
            vec![with_config("new", "retention.ms", None)],
        ),
        (
            "a policy that is none",
            vec![with_config("new", "cleanup.policy", Some("burn"))],
        ),
        (
            "more in sync than replicas",
            vec![with_config("in-sync", "min.insync.replicas", Some("2"))],
        ),
        (
            "a gap in the assignment",
            vec![assigned("new", &[(0, &[0]), (2, &[0])])],
        ),
        ("an unknown broker", vec![assigned("new", &[(0, &[7])])]),
        ("a broker twice", vec![assigned("new", &[(0, &[0, 0])])]),
        (
            "an assignment to nobody",
            vec![assigned("new", &[(0, &[])])],
        ),
        ("a negative partition", vec![assigned("new", &[(-1, &[0])])]),
        (
            "an assignment and a count",
            vec![assigned("new", &[(0, &[0])]).with_num_partitions(1)],
        ),
        ("names that collide", vec![new("created.7", 1, 1)]),
        ("nothing", vec![]),
    ] {
        asker.ask(what, 7, &creating(topics.clone()))?;
        if what != "more in sync than replicas" {
            asker.ask(what, 4, &creating(topics))?;
        }
    }
    asker.ask("defaults", 7, &creating(vec![new("defaults", -1, -1)]))?;
    asker.ask(
        "assigned",
        7,
        &creating(vec![assigned("assigned", &[(0, &[0]), (1, &[0])])]),
    )?;
    let dry = creating(vec![new("dry", 2, 1), new(ORDERS, 1, 1)]).with_validate_only(true);
    asker.ask_each("validated only", 2..=7, |_| dry.clone())?;
    asker.until(1, &MetadataRequest::default().with_topics(None), |answer| {
        answer.topics.iter().all(|topic| {
            topic
                .partitions
                .iter()
                .all(|partition| partition.leader_id == BrokerId(0))
        })
    })?;
    Ok(())
}

fn named(name: &str) -> MetadataRequestTopic {
    MetadataRequestTopic::default().with_name(Some(topic(name)))
}

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    metadata(asker)?;
    partitions(asker)?;
    described(asker)
}

fn metadata(asker: &mut Asker) -> Result<()> {
    let of = |version: i16, topics: Option<Vec<MetadataRequestTopic>>| {
        let request = MetadataRequest::default().with_topics(topics);
        let request = if version >= 8 {
            request.with_include_topic_authorized_operations(true)
        } else {
            request
        };
        if version >= 4 {
            request.with_allow_auto_topic_creation(false)
        } else {
            request
        }
    };
    asker.ask_each("a topic", 0..=13, |version| {
        of(version, Some(vec![named(ORDERS)]))
    })?;
    asker.ask_each("all topics", 1..=13, |version| of(version, None))?;
    asker.ask_each("an unknown topic", 4..=13, |version| {
        of(version, Some(vec![named(NOWHERE)]))
    })?;
    asker.ask_each("a wrong name", 4..=13, |version| {
        of(version, Some(vec![named("a/b")]))
    })?;
    asker.ask_each("no topics", 1..=13, |version| of(version, Some(vec![])))?;
    let by_id = MetadataRequestTopic::default()
        .with_topic_id(Uuid::from_u128(7))
        .with_name(None);
    asker.ask_each("an unknown id", 12..=13, |version| {
        of(version, Some(vec![by_id.clone()]))
    })?;
    asker.ask_each("a topic twice", [9, 13], |version| {
        of(version, Some(vec![named(ORDERS), named(ORDERS)]))
    })?;
    asker.ask_each("operations of the cluster", 8..=10, |version| {
        of(version, Some(vec![])).with_include_cluster_authorized_operations(true)
    })
}

fn partitions(asker: &mut Asker) -> Result<()> {
    let of = |name: &str, count: i32| {
        CreatePartitionsTopic::default()
            .with_name(topic(name))
            .with_count(count)
            .with_assignments(None)
    };
    let to = |brokers: &[i32]| {
        let ids = brokers.iter().copied().map(BrokerId).collect();
        CreatePartitionsAssignment::default().with_broker_ids(ids)
    };
    let request = |topics: Vec<CreatePartitionsTopic>| {
        CreatePartitionsRequest::default()
            .with_topics(topics)
            .with_timeout_ms(TIMEOUT_MS)
    };
    for (what, topics) in [
        ("as many", vec![of(ORDERS, 3)]),
        ("fewer", vec![of(ORDERS, 2)]),
        ("none", vec![of(ORDERS, 0)]),
        ("a negative number", vec![of(ORDERS, -1)]),
        ("an unknown topic", vec![of(NOWHERE, 3)]),
        ("a wrong name", vec![of("a/b", 3)]),
        ("a topic twice", vec![of("assigned", 3), of("assigned", 4)]),
        (
            "too few assignments",
            vec![of("assigned", 4).with_assignments(Some(vec![to(&[0])]))],
        ),
        (
            "an unknown broker",
            vec![of("assigned", 3).with_assignments(Some(vec![to(&[9])]))],
        ),
        (
            "two replicas",
            vec![of("assigned", 3).with_assignments(Some(vec![to(&[0, 1])]))],
        ),
        (
            "assigned",
            vec![of("assigned", 3).with_assignments(Some(vec![to(&[0])]))],
        ),
    ] {
        asker.ask(what, 3, &request(topics))?;
    }
    for version in 0..=3 {
        let more = request(vec![of("created-2", i32::from(version) + 2)]);
        asker.ask(
            "validated only",
            version,
            &more.clone().with_validate_only(true),
        )?;
        asker.ask("one more", version, &more)?;
    }
    Ok(())
}

fn described(asker: &mut Asker) -> Result<()> {
    let of = |names: &[&str]| {
        let topics = names
            .iter()
            .map(|name| TopicRequest::default().with_name(topic(name)));
        DescribeTopicPartitionsRequest::default()
            .with_topics(topics.collect())
            .with_response_partition_limit(100)
    };
    let from = |name: &str, partition: i32| {
        Some(
            Cursor::default()
                .with_topic_name(topic(name))
                .with_partition_index(partition),
        )
    };
    asker.ask("a topic", 0, &of(&[ORDERS]))?;
    asker.ask("a topic and one that is not", 0, &of(&[NOWHERE, ORDERS]))?;
    asker.ask("a wrong name", 0, &of(&["a/b"]))?;
    asker.ask(
        "two at most",
        0,
        &of(&[ORDERS]).with_response_partition_limit(2),
    )?;
    asker.ask(
        "a limit of none",
        0,
        &of(&[ORDERS]).with_response_partition_limit(0),
    )?;
    asker.ask(
        "behind a cursor",
        0,
        &of(&[ORDERS]).with_cursor(from(ORDERS, 1)),
    )?;
    asker.ask(
        "a negative cursor",
        0,
        &of(&[ORDERS]).with_cursor(from(ORDERS, -1)),
    )?;
    asker.ask(
        "a cursor behind all",
        0,
        &of(&[ORDERS]).with_cursor(from("z", 0)),
    )?;
    Ok(())
}

pub(super) fn delete(asker: &mut Asker) -> Result<()> {
    let by_name = |version: i16, name: &str| {
        let request = DeleteTopicsRequest::default().with_timeout_ms(TIMEOUT_MS);
        if version >= 6 {
            let state = DeleteTopicState::default().with_name(Some(topic(name)));
            request.with_topics(vec![state])
        } else {
            request.with_topic_names(vec![topic(name)])
        }
    };
    asker.ask_each("an unknown topic", 1..=6, |version| {
        by_name(version, NOWHERE)
    })?;
    asker.ask_each("a wrong name", [5, 6], |version| by_name(version, "a/b"))?;
    asker.ask_each("a topic", 2..=6, |version| {
        by_name(version, &format!("created-{version}"))
    })?;
    let state = DeleteTopicState::default();
    for (what, states) in [
        (
            "an unknown id",
            vec![state.clone().with_topic_id(Uuid::from_u128(7))],
        ),
        ("neither name nor id", vec![state.clone().with_name(None)]),
        (
            "name and id",
            vec![
                state
                    .clone()
                    .with_name(Some(topic(ORDERS)))
                    .with_topic_id(Uuid::from_u128(7)),
            ],
        ),
        (
            "a topic twice",
            vec![
                state.clone().with_name(Some(topic("defaults"))),
                state.with_name(Some(topic("defaults"))),
            ],
        ),
    ] {
        let request = DeleteTopicsRequest::default()
            .with_topics(states)
            .with_timeout_ms(TIMEOUT_MS);
        asker.ask(what, 6, &request)?;
    }
    Ok(())
}
