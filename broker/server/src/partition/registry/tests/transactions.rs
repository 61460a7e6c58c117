//! Transactions where something else goes wrong.

use bytes::BytesMut;
use foz_log::{AppendOrigin, TransactionMarker};
use foz_protocol::batch::{BatchHeader, assign};
use foz_protocol::fetch::{AbortedTransaction, IsolationLevel};
use foz_replication::ReplicaSelector;

use super::*;
use crate::disk_space::Space;
use crate::partition::{ConsumerRead, ProduceError, Read, ReadError, wall_clock_ms};

const PRODUCER: i64 = 9;

fn transactional() -> BatchBuilder {
    let builder = BatchBuilder::new(Compression::None);
    builder.idempotent(PRODUCER, 0, 0).transactional()
}

fn record() -> RecordToWrite<'static> {
    RecordToWrite {
        timestamp_ms: wall_clock_ms(),
        ..RecordToWrite::default()
    }
}

fn abort() -> TransactionMarker {
    TransactionMarker {
        producer_id: PRODUCER,
        producer_epoch: 0,
        coordinator_epoch: 1,
        is_commit: false,
    }
}

/// Broker 0 leads alone, and has one record of a transaction that is open.
fn with_open_transaction() -> (World, Arc<Partition>) {
    let mut world = World::new();
    world.create_topic(&[0]);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    let mut builder = transactional();
    builder.push(&record());
    let mut batch = builder.build().unwrap();
    let (log, now_ms) = (partition.log(), wall_clock_ms());
    let header = BatchHeader::parse(&batch).unwrap();
    let guard = log.begin_verification(&header, false, now_ms).unwrap();
    log.append_from(AppendOrigin::Client(guard), &mut batch, 0, now_ms)
        .unwrap();
    drop(log);
    commit(&partition);
    (world, partition)
}

fn commit(partition: &Arc<Partition>) {
    let log = partition.log();
    log.flush().unwrap();
    log.set_high_watermark(log.log_end_offset());
}

fn read(
    world: &World,
    partition: &Partition,
    isolation_level: IsolationLevel,
) -> Result<Read, ReadError> {
    let wanted = ConsumerRead {
        offset: 0,
        leader_epoch: -1,
        last_fetched_epoch: -1,
        bytes_max: 1 << 20,
        at_least_one: true,
        isolation_level,
        rack: "",
        selector: ReplicaSelector::Leader,
        may_read_from_follower: false,
    };
    partition.read(&wanted, &world.image)
}

/// It gives room back: as long as the transaction is open nothing behind it is compacted.
#[tokio::test(flavor = "multi_thread")]
async fn a_marker_is_taken_where_records_are_not() {
    let (world, partition) = with_open_transaction();
    let directory = partition.directory();
    directory.disk_gate().set(Space::Low);
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&record());
    let batch = BytesMut::from(&builder.build().unwrap()[..]);
    let refused = partition.append(&world.image, -1, batch).unwrap_err();
    assert!(matches!(refused, ProduceError::NoRoom), "{refused:?}");
    assert_eq!(partition.log().last_stable_offset(), 0);
    partition.append_marker(abort(), 1).unwrap();
    commit(&partition);
    assert_eq!(partition.log().last_stable_offset(), 2);
    // Where there is no room at all it comes again.
    directory.disk_gate().set(Space::Full);
    let refused = partition.append_marker(abort(), 1).unwrap_err();
    assert!(matches!(refused, ProduceError::NoRoom), "{refused:?}");
}

/// The log itself is whole, and nothing of it is to be cut off.
#[tokio::test(flavor = "multi_thread")]
async fn an_index_that_cannot_be_read_is_no_damage_of_the_log() {
    let (mut world, partition) = with_open_transaction();
    partition.append_marker(abort(), 1).unwrap();
    commit(&partition);
    let committed = read(&world, &partition, IsolationLevel::ReadCommitted).unwrap();
    let aborted = AbortedTransaction {
        producer_id: PRODUCER,
        first_offset: 0,
    };
    assert_eq!(committed.aborted, Some(vec![aborted]));
    assert_eq!(committed.last_stable_offset, 2);
    let file = "orders-0/00000000000000000000.txnindex";
    let file = fs::File::options()
        .write(true)
        .open(world.data.path().join(file))
        .unwrap();
    file.set_len(10).unwrap();
    let failed = read(&world, &partition, IsolationLevel::ReadCommitted).unwrap_err();
    assert_eq!(failed.error, ErrorCode::KafkaStorageError);
    let all = read(&world, &partition, IsolationLevel::ReadUncommitted).unwrap();
    assert_eq!((all.records.len(), all.aborted), (1, None));
    // It is made anew.
    let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
    let again = loop {
        match read(&world, &partition, IsolationLevel::ReadCommitted) {
            Ok(again) => break again,
            Err(error) => assert_eq!(error.error, ErrorCode::KafkaStorageError),
        }
        assert!(tokio::time::Instant::now() < deadline);
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    assert_eq!(again.aborted, committed.aborted);
    assert!(partition.damage().is_none());
    assert!(world.fatal.try_recv().is_err());
}

/// It stops neither the log nor its directory: all from there on is fetched again.
#[tokio::test]
async fn a_damaged_marker_that_a_cut_meets_is_damage() {
    let (mut world, partition) = follower();
    let mut record_of = transactional();
    record_of.push(&record());
    let mut marker = BatchBuilder::new(Compression::None)
        .idempotent(PRODUCER, 0, -1)
        .transactional()
        .control();
    marker.push(&RecordToWrite {
        key: Some(&[0, 0, 0, 0]),
        value: Some(&[0; 6]),
        ..record()
    });
    let mut plain = BatchBuilder::new(Compression::None);
    plain.push(&record());
    let batches = [record_of, marker, plain].map(|builder| builder.build().unwrap());
    let mut positions = Vec::new();
    for (offset, mut batch) in (3..).zip(batches) {
        assign(&mut batch, offset, 0);
        positions.push(partition.size_bytes() as usize);
        let fetched = fetched(&partition);
        assert_eq!(partition.take(&fetched, &batch), Followed::On);
    }
    partition.log().flush().unwrap();
    let file = world.data.path().join("orders-0");
    let names = fs::read_dir(&file).unwrap().map(|it| it.unwrap().path());
    let logs = names.filter(|it| it.extension().is_some_and(|it| it == "log"));
    let last = logs.max().unwrap();
    let mut bytes = fs::read(&last).unwrap();
    // The value of the marker, in the segment that begins with the record.
    let at = positions[2] - positions[0] - 2;
    let base = usize::from(last.ends_with("00000000000000000000.log")) * positions[0];
    bytes[base + at] ^= 1;
    fs::write(&last, bytes).unwrap();
    let diverging = FetchedPartition {
        diverging_epoch: Some(EpochEndOffset {
            epoch: 0,
            end_offset: 5,
        }),
        ..fetched(&partition)
    };
    assert_eq!(partition.take(&diverging, b""), Followed::Later);
    assert!(!partition.log().has_failed());
    assert_eq!(partition.log().log_end_offset(), 6);
    assert!(!partition.is_new_damage(4) && partition.is_new_damage(3));
    assert!(world.fatal.try_recv().is_err());
}
