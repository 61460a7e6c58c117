//! The APIs that the broker answers, one row for each: what stands here is what it advertises.
//!
//! A row's greatest version is the least of what Apache Kafka 4.4 has, what `kafka-protocol` or `foz-records` can
//! encode, and what the handlers implement.

use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::{ApiKey, ApiVersionsResponse};

use crate::error::ErrorCode;

/// One API.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Api {
    /// Its key.
    pub key: ApiKey,
    /// Kafka's name for it, without `Request`.
    pub name: &'static str,
    /// The least version that is advertised.
    pub advertised_min: i16,
    /// The least version that is answered.
    pub min: i16,
    /// The greatest version that is advertised and answered.
    pub max: i16,
}

/// Every API, by key.
pub const APIS: &[Api] = &[
    // Version 0 is advertised though 3 is the least that is answered: older librdkafka takes a
    // higher least version for a broker that cannot take compressed batches (KAFKA-18659).
    Api {
        advertised_min: 0,
        ..api(ApiKey::Produce, "Produce", 3, 13)
    },
    api(ApiKey::Fetch, "Fetch", 4, 18),
    api(ApiKey::ListOffsets, "ListOffsets", 1, 11),
    api(ApiKey::Metadata, "Metadata", 0, 13),
    api(ApiKey::OffsetCommit, "OffsetCommit", 2, 9),
    api(ApiKey::OffsetFetch, "OffsetFetch", 1, 9),
    api(ApiKey::FindCoordinator, "FindCoordinator", 0, 6),
    api(ApiKey::JoinGroup, "JoinGroup", 0, 9),
    api(ApiKey::Heartbeat, "Heartbeat", 0, 4),
    api(ApiKey::LeaveGroup, "LeaveGroup", 0, 5),
    api(ApiKey::SyncGroup, "SyncGroup", 0, 5),
    api(ApiKey::DescribeGroups, "DescribeGroups", 0, 6),
    api(ApiKey::ListGroups, "ListGroups", 0, 5),
    api(ApiKey::ApiVersions, "ApiVersions", 0, 4),
    api(ApiKey::CreateTopics, "CreateTopics", 2, 7),
    api(ApiKey::DeleteTopics, "DeleteTopics", 1, 6),
    api(ApiKey::DeleteRecords, "DeleteRecords", 0, 2),
    // Version 6 is for two-phase commit (KIP-939), which Kafka itself calls unstable.
    api(ApiKey::InitProducerId, "InitProducerId", 0, 5),
    api(ApiKey::OffsetForLeaderEpoch, "OffsetForLeaderEpoch", 2, 4),
    // Up to version 3 for clients, from 4 on for brokers.
    api(ApiKey::AddPartitionsToTxn, "AddPartitionsToTxn", 0, 5),
    api(ApiKey::AddOffsetsToTxn, "AddOffsetsToTxn", 0, 4),
    api(ApiKey::EndTxn, "EndTxn", 0, 5),
    api(ApiKey::WriteTxnMarkers, "WriteTxnMarkers", 1, 2),
    api(ApiKey::TxnOffsetCommit, "TxnOffsetCommit", 0, 5),
    api(ApiKey::DescribeAcls, "DescribeAcls", 1, 3),
    api(ApiKey::CreateAcls, "CreateAcls", 1, 3),
    api(ApiKey::DeleteAcls, "DeleteAcls", 1, 3),
    api(ApiKey::DescribeConfigs, "DescribeConfigs", 1, 4),
    api(ApiKey::AlterConfigs, "AlterConfigs", 0, 2),
    api(ApiKey::AlterReplicaLogDirs, "AlterReplicaLogDirs", 1, 2),
    api(ApiKey::DescribeLogDirs, "DescribeLogDirs", 1, 5),
    api(ApiKey::CreatePartitions, "CreatePartitions", 0, 3),
    api(ApiKey::CreateDelegationToken, "CreateDelegationToken", 1, 3),
    api(ApiKey::RenewDelegationToken, "RenewDelegationToken", 1, 2),
    api(ApiKey::ExpireDelegationToken, "ExpireDelegationToken", 1, 2),
    api(
        ApiKey::DescribeDelegationToken,
        "DescribeDelegationToken",
        1,
        3,
    ),
    api(ApiKey::DeleteGroups, "DeleteGroups", 0, 2),
    api(ApiKey::ElectLeaders, "ElectLeaders", 0, 2),
    api(
        ApiKey::IncrementalAlterConfigs,
        "IncrementalAlterConfigs",
        0,
        1,
    ),
    api(
        ApiKey::AlterPartitionReassignments,
        "AlterPartitionReassignments",
        0,
        1,
    ),
    api(
        ApiKey::ListPartitionReassignments,
        "ListPartitionReassignments",
        0,
        0,
    ),
    api(ApiKey::OffsetDelete, "OffsetDelete", 0, 0),
    api(ApiKey::DescribeClientQuotas, "DescribeClientQuotas", 0, 1),
    api(ApiKey::AlterClientQuotas, "AlterClientQuotas", 0, 1),
    api(
        ApiKey::DescribeUserScramCredentials,
        "DescribeUserScramCredentials",
        0,
        0,
    ),
    api(
        ApiKey::AlterUserScramCredentials,
        "AlterUserScramCredentials",
        0,
        0,
    ),
    api(ApiKey::DescribeQuorum, "DescribeQuorum", 0, 2),
    api(ApiKey::UpdateFeatures, "UpdateFeatures", 0, 2),
    api(ApiKey::DescribeCluster, "DescribeCluster", 0, 2),
    api(ApiKey::DescribeProducers, "DescribeProducers", 0, 0),
    api(ApiKey::UnregisterBroker, "UnregisterBroker", 0, 0),
    api(ApiKey::DescribeTransactions, "DescribeTransactions", 0, 0),
    api(ApiKey::ListTransactions, "ListTransactions", 0, 2),
    api(
        ApiKey::ConsumerGroupHeartbeat,
        "ConsumerGroupHeartbeat",
        0,
        1,
    ),
    api(ApiKey::ConsumerGroupDescribe, "ConsumerGroupDescribe", 0, 1),
    api(ApiKey::ListConfigResources, "ListConfigResources", 0, 1),
    api(
        ApiKey::DescribeTopicPartitions,
        "DescribeTopicPartitions",
        0,
        0,
    ),
    api(ApiKey::AddRaftVoter, "AddRaftVoter", 0, 0),
    api(ApiKey::RemoveRaftVoter, "RemoveRaftVoter", 0, 0),
];

