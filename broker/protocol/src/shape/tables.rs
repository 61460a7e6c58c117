//! The tables: one for each request that `kafka-protocol` decodes. Produce and Fetch have parsers
//! of their own, and what `foz-records` decodes needs none.

use kafka_protocol::messages::ApiKey;

use super::{Field, Kind, Shape};

mod security;
mod transactions;

const NEVER: i16 = i16::MAX;
const INT8: Kind = Kind::Fixed(1);
const INT16: Kind = Kind::Fixed(2);
const INT32: Kind = Kind::Fixed(4);
const INT64: Kind = Kind::Fixed(8);
const UUID: Kind = Kind::Fixed(16);
const STRING: Kind = Kind::String;
const BYTES: Kind = Kind::Bytes;
const STRINGS: Kind = Kind::ArrayOf(&Kind::String);
const INT32S: Kind = Kind::ArrayOf(&Kind::Fixed(4));

const fn f(name: &'static str, kind: Kind) -> Field {
    Field {
        name,
        kind,
        from: 0,
        to: i16::MAX,
    }
}

impl Field {
    const fn from(self, from: i16) -> Self {
        Self { from, ..self }
    }

    const fn to(self, to: i16) -> Self {
        Self { to, ..self }
    }
}

pub(super) fn shape_of(key: ApiKey) -> Option<&'static Shape> {
    Some(match key {
        ApiKey::Metadata => &METADATA,
        ApiKey::OffsetCommit => &OFFSET_COMMIT,
        ApiKey::OffsetFetch => &OFFSET_FETCH,
        ApiKey::FindCoordinator => &FIND_COORDINATOR,
        ApiKey::JoinGroup => &JOIN_GROUP,
        ApiKey::Heartbeat => &HEARTBEAT,
        ApiKey::LeaveGroup => &LEAVE_GROUP,
        ApiKey::SyncGroup => &SYNC_GROUP,
        ApiKey::DescribeGroups => &DESCRIBE_GROUPS,
        ApiKey::ListGroups => &LIST_GROUPS,
        ApiKey::ConsumerGroupHeartbeat => &CONSUMER_GROUP_HEARTBEAT,
        ApiKey::ConsumerGroupDescribe => &CONSUMER_GROUP_DESCRIBE,
        ApiKey::ApiVersions => &API_VERSIONS,
        ApiKey::CreateTopics => &CREATE_TOPICS,
        ApiKey::DeleteTopics => &DELETE_TOPICS,
        ApiKey::DeleteRecords => &DELETE_RECORDS,
        ApiKey::InitProducerId => &INIT_PRODUCER_ID,
        ApiKey::AddPartitionsToTxn => &transactions::ADD_PARTITIONS_TO_TXN,
        ApiKey::AddOffsetsToTxn => &transactions::ADD_OFFSETS_TO_TXN,
        ApiKey::EndTxn => &transactions::END_TXN,
        ApiKey::TxnOffsetCommit => &transactions::TXN_OFFSET_COMMIT,
        ApiKey::DescribeTransactions => &transactions::DESCRIBE_TRANSACTIONS,
        ApiKey::ListTransactions => &transactions::LIST_TRANSACTIONS,
        ApiKey::OffsetForLeaderEpoch => &OFFSET_FOR_LEADER_EPOCH,
        ApiKey::DescribeProducers => &DESCRIBE_PRODUCERS,
        ApiKey::DescribeConfigs => &DESCRIBE_CONFIGS,
        ApiKey::AlterReplicaLogDirs => &ALTER_REPLICA_LOG_DIRS,
        ApiKey::CreatePartitions => &CREATE_PARTITIONS,
        ApiKey::DeleteGroups => &DELETE_GROUPS,
        ApiKey::ElectLeaders => &ELECT_LEADERS,
        ApiKey::IncrementalAlterConfigs => &INCREMENTAL_ALTER_CONFIGS,
        ApiKey::AlterPartitionReassignments => &ALTER_PARTITION_REASSIGNMENTS,
        ApiKey::ListPartitionReassignments => &LIST_PARTITION_REASSIGNMENTS,
        ApiKey::OffsetDelete => &OFFSET_DELETE,
        ApiKey::UpdateFeatures => &UPDATE_FEATURES,
        ApiKey::DescribeCluster => &DESCRIBE_CLUSTER,
        ApiKey::DescribeTopicPartitions => &DESCRIBE_TOPIC_PARTITIONS,
        ApiKey::DescribeAcls => &security::DESCRIBE_ACLS,
        ApiKey::CreateAcls => &security::CREATE_ACLS,
        ApiKey::DeleteAcls => &security::DELETE_ACLS,
        ApiKey::CreateDelegationToken => &security::CREATE_DELEGATION_TOKEN,
        ApiKey::RenewDelegationToken => &security::RENEW_DELEGATION_TOKEN,
        ApiKey::ExpireDelegationToken => &security::EXPIRE_DELEGATION_TOKEN,
        ApiKey::DescribeDelegationToken => &security::DESCRIBE_DELEGATION_TOKEN,
        ApiKey::DescribeClientQuotas => &security::DESCRIBE_CLIENT_QUOTAS,
        ApiKey::AlterClientQuotas => &security::ALTER_CLIENT_QUOTAS,
        ApiKey::DescribeUserScramCredentials => &security::DESCRIBE_USER_SCRAM_CREDENTIALS,
        ApiKey::AlterUserScramCredentials => &security::ALTER_USER_SCRAM_CREDENTIALS,
        ApiKey::AlterConfigs => &ALTER_CONFIGS,
        ApiKey::UnregisterBroker => &UNREGISTER_BROKER,
        ApiKey::ListConfigResources => &LIST_CONFIG_RESOURCES,
        ApiKey::DescribeQuorum => &DESCRIBE_QUORUM,
        ApiKey::AddRaftVoter => &ADD_RAFT_VOTER,
        ApiKey::RemoveRaftVoter => &REMOVE_RAFT_VOTER,
        _ => return None,
    })
}

