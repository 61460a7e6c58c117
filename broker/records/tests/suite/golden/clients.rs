use bytes::Bytes;
use foz_records::*;
use uuid::Uuid;

use super::{Case, ID, body, prefixed};

pub(super) fn cases() -> Vec<Case> {
    let control = |r#type| ControlRecordTypeSchema { r#type };
    let mut cases = vec![
        prefixed("ControlRecordTypeSchema abort", 0, control(0)),
        prefixed("ControlRecordTypeSchema commit", 0, control(1)),
        body("EndTxnMarker full", 0, marker(7)),
        prefixed("EndTxnMarker written", 0, marker(258)),
    ];
    for v in 0..=3 {
        cases.push(prefixed(
            "ConsumerProtocolSubscription full",
            v,
            subscription(v),
        ));
        let empty = ConsumerProtocolSubscription::default();
        cases.push(prefixed("ConsumerProtocolSubscription empty", v, empty));
        cases.push(prefixed("ConsumerProtocolAssignment full", v, assignment()));
        let empty = ConsumerProtocolAssignment::default();
        cases.push(prefixed("ConsumerProtocolAssignment empty", v, empty));
    }
    for v in 1..=11 {
        cases.push(body("ListOffsetsRequest full", v, list_offsets(v)));
        cases.push(body("ListOffsetsResponse full", v, offsets_listed(v)));
    }
    for v in 2..=10 {
        cases.push(body("OffsetCommitRequest full", v, offset_commit(v)));
        cases.push(body("OffsetCommitResponse full", v, offsets_committed(v)));
    }
    for v in 1..=10 {
        cases.push(body("OffsetFetchRequest full", v, offset_fetch(v)));
        cases.push(body("OffsetFetchResponse full", v, offsets_fetched(v)));
    }
    for v in 2..=7 {
        let all = OffsetFetchRequest {
            group_id: "g".into(),
            topics: None,
            ..Default::default()
        };
        cases.push(body("OffsetFetchRequest of all topics", v, all));
    }
    for v in 1..=5 {
        cases.push(body("DescribeLogDirsRequest full", v, describe_log_dirs()));
        let all = DescribeLogDirsRequest { topics: None };
        cases.push(body("DescribeLogDirsRequest of all topics", v, all));
        cases.push(body(
            "DescribeLogDirsResponse full",
            v,
            log_dirs_described(v),
        ));
    }
    for v in 1..=2 {
        cases.push(body("WriteTxnMarkersRequest full", v, write_markers(v)));
        cases.push(body("WriteTxnMarkersResponse full", v, markers_written()));
    }
    cases
}

/// What a version has, which is `otherwise` in those before.
fn since<T>(from: i16, version: i16, value: T, otherwise: T) -> T {
    if version >= from { value } else { otherwise }
}

fn marker(coordinator_epoch: i32) -> EndTxnMarker {
    EndTxnMarker { coordinator_epoch }
}

fn subscription(v: i16) -> ConsumerProtocolSubscription {
    let owned = consumer_protocol_subscription::TopicPartition {
        topic: "orders".into(),
        partitions: vec![0, 5],
    };
    ConsumerProtocolSubscription {
        topics: vec!["orders".into(), "péages".into()],
        user_data: Some(Bytes::from_static(&[1, 2, 3])),
        owned_partitions: since(1, v, vec![owned], vec![]),
        generation_id: since(2, v, 9, -1),
        rack_id: since(3, v, Some("rack-1".into()), None),
    }
}

fn assignment() -> ConsumerProtocolAssignment {
    let assigned = consumer_protocol_assignment::TopicPartition {
        topic: "orders".into(),
        partitions: vec![3, 1],
    };
    ConsumerProtocolAssignment {
        assigned_partitions: vec![assigned],
        user_data: Some(Bytes::from_static(&[4])),
    }
}

fn list_offsets(v: i16) -> ListOffsetsRequest {
    use list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
    let partition = ListOffsetsPartition {
        partition_index: 3,
        current_leader_epoch: since(4, v, 5, -1),
        timestamp: -6,
    };
    ListOffsetsRequest {
        replica_id: -1,
        isolation_level: since(2, v, 1, 0),
        topics: vec![ListOffsetsTopic {
            name: "orders".into(),
            partitions: vec![partition],
        }],
        timeout_ms: since(10, v, 30_000, 0),
    }
}

fn offsets_listed(v: i16) -> ListOffsetsResponse {
    use list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
    let partition = ListOffsetsPartitionResponse {
        partition_index: 3,
        error_code: 6,
        timestamp: 1_700_000_000_123,
        offset: 42,
        leader_epoch: since(4, v, 5, -1),
    };
    ListOffsetsResponse {
        throttle_time_ms: since(2, v, 11, 0),
        topics: vec![ListOffsetsTopicResponse {
            name: "orders".into(),
            partitions: vec![partition],
        }],
    }
}

fn offset_commit(v: i16) -> OffsetCommitRequest {
    use offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
    let partitions = vec![
        OffsetCommitRequestPartition {
            partition_index: 0,
            committed_offset: 42,
            committed_leader_epoch: since(6, v, 8, -1),
            committed_metadata: Some("mé".into()),
        },
        OffsetCommitRequestPartition {
            partition_index: 1,
            committed_offset: -1,
            committed_leader_epoch: -1,
            committed_metadata: None,
        },
    ];
    OffsetCommitRequest {
        group_id: "g".into(),
        generation_id_or_member_epoch: 3,
        member_id: "m-1".into(),
        group_instance_id: since(7, v, Some("i-1".into()), None),
        retention_time_ms: since(5, v, -1, 60_000),
        topics: vec![OffsetCommitRequestTopic {
            name: since(10, v, "".into(), "orders".into()),
            topic_id: since(10, v, ID, Uuid::nil()),
            partitions,
        }],
    }
}

