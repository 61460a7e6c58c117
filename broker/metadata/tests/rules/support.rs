//! A cluster to command, and the commands most tests give it.

use std::collections::BTreeMap;

use foz_metadata::config::Effect;
use foz_metadata::image::Image;
use foz_metadata::record::Batch;
use foz_metadata::rules::{
    AlterConfigs, AlterResource, ConfigChange, ConfigOperation, CreateTopics, Decision, ErrorCode,
    NewTopic, Refusal, RegisterBroker, ResourceName, alter_configs, create_topics, found_cluster,
    register_broker, unfence_broker,
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
        directory_ids: vec![Uuid::from_u128(1000 + u128::try_from(node_id).unwrap())],
        cluster_id: String::new(),
        host: format!("broker-{node_id}"),
        port: 9092,
        rack: Some("a".to_owned()),
        version: "0.1.0".to_owned(),
        replication_host: format!("broker-{node_id}"),
        replication_port: 9091,
        disk_epoch: -1,
        log_intact: false,
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