const METADATA: Shape = Shape {
    flexible_from: 9,
    fields: &[
        f(
            "topics",
            Kind::Array(&[f("topic_id", UUID).from(10), f("name", STRING)]),
        ),
        f("allow_auto_topic_creation", INT8).from(4),
        f("include_cluster_authorized_operations", INT8)
            .from(8)
            .to(10),
        f("include_topic_authorized_operations", INT8).from(8),
    ],
};

const OFFSET_COMMIT: Shape = Shape {
    flexible_from: 8,
    fields: &[
        f("group_id", STRING),
        f("generation_id_or_member_epoch", INT32),
        f("member_id", STRING),
        f("group_instance_id", STRING).from(7),
        f("retention_time_ms", INT64).to(4),
        f(
            "topics",
            Kind::Array(&[
                f("name", STRING),
                f(
                    "partitions",
                    Kind::Array(&[
                        f("partition_index", INT32),
                        f("committed_offset", INT64),
                        f("committed_leader_epoch", INT32).from(6),
                        f("committed_metadata", STRING),
                    ]),
                ),
            ]),
        ),
    ],
};

const OFFSET_FETCH_TOPICS: Kind = Kind::Array(&[f("name", STRING), f("partition_indexes", INT32S)]);

const OFFSET_FETCH: Shape = Shape {
    flexible_from: 6,
    fields: &[
        f("group_id", STRING).to(7),
        f("topics", OFFSET_FETCH_TOPICS).to(7),
        f(
            "groups",
            Kind::Array(&[
                f("group_id", STRING),
                f("member_id", STRING).from(9),
                f("member_epoch", INT32).from(9),
                f("topics", OFFSET_FETCH_TOPICS),
            ]),
        )
        .from(8),
        f("require_stable", INT8).from(7),
    ],
};

const FIND_COORDINATOR: Shape = Shape {
    flexible_from: 3,
    fields: &[
        f("key", STRING).to(3),
        f("key_type", INT8).from(1),
        f("coordinator_keys", STRINGS).from(4),
    ],
};

const JOIN_GROUP: Shape = Shape {
    flexible_from: 6,
    fields: &[
        f("group_id", STRING),
        f("session_timeout_ms", INT32),
        f("rebalance_timeout_ms", INT32).from(1),
        f("member_id", STRING),
        f("group_instance_id", STRING).from(5),
        f("protocol_type", STRING),
        f(
            "protocols",
            Kind::Array(&[f("name", STRING), f("metadata", BYTES)]),
        ),
        f("reason", STRING).from(8),
    ],
};

const HEARTBEAT: Shape = Shape {
    flexible_from: 4,
    fields: &[
        f("group_id", STRING),
        f("generation_id", INT32),
        f("member_id", STRING),
        f("group_instance_id", STRING).from(3),
    ],
};

const LEAVE_GROUP: Shape = Shape {
    flexible_from: 4,
    fields: &[
        f("group_id", STRING),
        f("member_id", STRING).to(2),
        f(
            "members",
            Kind::Array(&[
                f("member_id", STRING),
                f("group_instance_id", STRING),
                f("reason", STRING).from(5),
            ]),
        )
        .from(3),
    ],
};

