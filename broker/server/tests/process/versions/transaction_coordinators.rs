//! The APIs of transactions: one whole life of a transaction in each version, and what is refused.

use std::cell::Cell;

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::add_partitions_to_txn_request::{
    AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction,
};
use kafka_protocol::messages::describe_transactions_response::TransactionState;
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, AddPartitionsToTxnResponse,
    DescribeTransactionsRequest, EndTxnRequest, EndTxnResponse, FindCoordinatorRequest,
    InitProducerIdRequest, InitProducerIdResponse, ListTransactionsRequest, ProducerId,
    TransactionalId,
};

use super::connection::{Connection, error, eventually, nearest, text, topic_name, versions_of};

const TIMEOUT_MS: i32 = 60_000;
/// KIP-588.
const FENCED_FROM: i16 = 4;
const BROKERS_ADD_FROM: i16 = 4;
/// KIP-890.
const EPOCHS_OF_TRANSACTIONS_FROM: i16 = 5;

pub(super) fn check(connection: &mut Connection) {
    connection.create_topic("transacted", 2);
    await_coordinator(connection, "any");
    let all = ListTransactionsRequest::default();
    eventually(|| match error(connection.call(0, &all).error_code) {
        ErrorCode::None => Ok(()),
        other => Err(other),
    });
    // One that is newer than the coordinators (ADR 0027).
    let connection = &mut connection.another();
    for version in versions_of::<InitProducerIdRequest>() {
        producers_are_initialised_and_fenced(connection, version);
        what_is_wrong_with_a_producer_is_said(connection, version);
    }
    for version in versions_of::<AddPartitionsToTxnRequest>() {
        partitions_are_added(connection, version);
        what_is_wrong_with_partitions_is_said(connection, version);
    }
    for version in versions_of::<AddOffsetsToTxnRequest>() {
        offsets_are_added(connection, version);
    }
    for version in versions_of::<EndTxnRequest>() {
        transactions_end(connection, version);
        what_is_wrong_with_an_end_is_said(connection, version);
    }
    transactions_are_listed(connection);
}

/// The node, once one leads the partition; the first who asks has the topic made.
pub(crate) fn await_coordinator(connection: &mut Connection, transactional_id: &str) -> i32 {
    let request = FindCoordinatorRequest::default()
        .with_key_type(1)
        .with_coordinator_keys(vec![text(transactional_id)]);
    eventually(|| {
        let found = connection.call(4, &request).coordinators.remove(0);
        match error(found.error_code) {
            ErrorCode::None => Ok(found.node_id.0),
            other => Err(other),
        }
    })
}

/// Whose transaction it is.
#[derive(Debug, Clone)]
pub(crate) struct Producer {
    pub(crate) transactional_id: TransactionalId,
    pub(crate) id: ProducerId,
    pub(crate) epoch: i16,
}

impl Producer {
    pub(crate) fn init_request(transactional_id: &str) -> InitProducerIdRequest {
        InitProducerIdRequest::default()
            .with_transactional_id(Some(id(transactional_id)))
            .with_transaction_timeout_ms(TIMEOUT_MS)
    }

    /// Waits until the coordinator is there, and until what was open before is aborted.
    pub(crate) fn init(connection: &mut Connection, transactional_id: &str) -> Self {
        let request = Self::init_request(transactional_id);
        let response = eventually(|| {
            let response = connection.call(5, &request);
            match error(response.error_code) {
                ErrorCode::None => Ok(response),
                other => Err(other),
            }
        });
        Self {
            transactional_id: id(transactional_id),
            id: response.producer_id,
            epoch: response.producer_epoch,
        }
    }

