//! Transactions as their coordinator has them in its log.

use std::sync::atomic::Ordering;

use bytes::BytesMut;
use foz_metadata::record::DeleteTopicRecord;
use foz_transactions::{ListTransactions, Request, Response};
use kafka_protocol::ResponseError;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, DescribeTransactionsRequest, EndTxnRequest, InitProducerIdRequest,
    ListTransactionsRequest, TopicName, TransactionalId,
};
use kafka_protocol::protocol::StrBytes;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::request::{Client, Listener, RequestContext};

const ORDERS_ID: Uuid = Uuid::from_u128(8);
const ID: TransactionalId = TransactionalId(StrBytes::from_static_str("id"));
const FIRST: i64 = 4_000;

/// Broker 0 leads `__transaction_state`, broker 1, which nobody reaches, `orders`.
fn world() -> World {
    let mut world = World::new();
    world.configure(
        ResourceKind::Broker,
        "",
        "foz.flush.single.replica",
        Some("false"),
    );
    world.create_topic_named("__transaction_state", &[0]);
    let id = Bytes::copy_from_slice(ORDERS_ID.as_bytes());
    let topic = Fact::Topic(TopicRecord {
        id: id.clone(),
        name: "orders".to_owned(),
        internal: false,
        restored_partitions: 0,
    });
    let partition = Fact::Partition(PartitionRecord {
        topic_id: id,
        replicas: vec![1],
        isr: vec![1],
        leader: 1,
        ..PartitionRecord::default()
    });
    world.commit(vec![topic.into(), partition.into()]);
    world.broker.producer_ids.give(FIRST..FIRST + 100);
    world.broker.client_connections.store(10, Ordering::Release);
    world
}

/// Loading, active and failed.
fn counts(world: &World) -> [i64; 3] {
    let figures = &world.broker.metrics.transactions;
    [&figures.loading, &figures.active, &figures.failed].map(prometheus::IntGauge::get)
}

/// Until no coordinator loads.
async fn coordinate(world: &World) -> [i64; 3] {
    world.broker.transactions.apply(&world.broker, &world.image);
    loop {
        tokio::time::sleep(Duration::from_millis(10)).await;
        let counts = counts(world);
        if counts[0] == 0 && counts[1] + counts[2] == 1 {
            return counts;
        }
    }
}

/// Leads once more, in the next epoch.
async fn coordinate_again(world: &mut World, leader_epoch: i32) -> [i64; 3] {
    world.change(PartitionChangeRecord {
        leader: Some(0),
        leader_epoch: Some(leader_epoch),
        ..PartitionChangeRecord::default()
    });
    coordinate(world).await
}

/// Over the client connection of that number.
async fn ask_over(world: &World, number: u64, version: i16, request: Request) -> Option<Response> {
    let peer = "127.0.0.1:1".parse().unwrap();
    let client = Client::anonymous(peer, Listener::Clients, number, CancellationToken::new());
    let context = RequestContext {
        broker: Arc::clone(&world.broker),
        client: Arc::new(client),
        client_id: String::new(),
        version,
    };
    world.broker.transactions.ask(&context, request).await
}

async fn ask(world: &World, version: i16, request: Request) -> Response {
    let answer = ask_over(world, 11, version, request).await;
    answer.expect("the connection is not closed")
}

/// The error, or producer id and epoch.
async fn init(world: &World) -> Result<(i64, i16), i16> {
    let request = InitProducerIdRequest::default()
        .with_transactional_id(Some(ID))
        .with_transaction_timeout_ms(60_000)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let answer = ask(world, 5, Request::InitProducerId(request)).await;
    let Response::InitProducerId(response) = answer else {
        panic!("{answer:?}")
    };
    match response.error_code {
        0 => Ok((response.producer_id.0, response.producer_epoch)),
        error => Err(error),
    }
}

fn add_request(epoch: i16) -> Request {
    let topic = AddPartitionsToTxnTopic::default()
        .with_name(TopicName(StrBytes::from_static_str("orders")))
        .with_partitions(vec![0]);
    let request = AddPartitionsToTxnRequest::default()
        .with_v3_and_below_transactional_id(ID)
        .with_v3_and_below_producer_id(FIRST.into())
        .with_v3_and_below_producer_epoch(epoch)
        .with_v3_and_below_topics(vec![topic]);
    Request::AddPartitionsToTxn(request)
}

