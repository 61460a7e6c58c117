//! Offsets of transactions in the log of their coordinator, and the markers that end those.

use foz_groups::{Request, Response};
use foz_log::VerificationGuard;
use foz_protocol::batch::BatchHeader;
use foz_protocol::error::ErrorCode;
use foz_records::write_txn_markers_request::{
    WritableTxnMarker, WritableTxnMarkerTopic, WriteTxnMarkersRequest,
};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics,
};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    GroupId, OffsetFetchRequest, TopicName, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::StrBytes;

use super::coordinating::{context, coordinate, lead_again};
use super::*;
use crate::handlers::write_txn_markers;
use crate::partition::{Partition, wall_clock_ms};

const PRODUCER: i64 = 4_000;
const OFFSETS: &str = "__consumer_offsets";

/// Broker 0 coordinates the groups, alone.
async fn world() -> (World, Arc<Partition>) {
    let mut world = World::new();
    let key = "foz.flush.single.replica";
    world.configure(ResourceKind::Broker, "", key, Some("false"));
    world.create_topic_named(OFFSETS, &[0]);
    assert_eq!(coordinate(&world).await, [0, 1, 0]);
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    (world, partition)
}

fn topic() -> TopicName {
    TopicName(StrBytes::from_static_str(OFFSETS))
}

fn guard(partition: &Partition, epoch: i16) -> Option<VerificationGuard> {
    let mut batch = BatchBuilder::new(Compression::None)
        .idempotent(PRODUCER, epoch, -1)
        .transactional();
    batch.push(&RecordToWrite::default());
    let header = BatchHeader::parse(&batch.build().unwrap()).unwrap();
    let log = partition.log();
    log.begin_verification(&header, true, wall_clock_ms())
        .unwrap()
}

/// The error.
async fn commit(
    world: &World,
    guard: Option<VerificationGuard>,
    epoch: i16,
    offset: i64,
) -> ErrorCode {
    let partition = TxnOffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = TxnOffsetCommitRequestTopic::default()
        .with_name(topic())
        .with_partitions(vec![partition]);
    let request = TxnOffsetCommitRequest::default()
        .with_transactional_id(TransactionalId(StrBytes::from_static_str("id")))
        .with_group_id(GroupId(StrBytes::from_static_str("group")))
        .with_producer_id(PRODUCER.into())
        .with_producer_epoch(epoch)
        .with_generation_id(-1)
        .with_topics(vec![topic]);
    let request = Request::TxnOffsetCommit(request);
    let coordinators = &world.broker.coordinators;
    let context = context(world, 5);
    let answer = coordinators.ask_in_transaction(&context, request, guard);
    let Response::TxnOffsetCommit(response) = answer.await else {
        panic!("no answer to a TxnOffsetCommit")
    };
    ErrorCode::from_code(response.topics[0].partitions[0].error_code).unwrap()
}

/// The error.
async fn end(world: &World, epoch: i16, coordinator_epoch: i32, is_commit: bool) -> ErrorCode {
    let topic = WritableTxnMarkerTopic {
        name: OFFSETS.into(),
        partition_indexes: vec![0],
    };
    let marker = WritableTxnMarker {
        producer_id: PRODUCER,
        producer_epoch: epoch,
        transaction_result: is_commit,
        topics: vec![topic],
        coordinator_epoch,
        transaction_version: 2,
    };
    let request = WriteTxnMarkersRequest {
        markers: vec![marker],
    };
    let response = write_txn_markers::handle(context(world, 2), request).await;
    let code = response.markers[0].topics[0].partitions[0].error_code;
    ErrorCode::from_code(code).unwrap()
}

/// The stable offset.
async fn stable(world: &World) -> Result<i64, ErrorCode> {
    let topic = OffsetFetchRequestTopics::default()
        .with_name(topic())
        .with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_static_str("group")))
        .with_topics(Some(vec![topic]));
    let request = OffsetFetchRequest::default()
        .with_groups(vec![group])
        .with_require_stable(true);
    let coordinators = &world.broker.coordinators;
    let context = context(world, 8);
    let answer = coordinators.ask(&context, Request::OffsetFetch(request));
    let Response::OffsetFetch(response) = answer.await else {
        panic!("no answer to an OffsetFetch")
    };
    let refused = ErrorCode::from_code(response.groups[0].error_code).unwrap();
    if refused != ErrorCode::None {
        return Err(refused);
    }
    let partition = &response.groups[0].topics[0].partitions[0];
    match ErrorCode::from_code(partition.error_code).unwrap() {
        ErrorCode::None => Ok(partition.committed_offset),
        error => Err(error),
    }
}

