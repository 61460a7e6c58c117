//! Damage that is found in a log in service.

use bytes::BytesMut;
use foz_protocol::fetch::IsolationLevel;

use super::*;
use crate::partition::OffsetQuery;

/// Broker 0 alone has three records, in three batches.
fn single() -> (World, Arc<Partition>) {
    let mut world = World::new();
    world.create_topic(&[0]);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    for _ in 0..3 {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&RecordToWrite {
            timestamp_ms: 5,
            key: Some(b"key"),
            ..RecordToWrite::default()
        });
        let batch = BytesMut::from(&builder.build().unwrap()[..]);
        partition.append(&world.image, 1, batch).unwrap();
    }
    partition.log().flush().unwrap();
    partition.flushed();
    assert_eq!(partition.high_watermark(), 3);
    partition.log().set_high_watermark(3);
    (world, partition)
}

fn flip(world: &World, position: usize) {
    let file = "orders-0/00000000000000000000.log";
    let file = world.data.path().join(file);
    let mut bytes = fs::read(&file).unwrap();
    bytes[position] ^= 1;
    fs::write(&file, bytes).unwrap();
}

fn damaged(world: &World) -> i64 {
    assert_eq!(world.repair(), None, "nobody else has it");
    world.broker.metrics.damaged_logs.get()
}

#[tokio::test]
async fn damage_that_was_deleted_is_forgotten_once_no_crash_brings_it_back() {
    let (world, partition) = single();
    let directory = world.directory().logs();
    partition.found_damage(&partition.located(), 1);
    assert!(!partition.is_new_damage(1) && partition.is_new_damage(0));
    assert_eq!(damaged(&world), 1);
    partition.log().advance_log_start_offset(1).unwrap();
    directory.checkpoint_log_starts().unwrap();
    assert_eq!(damaged(&world), 1, "it is the first that is left");
    partition.log().advance_log_start_offset(2).unwrap();
    assert_eq!(damaged(&world), 1, "a crash brings it back");
    directory.checkpoint_log_starts().unwrap();
    assert_eq!(damaged(&world), 0);
    assert!(partition.damage().is_none() && partition.is_new_damage(2));
    assert_eq!(partition.log().damaged_from(), None);
}

/// As a fetch does it.
#[tokio::test]
async fn whoever_comes_upon_damage_tells_it() {
    let searches = |partition: &Partition| {
        let found = partition.find_offset(OffsetQuery::Timestamp(5), IsolationLevel::default(), -1);
        assert_eq!(found.unwrap_err(), ErrorCode::KafkaStorageError);
    };
    let replays = |partition: &Partition| {
        let replayed = partition.replay(0, |_| Ok(()));
        assert!(replayed.unwrap_err().contains("is damaged at byte"));
    };
    let acts: [&dyn Fn(&Partition); 2] = [&searches, &replays];
    // A record, and the magic of its batch.
    for (position, act) in [65, 16].into_iter().zip(acts) {
        let (world, partition) = single();
        let records = partition.replay(0, |_| Ok(())).map(|it| it.records);
        assert_eq!(records, Ok(3));
        flip(&world, position);
        act(&partition);
        assert_eq!(damaged(&world), 1, "{position}");
        assert!(!partition.is_new_damage(0));
    }
}
