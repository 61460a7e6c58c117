//! Replicas move to new brokers and off others while clients write, and nothing is lost.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use foz_api::v1::admin_client::AdminClient;
use foz_api::v1::cluster_event::Event;
use foz_api::v1::create_topics_request::NewTopic;
use foz_api::v1::plan_rebalance_response::{Answer as Planned, BrokerLoad, Plan};
use foz_api::v1::rebalance::State;
use foz_api::v1::start_rebalance_response::{Answer, Started};
use foz_api::v1::{
    AlterConfigsRequest, CancelRebalanceRequest, ConfigChange, CordonBrokersRequest,
    CreateTopicsRequest, PlanRebalanceRequest, Rebalance, RebalanceGoal, ResourceType,
    StartRebalanceRequest, Topic, WatchClusterRequest, alter_configs_request,
};
use foz_cli::client::{Client, Producer, ProducerConfig};
use foz_cli::message::Message;
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tonic::transport::Channel;

use crate::testbed::{Node, PATIENCE, Testbed, read_all};

const TOPIC: &str = "orders";

async fn admin(testbed: &Testbed) -> AdminClient<Channel> {
    let address = format!("http://127.0.0.1:{}", testbed.controllers[0].grpc_port);
    AdminClient::connect(address).await.unwrap()
}

async fn create(admin: &mut AdminClient<Channel>, partitions: i32) {
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions,
        replication_factor: 3,
        config: [("min.insync.replicas".to_owned(), "2".to_owned())].into(),
        ..NewTopic::default()
    };
    let request = CreateTopicsRequest {
        topics: vec![topic],
        ..CreateTopicsRequest::default()
    };
    let answer = admin.create_topics(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].outcome.as_ref().unwrap().kafka_code, 0);
}

async fn cordon(admin: &mut AdminClient<Channel>, node_id: i32) {
    let request = CordonBrokersRequest {
        node_ids: vec![node_id],
        cordoned: true,
        operator_epoch: 0,
    };
    admin.cordon_brokers(request).await.unwrap();
}

async fn start(admin: &mut AdminClient<Channel>, goal: RebalanceGoal, id: i32) -> Started {
    let request = StartRebalanceRequest {
        goal: goal.into(),
        broker_ids: vec![id],
        operator_epoch: 0,
        ..StartRebalanceRequest::default()
    };
    let answer = admin.start_rebalance(request).await.unwrap().into_inner();
    match answer.answer.unwrap() {
        Answer::Started(started) => started,
        other => panic!("{other:?}"),
    }
}

async fn plan(admin: &mut AdminClient<Channel>, goal: RebalanceGoal) -> Plan {
    let request = PlanRebalanceRequest {
        goal: goal.into(),
        broker_ids: Vec::new(),
        ..PlanRebalanceRequest::default()
    };
    let answer = admin.plan_rebalance(request).await.unwrap().into_inner();
    match answer.answer.unwrap() {
        Planned::Plan(plan) => plan,
        Planned::Refused(why) => panic!("{why}"),
    }
}

async fn loads(admin: &mut AdminClient<Channel>) -> Vec<BrokerLoad> {
    plan(admin, RebalanceGoal::Full).await.before
}

/// The topic and the rebalance, as those who watch are told, once it `is_so`.
async fn await_told(
    admin: &mut AdminClient<Channel>,
    is_so: impl Fn(&Topic, &Rebalance) -> bool,
) -> (Topic, Rebalance) {
    let watching = async {
        let watch = admin.watch_cluster(WatchClusterRequest {}).await.unwrap();
        let mut events = watch.into_inner();
        let (mut topic, mut rebalance) = (Topic::default(), Rebalance::default());
        while let Some(event) = events.message().await.unwrap() {
            match event.event {
                Some(Event::TopicChanged(changed)) if changed.name == TOPIC => topic = changed,
                Some(Event::RebalanceChanged(changed)) => rebalance = changed,
                _ => {}
            }
            if is_so(&topic, &rebalance) {
                break;
            }
        }
        (topic, rebalance)
    };
    tokio::time::timeout(2 * PATIENCE, watching).await.unwrap()
}

