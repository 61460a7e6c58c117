//! From the bytes of a fetch to messages. Pure.

use std::borrow::Cow;
use std::collections::BTreeSet;

use bytes::Bytes;
use foz_protocol::batch::{BatchError, BatchHeader, Batches};
use foz_protocol::record::{Records, record_bytes};
use kafka_protocol::messages::fetch_response::AbortedTransaction;

use super::ClientError;
use crate::message::ReceivedMessage;

/// A batch that claims more than this when decompressed is taken for a bomb.
const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// Key of the record that aborts a transaction: a version and a type, both INT16.
const ABORT: &[u8] = &[0, 0, 0, 0];

/// Appends the messages of `records` from `offset` on, but for those of the `aborted` transactions, and returns the next offset.
pub(crate) fn read_batches(
    (topic, partition): &(String, i32),
    records: &Bytes,
    aborted: &[AbortedTransaction],
    mut offset: i64,
    messages: &mut Vec<ReceivedMessage>,
) -> Result<i64, ClientError> {
    let mut to_come: BTreeSet<_> = aborted
        .iter()
        .map(|it| (it.first_offset, it.producer_id.0))
        .collect();
    let mut skipped = BTreeSet::new();
    for batch in Batches::new(records) {
        let (header, bytes) = match batch {
            Ok(batch) => batch,
            // A response may end in the middle of a batch.
            Err(BatchError::Truncated { .. }) => break,
            Err(error) => return Err(damaged(topic, *partition, offset, &error.to_string())),
        };
        if header.next_offset() <= offset {
            continue;
        }
        let wrong = |error: String| damaged(topic, *partition, header.base_offset, &error);
        header
            .check_crc(bytes)
            .map_err(|error| wrong(error.to_string()))?;
        while to_come
            .first()
            .is_some_and(|(first, _)| *first <= header.last_offset())
        {
            skipped.extend(to_come.pop_first().map(|(_, producer_id)| producer_id));
        }
        if header.is_control() {
            if skipped.contains(&header.producer_id) {
                let plain = plain_records(&header, bytes, records).map_err(wrong)?;
                let mut keys = Records::new(&header, &plain).map_while(Result::ok);
                if keys.next().is_some_and(|record| record.key == Some(ABORT)) {
                    skipped.remove(&header.producer_id);
                }
            }
        } else if !(header.is_transactional() && skipped.contains(&header.producer_id)) {
            let plain = plain_records(&header, bytes, records).map_err(wrong)?;
            for record in Records::new(&header, &plain) {
                let record = record.map_err(|error| wrong(error.to_string()))?;
                if record.offset(&header) < offset {
                    continue;
                }
                let part = |part: Option<&[u8]>| part.map(|part| plain.slice_ref(part));
                messages.push(ReceivedMessage {
                    topic: topic.clone(),
                    partition: *partition,
                    offset: record.offset(&header),
                    timestamp_ms: record.timestamp(&header),
                    key: part(record.key),
                    value: part(record.value),
                    headers: record
                        .headers
                        .iter()
                        .map(|it| (String::from_utf8_lossy(it.key).into_owned(), part(it.value)))
                        .collect(),
                });
            }
        }
        offset = header.next_offset();
    }
    Ok(offset)
}

fn plain_records(header: &BatchHeader, batch: &[u8], records: &Bytes) -> Result<Bytes, String> {
    match record_bytes(header, batch, DECOMPRESSED_BYTES_MAX) {
        Ok(Cow::Borrowed(plain)) => Ok(records.slice_ref(plain)),
        Ok(Cow::Owned(plain)) => Ok(Bytes::from(plain)),
        Err(error) => Err(error.to_string()),
    }
}

fn damaged(topic: &str, partition: i32, offset: i64, error: &str) -> ClientError {
    ClientError::Invalid(format!(
        "the batch at offset {offset} of {topic}-{partition} cannot be read: {error}"
    ))
}

#[cfg(test)]
mod tests {
    use foz_protocol::batch::assign;
    use foz_protocol::codec::Compression;
    use foz_protocol::record::{BatchBuilder, RecordToWrite};

    use super::*;

    fn batch(compression: Compression, base_offset: i64, values: &[&str]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(compression);
        for value in values {
            let value = Some(value.as_bytes());
            builder.push(&RecordToWrite {
                timestamp_ms: 7,
                value,
                ..Default::default()
            });
        }
        let mut batch = builder.build().expect("it has records");
        assign(&mut batch, base_offset, 0);
        batch
    }

