//! Many topics at once.

use std::time::Instant;

use crate::support::{create, create_one, create_surely, new_topic, with_two_brokers};

#[tokio::test(flavor = "multi_thread")]
async fn many_topics_at_once_are_all_made_and_spread() {
    let (controllers, brokers) = with_two_brokers(1).await;
    let began = Instant::now();
    let mut calls = Vec::new();
    for number in 0..1000 {
        let client = controllers.client.clone();
        calls.push(tokio::spawn(async move {
            create_surely(&client, &format!("topic-{number}")).await;
        }));
        // As many at a time as wait in the controller's queue.
        if calls.len() == 500 {
            for call in calls.drain(..) {
                call.await.unwrap();
            }
        }
    }
    for call in calls {
        call.await.unwrap();
    }
    eprintln!("1,000 topics in 1,000 calls: {:?}", began.elapsed());
    let image = controllers.image();
    assert_eq!(image.topic_count(), 1000);
    for broker in &brokers {
        assert_eq!(image.partitions_led_by(broker.node_id()).count(), 500);
        assert_eq!(*broker.image(), *image);
    }
    let began = Instant::now();
    let topics = (0..1000)
        .map(|number| new_topic(&format!("more-{number}"), 1))
        .collect();
    let results = create(&controllers, topics).await;
    assert!(
        results
            .iter()
            .all(|result| result.outcome.as_ref().unwrap().kafka_code == 0)
    );
    eprintln!("1,000 topics in one call: {:?}", began.elapsed());
    let began = Instant::now();
    for number in 0..20 {
        create_one(&controllers, &format!("single-{number}"), 1).await;
    }
    eprintln!("one topic after the other: {:?} each", began.elapsed() / 20);
    for broker in brokers {
        broker.stop().await;
    }
    controllers.stop().await;
}