    pub(crate) fn add_request(
        &self,
        version: i16,
        topics: &[(&str, &[i32])],
    ) -> AddPartitionsToTxnRequest {
        let topics = topics.iter().map(|(name, partitions)| {
            AddPartitionsToTxnTopic::default()
                .with_name(topic_name(name))
                .with_partitions(partitions.to_vec())
        });
        let topics: Vec<_> = topics.collect();
        let request = AddPartitionsToTxnRequest::default();
        if version < BROKERS_ADD_FROM {
            return request
                .with_v3_and_below_transactional_id(self.transactional_id.clone())
                .with_v3_and_below_producer_id(self.id)
                .with_v3_and_below_producer_epoch(self.epoch)
                .with_v3_and_below_topics(topics);
        }
        let transaction = AddPartitionsToTxnTransaction::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_producer_id(self.id)
            .with_producer_epoch(self.epoch)
            .with_topics(topics);
        request.with_transactions(vec![transaction])
    }

    /// Topic, partition and error of each.
    pub(crate) fn add(
        &self,
        connection: &mut Connection,
        version: i16,
        topics: &[(&str, &[i32])],
    ) -> Vec<(String, i32, ErrorCode)> {
        let request = self.add_request(version, topics);
        added(connection, version, &request)
    }

    pub(crate) fn end_request(&self, committed: bool) -> EndTxnRequest {
        EndTxnRequest::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_producer_id(self.id)
            .with_producer_epoch(self.epoch)
            .with_committed(committed)
    }

    pub(crate) fn end(
        &self,
        connection: &mut Connection,
        version: i16,
        committed: bool,
    ) -> EndTxnResponse {
        connection.call(version, &self.end_request(committed))
    }

    pub(crate) fn describe(&self, connection: &mut Connection) -> TransactionState {
        let ids = vec![self.transactional_id.clone()];
        let request = DescribeTransactionsRequest::default().with_transactional_ids(ids);
        connection.call(0, &request).transaction_states.remove(0)
    }

    /// Until every partition has its marker.
    pub(crate) fn await_state(&self, connection: &mut Connection, state: &str) -> TransactionState {
        eventually(|| {
            let described = self.describe(connection);
            match described.transaction_state.as_str() == state {
                true => Ok(described),
                false => Err(Box::new(described)),
            }
        })
    }
}

pub(crate) fn id(name: &str) -> TransactionalId {
    TransactionalId(text(name))
}

fn added(
    connection: &mut Connection,
    version: i16,
    request: &AddPartitionsToTxnRequest,
) -> Vec<(String, i32, ErrorCode)> {
    results(connection.call(version, request))
}

/// Topic, partition and error of each.
pub(crate) fn results(response: AddPartitionsToTxnResponse) -> Vec<(String, i32, ErrorCode)> {
    assert_eq!(error(response.error_code), ErrorCode::None);
    let of_transactions = response.results_by_transaction.into_iter();
    let topics = of_transactions.flat_map(|result| result.topic_results);
    let topics = topics.chain(response.results_by_topic_v3_and_below);
    let partitions = topics.flat_map(|topic| {
        let name = topic.name.to_string();
        let partitions = topic.results_by_partition.into_iter();
        partitions.map(move |it| {
            let error = error(it.partition_error_code);
            (name.clone(), it.partition_index, error)
        })
    });
    partitions.collect()
}

fn outcome(response: &InitProducerIdResponse) -> (ErrorCode, i64, i16) {
    let (id, epoch) = (response.producer_id.0, response.producer_epoch);
    (error(response.error_code), id, epoch)
}

