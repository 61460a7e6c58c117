//! What the active controller does of its own accord.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use foz_api::v1;
use foz_api::v1::admin_client::AdminClient;
use foz_metadata::image::NO_LEADER;

use crate::controllers::{Controllers, eventually};
use crate::fake_broker::FakeBroker;
use crate::support::{assigned_topic, change_isr, create_this, with_brokers};

const EACH_SECOND: (&str, &str) = ("leader.imbalance.check.interval.seconds", "1");

/// Broker 0 went and is back in sync; 1 leads what prefers 0.
async fn after_a_return(properties: &[(&str, &str)]) -> (Controllers, [FakeBroker; 2]) {
    let properties = properties.iter();
    let properties: BTreeMap<String, String> = properties
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let controllers = Controllers::start_as(1, |config| {
        config.properties = properties.clone();
        // Nobody falls silent here: however busy the machine is, it must not look so.
        config.lease = Duration::from_secs(30);
    })
    .await;
    let (controllers, [zero, one]) = with_brokers::<2>(controllers).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 1]])).await;
    let next = zero.next_registration();
    zero.kill().await;
    let leader = || controllers.image().partition("t", 0).unwrap().leader;
    eventually("1 leads", || leader() == 1).await;
    let zero = FakeBroker::start_with(&controllers, next).await;
    eventually("0 is back", || controllers.image().is_alive(0)).await;
    change_isr(&controllers, ("t", 0), &one, &[&one, &zero]).await;
    (controllers, [zero, one])
}

#[tokio::test(flavor = "multi_thread")]
async fn preferred_leaders_lead_again_unless_that_is_switched_off() {
    let switched_off = [EACH_SECOND, ("auto.leader.rebalance.enable", "false")];
    let (off, brokers_off) = after_a_return(&switched_off).await;
    let since = Instant::now();
    let (on, brokers_on) = after_a_return(&[EACH_SECOND]).await;
    eventually("0 leads again", || {
        on.image().partition("t", 0).unwrap().leader == 0
    })
    .await;
    // Two checks, for the one that makes none.
    tokio::time::sleep(Duration::from_millis(2200).saturating_sub(since.elapsed())).await;
    let image = off.image();
    let partition = image.partition("t", 0).unwrap();
    assert_eq!((partition.leader, partition.isr.len()), (1, 2));
    for broker in brokers_off.into_iter().chain(brokers_on) {
        broker.stop().await;
    }
    for controllers in [on, off] {
        controllers.stop().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn internal_topics_get_the_replicas_there_was_no_broker_for() {
    let (controllers, [zero]) = with_brokers::<1>(Controllers::start(1).await).await;
    let offsets = v1::create_topics_request::NewTopic {
        name: "__consumer_offsets".to_owned(),
        partitions: 250,
        replication_factor: -1,
        internal: true,
        ..Default::default()
    };
    create_this(&controllers, offsets).await;
    let (one, two) = (
        FakeBroker::start(&controllers, 1).await,
        FakeBroker::start(&controllers, 2).await,
    );
    // More than one call of the rule does.
    eventually("all partitions have three replicas", || {
        let image = controllers.image();
        let mut partitions = image.partitions();
        partitions.all(|(_, _, it)| it.replicas.len() == 3 && it.isr == [0])
    })
    .await;
    for broker in [zero, one, two] {
        broker.stop().await;
    }
    controllers.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_gets_an_unclean_leader_once_its_config_allows_that() {
    let (controllers, [zero, one]) = with_brokers::<2>(Controllers::start(1).await).await;
    create_this(&controllers, assigned_topic("t", &[&[0, 1]])).await;
    let leader = || {
        let image = controllers.image();
        image.partition("t", 0).unwrap().leader
    };
    let next = one.next_registration();
    one.kill().await;
    eventually("1 is fenced", || !controllers.image().is_alive(1)).await;
    zero.kill().await;
    eventually("nobody leads", || leader() == NO_LEADER).await;
    let one = FakeBroker::start_with(&controllers, next).await;
    eventually("1 is back", || controllers.image().is_alive(1)).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(leader(), NO_LEADER);
    let request = v1::AlterConfigsRequest {
        resources: vec![v1::alter_configs_request::Resource {
            r#type: v1::ResourceType::Topic.into(),
            name: "t".to_owned(),
            changes: vec![v1::ConfigChange {
                key: "unclean.leader.election.enable".to_owned(),
                operation: v1::ConfigOperation::Set.into(),
                value: "true".to_owned(),
            }],
        }],
        validate_only: false,
        replaces: false,
        operator_epoch: 0,
    };
    let mut admin = AdminClient::new(controllers.channel().await);
    admin.alter_configs(request).await.unwrap();
    eventually("1 leads", || leader() == 1).await;
    one.stop().await;
    controllers.stop().await;
}
