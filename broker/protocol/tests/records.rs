//! Batches are built, read back, cut, bent and garbled.

use foz_protocol::batch::{self, BatchError, BatchHeader, Batches, HEADER_LENGTH};
use foz_protocol::codec::{CodecError, Compression};
use foz_protocol::record::{
    BatchBuilder, BuildError, RecordError, RecordToWrite, Records, record_bytes,
};
use foz_protocol::wire::WireError;
use proptest::prelude::*;

#[derive(Debug, Clone, PartialEq)]
struct Owned {
    timestamp_ms: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<(String, Option<Vec<u8>>)>,
}

fn owned() -> impl Strategy<Value = Owned> {
    let bytes = || proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200));
    let headers = proptest::collection::vec((".{0,10}", bytes()), 0..4);
    (0..i64::MAX / 2, bytes(), bytes(), headers).prop_map(|(timestamp_ms, key, value, headers)| {
        Owned {
            timestamp_ms,
            key,
            value,
            headers,
        }
    })
}

fn push(builder: &mut BatchBuilder, record: &Owned) {
    let headers: Vec<_> = record
        .headers
        .iter()
        .map(|(key, value)| (key.as_str(), value.as_deref()))
        .collect();
    builder.push(&RecordToWrite {
        timestamp_ms: record.timestamp_ms,
        key: record.key.as_deref(),
        value: record.value.as_deref(),
        headers: &headers,
    });
}

fn read(batch: &[u8]) -> Result<Vec<Owned>, RecordError> {
    let header = BatchHeader::parse(batch)?;
    let bytes = record_bytes(&header, batch, 1 << 20)?;
    Records::new(&header, &bytes)
        .map(|record| {
            let record = record?;
            Ok(Owned {
                timestamp_ms: record.timestamp(&header),
                key: record.key.map(<[u8]>::to_vec),
                value: record.value.map(<[u8]>::to_vec),
                headers: record
                    .headers
                    .iter()
                    .map(|header| {
                        let key = String::from_utf8_lossy(header.key).into_owned();
                        (key, header.value.map(<[u8]>::to_vec))
                    })
                    .collect(),
            })
        })
        .collect()
}

fn one(value: &[u8]) -> BatchBuilder {
    let mut builder = BatchBuilder::new(Compression::None);
    builder.push(&RecordToWrite {
        timestamp_ms: 5,
        value: Some(value),
        ..Default::default()
    });
    builder
}