fn producers_are_initialised_and_fenced(connection: &mut Connection, version: i16) {
    let name = format!("initialised-{version}");
    let first = Producer::init(connection, &name);
    assert_eq!(first.epoch, 0);
    let request = Producer::init_request(&name);
    let again = outcome(&connection.call(version, &request));
    assert_eq!(again, (ErrorCode::None, first.id.0, 1), "{version}");
    let fenced = first.add(connection, 3, &[("transacted", &[0])]);
    let expected = ErrorCode::ProducerFenced;
    assert_eq!(fenced, [("transacted".to_owned(), 0, expected)]);
    if version < 3 {
        return;
    }
    let mut named = |id: ProducerId, epoch: i16| {
        let request = request
            .clone()
            .with_producer_id(id)
            .with_producer_epoch(epoch);
        outcome(&connection.call(version, &request))
    };
    // KIP-360: who did not hear of its epoch is told it again.
    assert_eq!(named(first.id, 1), (ErrorCode::None, first.id.0, 2));
    assert_eq!(named(first.id, 1), (ErrorCode::None, first.id.0, 2));
    let fenced = match version >= FENCED_FROM {
        true => ErrorCode::ProducerFenced,
        false => ErrorCode::InvalidProducerEpoch,
    };
    assert_eq!(named(first.id, 0), (fenced, -1, -1), "{version}");
    assert_eq!(named(ProducerId(first.id.0 + 1), 2), (fenced, -1, -1));
    for (id, epoch) in [(first.id, -1), (ProducerId(-1), 2)] {
        assert_eq!(named(id, epoch), (ErrorCode::InvalidRequest, -1, -1));
    }
}

fn what_is_wrong_with_a_producer_is_said(connection: &mut Connection, version: i16) {
    let name = format!("refused-{version}");
    let mut refused = |request: InitProducerIdRequest| {
        let (error, id, epoch) = outcome(&connection.call(version, &request));
        assert_eq!((id, epoch), (-1, -1));
        error
    };
    for timeout_ms in [0, -1, 900_001] {
        let request = Producer::init_request(&name).with_transaction_timeout_ms(timeout_ms);
        let expected = ErrorCode::InvalidTransactionTimeout;
        assert_eq!(refused(request), expected, "{version} {timeout_ms}");
    }
    assert_eq!(
        refused(Producer::init_request("")),
        ErrorCode::InvalidRequest
    );
}

fn partitions_are_added(connection: &mut Connection, version: i16) {
    let producer = Producer::init(connection, &format!("added-{version}"));
    for partitions in [&[0][..], &[0, 1]] {
        let added = producer.add(connection, version, &[("transacted", partitions)]);
        let expected: Vec<_> = partitions
            .iter()
            .map(|it| ("transacted".to_owned(), *it, ErrorCode::None))
            .collect();
        assert_eq!(added, expected, "{version}");
    }
    let described = producer.describe(connection);
    assert_eq!(described.transaction_state.as_str(), "Ongoing");
    assert_eq!(described.topics[0].partitions, [0, 1]);
    assert_eq!(
        (described.producer_id, described.producer_epoch),
        (producer.id, 0)
    );
    assert_eq!(described.transaction_timeout_ms, TIMEOUT_MS);
}

