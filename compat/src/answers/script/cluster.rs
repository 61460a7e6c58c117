//! The cluster, its disks, its rights and what is refused.

use anyhow::Result;
use bytes::Bytes;
use foz_records::describe_log_dirs_request::{
    DescribableLogDirTopic as NewerTopic, DescribeLogDirsRequest as NewerDescribeLogDirs,
};
use foz_records::describe_log_dirs_response::DescribeLogDirsResponse;
use kafka_protocol::messages::add_raft_voter_request::Listener;
use kafka_protocol::messages::alter_client_quotas_request::{EntityData, EntryData, OpData};
use kafka_protocol::messages::alter_partition_reassignments_request::{
    ReassignablePartition, ReassignableTopic,
};
use kafka_protocol::messages::alter_replica_log_dirs_request::{
    AlterReplicaLogDir, AlterReplicaLogDirTopic,
};
use kafka_protocol::messages::alter_user_scram_credentials_request::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kafka_protocol::messages::create_acls_request::AclCreation;
use kafka_protocol::messages::delete_acls_request::DeleteAclsFilter;
use kafka_protocol::messages::describe_client_quotas_request::ComponentData;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_quorum_request::{PartitionData, TopicData};
use kafka_protocol::messages::describe_user_scram_credentials_request::UserName;
use kafka_protocol::messages::elect_leaders_request::TopicPartitions;
use kafka_protocol::messages::list_partition_reassignments_request::ListPartitionReassignmentsTopics;
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::{
    AddRaftVoterRequest, AlterClientQuotasRequest, AlterPartitionReassignmentsRequest,
    AlterReplicaLogDirsRequest, AlterUserScramCredentialsRequest, ApiKey, ApiVersionsRequest,
    BrokerId, CreateAclsRequest, CreateDelegationTokenRequest, DeleteAclsRequest,
    DescribeAclsRequest, DescribeClientQuotasRequest, DescribeClusterRequest,
    DescribeDelegationTokenRequest, DescribeLogDirsRequest, DescribeProducersRequest,
    DescribeQuorumRequest, DescribeUserScramCredentialsRequest, ElectLeadersRequest,
    ExpireDelegationTokenRequest, ListPartitionReassignmentsRequest, MetadataRequest,
    RemoveRaftVoterRequest, RenewDelegationTokenRequest, UnregisterBrokerRequest,
    UpdateFeaturesRequest,
};
use uuid::Uuid;

use super::{Asker, NOWHERE, ORDERS, TIMEOUT_MS, text, topic};

pub(super) fn is_up(asker: &mut Asker) -> Result<()> {
    asker.until(1, &MetadataRequest::default().with_topics(None), |answer| {
        answer.brokers.len() == 1
    })?;
    Ok(())
}

pub(super) fn ask(asker: &mut Asker) -> Result<()> {
    asker.ask_each("of a client without a name", 0..=4, |_| {
        ApiVersionsRequest::default()
    })?;
    asker.ask_each("of a client", 3..=4, |_| {
        ApiVersionsRequest::default()
            .with_client_software_name(text("answers"))
            .with_client_software_version(text("1.0"))
    })?;
    asker.ask_each("all", 0..=2, |_| {
        DescribeClusterRequest::default().with_include_cluster_authorized_operations(true)
    })?;
    asker.ask_each("an endpoint type that is none", 1..=2, |_| {
        DescribeClusterRequest::default().with_endpoint_type(9)
    })?;
    malformed(asker)?;
    moved(asker)?;
    disks(asker)?;
    rights(asker)?;
    quorum(asker)
}

fn malformed(asker: &mut Asker) -> Result<()> {
    for (what, key, version) in [
        ("an API that is none", 999_u16, 0_u16),
        ("a version that is none", 3, 99),
        ("an empty body", 3, 12),
    ] {
        let mut bytes = [key.to_be_bytes(), version.to_be_bytes()].concat();
        bytes.extend([0, 0, 0, 1, 0xff, 0xff]);
        asker.ask_raw(what, &bytes)?;
    }
    asker.ask_raw(
        "ApiVersions of a version that is none",
        &[0, 18, 0, 99, 0, 0, 0, 1, 0xff, 0xff, 0],
    )?;
    asker.ask_raw("half a header", &[0, 18, 0])
}