    fn read(records: Vec<u8>, offset: i64) -> (Result<i64, ClientError>, Vec<(i64, String)>) {
        read_without(&[], records, offset)
    }

    /// `aborted` are producers and where their transactions begin.
    fn read_without(
        aborted: &[(i64, i64)],
        records: Vec<u8>,
        offset: i64,
    ) -> (Result<i64, ClientError>, Vec<(i64, String)>) {
        let mut messages = Vec::new();
        let key = ("t".to_owned(), 0);
        let aborted = aborted.iter().map(|(producer_id, first_offset)| {
            AbortedTransaction::default()
                .with_producer_id((*producer_id).into())
                .with_first_offset(*first_offset)
        });
        let aborted: Vec<_> = aborted.collect();
        let next = read_batches(&key, &Bytes::from(records), &aborted, offset, &mut messages);
        let text = |message: &ReceivedMessage| {
            String::from_utf8_lossy(message.value.as_ref().expect("a value")).into_owned()
        };
        (
            next,
            messages
                .iter()
                .map(|message| (message.offset, text(message)))
                .collect(),
        )
    }

    #[test]
    fn reading_begins_inside_a_batch_and_ends_at_a_torn_one() {
        let mut records = batch(Compression::Lz4, 10, &["a", "b", "c"]);
        records.extend(batch(Compression::None, 20, &["d"]));
        records.extend(&batch(Compression::None, 21, &["torn"])[..30]);
        let (next, messages) = read(records, 11);
        assert_eq!(next.unwrap(), 21);
        let expected = [
            (11, "b".to_owned()),
            (12, "c".to_owned()),
            (20, "d".to_owned()),
        ];
        assert_eq!(messages, expected);
    }

    #[test]
    fn control_batches_are_passed_over() {
        let mut builder = BatchBuilder::new(Compression::None).control().at(5, 0);
        builder.push(&RecordToWrite::default());
        let (next, messages) = read(builder.build().unwrap(), 0);
        assert_eq!((next.unwrap(), messages.len()), (6, 0));
    }

    fn transactional(producer_id: i64, offset: i64, value: &str) -> Vec<u8> {
        let builder = BatchBuilder::new(Compression::None).at(offset, 0);
        let mut builder = builder.idempotent(producer_id, 0, 0).transactional();
        builder.push(&RecordToWrite {
            value: Some(value.as_bytes()),
            ..Default::default()
        });
        builder.build().unwrap()
    }

    fn marker(producer_id: i64, offset: i64, is_commit: bool) -> Vec<u8> {
        let builder = BatchBuilder::new(Compression::None).at(offset, 0);
        let mut builder = builder.idempotent(producer_id, 0, -1).transactional();
        builder = builder.control();
        builder.push(&RecordToWrite {
            key: Some(&[0, 0, 0, u8::from(is_commit)]),
            value: Some(&[0; 6]),
            ..Default::default()
        });
        builder.build().unwrap()
    }

    #[test]
    fn what_was_aborted_is_passed_over_from_its_begin_to_its_marker() {
        let records = [
            transactional(1, 0, "committed"),
            marker(1, 1, true),
            transactional(1, 2, "aborted"),
            batch(Compression::None, 3, &["plain"]),
            transactional(2, 4, "of another"),
            transactional(1, 5, "aborted"),
            marker(2, 6, true),
            marker(1, 7, false),
            transactional(1, 8, "later"),
        ];
        let texts = |aborted: &[(i64, i64)], offset| {
            let (next, messages) = read_without(aborted, records.concat(), offset);
            assert_eq!(next.unwrap(), 9);
            let texts = messages.into_iter().map(|(offset, _)| offset);
            texts.collect::<Vec<_>>()
        };
        assert_eq!(texts(&[], 0), [0, 2, 3, 4, 5, 8]);
        assert_eq!(texts(&[(1, 2)], 0), [0, 3, 4, 8]);
        // Its begin was read before.
        assert_eq!(texts(&[(1, 2)], 5), [8]);
        assert_eq!(texts(&[(1, 2), (1, 8)], 0), [0, 3, 4]);
    }

    #[test]
    fn a_damaged_batch_is_named() {
        let mut records = batch(Compression::None, 3, &["x"]);
        *records.last_mut().unwrap() ^= 1;
        let error = read(records, 0).0.unwrap_err().to_string();
        assert!(
            error.starts_with("the batch at offset 3 of t-0 cannot be read: CRC"),
            "{error}"
        );
    }
}
