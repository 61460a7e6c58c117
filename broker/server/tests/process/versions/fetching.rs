//! Fetch: what comes back, and what is refused. Waiting is `long_polls`.

use foz_protocol::error::ErrorCode;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic, ReplicaState};
use kafka_protocol::messages::fetch_response::PartitionData;
use kafka_protocol::messages::{BrokerId, FetchRequest, FetchResponse};

use super::connection::{
    Connection, TOPIC_IDS_FROM, Topic, batch, error, from_offset, topic_name, values, versions_of,
};

const MIB: i32 = 1 << 20;
const FETCH_EPOCHS_FROM: i16 = 9;
const LAST_FETCHED_EPOCHS_FROM: i16 = 12;
const SESSIONS_FROM: i16 = 7;
const LOG_START_OFFSET_FROM: i16 = 5;
const NODE_ENDPOINTS_FROM: i16 = 16;

pub(super) fn check(connection: &mut Connection) {
    let topic = connection.create_topic("fetched", 2);
    connection.produce(&topic, 0, batch(1, &["a", "b"]));
    connection.produce(&topic, 0, batch(1, &["c"]));
    connection.produce(&topic, 1, batch(1, &["d"]));
    for version in versions_of::<FetchRequest>() {
        both_partitions_come(connection, version, &topic);
        limits_let_one_batch_through(connection, version, &topic);
        nothing_is_at_the_end(connection, version, &topic);
        refusals_name_the_reason(connection, version, &topic);
        epochs_are_checked(connection, version, &topic);
        who_says_what_was_read_last_hears_where_logs_part(connection, version, &topic);
        nobody_follows(connection, version, &topic);
        sessions_are_kept(connection, version, &topic);
    }
}

/// Fetches partitions of one topic, each from its offset, and does not wait.
pub(crate) fn fetch(version: i16, topic: &Topic, offsets: &[(i32, i64)]) -> FetchRequest {
    let partitions = offsets.iter().map(|(partition, offset)| {
        FetchPartition::default()
            .with_partition(*partition)
            .with_fetch_offset(*offset)
            .with_partition_max_bytes(MIB)
    });
    let wanted = FetchTopic::default().with_partitions(partitions.collect());
    let wanted = if version >= TOPIC_IDS_FROM {
        wanted.with_topic_id(topic.id)
    } else {
        wanted.with_topic(topic_name(&topic.name))
    };
    FetchRequest::default()
        .with_max_wait_ms(0)
        .with_min_bytes(1)
        .with_max_bytes(MIB)
        .with_topics(vec![wanted])
}

/// The one partition of an answer that is no error.
pub(crate) fn only(response: &FetchResponse) -> &PartitionData {
    assert_eq!(error(response.error_code), ErrorCode::None);
    let [topic] = &response.responses[..] else {
        panic!("one topic was asked for: {response:?}");
    };
    let [partition] = &topic.partitions[..] else {
        panic!("one partition was asked for: {response:?}");
    };
    partition
}

fn both_partitions_come(connection: &mut Connection, version: i16, topic: &Topic) {
    let response = connection.call(version, &fetch(version, topic, &[(1, 0), (0, 0)]));
    assert_eq!(error(response.error_code), ErrorCode::None);
    assert_eq!(response.session_id, 0);
    assert!(response.node_endpoints.is_empty());
    let answered = &response.responses[0];
    if version >= TOPIC_IDS_FROM {
        assert_eq!(answered.topic_id, topic.id);
    } else {
        assert_eq!(answered.topic, topic_name(&topic.name));
    }
    let [second, first] = &answered.partitions[..] else {
        panic!("two partitions were asked for: {answered:?}");
    };
    for partition in [first, second] {
        assert_eq!(error(partition.error_code), ErrorCode::None);
        assert_eq!(partition.last_stable_offset, partition.high_watermark);
        let start = if version >= LOG_START_OFFSET_FROM {
            0
        } else {
            -1
        };
        assert_eq!(partition.log_start_offset, start);
    }
    assert_eq!((second.partition_index, second.high_watermark), (1, 1));
    assert_eq!(values(second.records.as_ref()), from_offset(0, &["d"]));
    assert_eq!((first.partition_index, first.high_watermark), (0, 3));
    assert_eq!(
        values(first.records.as_ref()),
        from_offset(0, &["a", "b", "c"])
    );
    // An offset within a batch gets the whole batch: the client skips what it has.
    let response = connection.call(version, &fetch(version, topic, &[(0, 1)]));
    assert_eq!(
        values(only(&response).records.as_ref()),
        from_offset(0, &["a", "b", "c"])
    );
}

/// KIP-74: a batch larger than every limit gets through, but only one, and only where nothing else did.
fn limits_let_one_batch_through(connection: &mut Connection, version: i16, topic: &Topic) {
    for (request_max, partition_max) in [(1, MIB), (MIB, 1), (1, 1), (0, 0)] {
        let mut request = fetch(version, topic, &[(0, 0), (1, 0)]).with_max_bytes(request_max);
        for partition in &mut request.topics[0].partitions {
            partition.partition_max_bytes = partition_max;
        }
        let response = connection.call(version, &request);
        let came: Vec<_> = response.responses[0]
            .partitions
            .iter()
            .map(|partition| values(partition.records.as_ref()))
            .collect();
        assert_eq!(came, [from_offset(0, &["a", "b"]), Vec::new()], "{version}");
    }
}

fn nothing_is_at_the_end(connection: &mut Connection, version: i16, topic: &Topic) {
    let response = connection.call(version, &fetch(version, topic, &[(0, 3)]));
    let partition = only(&response);
    assert_eq!(error(partition.error_code), ErrorCode::None);
    assert_eq!(partition.high_watermark, 3);
    assert!(values(partition.records.as_ref()).is_empty());
}

