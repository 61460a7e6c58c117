use bytes::Bytes;
use kafka_protocol::messages::*;
use kafka_protocol::protocol::Decodable;
use proptest::prelude::*;

use super::*;
use crate::apis::APIS;
use crate::frame::decode_body;

/// Bytes left over after `kafka-protocol` has decoded; calls `$then` with each request type.
macro_rules! for_request_of {
    ($key:expr, $then:ident ( $($argument:expr),* )) => {
        match $key {
            ApiKey::Metadata => $then::<MetadataRequest>($($argument),*),
            ApiKey::OffsetCommit => $then::<OffsetCommitRequest>($($argument),*),
            ApiKey::OffsetFetch => $then::<OffsetFetchRequest>($($argument),*),
            ApiKey::FindCoordinator => $then::<FindCoordinatorRequest>($($argument),*),
            ApiKey::JoinGroup => $then::<JoinGroupRequest>($($argument),*),
            ApiKey::Heartbeat => $then::<HeartbeatRequest>($($argument),*),
            ApiKey::LeaveGroup => $then::<LeaveGroupRequest>($($argument),*),
            ApiKey::SyncGroup => $then::<SyncGroupRequest>($($argument),*),
            ApiKey::DescribeGroups => $then::<DescribeGroupsRequest>($($argument),*),
            ApiKey::ConsumerGroupHeartbeat => {
                $then::<ConsumerGroupHeartbeatRequest>($($argument),*)
            }
            ApiKey::ConsumerGroupDescribe => $then::<ConsumerGroupDescribeRequest>($($argument),*),
            ApiKey::ListGroups => $then::<ListGroupsRequest>($($argument),*),
            ApiKey::ApiVersions => $then::<ApiVersionsRequest>($($argument),*),
            ApiKey::CreateTopics => $then::<CreateTopicsRequest>($($argument),*),
            ApiKey::DeleteTopics => $then::<DeleteTopicsRequest>($($argument),*),
            ApiKey::DeleteRecords => $then::<DeleteRecordsRequest>($($argument),*),
            ApiKey::InitProducerId => $then::<InitProducerIdRequest>($($argument),*),
            ApiKey::AddPartitionsToTxn => $then::<AddPartitionsToTxnRequest>($($argument),*),
            ApiKey::AddOffsetsToTxn => $then::<AddOffsetsToTxnRequest>($($argument),*),
            ApiKey::EndTxn => $then::<EndTxnRequest>($($argument),*),
            ApiKey::TxnOffsetCommit => $then::<TxnOffsetCommitRequest>($($argument),*),
            ApiKey::DescribeTransactions => $then::<DescribeTransactionsRequest>($($argument),*),
            ApiKey::ListTransactions => $then::<ListTransactionsRequest>($($argument),*),
            ApiKey::OffsetForLeaderEpoch => $then::<OffsetForLeaderEpochRequest>($($argument),*),
            ApiKey::DescribeProducers => $then::<DescribeProducersRequest>($($argument),*),
            ApiKey::DescribeConfigs => $then::<DescribeConfigsRequest>($($argument),*),
            ApiKey::CreatePartitions => $then::<CreatePartitionsRequest>($($argument),*),
            ApiKey::DeleteGroups => $then::<DeleteGroupsRequest>($($argument),*),
            ApiKey::AlterReplicaLogDirs => $then::<AlterReplicaLogDirsRequest>($($argument),*),
            ApiKey::AlterPartitionReassignments => {
                $then::<AlterPartitionReassignmentsRequest>($($argument),*)
            }
            ApiKey::ListPartitionReassignments => {
                $then::<ListPartitionReassignmentsRequest>($($argument),*)
            }
            ApiKey::ElectLeaders => $then::<ElectLeadersRequest>($($argument),*),
            ApiKey::IncrementalAlterConfigs => {
                $then::<IncrementalAlterConfigsRequest>($($argument),*)
            }
            ApiKey::OffsetDelete => $then::<OffsetDeleteRequest>($($argument),*),
            ApiKey::UpdateFeatures => $then::<UpdateFeaturesRequest>($($argument),*),
            ApiKey::DescribeCluster => $then::<DescribeClusterRequest>($($argument),*),
            ApiKey::DescribeTopicPartitions => {
                $then::<DescribeTopicPartitionsRequest>($($argument),*)
            }
            ApiKey::DescribeAcls => $then::<DescribeAclsRequest>($($argument),*),
            ApiKey::CreateAcls => $then::<CreateAclsRequest>($($argument),*),
            ApiKey::DeleteAcls => $then::<DeleteAclsRequest>($($argument),*),
            ApiKey::CreateDelegationToken => $then::<CreateDelegationTokenRequest>($($argument),*),
            ApiKey::RenewDelegationToken => $then::<RenewDelegationTokenRequest>($($argument),*),
            ApiKey::ExpireDelegationToken => $then::<ExpireDelegationTokenRequest>($($argument),*),
            ApiKey::DescribeDelegationToken => {
                $then::<DescribeDelegationTokenRequest>($($argument),*)
            }
            ApiKey::DescribeClientQuotas => $then::<DescribeClientQuotasRequest>($($argument),*),
            ApiKey::AlterClientQuotas => $then::<AlterClientQuotasRequest>($($argument),*),
            ApiKey::DescribeUserScramCredentials => {
                $then::<DescribeUserScramCredentialsRequest>($($argument),*)
            }
            ApiKey::AlterUserScramCredentials => {
                $then::<AlterUserScramCredentialsRequest>($($argument),*)
            }
            ApiKey::AlterConfigs => $then::<AlterConfigsRequest>($($argument),*),
            ApiKey::UnregisterBroker => $then::<UnregisterBrokerRequest>($($argument),*),
            ApiKey::ListConfigResources => $then::<ListConfigResourcesRequest>($($argument),*),
            ApiKey::DescribeQuorum => $then::<DescribeQuorumRequest>($($argument),*),
            ApiKey::AddRaftVoter => $then::<AddRaftVoterRequest>($($argument),*),
            ApiKey::RemoveRaftVoter => $then::<RemoveRaftVoterRequest>($($argument),*),
            other => panic!("{other:?} has no table"),
        }
    };
}