/// A batch around record bytes made by hand, with a right CRC.
fn batch_of(records: &[u8], record_count: i32) -> Vec<u8> {
    let mut batch = one(b"").build().expect("one record");
    batch.truncate(HEADER_LENGTH);
    batch.extend_from_slice(records);
    let length = (batch.len() - 12) as i32;
    batch[8..12].copy_from_slice(&length.to_be_bytes());
    batch[57..61].copy_from_slice(&record_count.to_be_bytes());
    let crc = crc32c::crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

#[test]
fn a_batch_is_byte_for_byte_what_kafka_writes() {
    let mut builder = BatchBuilder::new(Compression::None)
        .idempotent(7, 1, 40)
        .at(100, 3);
    builder.push(&RecordToWrite {
        timestamp_ms: 1000,
        key: Some(b"k"),
        value: None,
        headers: &[("h", Some(b"v")), ("n", None)],
    });
    let batch = builder.build().unwrap();
    let record = [28, 0, 0, 0, 2, b'k', 1, 4, 2, b'h', 2, b'v', 2, b'n', 1];
    assert_eq!(batch[HEADER_LENGTH..], record);
    let header = BatchHeader::parse(&batch).unwrap();
    header.check_crc(&batch).unwrap();
    header.check_produced().unwrap();
    assert_eq!(header.total_length(), batch.len());
    assert_eq!(
        (header.base_offset, header.partition_leader_epoch),
        (100, 3)
    );
    assert_eq!(
        (
            header.producer_id,
            header.producer_epoch,
            header.base_sequence
        ),
        (7, 1, 40)
    );
    assert_eq!((header.base_timestamp, header.max_timestamp), (1000, 1000));
}

#[test]
fn an_empty_builder_makes_no_batch() {
    let builder = BatchBuilder::new(Compression::None);
    assert!(matches!(builder.build(), Err(BuildError::Empty)));
}

#[test]
fn log_append_time_is_the_time_of_every_record() {
    let mut batch = one(b"x").build().unwrap();
    batch::assign_log_append_time(&mut batch, 99);
    batch::assign(&mut batch, 10, 2);
    let header = BatchHeader::parse(&batch).unwrap();
    header.check_crc(&batch).unwrap();
    assert_eq!(read(&batch).unwrap()[0].timestamp_ms, 99);
    assert_eq!(header.next_offset(), 11);
}

#[test]
fn more_or_fewer_records_than_the_header_says_are_an_error() {
    let batch = one(b"x").build().unwrap();
    let records = &batch[HEADER_LENGTH..];
    for record_count in [0, 2, -1, i32::MAX] {
        let error = read(&batch_of(records, record_count)).unwrap_err();
        assert!(
            matches!(error, RecordError::Count { .. }),
            "{record_count}: {error}"
        );
    }
    assert!(
        read(&batch_of(&[], 0)).unwrap().is_empty(),
        "compaction leaves empty batches"
    );
}

#[test]
fn fields_that_lie_name_themselves() {
    // attributes, timestamp delta, offset delta, key, value, headers
    for (body, field) in [
        (&[0u8, 0, 0, 3, 1, 0][..], "key"),
        (&[0, 0, 0, 1, 100, 0], "value"),
        (&[0, 0, 0, 1, 1, 1], "headers"),
        (&[0, 0, 0, 1, 1, 100], "headers"),
        (&[0, 0, 0, 1, 1, 2, 1, 1], "a header key"),
        (&[0, 0, 0, 1, 1, 0, 0], "a record"),
        (&[0, 0xff, 0xff], "timestamp_delta"),
    ] {
        let mut records = vec![body.len() as u8 * 2];
        records.extend_from_slice(body);
        let error = read(&batch_of(&records, 1)).unwrap_err();
        assert!(matches!(error, RecordError::Field { index: 0, .. }));
        assert!(
            error.to_string().contains(field),
            "{error} should name {field}"
        );
    }
    let negative = read(&batch_of(&[1, 0, 0], 1)).unwrap_err();
    assert!(matches!(
        negative,
        RecordError::Field {
            source: WireError::Length { length: -1, .. },
            ..
        }
    ));
}

#[test]
fn unknown_compression_and_bombs_are_errors() {
    let mut batch = one(b"x").build().unwrap();
    batch[22] = 6;
    assert!(matches!(
        read(&batch),
        Err(RecordError::UnknownCompression(6))
    ));

    let mut builder = BatchBuilder::new(Compression::Zstd);
    let zeros = vec![0; 2 << 20];
    builder.push(&RecordToWrite {
        value: Some(&zeros),
        ..Default::default()
    });
    let error = read(&builder.build().unwrap()).unwrap_err();
    assert!(matches!(
        error,
        RecordError::Codec(CodecError::TooLarge { max: 1_048_576, .. })
    ));
}

#[test]
fn batches_one_after_the_other_and_a_torn_tail() {
    let mut log = one(b"first").at(0, 0).build().unwrap();
    log.extend(one(b"second").at(1, 0).build().unwrap());
    let whole = log.len();
    log.extend(&one(b"torn").at(2, 0).build().unwrap()[..40]);
    let mut batches = Batches::new(&log);
    assert_eq!(batches.next().unwrap().unwrap().0.base_offset, 0);
    assert_eq!(batches.next().unwrap().unwrap().0.base_offset, 1);
    assert_eq!(batches.rest().len(), log.len() - whole);
    assert!(matches!(
        batches.next(),
        Some(Err(BatchError::Truncated { .. }))
    ));
    assert!(batches.next().is_none());
}

#[test]
fn headers_of_batches_that_contradict_themselves() {
    let produced = |change: fn(&mut BatchHeader)| {
        let mut header = BatchHeader::parse(&one(b"x").build().unwrap()).unwrap();
        change(&mut header);
        header.check_produced().unwrap_err().to_string()
    };
    assert!(produced(|header| header.record_count = 0).starts_with("record_count is 0"));
    assert!(produced(|header| header.last_offset_delta = 4).starts_with("last_offset_delta is 4"));
    assert!(produced(|header| header.attributes = 5).starts_with("attributes is 5"));
    assert!(produced(|header| header.attributes = 0x20).contains("control"));
    assert!(produced(|header| header.attributes = 0x10).contains("transactional"));
    assert!(produced(|header| header.producer_id = 1).contains("idempotent"));
}

#[test]
fn the_header_is_checked_before_it_is_believed() {
    let batch = one(b"x").build().unwrap();
    assert!(matches!(
        BatchHeader::parse(&batch[..60]),
        Err(BatchError::Truncated { .. })
    ));
    let mut short = batch.clone();
    short[8..12].copy_from_slice(&48i32.to_be_bytes());
    assert_eq!(BatchHeader::parse(&short), Err(BatchError::Length(48)));
    let mut old = batch.clone();
    old[16] = 1;
    assert_eq!(BatchHeader::parse(&old), Err(BatchError::Magic(1)));
    let mut bent = batch;
    *bent.last_mut().unwrap() ^= 1;
    let header = BatchHeader::parse(&bent).unwrap();
    assert!(matches!(
        header.check_crc(&bent),
        Err(BatchError::Crc { .. })
    ));
    assert!(matches!(
        header.check_crc(&bent[..62]),
        Err(BatchError::Truncated { .. })
    ));
}

#[test]
fn an_offset_at_the_end_of_the_world_does_not_overflow() {
    let mut batch = one(b"x").build().unwrap();
    batch::assign(&mut batch, i64::MAX, 0);
    assert_eq!(BatchHeader::parse(&batch).unwrap().next_offset(), i64::MAX);
}

#[test]
fn sequences_wrap_to_zero() {
    let mut builder = BatchBuilder::new(Compression::None).idempotent(1, 0, i32::MAX - 1);
    for _ in 0..4 {
        builder.push(&RecordToWrite::default());
    }
    let header = BatchHeader::parse(&builder.build().unwrap()).unwrap();
    assert_eq!(header.last_sequence(), 1);
}

proptest! {
    #[test]
    fn what_is_built_is_read_back(records in proptest::collection::vec(owned(), 1..20)) {
        for codec in Compression::ALL {
            let mut builder = BatchBuilder::new(codec);
            for record in &records {
                push(&mut builder, record);
            }
            let batch = builder.build().unwrap();
            let header = BatchHeader::parse(&batch).unwrap();
            header.check_crc(&batch).unwrap();
            header.check_produced().unwrap();
            prop_assert_eq!(header.record_count, records.len() as i32);
            let greatest = records.iter().map(|record| record.timestamp_ms).max();
            prop_assert_eq!(Some(header.max_timestamp), greatest);
            prop_assert_eq!(&read(&batch).unwrap(), &records);
        }
    }

    #[test]
    fn garbage_records_end_in_an_error_or_not_but_never_in_a_panic(
        garbage in proptest::collection::vec(any::<u8>(), 0..300),
        record_count: i32,
    ) {
        let batch = batch_of(&garbage, record_count);
        let header = BatchHeader::parse(&batch).unwrap();
        let read: Vec<_> = Records::new(&header, &garbage).collect();
        prop_assert!(read.len() <= garbage.len() + 1);
        let errors = read.iter().filter(|record| record.is_err()).count();
        prop_assert!(errors <= 1, "the walk ends at its first error");
    }

    #[test]
    fn a_bent_batch_never_panics(
        records in proptest::collection::vec(owned(), 1..5),
        at: prop::sample::Index,
        bits: u8,
    ) {
        for codec in Compression::ALL {
            let mut builder = BatchBuilder::new(codec);
            for record in &records {
                push(&mut builder, record);
            }
            let mut batch = builder.build().unwrap();
            let at = at.index(batch.len());
            batch[at] ^= bits;
            let _ = std::hint::black_box(read(&batch).is_ok());
            for batch in Batches::new(&batch) {
                std::hint::black_box(batch.is_ok());
            }
        }
    }

    #[test]
    fn garbage_batches_never_panic(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
        for (header, bytes) in Batches::new(&garbage).flatten() {
            let checked = header.check_crc(bytes).is_ok() && header.check_produced().is_ok();
            std::hint::black_box((checked, header.last_sequence(), header.next_offset()));
        }
    }
}