fn what_is_wrong_with_partitions_is_said(connection: &mut Connection, version: i16) {
    let producer = Producer::init(connection, &format!("not-added-{version}"));
    let mut errors = |producer: &Producer, topics: &[(&str, &[i32])]| -> Vec<ErrorCode> {
        let added = producer.add(connection, version, topics).into_iter();
        added.map(|(_, _, error)| error).collect()
    };
    let not_attempted = ErrorCode::OperationNotAttempted;
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let topics: [(&str, &[i32]); 2] = [("transacted", &[0, 9]), ("nowhere", &[0])];
    assert_eq!(
        errors(&producer, &topics),
        [not_attempted, unknown, unknown]
    );
    if version < BROKERS_ADD_FROM {
        let internal = errors(&producer, &[("__transaction_state", &[0])]);
        assert_eq!(internal, [ErrorCode::TopicAuthorizationFailed]);
    }
    let one: [(&str, &[i32]); 1] = [("transacted", &[0])];
    let nobody = Producer {
        transactional_id: id("nobody"),
        ..producer.clone()
    };
    assert_eq!(errors(&nobody, &one), [ErrorCode::InvalidProducerIdMapping]);
    let other = Producer {
        id: ProducerId(producer.id.0 + 1_000),
        ..producer.clone()
    };
    assert_eq!(errors(&other, &one), [ErrorCode::InvalidProducerIdMapping]);
    let newer = Producer {
        epoch: 1,
        ..producer.clone()
    };
    let fenced = match version >= 2 {
        true => ErrorCode::ProducerFenced,
        false => ErrorCode::InvalidProducerEpoch,
    };
    assert_eq!(errors(&newer, &one), [fenced], "{version}");
    let empty = Producer {
        transactional_id: id(""),
        ..producer.clone()
    };
    assert_eq!(errors(&empty, &one), [ErrorCode::InvalidRequest]);
    assert_eq!(
        producer.describe(connection).transaction_state.as_str(),
        "Empty"
    );
    if version < BROKERS_ADD_FROM {
        return;
    }
    // Of several each is answered for itself; to verify adds nothing.
    let mut request = producer.add_request(version, &one);
    request.transactions[0].verify_only = true;
    let expected = ErrorCode::TransactionAbortable;
    let verified = added(connection, version, &request);
    assert_eq!(verified, [("transacted".to_owned(), 0, expected)]);
    let more = nobody.add_request(version, &one).transactions;
    request.transactions[0].verify_only = false;
    request.transactions.extend(more);
    let response = connection.call(version, &request);
    let results = response.results_by_transaction.iter();
    let mut codes: Vec<_> = results
        .map(|it| {
            let code = it.topic_results[0].results_by_partition[0].partition_error_code;
            (it.transactional_id.to_string(), error(code))
        })
        .collect();
    codes.sort_by(|one, other| other.0.cmp(&one.0));
    let expected = [
        (producer.transactional_id.to_string(), ErrorCode::None),
        ("nobody".to_owned(), ErrorCode::InvalidProducerIdMapping),
    ];
    assert_eq!(codes, expected);
    let none = connection.call(version, &AddPartitionsToTxnRequest::default());
    assert!(none.results_by_transaction.is_empty());
}

fn offsets_are_added(connection: &mut Connection, version: i16) {
    let producer = Producer::init(connection, &format!("offsets-{version}"));
    let request = AddOffsetsToTxnRequest::default()
        .with_transactional_id(producer.transactional_id.clone())
        .with_producer_id(producer.id)
        .with_producer_epoch(producer.epoch)
        .with_group_id(super::connection::group_id("group"));
    eventually(
        || match error(connection.call(version, &request).error_code) {
            ErrorCode::None => Ok(()),
            other => Err(other),
        },
    );
    let described = producer.describe(connection);
    assert_eq!(described.transaction_state.as_str(), "Ongoing");
    assert_eq!(described.topics[0].topic.as_str(), "__consumer_offsets");
    let request = request.with_producer_epoch(7);
    let fenced = match version >= 2 {
        true => ErrorCode::ProducerFenced,
        false => ErrorCode::InvalidProducerEpoch,
    };
    assert_eq!(error(connection.call(version, &request).error_code), fenced);
}

fn transactions_end(connection: &mut Connection, version: i16) {
    let mut producer = Producer::init(connection, &format!("ended-{version}"));
    let is_next = version >= EPOCHS_OF_TRANSACTIONS_FROM;
    for committed in [true, false] {
        let add_version = match is_next {
            true => 5,
            false => 3,
        };
        let partitions: [(&str, &[i32]); 1] = [("transacted", &[0, 1])];
        for (_, _, error) in producer.add(connection, add_version, &partitions) {
            assert_eq!(error, ErrorCode::None);
        }
        let ended = producer.end(connection, version, committed);
        assert_eq!(error(ended.error_code), ErrorCode::None, "{version}");
        let state = match committed {
            true => "CompleteCommit",
            false => "CompleteAbort",
        };
        let described = producer.await_state(connection, state);
        assert!(described.topics.is_empty());
        // Sent again, the client having heard nothing.
        let again = producer.end(connection, version, committed);
        assert_eq!(again, ended, "{version}");
        if is_next {
            assert_eq!(ended.producer_id, producer.id);
            assert_eq!(ended.producer_epoch, producer.epoch + 1);
            producer.epoch = ended.producer_epoch;
        }
        assert_eq!(described.producer_epoch, producer.epoch);
    }
}

