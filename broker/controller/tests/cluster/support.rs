//! Controllers with brokers that are alive, and topics made on them.

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use foz_api::{ActiveController, CallError};
use tonic::Code;
use tonic::transport::Channel;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;

pub(crate) async fn with_one_broker(controller_count: usize) -> (Controllers, FakeBroker) {
    let controllers = Controllers::start(controller_count).await;
    let broker = FakeBroker::start(&controllers, 0).await;
    eventually("it is unfenced", || controllers.image().is_alive(0)).await;
    (controllers, broker)
}

pub(crate) async fn with_two_brokers(controller_count: usize) -> (Controllers, [FakeBroker; 2]) {
    with_brokers(Controllers::start(controller_count).await).await
}

pub(crate) async fn with_brokers<const COUNT: usize>(
    controllers: Controllers,
) -> (Controllers, [FakeBroker; COUNT]) {
    let mut brokers = Vec::new();
    for node_id in (0..).take(COUNT) {
        brokers.push(FakeBroker::start(&controllers, node_id).await);
    }
    eventually("all are unfenced", || {
        controllers.image().alive_brokers().count() == COUNT
    })
    .await;
    let brokers = brokers.try_into().ok().expect("so many were started");
    (controllers, brokers)
}

pub(crate) fn new_topic(name: &str, partitions: i32) -> v1::create_topics_request::NewTopic {
    v1::create_topics_request::NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        ..Default::default()
    }
}

/// One replica on each of the nodes of each assignment.
pub(crate) fn assigned_topic(
    name: &str,
    assignments: &[&[i32]],
) -> v1::create_topics_request::NewTopic {
    let assignments = assignments.iter().map(|replicas| v1::Assignment {
        replicas: replicas.to_vec(),
    });
    v1::create_topics_request::NewTopic {
        name: name.to_owned(),
        partitions: -1,
        replication_factor: -1,
        assignments: assignments.collect(),
        ..Default::default()
    }
}

/// The leader of the partition proposes this ISR, and it is taken.
pub(crate) async fn change_isr(
    controllers: &Controllers,
    (topic, index): (&str, i32),
    leader: &FakeBroker,
    isr: &[&FakeBroker],
) {
    let image = controllers.image();
    let topic = image.topic(topic).unwrap();
    let partition = topic.partition(index).unwrap();
    assert_eq!(partition.leader, leader.node_id());
    let member = |broker: &&FakeBroker| v1::isr_change::Member {
        node_id: broker.node_id(),
        broker_epoch: broker.epoch(),
    };
    let request = v1::AlterPartitionsRequest {
        node_id: leader.node_id(),
        broker_epoch: leader.epoch(),
        partitions: vec![v1::IsrChange {
            topic_id: topic.id.as_bytes().to_vec(),
            index,
            leader_epoch: partition.leader_epoch,
            partition_epoch: partition.partition_epoch,
            new_isr: isr.iter().map(member).collect(),
        }],
    };
    let mut node = controllers.node().await;
    let answer = node.alter_partitions(request).await.unwrap().into_inner();
    let result = answer.results[0].result.clone().unwrap();
    assert!(
        matches!(
            result,
            v1::alter_partitions_response::result::Result::State(_)
        ),
        "{result:?}"
    );
}

pub(crate) async fn admin(controllers: &Controllers) -> AdminClient<Channel> {
    AdminClient::new(controllers.channel().await)
}

/// The caller is the operator from now on.
pub(crate) async fn acquire_operator_epoch(controllers: &Controllers, holder: &str) -> i64 {
    let request = v1::AcquireOperatorEpochRequest {
        holder: holder.to_owned(),
    };
    let mut admin = admin(controllers).await;
    let acquired = admin.acquire_operator_epoch(request).await.unwrap();
    acquired.into_inner().operator_epoch
}

pub(crate) async fn try_create(
    client: &ActiveController,
    topics: Vec<v1::create_topics_request::NewTopic>,
) -> Result<Vec<v1::create_topics_response::Result>, CallError> {
    let request = v1::CreateTopicsRequest {
        topics,
        ..Default::default()
    };
    let call = |channel| {
        let request = request.clone();
        async move { AdminClient::new(channel).create_topics(request).await }
    };
    Ok(client.call(call).await?.into_inner().results)
}

/// The call broke, or leadership was lost, before the outcome was known.
pub(crate) fn is_unknown(error: &CallError) -> bool {
    match error {
        CallError::Answered(status) => {
            matches!(
                status.code(),
                Code::Unavailable | Code::Unknown | Code::Cancelled
            )
        }
        CallError::NoneActive { .. } => false,
    }
}

/// As a client makes a topic of its own: when nobody knows what became of its request, it asks again.
pub(crate) async fn create_surely(client: &ActiveController, name: &str) {
    const TOPIC_ALREADY_EXISTS: i32 = 36;
    let mut is_in_doubt = false;
    loop {
        match try_create(client, vec![new_topic(name, 1)]).await {
            Ok(mut results) => {
                let outcome = results.remove(0).outcome.unwrap();
                let is_mine = is_in_doubt && outcome.kafka_code == TOPIC_ALREADY_EXISTS;
                assert!(outcome.kafka_code == 0 || is_mine, "{name}: {outcome:?}");
                return;
            }
            Err(error) => assert!(is_unknown(&error), "{name}: {error}"),
        }
        is_in_doubt = true;
    }
}

pub(crate) async fn create(
    controllers: &Controllers,
    topics: Vec<v1::create_topics_request::NewTopic>,
) -> Vec<v1::create_topics_response::Result> {
    try_create(&controllers.client, topics).await.unwrap()
}

pub(crate) async fn create_one(
    controllers: &Controllers,
    name: &str,
    partitions: i32,
) -> v1::Topic {
    create_this(controllers, new_topic(name, partitions)).await
}

pub(crate) async fn create_this(
    controllers: &Controllers,
    topic: v1::create_topics_request::NewTopic,
) -> v1::Topic {
    let result = create(controllers, vec![topic]).await.remove(0);
    assert_eq!(result.outcome.unwrap().message, "");
    result.topic.unwrap()
}
