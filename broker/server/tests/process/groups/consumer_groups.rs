//! Groups of KIP-848 on three replicas, of which brokers are killed.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use foz_cli::client::{Client, Target};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{
    ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId, TopicName,
};
use uuid::Uuid;

use super::{commit, committed, coordinator, name};
use crate::testbed::{PATIENCE, Testbed, topic};

const GROUP: &str = "readers";

/// What a client does that says all it knows with every heartbeat.
struct Member {
    id: &'static str,
    epoch: i32,
    topic_id: Uuid,
    owned: BTreeSet<i32>,
}

impl Member {
    fn new(id: &'static str) -> Self {
        Self {
            id,
            epoch: 0,
            topic_id: Uuid::nil(),
            owned: BTreeSet::new(),
        }
    }

    fn request(&self) -> ConsumerGroupHeartbeatRequest {
        let owned = TopicPartitions::default()
            .with_topic_id(self.topic_id)
            .with_partitions(self.owned.iter().copied().collect());
        let owned = Some(owned).filter(|owned| !owned.partitions.is_empty());
        ConsumerGroupHeartbeatRequest::default()
            .with_group_id(GroupId(name(GROUP)))
            .with_member_id(name(self.id))
            .with_member_epoch(self.epoch)
            .with_rebalance_timeout_ms(60_000)
            .with_subscribed_topic_names(Some(vec![TopicName(name("orders"))]))
            .with_topic_partitions(Some(owned.into_iter().collect()))
    }

    /// Asks until it is answered, and takes up what it is told: what it loses at once, what it gets too.
    async fn beat(&mut self, client: &Client) {
        let request = self.request();
        let deadline = Instant::now() + PATIENCE;
        let response: ConsumerGroupHeartbeatResponse = loop {
            let node = Target::Node(coordinator(client, GROUP).await);
            let api = ApiKey::ConsumerGroupHeartbeat;
            let answer = client.request(node, api, 1, &request).await;
            if let Ok(answer) = answer {
                if answer.error_code == 0 {
                    break answer;
                }
                let retried = [
                    ResponseError::CoordinatorLoadInProgress,
                    ResponseError::CoordinatorNotAvailable,
                    ResponseError::NotCoordinator,
                ];
                let is_retried = retried
                    .iter()
                    .any(|error| error.code() == answer.error_code);
                assert!(is_retried, "{}: {answer:?}", self.id);
            }
            assert!(Instant::now() < deadline, "{} is not answered", self.id);
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        self.epoch = response.member_epoch;
        if let Some(assignment) = response.assignment {
            self.owned.clear();
            for topic in assignment.topic_partitions {
                self.topic_id = topic.topic_id;
                self.owned.extend(topic.partitions);
            }
        }
    }
}

/// The one that has to give partitions up has been told so, and has not said yet that it did.
#[tokio::test(flavor = "multi_thread")]
async fn a_rebalance_goes_on_with_the_next_coordinator() {
    let mut testbed = Testbed::prepare(1, 3);
    for broker in &testbed.brokers {
        broker.configure("offsets.topic.num.partitions=1");
    }
    testbed.start_all();
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 4)).await.unwrap();
    let (mut old, mut new) = (Member::new("old"), Member::new("new"));
    old.beat(&client).await;
    assert_eq!((old.epoch, old.owned.len()), (1, 4));
    // The next target is made a second after the first.
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    new.beat(&client).await;
    assert_eq!((new.epoch, new.owned.len()), (2, 0));
    let before = old.owned.clone();
    old.beat(&client).await;
    assert_eq!(
        (old.epoch, old.owned.len()),
        (1, 2),
        "two are to be revoked"
    );
    assert!(old.owned.is_subset(&before));

    let first = coordinator(&client, GROUP).await;
    testbed.brokers[first as usize].kill();
    old.beat(&client).await;
    assert_eq!((old.epoch, old.owned.len()), (2, 2));
    assert_ne!(coordinator(&client, GROUP).await, first);
    new.beat(&client).await;
    assert_eq!((new.epoch, new.owned.len()), (2, 2));
    assert!(old.owned.is_disjoint(&new.owned));
    let offsets_of_others = "others";
    commit(&client, offsets_of_others, 42).await;

    // And once more, by all that were there.
    testbed.nodes().for_each(|node| node.kill());
    testbed.nodes().for_each(|node| node.spawn());
    testbed.wait_ready();
    let client = testbed.client().await;
    for member in [&mut old, &mut new] {
        let owned = member.owned.clone();
        member.beat(&client).await;
        assert_eq!((member.epoch, &member.owned), (2, &owned));
    }
    assert_eq!(committed(&client, offsets_of_others).await.0, 42);
}
