//! The batches that a producer has not sent yet. Pure: no I/O, no clock.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use foz_protocol::batch::BatchHeader;
use foz_protocol::codec::Compression;
use foz_protocol::record::{BatchBuilder, RecordToWrite, Records, record_bytes};

use super::ClientError;
use crate::message::Message;

/// A batch with its place in the sequence of its partition: sending it again is safe, because the
/// broker knows the sequence (KIP-98).
#[derive(Debug, Clone)]
pub(crate) struct SealedBatch {
    pub(crate) bytes: Bytes,
    pub(crate) record_count: i32,
    base_sequence: i32,
}

/// A broker closes the connection on a larger request, which would look like a broken network.
const MESSAGE_BYTES_MAX: usize = 104_000_000;

/// Topic and partition.
pub(crate) type TopicPartition = (String, i32);

#[derive(Debug, Default)]
struct Lane {
    open: Option<BatchBuilder>,
    sealed: VecDeque<SealedBatch>,
    next_sequence: i32,
}

/// Batches by partition, in order.
#[derive(Debug)]
pub(crate) struct Batches {
    compression: Compression,
    batch_bytes: usize,
    producer: (i64, i16),
    lanes: BTreeMap<TopicPartition, Lane>,
    bytes: usize,
}

impl Batches {
    pub(crate) fn new(compression: Compression, batch_bytes: usize, producer: (i64, i16)) -> Self {
        Self {
            compression,
            batch_bytes,
            producer,
            lanes: BTreeMap::new(),
            bytes: 0,
        }
    }

    /// Bytes of all that waits, before compression.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn push(
        &mut self,
        to: TopicPartition,
        message: &Message,
        now_ms: i64,
    ) -> Result<(), ClientError> {
        let message_bytes = message.value.as_ref().map_or(0, |value| value.len());
        if message_bytes > MESSAGE_BYTES_MAX {
            return Err(ClientError::Invalid(format!(
                "a message of {message_bytes} bytes is more than any broker takes by default: \
                 a request may have 104857600 (socket.request.max.bytes)"
            )));
        }
        let lane = self.lanes.entry(to).or_default();
        let headers: Vec<(&str, Option<&[u8]>)> = message
            .headers
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_deref()))
            .collect();
        let builder = lane
            .open
            .get_or_insert_with(|| BatchBuilder::new(self.compression));
        let before = builder.uncompressed_length();
        builder.push(&RecordToWrite {
            timestamp_ms: message.timestamp_ms.unwrap_or(now_ms),
            key: message.key.as_deref(),
            value: message.value.as_deref(),
            headers: &headers,
        });
        let after = builder.uncompressed_length();
        self.bytes += after - before;
        if after >= self.batch_bytes {
            lane.seal(self.producer)?;
        }
        Ok(())
    }

    /// Closes every open batch.
    pub(crate) fn seal_all(&mut self) -> Result<(), ClientError> {
        self.lanes
            .values_mut()
            .try_for_each(|lane| lane.seal(self.producer))
    }

    /// The oldest batch of each partition. Only one of a partition is ever under way, so order is
    /// kept whatever fails.
    pub(crate) fn heads(&self) -> impl Iterator<Item = (&TopicPartition, &SealedBatch)> {
        self.lanes
            .iter()
            .filter_map(|(to, lane)| Some((to, lane.sealed.front()?)))
    }

    /// The oldest batch of `of` has been written.
    pub(crate) fn written(&mut self, of: &TopicPartition) {
        if let Some(lane) = self.lanes.get_mut(of) {
            lane.sealed.pop_front();
        }
        if self
            .lanes
            .values()
            .all(|lane| lane.open.is_none() && lane.sealed.is_empty())
        {
            self.bytes = 0;
        }
    }

    /// Cuts the oldest batch of `of` in two, because the topic takes smaller ones only. Nothing of it
    /// was written, so its sequence numbers stay with its records. `false` for a single record.
    pub(crate) fn split(&mut self, of: &TopicPartition) -> Result<bool, ClientError> {
        let Some(lane) = self.lanes.get_mut(of) else {
            return Ok(false);
        };
        let Some(batch) = lane
            .sealed
            .front()
            .filter(|batch| batch.record_count > 1)
            .cloned()
        else {
            return Ok(false);
        };
        let halves = halves(&batch, self.compression, self.producer)?;
        lane.sealed.pop_front();
        for half in halves.into_iter().rev() {
            lane.sealed.push_front(half);
        }
        Ok(true)
    }
}

impl Lane {
    fn seal(&mut self, producer: (i64, i16)) -> Result<(), ClientError> {
        let Some(builder) = self.open.take() else {
            return Ok(());
        };
        let batch = seal(builder, producer, self.next_sequence)?;
        self.next_sequence = sequence_after(self.next_sequence, batch.record_count);
        self.sealed.push_back(batch);
        Ok(())
    }
}

fn seal(
    builder: BatchBuilder,
    (producer_id, producer_epoch): (i64, i16),
    base_sequence: i32,
) -> Result<SealedBatch, ClientError> {
    let record_count = builder.record_count();
    let builder = builder.idempotent(producer_id, producer_epoch, base_sequence);
    let bytes = builder
        .build()
        .map_err(|error| ClientError::Invalid(error.to_string()))?;
    Ok(SealedBatch {
        bytes: bytes.into(),
        record_count,
        base_sequence,
    })
}

/// Sequences wrap from `i32::MAX` to 0.
fn sequence_after(sequence: i32, record_count: i32) -> i32 {
    ((i64::from(sequence) + i64::from(record_count)) % (i64::from(i32::MAX) + 1)) as i32
}