const fn api(key: ApiKey, name: &'static str, min: i16, max: i16) -> Api {
    Api {
        key,
        name,
        advertised_min: min,
        min,
        max,
    }
}

impl Api {
    /// The row of this key, if it has one.
    #[must_use]
    pub fn of(key: i16) -> Option<&'static Self> {
        APIS.iter().find(|api| api.key as i16 == key)
    }

    /// Requests of this version are answered.
    #[must_use]
    pub fn supports(&self, version: i16) -> bool {
        (self.min..=self.max).contains(&version)
    }
}

/// The body of an ApiVersions response: `error` and every row. Features are the caller's to add.
#[must_use]
pub fn api_versions_response(error: ErrorCode) -> ApiVersionsResponse {
    let rows = APIS.iter().map(|api| {
        ApiVersion::default()
            .with_api_key(api.key as i16)
            .with_min_version(api.advertised_min)
            .with_max_version(api.max)
    });
    ApiVersionsResponse::default()
        .with_error_code(error.code())
        .with_api_keys(rows.collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_sorted_and_inside_what_can_be_encoded() {
        assert!(APIS.is_sorted_by_key(|api| api.key as i16));
        for api in APIS {
            let valid = api.key.valid_versions();
            let max = match api.key {
                // By foz-records.
                ApiKey::ListOffsets => 11,
                ApiKey::WriteTxnMarkers => 2,
                ApiKey::DescribeLogDirs => 5,
                _ => valid.max,
            };
            assert!(
                valid.min <= api.min && api.max <= max,
                "{} {valid}",
                api.name
            );
            assert!(
                api.min <= api.max && api.advertised_min <= api.min,
                "{}",
                api.name
            );
            assert_eq!(format!("{:?}", api.key), api.name);
            assert_eq!(Api::of(api.key as i16), Some(api));
        }
        assert_eq!(Api::of(4), None);
    }

    #[test]
    fn produce_is_advertised_from_zero_and_answered_from_three() {
        let produce = Api::of(0).unwrap();
        assert_eq!((produce.advertised_min, produce.min), (0, 3));
        assert!(!produce.supports(2) && produce.supports(3) && !produce.supports(14));
        let response = api_versions_response(ErrorCode::None);
        assert_eq!(response.api_keys[0].min_version, 0);
        assert_eq!(response.api_keys.len(), APIS.len());
    }
}