/// The error for `orders`.
async fn add(world: &World, epoch: i16) -> i16 {
    let answer = ask(world, 3, add_request(epoch)).await;
    let Response::AddPartitionsToTxn(response) = answer else {
        panic!("{answer:?}")
    };
    let topics = response.results_by_topic_v3_and_below;
    topics[0].results_by_partition[0].partition_error_code
}

async fn commit(world: &World, epoch: i16) -> i16 {
    let request = EndTxnRequest::default()
        .with_transactional_id(ID)
        .with_producer_id(FIRST.into())
        .with_producer_epoch(epoch)
        .with_committed(true);
    let answer = ask(world, 4, Request::EndTxn(request)).await;
    let Response::EndTxn(response) = answer else {
        panic!("{answer:?}")
    };
    response.error_code
}

/// The state, and how many topics take part; or the error.
async fn described(world: &World) -> Result<(String, usize), i16> {
    let request = DescribeTransactionsRequest::default().with_transactional_ids(vec![ID]);
    let answer = ask(world, 0, Request::DescribeTransactions(request)).await;
    let Response::DescribeTransactions(response) = answer else {
        panic!("{answer:?}")
    };
    let state = &response.transaction_states[0];
    match state.error_code {
        0 => Ok((state.transaction_state.to_string(), state.topics.len())),
        error => Err(error),
    }
}

async fn listed(world: &World) -> (i16, usize) {
    let request = ListTransactions::from(ListTransactionsRequest::default());
    let answer = ask(world, 0, Request::ListTransactions(request)).await;
    let Response::ListTransactions(response) = answer else {
        panic!("{answer:?}")
    };
    (response.error_code, response.transaction_states.len())
}

