use foz_protocol::codec::Compression;
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{BatchBuilder, RecordToWrite};

use super::*;

const NOW_MS: i64 = 1_700_000_000_000;

fn record(key: Option<&'static [u8]>, timestamp_ms: i64) -> RecordToWrite<'static> {
    RecordToWrite {
        timestamp_ms,
        key,
        value: Some(b"value"),
        headers: &[],
    }
}

fn batch_of(compression: Compression, records: &[RecordToWrite<'_>]) -> Vec<u8> {
    let mut builder = BatchBuilder::new(compression);
    records.iter().for_each(|record| builder.push(record));
    builder.build().unwrap()
}

fn batch() -> Vec<u8> {
    batch_of(
        Compression::None,
        &[record(None, NOW_MS), record(Some(b"k"), NOW_MS)],
    )
}

/// Changes a field behind the producer's back and makes the CRC right again.
fn patched(mut batch: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    batch[at..at + bytes.len()].copy_from_slice(bytes);
    let crc = crc32c::crc32c(&batch[batch::CRC_COVERED_FROM..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

fn code(mut bytes: Vec<u8>, config: &LogConfig) -> ErrorCode {
    let before = bytes.clone();
    let error = validate(&mut bytes, false, config, NOW_MS).unwrap_err();
    assert_eq!(bytes, before, "what is refused is not changed");
    error.error_code()
}

#[test]
fn whole_batches_pass_unchanged() {
    let mut bytes = [batch(), batch()].concat();
    let before = bytes.clone();
    let (headers, rebuilt) = validate(&mut bytes, false, &LogConfig::default(), NOW_MS).unwrap();
    assert_eq!((headers.len(), rebuilt), (2, None));
    assert_eq!(bytes, before);
}

#[test]
fn nothing_and_garbage_are_refused() {
    let config = LogConfig::default();
    assert_eq!(code(Vec::new(), &config), ErrorCode::InvalidRecord);
    assert_eq!(
        code(vec![0; 100], &config),
        ErrorCode::CorruptMessage,
        "zeros have an impossible length"
    );
    for cut in 1..batch().len() {
        assert_eq!(
            code(batch()[..cut].to_vec(), &config),
            ErrorCode::CorruptMessage,
            "cut at {cut}"
        );
    }
    let trailing = [batch(), vec![1, 2, 3]].concat();
    assert_eq!(code(trailing, &config), ErrorCode::CorruptMessage);
}

#[test]
fn every_flipped_bit_is_seen() {
    let config = LogConfig::default();
    let good = batch();
    // Base offset and leader epoch are the leader's to set, so the CRC does not cover them.
    let free = |byte: usize| byte < 8 || (12..16).contains(&byte);
    for bit in (0..good.len() * 8).filter(|bit| !free(bit / 8)) {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        let code = code(flipped, &config);
        assert!(
            matches!(
                code,
                ErrorCode::CorruptMessage | ErrorCode::InvalidRecord | ErrorCode::MessageTooLarge
            ),
            "bit {bit}: {code:?}"
        );
    }
}

#[test]
fn contradictions_are_invalid_records() {
    let config = LogConfig::default();
    for (what, at, bytes) in [
        ("magic", 16, &[1_u8][..]),
        ("record_count 0", 57, &[0, 0, 0, 0]),
        ("record_count 3 of 2", 57, &[0, 0, 0, 3]),
        ("negative last_offset_delta", 23, &[0xff; 4]),
        ("codec 5", 22, &[5]),
        ("control", 22, &[0x20]),
        ("delete horizon", 22, &[0x40]),
        ("LogAppendTime from a producer", 22, &[0x08]),
        ("producer id without epoch", 43, &[0, 0, 0, 0, 0, 0, 0, 9]),
    ] {
        assert_eq!(
            code(patched(batch(), at, bytes), &config),
            ErrorCode::InvalidRecord,
            "{what}"
        );
    }
}

fn transactional(producer_id: i64, sequence: i32) -> Vec<u8> {
    let mut builder = BatchBuilder::new(Compression::None)
        .idempotent(producer_id, 0, sequence)
        .transactional();
    builder.push(&record(None, NOW_MS));
    builder.build().unwrap()
}

#[test]
fn a_transaction_needs_a_producer_and_a_coordinator_needs_no_sequence() {
    let config = LogConfig::default();
    validate(&mut transactional(7, 0), false, &config, NOW_MS).unwrap();
    assert_eq!(
        code(transactional(-1, -1), &config),
        ErrorCode::InvalidRecord
    );
    assert_eq!(
        code(transactional(7, -1), &config),
        ErrorCode::InvalidRecord
    );
    let (headers, _) = validate(&mut transactional(7, -1), true, &config, NOW_MS).unwrap();
    assert_eq!(headers[0].base_sequence, -1);
    assert!(validate(&mut transactional(-1, -1), true, &config, NOW_MS).is_err());
}

#[test]
fn a_marker_has_a_producer_and_the_brokers_clock_where_that_counts() {
    let marker = TransactionMarker {
        producer_id: 7,
        producer_epoch: 3,
        coordinator_epoch: -1,
        is_commit: true,
    };
    let append_time = LogConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..LogConfig::default()
    };
    for (config, is_stamped) in [(LogConfig::default(), false), (append_time, true)] {
        let (header, bytes) = validate_marker(marker, &config, NOW_MS).unwrap();
        assert_eq!(header, BatchHeader::parse(&bytes).unwrap());
        header.check_crc(&bytes).unwrap();
        assert_eq!(
            (header.is_log_append_time(), header.max_timestamp),
            (is_stamped, NOW_MS)
        );
        let read = TransactionMarker::read(&header, &bytes).unwrap();
        assert_eq!(read, Some(marker));
        for wrong in [
            TransactionMarker {
                producer_id: -1,
                ..marker
            },
            TransactionMarker {
                producer_epoch: -1,
                ..marker
            },
        ] {
            let error = validate_marker(wrong, &config, NOW_MS).unwrap_err();
            assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
            assert!(error.to_string().contains("-1"), "{error}");
        }
    }
}

#[test]
fn sizes_are_bounded() {
    let length = batch().len();
    let mut config = LogConfig {
        max_message_bytes: length,
        ..LogConfig::default()
    };
    validate(&mut batch(), false, &config, NOW_MS).unwrap();
    config.max_message_bytes = length - 1;
    assert_eq!(code(batch(), &config), ErrorCode::MessageTooLarge);
    let config = LogConfig {
        segment_bytes: length as u64,
        ..LogConfig::default()
    };
    validate(&mut batch(), false, &config, NOW_MS).unwrap();
    assert_eq!(
        code([batch(), batch()].concat(), &config),
        ErrorCode::RecordListTooLarge
    );
    // One batch that max.message.bytes lets through and that no segment holds.
    let config = LogConfig {
        segment_bytes: length as u64 - 1,
        ..LogConfig::default()
    };
    assert_eq!(code(batch(), &config), ErrorCode::RecordListTooLarge);
}

#[test]
fn timestamps_are_bounded() {
    let config = LogConfig {
        message_timestamp_before_max_ms: 1000,
        message_timestamp_after_max_ms: 500,
        ..LogConfig::default()
    };
    let at = |ms| batch_of(Compression::Gzip, &[record(None, NOW_MS), record(None, ms)]);
    for ms in [NOW_MS - 1000, NOW_MS, NOW_MS + 500, -1] {
        validate(&mut at(ms), false, &config, NOW_MS).unwrap();
    }
    for ms in [NOW_MS - 1001, NOW_MS + 501, 0, i64::MAX] {
        assert_eq!(code(at(ms), &config), ErrorCode::InvalidTimestamp, "{ms}");
    }
    let append_time = LogConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..config
    };
    validate(&mut at(0), false, &append_time, NOW_MS).unwrap();
}

#[test]
fn the_brokers_clock_is_stamped_with_a_right_crc() {
    let config = LogConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..LogConfig::default()
    };
    let mut bytes = [batch(), batch()].concat();
    let (headers, _) = validate(&mut bytes, false, &config, 42).unwrap();
    for (parsed, header) in Batches::new(&bytes).zip(headers) {
        let (found, batch) = parsed.unwrap();
        assert_eq!(found, header);
        found.check_crc(batch).unwrap();
        assert!(found.is_log_append_time());
        assert_eq!(found.max_timestamp, 42);
    }
}

#[test]
fn compacted_topics_need_keys_in_every_codec() {
    let config = LogConfig {
        cleanup_compact: true,
        ..LogConfig::default()
    };
    for codec in Compression::ALL {
        let keyed = [record(Some(b""), NOW_MS), record(Some(b"k"), NOW_MS)];
        validate(&mut batch_of(codec, &keyed), false, &config, NOW_MS).unwrap();
        let one_without = [record(Some(b"k"), NOW_MS), record(None, NOW_MS)];
        assert_eq!(
            code(batch_of(codec, &one_without), &config),
            ErrorCode::InvalidRecord,
            "{codec:?}"
        );
    }
}

fn stored_in(codec: Compression, level: Option<i32>) -> LogConfig {
    LogConfig {
        compression: Some(StoredCompression { codec, level }),
        ..LogConfig::default()
    }
}

#[test]
fn batches_are_stored_in_the_codec_of_the_topic() {
    let records = [record(None, NOW_MS), record(Some(b"k"), NOW_MS + 7)];
    for (from, to) in Compression::ALL
        .iter()
        .flat_map(|from| Compression::ALL.map(|to| (*from, to)))
    {
        let mut bytes = batch_of(from, &records);
        let before = bytes.clone();
        let config = stored_in(to, None);
        let (headers, rebuilt) = validate(&mut bytes, false, &config, NOW_MS).unwrap();
        assert_eq!(bytes, before, "{from:?} {to:?}");
        assert_eq!(rebuilt.is_some(), from != to);
        let before = in_stored_compression(&bytes, &config, NOW_MS).unwrap();
        assert_eq!(before, rebuilt);
        let stored = rebuilt.unwrap_or(bytes);
        let found: Vec<_> = Batches::new(&stored).map(Result::unwrap).collect();
        assert_eq!(found.len(), headers.len());
        for ((header, batch), told) in found.iter().zip(&headers) {
            assert_eq!(header, told);
            header.check_crc(batch).unwrap();
            assert_eq!(header.compression(), Some(to));
            let plain = record_bytes(header, batch, 1 << 20).unwrap();
            let values: Vec<_> = Records::new(header, &plain)
                .map(|it| it.unwrap().timestamp(header))
                .collect();
            assert_eq!(values, [NOW_MS, NOW_MS + 7]);
        }
    }
}

#[test]
fn a_batch_in_another_codec_keeps_its_producer_and_gets_the_brokers_time() {
    let config = LogConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..stored_in(Compression::Zstd, Some(19))
    };
    let mut sent = transactional(5, 3);
    let before = BatchHeader::parse(&sent).unwrap();
    let (headers, rebuilt) = validate(&mut sent, false, &config, NOW_MS + 9).unwrap();
    let stored = BatchHeader::parse(rebuilt.as_deref().unwrap()).unwrap();
    assert_eq!(stored, headers[0]);
    stored.check_crc(&rebuilt.unwrap()).unwrap();
    assert!(stored.is_transactional() && stored.is_log_append_time());
    assert_eq!(stored.max_timestamp, NOW_MS + 9);
    let producer = |it: &BatchHeader| (it.producer_id, it.producer_epoch, it.base_sequence);
    assert_eq!(producer(&stored), producer(&before));
}

#[test]
fn a_level_counts() {
    let text: Vec<u8> = (0..20_000_u32)
        .flat_map(|n| (n * n % 977).to_be_bytes())
        .collect();
    let mut sent = BatchBuilder::new(Compression::None);
    sent.push(&RecordToWrite {
        value: Some(&text),
        ..record(None, NOW_MS)
    });
    let sent = sent.build().unwrap();
    for (codec, low, high) in [(Compression::Gzip, 1, 9), (Compression::Zstd, -50, 19)] {
        let length = |level| {
            let config = stored_in(codec, Some(level));
            let (_, rebuilt) = validate(&mut sent.clone(), false, &config, NOW_MS).unwrap();
            rebuilt.unwrap().len()
        };
        assert!(length(low) > length(high), "{codec:?}");
        let of_its_own = stored_in(codec, None);
        validate(&mut sent.clone(), false, &of_its_own, NOW_MS).unwrap();
    }
}

#[test]
fn many_batches_are_stored_in_their_codec_only() {
    let config = stored_in(Compression::Zstd, None);
    let records = [record(None, NOW_MS)];
    let two = |other| {
        [
            batch_of(Compression::Zstd, &records),
            batch_of(other, &records),
        ]
        .concat()
    };
    let mut same = two(Compression::Zstd);
    assert_eq!(validate(&mut same, false, &config, NOW_MS).unwrap().1, None);
    assert_eq!(in_stored_compression(&same, &config, NOW_MS).unwrap(), None);
    let other = two(Compression::Gzip);
    let early = in_stored_compression(&other, &config, NOW_MS).unwrap_err();
    assert_eq!(early.error_code(), ErrorCode::InvalidRecord);
    assert_eq!(code(other, &config), ErrorCode::InvalidRecord);
    // What it is, is told of where it is appended.
    assert_eq!(in_stored_compression(&[], &config, NOW_MS).unwrap(), None);
    assert!(in_stored_compression(&[0; 100], &config, NOW_MS).is_err());
}

#[test]
fn a_few_bytes_are_not_made_into_many() {
    let zeros = vec![0; COMPRESSED_ANEW_BYTES_MAX + 1];
    let mut bomb = BatchBuilder::new(Compression::Zstd);
    bomb.push(&RecordToWrite {
        value: Some(&zeros),
        ..record(None, NOW_MS)
    });
    let mut bomb = bomb.build().unwrap();
    assert!(bomb.len() < 100_000);
    for codec in [Compression::None, Compression::Lz4] {
        let config = stored_in(codec, None);
        assert_eq!(code(bomb.clone(), &config), ErrorCode::MessageTooLarge);
    }
    // As it came: nobody decompresses it.
    let config = stored_in(Compression::Zstd, None);
    validate(&mut bomb, false, &config, NOW_MS).unwrap();
}

/// As Kafka: both as they come and as they are stored.
#[test]
fn what_is_too_large_only_in_the_codec_of_the_topic_is_refused() {
    let value = vec![7; 10_000];
    let mut packed = BatchBuilder::new(Compression::Zstd);
    packed.push(&RecordToWrite {
        value: Some(&value),
        ..record(None, NOW_MS)
    });
    let packed = packed.build().unwrap();
    let config = LogConfig {
        max_message_bytes: 5_000,
        ..stored_in(Compression::None, None)
    };
    assert_eq!(code(packed.clone(), &config), ErrorCode::MessageTooLarge);
    let damaged = patched(packed, batch::HEADER_LENGTH + 6, &[0xff; 4]);
    assert_eq!(code(damaged, &config), ErrorCode::InvalidRecord);
}

/// As lz4js writes them, and with them kafkajs; Kafka's leader decompresses every batch and refuses it too.
#[test]
fn what_no_java_consumer_decompresses_is_refused() {
    let flags_at = batch::HEADER_LENGTH + 4;
    let lz4 = batch_of(Compression::Lz4, &[record(Some(b"k"), NOW_MS)]);
    let config = LogConfig::default();
    validate(&mut lz4.clone(), false, &config, NOW_MS).unwrap();
    let mut dependent = patched(lz4.clone(), flags_at, &[lz4[flags_at] & !0b10_0000]);
    let error = validate(&mut dependent, false, &config, NOW_MS).unwrap_err();
    assert_eq!(error.error_code(), ErrorCode::InvalidRecord);
    assert!(error.to_string().contains("must be independent"), "{error}");
    for codec in [Compression::Gzip, Compression::Lz4, Compression::Zstd] {
        let whole = batch_of(codec, &[record(Some(b"k"), NOW_MS)]);
        let other = patched(whole, batch::HEADER_LENGTH, &[0]);
        assert_eq!(code(other, &config), ErrorCode::InvalidRecord, "{codec:?}");
    }
}

#[test]
fn an_idempotent_producer_sends_one_batch() {
    let idempotent = |sequence| {
        let mut builder = BatchBuilder::new(Compression::None).idempotent(7, 0, sequence);
        builder.push(&record(None, NOW_MS));
        builder.build().unwrap()
    };
    assert_eq!(
        code(
            [idempotent(0), idempotent(1)].concat(),
            &LogConfig::default()
        ),
        ErrorCode::InvalidRecord
    );
    validate(&mut idempotent(0), false, &LogConfig::default(), NOW_MS).unwrap();
}

/// KIP-467: a producer takes out what is named, and sends the rest again.
#[test]
fn every_record_that_is_refused_is_named() {
    let config = LogConfig {
        cleanup_compact: true,
        message_timestamp_after_max_ms: 500,
        ..LogConfig::default()
    };
    let named = |records: &[RecordToWrite<'_>], config: &LogConfig| {
        let mut bytes = batch_of(Compression::Lz4, records);
        match validate(&mut bytes, false, config, NOW_MS).unwrap_err() {
            AppendError::RejectedRecords {
                code,
                count,
                records,
            } => {
                let first = records[0].reason.clone();
                let indexes: Vec<i32> = records.iter().map(|it| it.batch_index).collect();
                (code, count, indexes, first)
            }
            other => panic!("{other}"),
        }
    };
    let (good, keyless) = (record(Some(b"k"), NOW_MS), record(None, NOW_MS));
    let (late, both) = (record(Some(b"k"), NOW_MS + 501), record(None, NOW_MS + 501));
    let (code, count, indexes, reason) = named(&[good, keyless, good, keyless], &config);
    assert_eq!(
        (code, count, indexes),
        (ErrorCode::InvalidRecord, 2, vec![1, 3])
    );
    assert!(reason.contains("cleanup.policy=compact"), "{reason}");
    let (code, count, indexes, reason) = named(&[late, good, keyless, both], &config);
    assert_eq!(
        (code, count, indexes),
        (ErrorCode::InvalidTimestamp, 3, vec![0, 2, 3])
    );
    assert!(
        reason.contains("message.timestamp.after.max.ms=500"),
        "{reason}"
    );
    // The broker's clock counts: only the key is looked at.
    let stamped = LogConfig {
        message_timestamp_type: TimestampType::LogAppendTime,
        ..config
    };
    let (code, count, indexes, _) = named(&[late, both], &stamped);
    assert_eq!(
        (code, count, indexes),
        (ErrorCode::InvalidRecord, 1, vec![1])
    );
    let (_, count, indexes, _) = named(&vec![keyless; REJECTED_RECORDS_MAX + 5], &config);
    assert_eq!(
        (count, indexes.len()),
        (REJECTED_RECORDS_MAX + 5, REJECTED_RECORDS_MAX)
    );
}