fn offsets_committed(v: i16) -> OffsetCommitResponse {
    use offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
    OffsetCommitResponse {
        throttle_time_ms: since(3, v, 11, 0),
        topics: vec![OffsetCommitResponseTopic {
            name: since(10, v, "".into(), "orders".into()),
            topic_id: since(10, v, ID, Uuid::nil()),
            partitions: vec![OffsetCommitResponsePartition {
                partition_index: 1,
                error_code: 100,
            }],
        }],
    }
}

fn offset_fetch(v: i16) -> OffsetFetchRequest {
    use offset_fetch_request::{
        OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
    };
    let require_stable = v >= 7;
    if v <= 7 {
        return OffsetFetchRequest {
            group_id: "g".into(),
            topics: Some(vec![OffsetFetchRequestTopic {
                name: "orders".into(),
                partition_indexes: vec![0, 2],
            }]),
            require_stable,
            ..Default::default()
        };
    }
    let group = OffsetFetchRequestGroup {
        group_id: "g".into(),
        member_id: since(9, v, Some("m-1".into()), None),
        member_epoch: since(9, v, 4, -1),
        topics: Some(vec![OffsetFetchRequestTopics {
            name: since(10, v, "".into(), "orders".into()),
            topic_id: since(10, v, ID, Uuid::nil()),
            partition_indexes: vec![0, 2],
        }]),
    };
    let of_all_topics = OffsetFetchRequestGroup {
        group_id: "all".into(),
        topics: None,
        ..Default::default()
    };
    OffsetFetchRequest {
        groups: vec![group, of_all_topics],
        require_stable,
        ..Default::default()
    }
}

fn offsets_fetched(v: i16) -> OffsetFetchResponse {
    use offset_fetch_response::{
        OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopic, OffsetFetchResponseTopics,
    };
    let throttle_time_ms = since(3, v, 11, 0);
    if v <= 7 {
        let partition = OffsetFetchResponsePartition {
            partition_index: 2,
            committed_offset: 42,
            committed_leader_epoch: since(5, v, 8, -1),
            metadata: Some("m".into()),
            error_code: 88,
        };
        return OffsetFetchResponse {
            throttle_time_ms,
            topics: vec![OffsetFetchResponseTopic {
                name: "orders".into(),
                partitions: vec![partition],
            }],
            error_code: since(2, v, 14, 0),
            ..Default::default()
        };
    }
    let partition = OffsetFetchResponsePartitions {
        partition_index: 2,
        committed_offset: 42,
        committed_leader_epoch: 8,
        metadata: None,
        error_code: 88,
    };
    OffsetFetchResponse {
        throttle_time_ms,
        groups: vec![OffsetFetchResponseGroup {
            group_id: "g".into(),
            topics: vec![OffsetFetchResponseTopics {
                name: since(10, v, "".into(), "orders".into()),
                topic_id: since(10, v, ID, Uuid::nil()),
                partitions: vec![partition],
            }],
            error_code: 113,
        }],
        ..Default::default()
    }
}

fn describe_log_dirs() -> DescribeLogDirsRequest {
    let topic = describe_log_dirs_request::DescribableLogDirTopic {
        topic: "orders".into(),
        partitions: vec![0, 2],
    };
    DescribeLogDirsRequest {
        topics: Some(vec![topic]),
    }
}

fn log_dirs_described(v: i16) -> DescribeLogDirsResponse {
    use describe_log_dirs_response::{
        DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
    };
    let partition = DescribeLogDirsPartition {
        partition_index: 2,
        partition_size: 1 << 40,
        offset_lag: 7,
        is_future_key: true,
    };
    DescribeLogDirsResponse {
        throttle_time_ms: 11,
        error_code: since(3, v, 31, 0),
        results: vec![DescribeLogDirsResult {
            error_code: 56,
            log_dir: "/data/0".into(),
            topics: vec![DescribeLogDirsTopic {
                name: "orders".into(),
                partitions: vec![partition],
            }],
            total_bytes: since(4, v, 1 << 41, -1),
            usable_bytes: since(4, v, 1 << 39, -1),
            is_cordoned: v >= 5,
        }],
    }
}

fn write_markers(v: i16) -> WriteTxnMarkersRequest {
    use write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
    WriteTxnMarkersRequest {
        markers: vec![WritableTxnMarker {
            producer_id: 4711,
            producer_epoch: 12,
            transaction_result: true,
            topics: vec![WritableTxnMarkerTopic {
                name: "orders".into(),
                partition_indexes: vec![0, 2],
            }],
            coordinator_epoch: 6,
            transaction_version: since(2, v, 2, 0),
        }],
    }
}

fn markers_written() -> WriteTxnMarkersResponse {
    use write_txn_markers_response::{
        WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
    };
    WriteTxnMarkersResponse {
        markers: vec![WritableTxnMarkerResult {
            producer_id: 4711,
            topics: vec![WritableTxnMarkerTopicResult {
                name: "orders".into(),
                partitions: vec![WritableTxnMarkerPartitionResult {
                    partition_index: 2,
                    error_code: 47,
                }],
            }],
        }],
    }
}
