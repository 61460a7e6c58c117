//! What a consumer is told that says in which epoch it has read last.

use bytes::BytesMut;
use foz_protocol::fetch::{EpochEndOffset, IsolationLevel};
use foz_replication::ReplicaSelector;

use super::*;
use crate::partition::{ConsumerRead, Read, ReadError};

/// Two records in each of the leader epochs 0 and 2; the first is deleted.
fn led_twice() -> (World, Arc<Partition>) {
    let mut world = World::new();
    world.create_topic(&[0]);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    append_two(&world, &partition);
    for leader_epoch in 1..=2 {
        world.change(PartitionChangeRecord {
            leader: Some(0),
            leader_epoch: Some(leader_epoch),
            ..PartitionChangeRecord::default()
        });
    }
    append_two(&world, &partition);
    partition.log().advance_log_start_offset(1).unwrap();
    (world, partition)
}

fn append_two(world: &World, partition: &Arc<Partition>) {
    for _ in 0..2 {
        let mut builder = BatchBuilder::new(Compression::None);
        builder.push(&RecordToWrite::default());
        let batch = BytesMut::from(&builder.build().unwrap()[..]);
        partition.append(&world.image, -1, batch).unwrap();
    }
    partition.log().flush().unwrap();
    partition.flushed();
}

fn read(
    world: &World,
    partition: &Partition,
    last_fetched_epoch: i32,
    offset: i64,
) -> Result<Read, ReadError> {
    let wanted = ConsumerRead {
        offset,
        leader_epoch: -1,
        last_fetched_epoch,
        bytes_max: 1 << 20,
        at_least_one: true,
        isolation_level: IsolationLevel::ReadUncommitted,
        rack: "",
        selector: ReplicaSelector::Leader,
        may_read_from_follower: true,
    };
    partition.read(&wanted, &world.image)
}

#[tokio::test]
async fn a_consumer_hears_where_logs_part_and_begins_anew_where_its_epoch_is_not_known() {
    let (world, partition) = led_twice();
    for (last_fetched_epoch, offset, parts_at) in [
        (-1, 3, None),
        (2, 3, None),
        (2, 4, None),
        (2, 5, Some((2, 4))),
        (0, 2, None),
        (0, 3, Some((0, 2))),
        (1, 2, Some((0, 2))),
    ] {
        let read = read(&world, &partition, last_fetched_epoch, offset).unwrap();
        let what = format!("epoch {last_fetched_epoch}, offset {offset}");
        let parts_at = parts_at.map(|(epoch, end_offset)| EpochEndOffset { epoch, end_offset });
        assert_eq!(read.diverging_epoch, parts_at, "{what}");
        let has_records = parts_at.is_none() && offset < 4;
        assert_eq!(!read.records.is_empty(), has_records, "{what}");
        assert_eq!(read.high_watermark, 4, "{what}");
    }
    for (last_fetched_epoch, offset) in [(3, 3), (7, 4), (7, 99), (0, 0), (2, 0), (-1, 5)] {
        let refused = read(&world, &partition, last_fetched_epoch, offset).unwrap_err();
        let what = format!("epoch {last_fetched_epoch}, offset {offset}");
        assert_eq!(refused.error, ErrorCode::OffsetOutOfRange, "{what}");
        let bounds = (refused.log_start_offset, refused.high_watermark);
        assert_eq!(bounds, (1, 4), "{what}");
    }
}