fn refusals_name_the_reason(connection: &mut Connection, version: i16, topic: &Topic) {
    let request = fetch(version, &Topic::unknown(), &[(0, 0)]);
    let response = connection.call(version, &request);
    assert_eq!(
        error(only(&response).error_code),
        Topic::unknown_error(version)
    );
    // A long poll is not held for what will not come.
    let request = fetch(version, topic, &[(9, 0)]).with_max_wait_ms(60_000);
    let response = connection.call(version, &request);
    let unknown = ErrorCode::UnknownTopicOrPartition;
    assert_eq!(error(only(&response).error_code), unknown);
    for offset in [4, -1] {
        let request = fetch(version, topic, &[(0, offset)]).with_max_wait_ms(60_000);
        let response = connection.call(version, &request);
        let refused = only(&response);
        assert_eq!(error(refused.error_code), ErrorCode::OffsetOutOfRange);
        assert!(values(refused.records.as_ref()).is_empty());
    }
}

fn epochs_are_checked(connection: &mut Connection, version: i16, topic: &Topic) {
    if version < FETCH_EPOCHS_FROM {
        return;
    }
    let cases = [
        (0, ErrorCode::None),
        (1, ErrorCode::UnknownLeaderEpoch),
        // Older than the first: -1 means that the client does not know.
        (-2, ErrorCode::FencedLeaderEpoch),
    ];
    for (epoch, expected) in cases {
        let mut request = fetch(version, topic, &[(0, 0)]);
        request.topics[0].partitions[0].current_leader_epoch = epoch;
        let response = connection.call(version, &request);
        let partition = only(&response);
        assert_eq!(error(partition.error_code), expected, "{version}");
        let is_fenced = expected == ErrorCode::FencedLeaderEpoch;
        // KIP-951: who has an old epoch is told the leader and where it is.
        if is_fenced && version >= NODE_ENDPOINTS_FROM {
            assert_eq!(partition.current_leader.leader_id, BrokerId(0));
            assert_eq!(partition.current_leader.leader_epoch, 0);
            let [node] = &response.node_endpoints[..] else {
                panic!("{response:?}");
            };
            assert_eq!(node.node_id, BrokerId(0));
            assert_eq!(node.port, i32::from(connection.broker.kafka_port));
        } else {
            assert!(response.node_endpoints.is_empty());
        }
    }
}

/// Of an epoch that never was, nothing can be said.
fn who_says_what_was_read_last_hears_where_logs_part(
    connection: &mut Connection,
    version: i16,
    topic: &Topic,
) {
    if version < LAST_FETCHED_EPOCHS_FROM {
        return;
    }
    let mut ask = |offset, last_fetched_epoch| {
        let mut request = fetch(version, topic, &[(0, offset)]).with_max_wait_ms(60_000);
        request.topics[0].partitions[0].last_fetched_epoch = last_fetched_epoch;
        let response = connection.call(version, &request);
        let told = only(&response);
        let end = &told.diverging_epoch;
        (error(told.error_code), end.epoch, end.end_offset)
    };
    assert_eq!(ask(2, 0), (ErrorCode::None, -1, -1), "{version}");
    assert_eq!(ask(5, 0), (ErrorCode::None, 0, 3), "{version}");
    assert_eq!(
        ask(2, 7),
        (ErrorCode::OffsetOutOfRange, -1, -1),
        "{version}"
    );
}

/// Where clients connect, no follower is heard: Kafka's answer without the right to CLUSTER_ACTION.
fn nobody_follows(connection: &mut Connection, version: i16, topic: &Topic) {
    let request = fetch(version, topic, &[(0, 0)]);
    let request = if version >= 15 {
        let replica = ReplicaState::default()
            .with_replica_id(BrokerId(1))
            .with_replica_epoch(7);
        request.with_replica_state(replica)
    } else {
        request.with_replica_id(BrokerId(1))
    };
    let response = connection.call(version, &request);
    let refused = ErrorCode::TopicAuthorizationFailed;
    assert_eq!(error(only(&response).error_code), refused);
}

fn sessions_are_kept(connection: &mut Connection, version: i16, topic: &Topic) {
    if version < SESSIONS_FROM {
        return;
    }
    let request = fetch(version, topic, &[(0, 0)])
        .with_session_id(7)
        .with_session_epoch(3);
    let response = connection.call(version, &request);
    let unknown = ErrorCode::FetchSessionIdNotFound;
    assert_eq!(error(response.error_code), unknown);
    assert!(response.responses.is_empty());
    // A new session begins with a full answer...
    let request = fetch(version, topic, &[(0, 2)]).with_session_epoch(0);
    let response = connection.call(version, &request);
    let session_id = response.session_id;
    assert_ne!(session_id, 0);
    assert_eq!(
        values(only(&response).records.as_ref()),
        from_offset(2, &["c"])
    );
    // ...remembers what is fetched...
    let mut next = fetch(version, topic, &[])
        .with_session_id(session_id)
        .with_session_epoch(1);
    next.topics.clear();
    let response = connection.call(version, &next);
    assert_eq!(response.session_id, session_id);
    assert_eq!(
        values(only(&response).records.as_ref()),
        from_offset(2, &["c"])
    );
    // ...counts its requests, and ends with the last one.
    let response = connection.call(version, &next);
    let out_of_turn = ErrorCode::InvalidFetchSessionEpoch;
    assert_eq!(error(response.error_code), out_of_turn);
    let last = next.clone().with_session_epoch(-1);
    assert_eq!(connection.call(version, &last).session_id, 0);
    let response = connection.call(version, &next.with_session_epoch(2));
    assert_eq!(error(response.error_code), unknown);
}
