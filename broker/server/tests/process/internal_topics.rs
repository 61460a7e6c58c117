//! The groups' topic is made with the brokers that there are, and gets more replicas as brokers come.

use foz_cli::client::NewTopic;
use kafka_protocol::messages::metadata_response::MetadataResponseTopic;

use crate::groups::{commit, committed};
use crate::testbed::{Node, Testbed, sorted};
use crate::versions::connection::{Answered, Connection, eventually};

const GROUPS: &str = "__consumer_offsets";
const PARTITIONS: usize = 50;

/// Waits until this broker shows all partitions of the groups' topic as they should be.
fn await_all(
    broker: &Node,
    fits: impl Fn(&MetadataResponseTopic) -> bool,
) -> MetadataResponseTopic {
    let answered = Answered::default();
    let mut connection = Connection::open(broker, &answered);
    eventually(|| {
        let topic = connection.topic(12, GROUPS);
        if topic.partitions.len() == PARTITIONS && fits(&topic) {
            Ok(topic)
        } else {
            Err(topic)
        }
    })
}

fn has_in_sync(topic: &MetadataResponseTopic, isr: &[i32]) -> bool {
    let mut partitions = topic.partitions.iter();
    partitions.all(|it| sorted(&it.isr_nodes) == isr && sorted(&it.replica_nodes) == isr)
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_becomes_three_when_brokers_join() {
    let mut testbed = Testbed::prepare(1, 3);
    testbed.controllers[0].spawn();
    testbed.brokers[0].spawn();
    testbed.wait_ready();
    let client = testbed.client().await;
    let orders = NewTopic {
        name: "orders".to_owned(),
        partitions: Some(1),
        ..NewTopic::default()
    };
    client.create_topic(&orders).await.unwrap();
    for number in 0..10 {
        commit(&client, &format!("group-{number}"), number).await;
    }
    tokio::task::block_in_place(|| {
        await_all(&testbed.brokers[0], |it| has_in_sync(it, &[0]));
        testbed.brokers[1].spawn();
        testbed.wait_ready();
        await_all(&testbed.brokers[0], |it| has_in_sync(it, &[0, 1]));
        testbed.brokers[2].spawn();
        testbed.wait_ready();
        await_all(&testbed.brokers[0], |it| has_in_sync(it, &[0, 1, 2]));
        // The only one that ever had a commit from its client.
        testbed.brokers[0].kill();
        await_all(&testbed.brokers[2], |it| {
            let mut partitions = it.partitions.iter();
            partitions.all(|it| [1, 2].contains(&it.leader_id.0))
        });
    });
    let client = testbed.client().await;
    for number in 0..10 {
        let group = format!("group-{number}");
        assert_eq!(committed(&client, &group).await.0, number, "{group}");
    }
    commit(&client, "group-0", 42).await;
    assert_eq!(committed(&client, "group-0").await.0, 42);
}