const SYNC_GROUP: Shape = Shape {
    flexible_from: 4,
    fields: &[
        f("group_id", STRING),
        f("generation_id", INT32),
        f("member_id", STRING),
        f("group_instance_id", STRING).from(3),
        f("protocol_type", STRING).from(5),
        f("protocol_name", STRING).from(5),
        f(
            "assignments",
            Kind::Array(&[f("member_id", STRING), f("assignment", BYTES)]),
        ),
    ],
};

const DESCRIBE_GROUPS: Shape = Shape {
    flexible_from: 5,
    fields: &[
        f("groups", STRINGS),
        f("include_authorized_operations", INT8).from(3),
    ],
};

const LIST_GROUPS: Shape = Shape {
    flexible_from: 3,
    fields: &[
        f("states_filter", STRINGS).from(4),
        f("types_filter", STRINGS).from(5),
    ],
};

const CONSUMER_GROUP_HEARTBEAT: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("group_id", STRING),
        f("member_id", STRING),
        f("member_epoch", INT32),
        f("instance_id", STRING),
        f("rack_id", STRING),
        f("rebalance_timeout_ms", INT32),
        f("subscribed_topic_names", STRINGS),
        f("subscribed_topic_regex", STRING).from(1),
        f("server_assignor", STRING),
        f(
            "topic_partitions",
            Kind::Array(&[f("topic_id", UUID), f("partitions", INT32S)]),
        ),
    ],
};

const CONSUMER_GROUP_DESCRIBE: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("group_ids", STRINGS),
        f("include_authorized_operations", INT8),
    ],
};

const API_VERSIONS: Shape = Shape {
    flexible_from: 3,
    fields: &[
        f("client_software_name", STRING).from(3),
        f("client_software_version", STRING).from(3),
    ],
};

const CREATE_TOPICS: Shape = Shape {
    flexible_from: 5,
    fields: &[
        f(
            "topics",
            Kind::Array(&[
                f("name", STRING),
                f("num_partitions", INT32),
                f("replication_factor", INT16),
                f(
                    "assignments",
                    Kind::Array(&[f("partition_index", INT32), f("broker_ids", INT32S)]),
                ),
                f(
                    "configs",
                    Kind::Array(&[f("name", STRING), f("value", STRING)]),
                ),
            ]),
        ),
        f("timeout_ms", INT32),
        f("validate_only", INT8),
    ],
};

const DELETE_TOPICS: Shape = Shape {
    flexible_from: 4,
    fields: &[
        f(
            "topics",
            Kind::Array(&[f("name", STRING), f("topic_id", UUID)]),
        )
        .from(6),
        f("topic_names", STRINGS).to(5),
        f("timeout_ms", INT32),
    ],
};

const DELETE_RECORDS: Shape = Shape {
    flexible_from: 2,
    fields: &[
        f(
            "topics",
            Kind::Array(&[
                f("name", STRING),
                f(
                    "partitions",
                    Kind::Array(&[f("partition_index", INT32), f("offset", INT64)]),
                ),
            ]),
        ),
        f("timeout_ms", INT32),
    ],
};

const INIT_PRODUCER_ID: Shape = Shape {
    flexible_from: 2,
    fields: &[
        f("transactional_id", STRING),
        f("transaction_timeout_ms", INT32),
        f("producer_id", INT64).from(3),
        f("producer_epoch", INT16).from(3),
    ],
};

const DESCRIBE_PRODUCERS: Shape = Shape {
    flexible_from: 0,
    fields: &[f(
        "topics",
        Kind::Array(&[f("name", STRING), f("partition_indexes", INT32S)]),
    )],
};

const OFFSET_FOR_LEADER_EPOCH: Shape = Shape {
    flexible_from: 4,
    fields: &[
        f("replica_id", INT32).from(3),
        f(
            "topics",
            Kind::Array(&[
                f("topic", STRING),
                f(
                    "partitions",
                    Kind::Array(&[
                        f("partition", INT32),
                        f("current_leader_epoch", INT32),
                        f("leader_epoch", INT32),
                    ]),
                ),
            ]),
        ),
    ],
};

const DESCRIBE_CONFIGS: Shape = Shape {
    flexible_from: 4,
    fields: &[
        f(
            "resources",
            Kind::Array(&[
                f("resource_type", INT8),
                f("resource_name", STRING),
                f("configuration_keys", STRINGS),
            ]),
        ),
        f("include_synonyms", INT8),
        f("include_documentation", INT8).from(3),
    ],
};

const ALTER_REPLICA_LOG_DIRS: Shape = Shape {
    flexible_from: 2,
    fields: &[f(
        "dirs",
        Kind::Array(&[
            f("path", STRING),
            f(
                "topics",
                Kind::Array(&[f("name", STRING), f("partitions", INT32S)]),
            ),
        ]),
    )],
};

