//! The records that the quorum replicates, made from `proto/foz/metadata/record.proto`, and the short
//! ways to write and read them.

use bytes::Bytes;
use prost::Message;
use uuid::Uuid;

use crate::image::Broker;

#[allow(clippy::all, unreachable_pub)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/foz.metadata.rs"));
}

pub use generated::record::Record as Fact;
pub use generated::{
    Batch, BrokerFenceRecord, ClusterRecord, ConfigRecord, CordonRecord, DeleteTopicRecord,
    DirectoryRecord, EndRestartGrantRecord, FeatureLevelRecord, NodeIds, OperatorEpochRecord,
    PartitionChangeRecord, PartitionRecord, ProducerIdsRecord, PurgeDeletedTopicRecord, RackRecord,
    RebalanceGoal, RebalanceRecord, RebalanceState, Record, RegisterBrokerRecord,
    RemoveTopicRecord, ResourceKind, RestartGrantRecord, RestoreTopicRecord, Snapshot,
    SupportedFeature, TopicRecord, UnregisterBrokerRecord,
};

/// The bytes are not a message of this crate.
#[derive(Debug, thiserror::Error)]
#[error("malformed {what}: {source}")]
pub struct DecodeError {
    what: &'static str,
    source: prost::DecodeError,
}

impl Batch {
    /// The offset of the image after it.
    #[must_use]
    pub fn offset(&self) -> i64 {
        self.follows + 1
    }

    /// The bytes that the quorum replicates and that observers get.
    #[must_use]
    pub fn encode_to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Reads what [`encode_to_bytes`](Self::encode_to_bytes) wrote.
    pub fn decode_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes).map_err(|source| DecodeError {
            what: "batch of records",
            source,
        })
    }
}

impl Snapshot {
    /// Reads the bytes of a snapshot; [`Image::decode`](crate::Image::decode) makes the image of it.
    pub(crate) fn decode_from(bytes: &[u8]) -> Result<Self, DecodeError> {
        Self::decode(bytes).map_err(|source| DecodeError {
            what: "snapshot",
            source,
        })
    }
}

impl From<Fact> for Record {
    fn from(fact: Fact) -> Self {
        Self { record: Some(fact) }
    }
}

impl From<Vec<i32>> for NodeIds {
    fn from(node_ids: Vec<i32>) -> Self {
        Self { node_ids }
    }
}

impl BrokerFenceRecord {
    /// What is so of a broker, for a record that changes some of it.
    pub(crate) fn of(broker: &Broker) -> Self {
        Self {
            node_id: broker.node_id,
            epoch: broker.epoch,
            fenced: broker.fenced,
            stopping: broker.stopping,
            short_of_space: broker.short_of_space,
        }
    }
}

/// An id as records carry it.
pub(crate) fn id_bytes(id: Uuid) -> Bytes {
    Bytes::copy_from_slice(id.as_bytes())
}