fn what_is_wrong_with_an_end_is_said(connection: &mut Connection, version: i16) {
    let producer = Producer::init(connection, &format!("not-ended-{version}"));
    let mut refused = |producer: &Producer, committed: bool| {
        let response = producer.end(connection, version, committed);
        assert_eq!((response.producer_id.0, response.producer_epoch), (-1, -1));
        error(response.error_code)
    };
    let is_next = version >= EPOCHS_OF_TRANSACTIONS_FROM;
    assert_eq!(refused(&producer, true), ErrorCode::InvalidTxnState);
    let nobody = Producer {
        transactional_id: id("nobody"),
        ..producer.clone()
    };
    assert_eq!(refused(&nobody, true), ErrorCode::InvalidProducerIdMapping);
    let newer = Producer {
        epoch: 7,
        ..producer.clone()
    };
    let fenced = match version >= 2 {
        true => ErrorCode::ProducerFenced,
        false => ErrorCode::InvalidProducerEpoch,
    };
    assert_eq!(refused(&newer, true), fenced, "{version}");
    let empty = Producer {
        transactional_id: id(""),
        ..producer.clone()
    };
    assert_eq!(refused(&empty, false), ErrorCode::InvalidRequest);
    if is_next {
        // To abort what was never begun is a new epoch.
        let ended = producer.end(connection, version, false);
        assert_eq!(error(ended.error_code), ErrorCode::None);
        assert_eq!(ended.producer_epoch, 1);
    } else {
        assert_eq!(refused(&producer, false), ErrorCode::InvalidTxnState);
    }
}

fn transactions_are_listed(connection: &mut Connection) {
    let producer = Producer::init(connection, "listed");
    let found = Cell::new(0);
    for version in versions_of::<ListTransactionsRequest>() {
        let mut list = |request: ListTransactionsRequest| {
            let response = connection.call(version, &request);
            let states = response.transaction_states.iter();
            let listed: Vec<String> = states
                .map(|it| it.transactional_id.to_string())
                .filter(|it| it.starts_with("listed"))
                .collect();
            found.set(found.get() + listed.len());
            (
                error(response.error_code),
                listed,
                response.unknown_state_filters,
            )
        };
        let all = || ListTransactionsRequest::default();
        let listed = || vec!["listed".to_owned()];
        assert_eq!(list(all()), (ErrorCode::None, listed(), vec![]));
        let of_producer = all().with_producer_id_filters(vec![producer.id]);
        assert_eq!(list(of_producer).1, listed());
        let of_others = all().with_producer_id_filters(vec![ProducerId(producer.id.0 + 1_000)]);
        assert!(list(of_others).1.is_empty());
        let states = vec![text("Ongoing"), text("Nonsense")];
        let (_, none, unknown) = list(all().with_state_filters(states));
        assert_eq!((none, unknown), (vec![], vec![text("Nonsense")]));
        if version >= 1 {
            let long = all().with_duration_filter(i64::MAX);
            assert!(list(long).1.is_empty());
        }
        if version >= 2 {
            let matching = |pattern: &str| all().with_transactional_id_pattern(Some(text(pattern)));
            assert_eq!(list(matching("l[i]sted")).1, listed());
            assert!(list(matching("liste")).1.is_empty());
            let refused = ErrorCode::InvalidRegularExpression;
            assert_eq!(list(matching("(")), (refused, vec![], vec![]));
        }
    }
    assert!(found.get() > 0);
    let unknown = vec![id("unknown"), id("")];
    let request = DescribeTransactionsRequest::default().with_transactional_ids(unknown);
    let response = connection.call(nearest::<DescribeTransactionsRequest>(9), &request);
    let mut errors: Vec<_> = response
        .transaction_states
        .iter()
        .map(|it| (it.transactional_id.to_string(), error(it.error_code)))
        .collect();
    errors.sort_by(|one, other| one.0.cmp(&other.0));
    let expected = [
        (String::new(), ErrorCode::InvalidRequest),
        ("unknown".to_owned(), ErrorCode::TransactionalIdNotFound),
    ];
    assert_eq!(errors, expected);
}