const CREATE_PARTITIONS: Shape = Shape {
    flexible_from: 2,
    fields: &[
        f(
            "topics",
            Kind::Array(&[
                f("name", STRING),
                f("count", INT32),
                f("assignments", Kind::Array(&[f("broker_ids", INT32S)])),
            ]),
        ),
        f("timeout_ms", INT32),
        f("validate_only", INT8),
    ],
};

const DELETE_GROUPS: Shape = Shape {
    flexible_from: 2,
    fields: &[f("groups_names", STRINGS)],
};

const ELECT_LEADERS: Shape = Shape {
    flexible_from: 2,
    fields: &[
        f("election_type", INT8).from(1),
        f(
            "topic_partitions",
            Kind::Array(&[f("topic", STRING), f("partitions", INT32S)]),
        ),
        f("timeout_ms", INT32),
    ],
};

const UPDATE_FEATURES: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("timeout_ms", INT32),
        f(
            "feature_updates",
            Kind::Array(&[
                f("feature", STRING),
                f("max_version_level", INT16),
                f("allow_downgrade", INT8).to(0),
                f("upgrade_type", INT8).from(1),
            ]),
        ),
        f("validate_only", INT8).from(1),
    ],
};

const INCREMENTAL_ALTER_CONFIGS: Shape = Shape {
    flexible_from: 1,
    fields: &[
        f(
            "resources",
            Kind::Array(&[
                f("resource_type", INT8),
                f("resource_name", STRING),
                f(
                    "configs",
                    Kind::Array(&[
                        f("name", STRING),
                        f("config_operation", INT8),
                        f("value", STRING),
                    ]),
                ),
            ]),
        ),
        f("validate_only", INT8),
    ],
};

const ALTER_PARTITION_REASSIGNMENTS: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("timeout_ms", INT32),
        f("allow_replication_factor_change", INT8).from(1),
        f(
            "topics",
            Kind::Array(&[
                f("name", STRING),
                f(
                    "partitions",
                    Kind::Array(&[f("partition_index", INT32), f("replicas", INT32S)]),
                ),
            ]),
        ),
    ],
};

const LIST_PARTITION_REASSIGNMENTS: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("timeout_ms", INT32),
        f(
            "topics",
            Kind::Array(&[f("name", STRING), f("partition_indexes", INT32S)]),
        ),
    ],
};

const OFFSET_DELETE: Shape = Shape {
    flexible_from: NEVER,
    fields: &[
        f("group_id", STRING),
        f(
            "topics",
            Kind::Array(&[
                f("name", STRING),
                f("partitions", Kind::Array(&[f("partition_index", INT32)])),
            ]),
        ),
    ],
};

const DESCRIBE_CLUSTER: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("include_cluster_authorized_operations", INT8),
        f("endpoint_type", INT8).from(1),
        f("include_fenced_brokers", INT8).from(2),
    ],
};

const DESCRIBE_TOPIC_PARTITIONS: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("topics", Kind::Array(&[f("name", STRING)])),
        f("response_partition_limit", INT32),
        f(
            "cursor",
            Kind::Optional(&[f("topic_name", STRING), f("partition_index", INT32)]),
        ),
    ],
};

const ALTER_CONFIGS: Shape = Shape {
    flexible_from: 2,
    fields: &[
        f(
            "resources",
            Kind::Array(&[
                f("resource_type", INT8),
                f("resource_name", STRING),
                f(
                    "configs",
                    Kind::Array(&[f("name", STRING), f("value", STRING)]),
                ),
            ]),
        ),
        f("validate_only", INT8),
    ],
};

const UNREGISTER_BROKER: Shape = Shape {
    flexible_from: 0,
    fields: &[f("broker_id", INT32)],
};

const LIST_CONFIG_RESOURCES: Shape = Shape {
    flexible_from: 0,
    fields: &[f("resource_types", Kind::ArrayOf(&INT8)).from(1)],
};

const DESCRIBE_QUORUM: Shape = Shape {
    flexible_from: 0,
    fields: &[f(
        "topics",
        Kind::Array(&[
            f("topic_name", STRING),
            f("partitions", Kind::Array(&[f("partition_index", INT32)])),
        ]),
    )],
};

const ADD_RAFT_VOTER: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("cluster_id", STRING),
        f("timeout_ms", INT32),
        f("voter_id", INT32),
        f("voter_directory_id", UUID),
        f(
            "listeners",
            Kind::Array(&[f("name", STRING), f("host", STRING), f("port", INT16)]),
        ),
    ],
};

const REMOVE_RAFT_VOTER: Shape = Shape {
    flexible_from: 0,
    fields: &[
        f("cluster_id", STRING),
        f("voter_id", INT32),
        f("voter_directory_id", UUID),
    ],
};
