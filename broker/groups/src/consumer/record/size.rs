//! What records take in a batch: what fits in none is not written.

use std::sync::Arc;

use foz_protocol::batch::HEADER_LENGTH;
use foz_protocol::wire::varint_length;

use super::ConsumerRecord;

impl ConsumerRecord {
    /// What it takes in a batch at most. Cheap to tell, and often more than [`batch_bytes`] finds.
    pub(in crate::consumer) fn bytes_max(&self, group_id: &str) -> usize {
        /// Lengths, versions and numbers of a record, its framing included.
        const RECORD: usize = 64;
        /// Id, number of partitions and tagged fields of a topic in a target.
        const TARGET_TOPIC: usize = 16 + 5 + 1;
        /// Those of one that a member has, the number and the length of its epochs too.
        const CURRENT_TOPIC: usize = TARGET_TOPIC + 1 + 5 + 5;
        let text = |text: &str| text.len() + 5;
        let body = match self {
            Self::Epoch(_) | Self::TargetEpoch(_) => 16,
            Self::Member {
                member_id,
                metadata,
            } => {
                let of_metadata = metadata.as_ref().map_or(0, |metadata| {
                    let texts = [&metadata.client_id, &metadata.client_host].into_iter();
                    let texts = texts.chain(&metadata.instance_id).chain(&metadata.rack_id);
                    let texts = texts.chain(&*metadata.subscribed_topics);
                    let texts = texts.chain(&metadata.subscribed_regex);
                    let protocols = metadata
                        .classic
                        .iter()
                        .flat_map(|classic| &classic.protocols);
                    let protocols = protocols
                        .map(|protocol| text(&protocol.name) + protocol.metadata.len() + 5);
                    RECORD
                        + texts.map(|string| text(string)).sum::<usize>()
                        + protocols.sum::<usize>()
                });
                text(member_id) + of_metadata
            }
            Self::Target {
                member_id,
                partitions,
            } => {
                let topics = partitions.iter().flatten();
                let topics = topics.map(|(_, partitions)| TARGET_TOPIC + 4 * partitions.len());
                text(member_id) + topics.sum::<usize>()
            }
            Self::Current {
                member_id,
                assignment,
            } => {
                let maps = assignment
                    .iter()
                    .flat_map(|current| [&current.assigned, &current.pending_revocation]);
                let topics = maps.flatten();
                let topics = topics.map(|(_, partitions)| CURRENT_TOPIC + 8 * partitions.len());
                text(member_id) + topics.sum::<usize>()
            }
            Self::Regex { regex, resolved } => {
                let topics = resolved.iter().flat_map(|resolved| &resolved.topics);
                text(regex) + topics.map(|topic| text(topic)).sum::<usize>()
            }
        };
        RECORD + text(group_id) + body
    }
}

/// What a batch of them takes, to the byte; as dear as writing it. Its records have one timestamp.
pub(in crate::consumer) fn batch_bytes(records: &[ConsumerRecord], group_id: &Arc<str>) -> usize {
    let records = records.iter().enumerate().map(|(offset_delta, record)| {
        let record = record.encode(group_id);
        let value_bytes = record.value.as_ref().map(bytes::Bytes::len);
        // Attributes, the difference of the timestamp and the number of headers are one byte each.
        let body = 3
            + varint_length(offset_delta as i32)
            + varint_length(record.key.len() as i32)
            + record.key.len()
            + varint_length(value_bytes.map_or(-1, |bytes| bytes as i32))
            + value_bytes.unwrap_or(0);
        varint_length(body as i32) + body
    });
    HEADER_LENGTH + records.sum::<usize>()
}