fn moved(asker: &mut Asker) -> Result<()> {
    let elect = |of: Option<(&str, i32)>| {
        let partitions = of.map(|(name, partition)| {
            vec![
                TopicPartitions::default()
                    .with_topic(topic(name))
                    .with_partitions(vec![partition]),
            ]
        });
        ElectLeadersRequest::default()
            .with_topic_partitions(partitions)
            .with_timeout_ms(TIMEOUT_MS)
    };
    for (what, of) in [
        ("the preferred leader leads", Some((ORDERS, 0))),
        ("an unknown topic", Some((NOWHERE, 0))),
        ("an unknown partition", Some((ORDERS, 99))),
        ("all", None),
    ] {
        asker.ask_each(what, 0..=2, |_| elect(of))?;
        asker.ask_each(&format!("{what}, unclean"), 1..=2, |_| {
            elect(of).with_election_type(1)
        })?;
    }
    asker.ask_each("an election that is none", 1..=2, |_| {
        elect(None).with_election_type(9)
    })?;
    let reassign = |name: &str, partition: i32, replicas: Option<&[i32]>| {
        let replicas = replicas.map(|replicas| replicas.iter().copied().map(BrokerId).collect());
        let partition = ReassignablePartition::default()
            .with_partition_index(partition)
            .with_replicas(replicas);
        let of = ReassignableTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![partition]);
        AlterPartitionReassignmentsRequest::default()
            .with_topics(vec![of])
            .with_timeout_ms(TIMEOUT_MS)
    };
    for (what, name, partition, replicas) in [
        ("where it is", ORDERS, 0, Some(&[0][..])),
        ("an unknown broker", ORDERS, 0, Some(&[7])),
        ("nobody", ORDERS, 0, Some(&[])),
        ("a broker twice", ORDERS, 0, Some(&[0, 0])),
        ("a negative broker", ORDERS, 0, Some(&[-1])),
        ("cancelled, though there is none", ORDERS, 0, None),
        ("an unknown topic", NOWHERE, 0, Some(&[0])),
        ("an unknown partition", ORDERS, 99, Some(&[0])),
    ] {
        asker.ask_each(what, 0..=1, |_| reassign(name, partition, replicas))?;
    }
    let list = |name: &str| {
        let of = ListPartitionReassignmentsTopics::default()
            .with_name(topic(name))
            .with_partition_indexes(vec![0]);
        ListPartitionReassignmentsRequest::default()
            .with_topics(Some(vec![of]))
            .with_timeout_ms(TIMEOUT_MS)
    };
    asker.ask("a topic", 0, &list(ORDERS))?;
    asker.ask("an unknown topic", 0, &list(NOWHERE))?;
    asker.ask(
        "all",
        0,
        &ListPartitionReassignmentsRequest::default()
            .with_topics(None)
            .with_timeout_ms(TIMEOUT_MS),
    )?;
    Ok(())
}

fn disks(asker: &mut Asker) -> Result<()> {
    let of = |name: &str, partition: i32| {
        let of = DescribableLogDirTopic::default()
            .with_topic(topic(name))
            .with_partitions(vec![partition]);
        DescribeLogDirsRequest::default().with_topics(Some(vec![of]))
    };
    asker.ask_each("a partition", 1..=4, |_| of(ORDERS, 0))?;
    asker.ask_each("an unknown topic", 1..=4, |_| of(NOWHERE, 0))?;
    asker.ask_each("no topics", 1..=4, |_| {
        DescribeLogDirsRequest::default().with_topics(Some(vec![]))
    })?;
    for (what, names) in [
        ("a partition", &[ORDERS][..]),
        ("an unknown topic", &[NOWHERE]),
        ("no topics", &[]),
    ] {
        let topics = names.iter().map(|name| NewerTopic {
            topic: (*name).into(),
            partitions: vec![0],
        });
        let request = NewerDescribeLogDirs {
            topics: Some(topics.collect()),
        };
        let key = ApiKey::DescribeLogDirs;
        asker.ask_newer::<_, DescribeLogDirsResponse>(key, what, 5, &request)?;
    }
    let to = |path: &str, name: &str| {
        let of = AlterReplicaLogDirTopic::default()
            .with_name(topic(name))
            .with_partitions(vec![0]);
        let to = AlterReplicaLogDir::default()
            .with_path(text(path))
            .with_topics(vec![of]);
        AlterReplicaLogDirsRequest::default().with_dirs(vec![to])
    };
    asker.ask_each("an unknown folder", 1..=2, |_| {
        to("/no/such/folder", ORDERS)
    })?;
    asker.ask_each("a folder that is relative", 1..=2, |_| to("folder", ORDERS))?;
    asker.ask_each("an unknown topic", 1..=2, |_| {
        to("/no/such/folder", NOWHERE)
    })?;
    let producers = |name: &str, partition: i32| {
        let of = TopicRequest::default()
            .with_name(topic(name))
            .with_partition_indexes(vec![partition]);
        DescribeProducersRequest::default().with_topics(vec![of])
    };
    asker.ask("a partition without producers", 0, &producers(ORDERS, 0))?;
    asker.ask("an unknown topic", 0, &producers(NOWHERE, 0))?;
    asker.ask("an unknown partition", 0, &producers(ORDERS, 99))?;
    asker.ask("a wrong name", 0, &producers("a/b", 0))?;
    Ok(())
}

