//! What a user was promised in figures, on the test profile: what is shipped is faster and smaller.

use std::time::{Duration, Instant};

use foz_cli::client::{Producer, ProducerConfig};
use foz_cli::message::Message;

use crate::testbed::{Testbed, topic};

/// From the start of a broker's process to its first acknowledged message, the quorum being up.
const START_MAX: Duration = Duration::from_millis(300);
/// A machine that does something else at the moment gets another try.
const TRIES: usize = 5;

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_takes_messages_soon_after_its_start() {
    let mut testbed = Testbed::start(1, 1);
    let client = testbed.client().await;
    client.create_topic(&topic("orders", 1)).await.unwrap();
    drop(client);
    let mut took = Vec::new();
    for _ in 0..TRIES {
        testbed.brokers[0].kill();
        let began = Instant::now();
        testbed.brokers[0].spawn();
        let client = testbed.client_within(Duration::from_millis(5)).await;
        let mut producer = Producer::new(client, ProducerConfig::default())
            .await
            .unwrap();
        producer.send("orders", Message::of("first")).await.unwrap();
        producer.flush().await.unwrap();
        took.push(began.elapsed());
        if took.last().is_some_and(|took| *took <= START_MAX) {
            return;
        }
    }
    panic!("the first message was acknowledged after {took:?}; at most {START_MAX:?} is promised");
}