async fn await_ended(admin: &mut AdminClient<Channel>, id: i64) -> (Topic, Rebalance) {
    await_told(admin, |_, it| {
        it.rebalance_id == id && it.state() != State::Running
    })
    .await
}

/// What this broker has of the topic's partitions, but for what is about to be deleted.
fn held(broker: &Node) -> usize {
    let entries = std::fs::read_dir(broker.directory.join("data")).unwrap();
    let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names
        .filter(|name| name.starts_with(TOPIC) && !name.ends_with("delete"))
        .count()
}

/// Writes numbers until told to stop, each as often as it takes; how many.
async fn write(client: Client, stop: Arc<AtomicBool>) -> u32 {
    let config = ProducerConfig::default();
    let mut producer = Producer::new(client, config).await.unwrap();
    let mut number = 0;
    while !stop.load(Ordering::Acquire) {
        for _ in 0..50 {
            let message = Message {
                key: Some(Bytes::from(number.to_string())),
                value: Some(Bytes::from(number.to_string())),
                ..Message::default()
            };
            producer.send(TOPIC, message).await.unwrap();
            number += 1;
        }
        producer.flush().await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    number
}

fn spawn_writer(client: &Client, stop: &Arc<AtomicBool>) -> JoinHandle<u32> {
    let (client, stop) = (client.clone(), Arc::clone(stop));
    let runtime = Handle::current();
    tokio::task::spawn_blocking(move || runtime.block_on(write(client, stop)))
}

/// Each number is there once.
async fn assert_all_there(client: &Client, count: u32) {
    let mut read = BTreeMap::new();
    for message in read_all(client, TOPIC).await {
        let value = String::from_utf8(message.value.unwrap().to_vec()).unwrap();
        *read.entry(value.parse::<u32>().unwrap()).or_insert(0) += 1;
    }
    let expected: BTreeMap<u32, i32> = (0..count).map(|number| (number, 1)).collect();
    assert!(read == expected, "{} of {count} numbers", read.len());
}

fn assert_whole(topic: &Topic) {
    for it in &topic.partitions {
        assert_eq!((it.replicas.len(), it.isr.len()), (3, 3), "{it:?}");
        assert!(it.adding_replicas.is_empty() && it.removing_replicas.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_broker_gets_its_share_and_an_old_one_is_emptied_while_clients_write() {
    let mut testbed = Testbed::prepare(1, 4);
    testbed.controllers[0].spawn();
    testbed.brokers[..3].iter_mut().for_each(Node::spawn);
    tokio::task::block_in_place(|| testbed.wait_ready());
    let mut admin = admin(&testbed).await;
    create(&mut admin, 12).await;
    let client = testbed.client().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = spawn_writer(&client, &stop);

    testbed.brokers[3].spawn();
    tokio::task::block_in_place(|| testbed.wait_ready());
    let added = start(&mut admin, RebalanceGoal::AddedBrokers, 3).await;
    let (topic, ended) = await_ended(&mut admin, added.rebalance_id).await;
    assert_eq!(ended.state(), State::Completed, "{ended:?}");
    assert_eq!(ended.moves_done, ended.moves_total);
    assert_whole(&topic);
    let on = |topic: &Topic, id: i32| {
        let partitions = topic.partitions.iter();
        partitions.filter(|it| it.replicas.contains(&id)).count()
    };
    assert_eq!(on(&topic, 3), 9);
    let leads = topic.partitions.iter().filter(|it| it.leader == 3).count();
    assert!((2..=4).contains(&leads), "{leads}");

    cordon(&mut admin, 0).await;
    let drained = start(&mut admin, RebalanceGoal::DrainBrokers, 0).await;
    let (topic, ended) = await_ended(&mut admin, drained.rebalance_id).await;
    assert_eq!(ended.state(), State::Completed, "{ended:?}");
    assert_whole(&topic);
    assert_eq!(on(&topic, 0), 0);
    let load = loads(&mut admin).await;
    assert_eq!((load[0].node_id, load[0].replicas), (0, 0));
    let is_empty = async {
        while held(&testbed.brokers[0]) > 0 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, is_empty).await.unwrap();

    stop.store(true, Ordering::Release);
    let count = writing.await.unwrap();
    assert!(count >= 100, "{count}");
    assert_all_there(&client, count).await;
    // By now the leaders have told how much that is.
    let are_told = async {
        loop {
            let load = loads(&mut admin).await;
            if load[1..].iter().all(|it| it.bytes > 1_000) {
                return load;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    let load = tokio::time::timeout(PATIENCE, are_told).await.unwrap();
    assert_eq!(load[0].bytes, 0, "{load:?}");
}

async fn throttle(admin: &mut AdminClient<Channel>, kind: ResourceType, key: &str, value: &str) {
    let name = match kind {
        ResourceType::Topic => TOPIC.to_owned(),
        _ => "3".to_owned(),
    };
    let change = ConfigChange {
        key: key.to_owned(),
        value: value.to_owned(),
        ..ConfigChange::default()
    };
    let resource = alter_configs_request::Resource {
        r#type: kind.into(),
        name,
        changes: vec![change],
    };
    let request = AlterConfigsRequest {
        resources: vec![resource],
        ..AlterConfigsRequest::default()
    };
    let answer = admin.alter_configs(request).await.unwrap().into_inner();
    assert_eq!(answer.results[0].outcome.as_ref().unwrap().kafka_code, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_that_is_cancelled_half_way_leaves_everything_whole() {
    let mut testbed = Testbed::prepare(1, 4);
    testbed.controllers[0].spawn();
    testbed.brokers[..3].iter_mut().for_each(Node::spawn);
    tokio::task::block_in_place(|| testbed.wait_ready());
    let mut admin = admin(&testbed).await;
    create(&mut admin, 4).await;
    let client = testbed.client().await;
    let stop = Arc::new(AtomicBool::new(false));
    let writing = spawn_writer(&client, &stop);
    testbed.brokers[3].spawn();
    tokio::task::block_in_place(|| testbed.wait_ready());
    // Broker 3 gets one answer, and the next one in a long while: moves begin, and do not end.
    let rate = "follower.replication.throttled.rate";
    throttle(&mut admin, ResourceType::Broker, rate, "10").await;
    let replicas = "follower.replication.throttled.replicas";
    throttle(&mut admin, ResourceType::Topic, replicas, "*").await;
    let added = start(&mut admin, RebalanceGoal::AddedBrokers, 3).await;
    let id = added.rebalance_id;
    assert!(added.moves >= 3, "{added:?}");
    let is_moving = |topic: &Topic| {
        let mut partitions = topic.partitions.iter();
        partitions.any(|it| !it.adding_replicas.is_empty())
    };
    await_told(&mut admin, |topic, it| {
        it.rebalance_id == id && is_moving(topic)
    })
    .await;
    // The same again is no other one.
    let again = start(&mut admin, RebalanceGoal::AddedBrokers, 3).await;
    assert_eq!(again.rebalance_id, id);
    let cancel = CancelRebalanceRequest {
        rebalance_id: id,
        operator_epoch: 0,
    };
    let answer = admin.cancel_rebalance(cancel).await.unwrap().into_inner();
    assert!(answer.cancelled);
    let answer = admin.cancel_rebalance(cancel).await.unwrap().into_inner();
    assert!(!answer.cancelled);
    let (topic, ended) = await_ended(&mut admin, id).await;
    assert_eq!(ended.state(), State::Cancelled);
    assert!(!is_moving(&topic));
    assert!(ended.moves_done < added.moves, "{ended:?}");
    stop.store(true, Ordering::Release);
    let count = writing.await.unwrap();
    assert_all_there(&client, count).await;
    // Nothing began any more, and who was to leave is still in sync.
    let (topic, _) = await_told(&mut admin, |topic, _| {
        let mut partitions = topic.partitions.iter();
        partitions.len() == 4 && partitions.all(|it| it.isr.len() == 3)
    })
    .await;
    assert_whole(&topic);
}