fn rights(asker: &mut Asker) -> Result<()> {
    let any = DescribeAclsRequest::default()
        .with_resource_type_filter(1)
        .with_pattern_type_filter(1)
        .with_operation(1)
        .with_permission_type(1);
    asker.ask_each("any", 1..=3, |_| any.clone())?;
    let acl = AclCreation::default()
        .with_resource_type(2)
        .with_resource_name(text(ORDERS))
        .with_resource_pattern_type(3)
        .with_principal(text("User:a"))
        .with_host(text("*"))
        .with_operation(3)
        .with_permission_type(3);
    asker.ask_each("one", 1..=3, |_| {
        CreateAclsRequest::default().with_creations(vec![acl.clone()])
    })?;
    let filter = DeleteAclsFilter::default()
        .with_resource_type_filter(1)
        .with_pattern_type_filter(1)
        .with_operation(1)
        .with_permission_type(1);
    asker.ask_each("any", 1..=3, |_| {
        DeleteAclsRequest::default().with_filters(vec![filter.clone()])
    })?;
    let component = |kind: &str| {
        ComponentData::default()
            .with_entity_type(text(kind))
            .with_match_type(2)
    };
    for (what, components) in [
        ("all", vec![]),
        ("of users", vec![component("user")]),
        ("of what is none", vec![component("house")]),
        ("of users twice", vec![component("user"), component("user")]),
    ] {
        asker.ask_each(what, 0..=1, |_| {
            DescribeClientQuotasRequest::default().with_components(components.clone())
        })?;
    }
    let quota = |kind: &str, key: &str| {
        let entity = EntityData::default()
            .with_entity_type(text(kind))
            .with_entity_name(Some(text("a")));
        let change = OpData::default().with_key(text(key)).with_value(1000.0);
        let entry = EntryData::default()
            .with_entity(vec![entity])
            .with_ops(vec![change]);
        AlterClientQuotasRequest::default()
            .with_entries(vec![entry])
            .with_validate_only(true)
    };
    asker.ask_each("of a user", 0..=1, |_| quota("user", "producer_byte_rate"))?;
    asker.ask_each("an unknown key", 0..=1, |_| {
        quota("user", "house_byte_rate")
    })?;
    asker.ask_each("of what is none", 0..=1, |_| {
        quota("house", "producer_byte_rate")
    })?;
    let users = |users: Option<&[&str]>| {
        let users = users.map(|users| {
            users
                .iter()
                .map(|user| UserName::default().with_name(text(user)))
                .collect()
        });
        DescribeUserScramCredentialsRequest::default().with_users(users)
    };
    asker.ask("all", 0, &users(None))?;
    asker.ask("a user", 0, &users(Some(&["a"])))?;
    asker.ask("a user twice", 0, &users(Some(&["a", "a"])))?;
    scram(asker)?;
    asker.ask_each("one", 1..=3, |_| {
        CreateDelegationTokenRequest::default().with_max_lifetime_ms(1000)
    })?;
    asker.ask_each("all", 1..=3, |_| {
        DescribeDelegationTokenRequest::default().with_owners(None)
    })?;
    let hmac = Bytes::from_static(b"hmac");
    asker.ask_each("one", 1..=2, |_| {
        RenewDelegationTokenRequest::default().with_hmac(hmac.clone())
    })?;
    asker.ask_each("one", 1..=2, |_| {
        ExpireDelegationTokenRequest::default().with_hmac(hmac.clone())
    })
}