/// Nobody can write its marker any more, nor read what it is about: the transaction is complete.
async fn delete_orders(world: &mut World) {
    let deletion = DeleteTopicRecord {
        topic_id: Bytes::copy_from_slice(ORDERS_ID.as_bytes()),
        ..DeleteTopicRecord::default()
    };
    world.commit(vec![Fact::DeleteTopic(deletion).into()]);
    world.broker.transactions.apply(&world.broker, &world.image);
    while described(world).await != in_state("CompleteCommit", 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

fn in_state(state: &str, topics: usize) -> Result<(String, usize), i16> {
    Ok((state.to_owned(), topics))
}

#[tokio::test]
async fn a_transaction_goes_on_with_the_coordinator_of_the_next_leader_epoch() {
    let mut world = world();
    // Nobody coordinates yet.
    let not_coordinator = ResponseError::NotCoordinator.code();
    assert_eq!(init(&world).await, Err(not_coordinator));
    assert_eq!(listed(&world).await, (0, 0));
    assert_eq!(coordinate(&world).await, [0, 1, 0]);
    let not_found = ResponseError::TransactionalIdNotFound.code();
    assert_eq!(described(&world).await, Err(not_found));
    assert_eq!(init(&world).await, Ok((FIRST, 0)));
    assert_eq!(add(&world, 0).await, 0);
    assert_eq!(described(&world).await, in_state("Ongoing", 1));
    assert_eq!(listed(&world).await, (0, 1));

    assert_eq!(coordinate_again(&mut world, 1).await, [0, 1, 0]);
    let [max_ms, _, records, bytes] = world.broker.metrics.transactions.load_times.scraped();
    assert!(0.0 < max_ms && max_ms < 60_000.0);
    let log = world.partitions().get(TOPIC_ID, 0).unwrap();
    assert_eq!((records, bytes), (2.0, log.log().size_bytes() as f64));
    assert_eq!(described(&world).await, in_state("Ongoing", 1));
    assert_eq!(commit(&world, 0).await, 0);
    // The marker does not get through.
    assert_eq!(described(&world).await, in_state("PrepareCommit", 1));

    assert_eq!(coordinate_again(&mut world, 2).await, [0, 1, 0]);
    assert_eq!(described(&world).await, in_state("PrepareCommit", 1));
    let concurrent = ResponseError::ConcurrentTransactions.code();
    assert_eq!(add(&world, 0).await, concurrent);

    delete_orders(&mut world).await;
    assert_eq!(commit(&world, 0).await, 0, "sent again");
    assert_eq!(init(&world).await, Ok((FIRST, 1)));

    world.broker.transactions.stop();
    while counts(&world) != [0, 0, 0] {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(init(&world).await, Err(not_coordinator));
}

/// ADR 0027: before `transaction.version` 2.
#[tokio::test]
async fn who_speaks_over_an_older_connection_is_not_answered() {
    let mut world = world();
    coordinate(&world).await;
    assert_eq!(init(&world).await, Ok((FIRST, 0)));
    // As old as the coordinator, of which the producer has its epoch.
    assert!(ask_over(&world, 10, 3, add_request(0)).await.is_some());
    assert_eq!(add(&world, 0).await, 0);
    assert_eq!(ask_over(&world, 10, 3, add_request(0)).await, None);
    assert!(ask_over(&world, 12, 3, add_request(0)).await.is_some());
    assert_eq!(ask_over(&world, 11, 3, add_request(0)).await, None);
    world.broker.client_connections.store(12, Ordering::Release);
    coordinate_again(&mut world, 1).await;
    assert_eq!(ask_over(&world, 12, 3, add_request(0)).await, None);
    assert!(ask_over(&world, 13, 3, add_request(0)).await.is_some());
    assert_eq!(described(&world).await, in_state("Ongoing", 1));
}

/// What the last transaction was told must not be told of the next one, which a successor may coordinate by now.
#[tokio::test]
async fn who_does_not_know_that_it_still_leads_tells_nothing_from_memory() {
    let mut world = world();
    coordinate(&world).await;
    assert_eq!(init(&world).await, Ok((FIRST, 0)));
    assert_eq!(add(&world, 0).await, 0);
    assert_eq!(commit(&world, 0).await, 0);
    delete_orders(&mut world).await;
    assert_eq!(commit(&world, 0).await, 0, "nobody else can lead");
    world.change(PartitionChangeRecord {
        replicas: Some(NodeIds::from(vec![0, 1])),
        isr: Some(NodeIds::from(vec![0, 1])),
        ..PartitionChangeRecord::default()
    });
    let not_coordinator = ResponseError::NotCoordinator.code();
    assert_eq!(commit(&world, 0).await, not_coordinator);
    assert_eq!(add(&world, 7).await, not_coordinator);
    let in_an_hour = tokio::time::Instant::now() + Duration::from_secs(3_600);
    world.broker.lease.answered(in_an_hour);
    assert_eq!(commit(&world, 0).await, 0);
    let fenced = ResponseError::ProducerFenced.code();
    assert_eq!(add(&world, 7).await, fenced);
}

/// Whether the coordinator is asked at once or has had time to hear of it.
#[tokio::test]
async fn configs_count_as_soon_as_the_metadata_has_them() {
    let mut world = world();
    coordinate(&world).await;
    assert_eq!(init(&world).await, Ok((FIRST, 0)));
    let refused = ResponseError::InvalidTransactionTimeout.code();
    let mut epoch = 0;
    for pause_ms in [0, 50] {
        for (max_timeout_ms, expected) in [("59999", Err(refused)), ("60000", Ok(()))] {
            let key = "transaction.max.timeout.ms";
            world.configure(ResourceKind::Broker, "", key, Some(max_timeout_ms));
            world.broker.transactions.apply(&world.broker, &world.image);
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            epoch += i16::from(expected.is_ok());
            assert_eq!(init(&world).await, expected.map(|()| (FIRST, epoch)));
        }
    }
}

/// What was before it must not be served.
#[tokio::test]
async fn a_record_that_cannot_be_read_fails_the_load_until_the_next_leader_epoch() {
    let mut world = world();
    coordinate(&world).await;
    assert_eq!(init(&world).await, Ok((FIRST, 0)));
    let partition = world.partitions().get(TOPIC_ID, 0).unwrap();
    let newer = b"\x00\x09";
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordToWrite {
        timestamp_ms: 5,
        key: Some(b"\x00\x00\x00\x02id"),
        value: Some(newer),
        ..RecordToWrite::default()
    });
    let batch = BytesMut::from(&builder.build().unwrap()[..]);
    partition.append(&world.image, 1, batch).unwrap();
    assert_eq!(coordinate_again(&mut world, 1).await, [0, 0, 1]);
    let not_coordinator = ResponseError::NotCoordinator.code();
    assert_eq!(init(&world).await, Err(not_coordinator));
    assert_eq!(described(&world).await, Err(not_coordinator));
    assert_eq!(listed(&world).await, (0, 0), "others would be listed");

    // Gone, as if a version that can read it had written another.
    let end = partition.log_end_offset();
    partition.log().advance_log_start_offset(end).unwrap();
    assert_eq!(coordinate_again(&mut world, 2).await, [0, 1, 0]);
    let not_found = ResponseError::TransactionalIdNotFound.code();
    assert_eq!(described(&world).await, Err(not_found));
}