fn left_over<T: Decodable>(version: i16, body: &[u8]) -> Result<usize, String> {
    let mut body = Bytes::copy_from_slice(body);
    T::decode(&mut body, version).map_err(|error| error.to_string())?;
    Ok(body.len())
}

fn decodes<T: kafka_protocol::protocol::Request>(version: i16, body: Bytes) -> bool {
    decode_body::<T>(version, body).is_ok()
}

/// Writes a request that follows a table, with every kind of element in it.
struct Writer<'a> {
    out: Vec<u8>,
    choices: std::slice::Iter<'a, u8>,
    version: i16,
    flexible: bool,
}

impl Writer<'_> {
    fn choose(&mut self, below: u8) -> usize {
        usize::from(self.choices.next().copied().unwrap_or(1) % below)
    }

    fn length(&mut self, bytes: usize, length: usize) {
        if self.flexible {
            self.out.push(length as u8 + 1);
        } else {
            self.out
                .extend_from_slice(&(length as u64).to_be_bytes()[8 - bytes..]);
        }
    }

    fn structure(&mut self, fields: &[Field]) {
        for field in fields {
            if (field.from..=field.to).contains(&self.version) {
                self.field(&field.kind);
            }
        }
        if self.flexible {
            match self.choose(3) {
                0 => self.out.extend_from_slice(&[1, 99, 2, 7, 7]),
                _ => self.out.push(0),
            }
        }
    }

    fn field(&mut self, kind: &Kind) {
        match kind {
            Kind::Fixed(length) => {
                let byte = self.choose(200) as u8;
                self.out.extend(std::iter::repeat_n(byte, *length));
            }
            Kind::String => {
                let length = self.choose(9);
                self.length(2, length);
                self.out.extend(std::iter::repeat_n(b'a', length));
            }
            Kind::Bytes => {
                let length = self.choose(9);
                self.length(4, length);
                self.out.extend(std::iter::repeat_n(0xff, length));
            }
            Kind::ArrayOf(element) => {
                let length = self.choose(4);
                self.length(4, length);
                (0..length).for_each(|_| self.field(element));
            }
            Kind::Array(fields) => {
                let length = self.choose(4);
                self.length(4, length);
                (0..length).for_each(|_| self.structure(fields));
            }
            Kind::Optional(fields) => match self.choose(2) {
                0 => self.out.push(0xff),
                _ => {
                    self.out.push(1);
                    self.structure(fields);
                }
            },
        }
    }
}