fn scram(asker: &mut Asker) -> Result<()> {
    let deleted = |name: &str, mechanism: i8| {
        let deletion = ScramCredentialDeletion::default()
            .with_name(text(name))
            .with_mechanism(mechanism);
        AlterUserScramCredentialsRequest::default().with_deletions(vec![deletion])
    };
    let set = |name: &str, mechanism: i8, iterations: i32| {
        let upsertion = ScramCredentialUpsertion::default()
            .with_name(text(name))
            .with_mechanism(mechanism)
            .with_iterations(iterations)
            .with_salt(Bytes::from_static(b"salt"))
            .with_salted_password(Bytes::from_static(b"password"));
        AlterUserScramCredentialsRequest::default().with_upsertions(vec![upsertion])
    };
    for (what, request) in [
        ("nothing", AlterUserScramCredentialsRequest::default()),
        ("an unknown user deleted", deleted("nobody", 1)),
        ("a user without a name deleted", deleted("", 1)),
        ("an unknown mechanism deleted", deleted("nobody", 9)),
        ("a user without a name", set("", 1, 4096)),
        ("an unknown mechanism", set("a", 9, 4096)),
        ("too few iterations", set("a", 1, 10)),
        ("too many iterations", set("a", 1, i32::MAX)),
    ] {
        asker.ask(what, 0, &request)?;
    }
    Ok(())
}

fn quorum(asker: &mut Asker) -> Result<()> {
    let of = |name: &str, partition: i32| {
        let partition = PartitionData::default().with_partition_index(partition);
        let of = TopicData::default()
            .with_topic_name(topic(name))
            .with_partitions(vec![partition]);
        DescribeQuorumRequest::default().with_topics(vec![of])
    };
    asker.ask_each("metadata", 0..=2, |_| of("__cluster_metadata", 0))?;
    asker.ask_each("another topic", 0..=2, |_| of(ORDERS, 0))?;
    asker.ask_each("another partition", 0..=2, |_| of("__cluster_metadata", 1))?;
    asker.ask_each("nothing", 0..=2, |_| DescribeQuorumRequest::default())?;
    let feature = |name: &str, level: i16| {
        let update = FeatureUpdateKey::default()
            .with_feature(text(name))
            .with_max_version_level(level);
        UpdateFeaturesRequest::default()
            .with_feature_updates(vec![update])
            .with_timeout_ms(TIMEOUT_MS)
    };
    asker.ask_each("an unknown feature", 0..=2, |_| {
        feature("no.such.feature", 1)
    })?;
    asker.ask_each("a level too high", 0..=2, |_| feature("group.version", 99))?;
    asker.ask_each("a negative level", 0..=2, |_| feature("group.version", -1))?;
    asker.ask_each("no features", 0..=2, |_| {
        UpdateFeaturesRequest::default().with_timeout_ms(TIMEOUT_MS)
    })?;
    asker.ask(
        "a broker that is none",
        0,
        &UnregisterBrokerRequest::default().with_broker_id(BrokerId(77)),
    )?;
    let remove = RemoveRaftVoterRequest::default()
        .with_voter_id(77)
        .with_voter_directory_id(Uuid::from_u128(7));
    asker.ask("a voter that is none", 0, &remove)?;
    asker.ask(
        "a voter of another cluster",
        0,
        &remove.with_cluster_id(Some(text("another"))),
    )?;
    let listener = Listener::default()
        .with_name(text("CONTROLLER"))
        .with_host(text("localhost"))
        .with_port(1);
    let add = AddRaftVoterRequest::default()
        .with_timeout_ms(TIMEOUT_MS)
        .with_voter_id(77)
        .with_voter_directory_id(Uuid::from_u128(7))
        .with_listeners(vec![listener]);
    asker.ask("a negative voter", 0, &add.clone().with_voter_id(-1))?;
    asker.ask(
        "a voter of another cluster",
        0,
        &add.with_cluster_id(Some(text("another"))),
    )?;
    Ok(())
}