#[tokio::test]
async fn offsets_of_a_transaction_are_taken_over_by_the_coordinator_of_the_next_leader_epoch() {
    let (mut world, partition) = world().await;
    let unstable = Err(ErrorCode::UnstableOffsetCommit);
    let mut expected = -1;
    let mut leader_epoch = 0;
    for (epoch, is_commit) in [(0, true), (1, false), (2, true)] {
        let offset = 40 + i64::from(epoch);
        let begun = guard(&partition, epoch);
        assert!(begun.is_some());
        assert_eq!(
            commit(&world, begun, epoch, offset - 9).await,
            ErrorCode::None
        );
        // It is open there: nobody needs to be asked.
        assert_eq!(guard(&partition, epoch), None);
        assert_eq!(commit(&world, None, epoch, offset).await, ErrorCode::None);
        let log = partition.log();
        assert!(log.last_stable_offset() < log.log_end_offset());
        drop(log);
        assert_eq!(stable(&world).await, unstable);
        leader_epoch += 1;
        lead_again(&mut world, leader_epoch);
        assert_eq!(coordinate(&world).await, [0, 1, 0]);
        assert_eq!(stable(&world).await, unstable);

        assert_eq!(end(&world, epoch + 1, 7, is_commit).await, ErrorCode::None);
        if is_commit {
            expected = offset;
        }
        assert_eq!(stable(&world).await, Ok(expected));
        let log = partition.log();
        assert_eq!(log.last_stable_offset(), log.log_end_offset());
        drop(log);
        // Sent again, by a coordinator that heard no answer.
        assert_eq!(end(&world, epoch + 1, 7, is_commit).await, ErrorCode::None);
        leader_epoch += 1;
        lead_again(&mut world, leader_epoch);
        assert_eq!(coordinate(&world).await, [0, 1, 0]);
        assert_eq!(stable(&world).await, Ok(expected));
    }
}

#[tokio::test]
async fn what_the_log_refuses_is_in_no_transaction() {
    let (mut world, partition) = world().await;
    assert_eq!(commit(&world, None, 5, 1).await, ErrorCode::InvalidTxnState);
    assert_eq!(stable(&world).await, Ok(-1));
    let begun = guard(&partition, 5);
    assert_eq!(commit(&world, begun, 5, 1).await, ErrorCode::None);
    let fenced = ErrorCode::InvalidProducerEpoch;
    assert_eq!(commit(&world, None, 4, 2).await, fenced);
    assert_eq!(stable(&world).await, Err(ErrorCode::UnstableOffsetCommit));
    assert_eq!(end(&world, 6, 7, true).await, ErrorCode::None);
    assert_eq!(stable(&world).await, Ok(1));
    // Between the question and the commit the transaction came to its end.
    let begun = guard(&partition, 6);
    assert_eq!(end(&world, 7, 7, false).await, ErrorCode::None);
    assert_eq!(commit(&world, begun, 6, 2).await, fenced);
    assert_eq!(stable(&world).await, Ok(1));

    // Nobody coordinates: the marker is to be sent again.
    world.broker.coordinators.stop();
    let again = ErrorCode::NotLeaderOrFollower;
    assert_eq!(end(&world, 8, 7, true).await, again);
    lead_again(&mut world, 1);
    assert_eq!(coordinate(&world).await, [0, 1, 0]);
    assert_eq!(end(&world, 8, 7, true).await, ErrorCode::None);
}

/// Whoever went on from an offset that a transaction has replaced would write its output twice.
#[tokio::test]
async fn who_does_not_know_that_it_still_leads_tells_no_stable_offsets() {
    let (mut world, partition) = world().await;
    let begun = guard(&partition, 0);
    assert_eq!(commit(&world, begun, 0, 5).await, ErrorCode::None);
    assert_eq!(end(&world, 1, 7, true).await, ErrorCode::None);
    assert_eq!(stable(&world).await, Ok(5), "nobody else can lead");
    world.change(PartitionChangeRecord {
        replicas: Some(NodeIds::from(vec![0, 1])),
        isr: Some(NodeIds::from(vec![0, 1])),
        ..PartitionChangeRecord::default()
    });
    assert_eq!(stable(&world).await, Err(ErrorCode::NotCoordinator));
    let in_an_hour = tokio::time::Instant::now() + Duration::from_secs(3_600);
    world.broker.lease.answered(in_an_hour);
    assert_eq!(stable(&world).await, Ok(5));
}
