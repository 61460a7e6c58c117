//! Rules that touch every partition of a broker stay fast in a large cluster.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "how long it took is what this test is about"
)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use foz_metadata::Image;
use foz_metadata::image::SupportedFeatures;
use foz_metadata::record::{Batch, Fact, PartitionRecord, Record, TopicRecord};
use foz_metadata::rules::{
    DataDirectory, Decision, RegisterBroker, fence_broker, found_cluster, register_broker,
    stop_broker, unfence_broker,
};
use uuid::Uuid;

const BROKERS: i32 = 30;
const PARTITIONS_PER_TOPIC: i32 = 10;
const TOPICS: u32 = 10_000;
/// Far above what it takes, some 0.2 s unoptimised: work that grows with the square would take minutes.
const SLOWEST: Duration = Duration::from_secs(5);

fn commit<A>(image: &mut Image, decision: Decision<A>) -> A {
    let batch = Batch {
        follows: image.offset(),
        term: 1,
        records: decision.records,
    };
    *image = image.apply(&batch).unwrap();
    decision.answer
}

fn registration(node_id: i32) -> RegisterBroker {
    let id = Uuid::from_u128(1 + u128::try_from(node_id).unwrap());
    RegisterBroker {
        node_id,
        incarnation: id,
        directories: vec![DataDirectory {
            id,
            disk_epoch: -1,
            intact: false,
            logs: Vec::new(),
        }],
        offline_directories: 0,
        in_doubt: Vec::new(),
        cluster_id: String::new(),
        host: "localhost".to_owned(),
        port: 9092,
        replication_host: "localhost".to_owned(),
        replication_port: 9091,
        rack: Some(format!("rack-{}", node_id % 3)),
        version: "1".to_owned(),
        features: SupportedFeatures::of_this_program(),
    }
}

/// 100,000 partitions with three replicas each: 10,000 on each broker.
fn large_cluster() -> Image {
    let mut image = Image::default();
    let decision = found_cluster(&image, "c").unwrap();
    commit(&mut image, decision);
    for node_id in 0..BROKERS {
        let decision = register_broker(&image, &registration(node_id)).unwrap();
        let epoch = commit(&mut image, decision);
        let decision = unfence_broker(&image, node_id, epoch).unwrap();
        commit(&mut image, decision);
    }
    let mut records = Vec::new();
    for topic in 0..TOPICS {
        // Random ids are spread over the whole range, as these are.
        let topic_id = Bytes::copy_from_slice(&(u128::from(topic) << 100).to_be_bytes());
        records.push(Fact::Topic(TopicRecord {
            id: topic_id.clone(),
            name: format!("topic-{topic}"),
            internal: false,
            restored_partitions: 0,
        }));
        for index in 0..PARTITIONS_PER_TOPIC {
            let first = i32::try_from(topic).unwrap() * PARTITIONS_PER_TOPIC + index;
            let replicas: Vec<i32> = [0, 1, 2].map(|next| (first + next) % BROKERS).into();
            records.push(Fact::Partition(PartitionRecord {
                topic_id: topic_id.clone(),
                index,
                leader: replicas[0],
                isr: replicas.clone(),
                replicas,
                ..PartitionRecord::default()
            }));
        }
    }
    let records = records.into_iter().map(Record::from).collect();
    commit(
        &mut image,
        Decision {
            records,
            answer: (),
        },
    );
    image
}

#[test]
fn a_broker_with_ten_thousand_partitions_comes_and_goes_quickly() {
    let mut image = large_cluster();
    let epoch = image.broker(0).unwrap().epoch;
    let timed = |what: &str, image: &mut Image, rule: &dyn Fn(&Image) -> Decision<()>| {
        let start = Instant::now();
        let decision = rule(image);
        let decided = start.elapsed();
        let records = decision.records.len();
        commit(image, decision);
        println!(
            "{what}: {records} records, decided in {decided:?}, applied after {:?}",
            start.elapsed()
        );
        assert!(decided < SLOWEST, "{what} took {decided:?}");
        records
    };
    let stopped = timed("stop", &mut image, &|image| {
        let decision = stop_broker(image, 0, epoch).unwrap();
        assert_eq!(decision.answer.leads, 0);
        Decision {
            records: decision.records,
            answer: (),
        }
    });
    assert_eq!(stopped, 10_001);
    let epoch = image.broker(1).unwrap().epoch;
    let fenced = timed("fence", &mut image, &|image| {
        fence_broker(image, 1, epoch).unwrap()
    });
    // Two of its partitions had another leader since.
    assert!(fenced > 10_000, "{fenced}");
    timed("unfence", &mut image, &|image| {
        unfence_broker(image, 1, epoch).unwrap()
    });
    assert_eq!(image.partitions_led_by(0).count(), 0);
}