fn halves(
    batch: &SealedBatch,
    compression: Compression,
    producer: (i64, i16),
) -> Result<[SealedBatch; 2], ClientError> {
    let damaged = |error: String| ClientError::Invalid(format!("a batch cannot be cut: {error}"));
    let header = BatchHeader::parse(&batch.bytes).map_err(|error| damaged(error.to_string()))?;
    let bytes = record_bytes(&header, &batch.bytes, usize::MAX)
        .map_err(|error| damaged(error.to_string()))?;
    let first_count = batch.record_count / 2;
    let mut builders = [
        BatchBuilder::new(compression),
        BatchBuilder::new(compression),
    ];
    for record in Records::new(&header, &bytes) {
        let record = record.map_err(|error| damaged(error.to_string()))?;
        let headers: Vec<(String, Option<&[u8]>)> = record
            .headers
            .iter()
            .map(|it| (String::from_utf8_lossy(it.key).into_owned(), it.value))
            .collect();
        let headers: Vec<(&str, Option<&[u8]>)> = headers
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        let half = usize::from(record.offset_delta >= first_count);
        builders[half].push(&RecordToWrite {
            timestamp_ms: record.timestamp(&header),
            key: record.key,
            value: record.value,
            headers: &headers,
        });
    }
    let [first, second] = builders;
    let second_sequence = sequence_after(batch.base_sequence, first_count);
    Ok([
        seal(first, producer, batch.base_sequence)?,
        seal(second, producer, second_sequence)?,
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(partition: i32) -> TopicPartition {
        ("t".to_owned(), partition)
    }

    fn header(batch: &SealedBatch) -> BatchHeader {
        let header = BatchHeader::parse(&batch.bytes).unwrap();
        header.check_crc(&batch.bytes).unwrap();
        header.check_produced().unwrap();
        header
    }

    fn head(batches: &Batches) -> SealedBatch {
        batches.heads().next().unwrap().1.clone()
    }

    #[test]
    fn sequences_follow_one_another_in_each_partition() {
        let mut batches = Batches::new(Compression::None, 200, (7, 1));
        for _ in 0..2 {
            for _ in 0..3 {
                batches
                    .push(to(0), &Message::of("a".repeat(20)), 5)
                    .unwrap();
            }
            batches.push(to(1), &Message::of("b"), 5).unwrap();
            batches.seal_all().unwrap();
        }
        for (base_sequence, count) in [(0, 3), (3, 3)] {
            let first = header(&head(&batches));
            assert_eq!(
                (first.base_sequence, first.record_count),
                (base_sequence, count)
            );
            assert_eq!((first.producer_id, first.producer_epoch), (7, 1));
            batches.written(&to(0));
        }
        assert_eq!(
            header(&head(&batches)).base_sequence,
            0,
            "partition 1 has its own"
        );
    }

    #[test]
    fn a_full_batch_is_sealed_by_itself() {
        let mut batches = Batches::new(Compression::None, 100, (7, 1));
        batches.push(to(0), &Message::of("short"), 5).unwrap();
        assert_eq!(batches.heads().count(), 0);
        batches
            .push(to(0), &Message::of("x".repeat(100)), 5)
            .unwrap();
        assert_eq!(head(&batches).record_count, 2);
        assert!(batches.bytes() > 100);
        batches.written(&to(0));
        assert_eq!(batches.bytes(), 0);
    }

    #[test]
    fn a_batch_that_is_too_large_is_cut_with_its_sequences() {
        let mut batches = Batches::new(Compression::Zstd, 1 << 20, (7, 1));
        for at in 0..5 {
            let mut message = Message::keyed("k", format!("{at}"));
            message.headers.push(("h".into(), None));
            batches.push(to(0), &message, 5 + at).unwrap();
        }
        batches.seal_all().unwrap();
        assert!(batches.split(&to(0)).unwrap());
        let mut values = Vec::new();
        for (base_sequence, count) in [(0, 2), (2, 3)] {
            let batch = head(&batches);
            let header = header(&batch);
            assert_eq!(
                (header.base_sequence, header.record_count),
                (base_sequence, count)
            );
            let bytes = record_bytes(&header, &batch.bytes, 1000).unwrap();
            for record in Records::new(&header, &bytes) {
                let record = record.unwrap();
                assert_eq!((record.key, record.headers.len()), (Some(&b"k"[..]), 1));
                let value = String::from_utf8(record.value.unwrap().to_vec()).unwrap();
                values.push((record.timestamp(&header), value));
            }
            batches.written(&to(0));
        }
        let expected: Vec<_> = (0..5).map(|at| (5 + at, at.to_string())).collect();
        assert_eq!(values, expected);
    }

    #[test]
    fn a_single_record_cannot_be_cut() {
        let mut batches = Batches::new(Compression::None, 1, (7, 1));
        batches.push(to(0), &Message::of("x"), 5).unwrap();
        assert!(!batches.split(&to(0)).unwrap());
        assert_eq!(batches.heads().count(), 1);
    }

    #[test]
    fn a_message_that_no_request_could_carry_is_refused() {
        let mut batches = Batches::new(Compression::None, 1, (7, 1));
        let error = batches
            .push(to(0), &Message::of(vec![0; 104_000_001]), 5)
            .unwrap_err();
        assert!(
            error.to_string().contains("socket.request.max.bytes"),
            "{error}"
        );
    }

    #[test]
    fn sequences_wrap() {
        assert_eq!(sequence_after(i32::MAX, 1), 0);
        assert_eq!(sequence_after(i32::MAX - 1, 4), 2);
    }
}