fn write(shape: &Shape, version: i16, choices: &[u8]) -> Vec<u8> {
    let flexible = version >= shape.flexible_from;
    let mut writer = Writer {
        out: Vec::new(),
        choices: choices.iter(),
        version,
        flexible,
    };
    writer.structure(shape.fields);
    writer.out
}

/// Those that something else than `kafka-protocol` decodes.
const OTHERS: [ApiKey; 5] = [
    ApiKey::Produce,
    ApiKey::Fetch,
    ApiKey::ListOffsets,
    ApiKey::DescribeLogDirs,
    ApiKey::WriteTxnMarkers,
];

/// Every API that has a table, at every version that is answered.
fn tables() -> impl Iterator<Item = (ApiKey, i16, &'static Shape)> {
    APIS.iter()
        .filter(|api| !OTHERS.contains(&api.key))
        .flat_map(|api| {
            let shape = tables::shape_of(api.key).expect("every other API has a table");
            (api.min..=api.max).map(move |version| (api.key, version, shape))
        })
}

#[test]
fn an_array_that_lies_about_its_length_is_refused() {
    let error = check_request_shape(ApiKey::Metadata as i16, 1, &[0x7f, 0xff, 0xff, 0xff]);
    assert!(matches!(
        error,
        Err(WireError::Length {
            field: "topics",
            length: 0x7fff_ffff,
            ..
        })
    ));
    let error =
        decode_body::<MetadataRequest>(9, Bytes::from_static(&[0xff, 0xff, 0xff, 0xff, 0x0f]));
    assert!(error.is_err());
}

#[test]
fn more_elements_than_a_request_may_have_are_refused() {
    let count = REQUEST_ELEMENTS_MAX + 1;
    let mut body = (count as i32).to_be_bytes().to_vec();
    body.resize(4 + 2 * count, 0);
    assert!(matches!(
        check_request_shape(ApiKey::Metadata as i16, 0, &body),
        Err(WireError::Length {
            field: "topics",
            length: 250_001,
            ..
        })
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn the_tables_agree_with_the_decoder(choices in proptest::collection::vec(any::<u8>(), 0..200)) {
        for (key, version, shape) in tables() {
            let body = write(shape, version, &choices);
            let rest = Walk::over(shape, version, &body).map(<[u8]>::len);
            prop_assert_eq!(rest, Ok(0), "{:?} {}", key, version);
            let rest = for_request_of!(key, left_over(version, &body));
            prop_assert_eq!(rest, Ok(0), "{:?} {}", key, version);
        }
    }

    #[test]
    fn bent_and_garbled_bodies_never_panic(
        choices in proptest::collection::vec(any::<u8>(), 0..200),
        garbage in proptest::collection::vec(any::<u8>(), 0..60),
        at: prop::sample::Index,
    ) {
        for (key, version, shape) in tables() {
            let mut body = write(shape, version, &choices);
            let at = at.index(body.len() + 1);
            let bent = at.saturating_add(garbage.len()).min(body.len());
            body[at..bent].copy_from_slice(&garbage[..bent - at]);
            for body in [&body[..], &body[..at], &garbage[..]] {
                let body = Bytes::copy_from_slice(body);
                std::hint::black_box(for_request_of!(key, decodes(version, body)));
            }
        }
    }
}
