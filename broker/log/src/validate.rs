//! The rules for what a leader appends. Pure: bytes, configuration and the time come in.

use foz_protocol::batch::{self, BatchError, BatchHeader, Batches, HEADER_LENGTH};
use foz_protocol::codec::{CodecError, Compression};
use foz_protocol::error::ErrorCode;
use foz_protocol::record::{RecordError, Records, record_bytes};

use crate::config::{LogConfig, StoredCompression, TimestampType};
use crate::error::{AppendError, RejectedRecord};
use crate::rebuilt_batch::{RebuildError, with_compression};
use crate::segment::BATCH_BYTES_MAX;
use crate::transaction_marker::TransactionMarker;

/// What a batch may take when it is decompressed, to look at its records' keys or timestamps.
pub(crate) const DECOMPRESSED_BYTES_MAX: usize = 256 << 20;

/// What a batch may take when it is decompressed to be compressed anew, unless `max.message.bytes` is more: the two copies are in
/// no budget.
const COMPRESSED_ANEW_BYTES_MAX: usize = 64 << 20;

/// A producer that hears of none takes a record for one that was in bad company.
const REJECTED_RECORDS_MAX: usize = 100;

/// And where it is refused whatever they are.
const REFUSED_BYTES_MAX: usize = 4 << 20;

const NO_TIMESTAMP: i64 = -1;

/// Checks `bytes`, one or more whole batches, and stamps them where the broker's clock decides. What a coordinator writes for
/// a producer has no sequence. Returns their headers, and what is stored in their place where `compression.type` wants another
/// codec.
pub(crate) fn validate(
    bytes: &mut [u8],
    is_of_coordinator: bool,
    config: &LogConfig,
    now_ms: i64,
) -> Result<(Vec<BatchHeader>, Option<Vec<u8>>), AppendError> {
    let mut headers = check(bytes, is_of_coordinator, config, now_ms)?;
    let mut rebuilt = match config.compression {
        Some(wanted) => compress_anew(bytes, &mut headers, wanted, config)?,
        None => None,
    };
    let bytes = rebuilt.as_deref_mut().unwrap_or(bytes);
    if bytes.len() as u64 > config.segment_bytes {
        let (bytes, max) = (bytes.len(), config.segment_bytes);
        return Err(AppendError::RecordListTooLarge { bytes, max });
    }
    let one_batch = headers.len() == 1;
    if !one_batch && headers.iter().any(BatchHeader::has_producer_id) {
        // As Kafka: so that a duplicate is a duplicate as a whole.
        return Err(AppendError::InvalidRecord(format!(
            "{} batches for one partition: an idempotent producer sends exactly one",
            headers.len()
        )));
    }
    if config.message_timestamp_type == TimestampType::LogAppendTime {
        stamp(bytes, &mut headers, now_ms);
    }
    Ok((headers, rebuilt))
}

/// What [`validate`] would store in the place of these batches of a producer, for who does not want to compress where it appends;
/// `None` where that would be the batches themselves.
pub(crate) fn in_stored_compression(
    bytes: &[u8],
    config: &LogConfig,
    now_ms: i64,
) -> Result<Option<Vec<u8>>, AppendError> {
    let Some(wanted) = config.compression else {
        return Ok(None);
    };
    // What is no batch is told of where it is appended.
    if Batches::new(bytes).all(|batch| batch.is_ok_and(|(header, _)| is_in(&header, wanted))) {
        return Ok(None);
    }
    let mut headers = check(bytes, false, config, now_ms)?;
    compress_anew(bytes, &mut headers, wanted, config)
}

/// The batch of a marker, without its offset.
pub(crate) fn validate_marker(
    marker: TransactionMarker,
    config: &LogConfig,
    now_ms: i64,
) -> Result<(BatchHeader, Vec<u8>), AppendError> {
    if marker.producer_id < 0 || marker.producer_epoch < 0 {
        return Err(AppendError::InvalidRecord(format!(
            "a marker for producer {} in epoch {}: neither is below 0",
            marker.producer_id, marker.producer_epoch
        )));
    }
    let invalid = |error: String| AppendError::InvalidRecord(error);
    let mut bytes = (marker.to_batch(now_ms)).map_err(|error| invalid(error.to_string()))?;
    let mut header = BatchHeader::parse(&bytes).map_err(|error| invalid(error.to_string()))?;
    if config.message_timestamp_type == TimestampType::LogAppendTime {
        stamp(&mut bytes, std::slice::from_mut(&mut header), now_ms);
    }
    Ok((header, bytes))
}

fn check(
    bytes: &[u8],
    is_of_coordinator: bool,
    config: &LogConfig,
    now_ms: i64,
) -> Result<Vec<BatchHeader>, AppendError> {
    let mut headers = Vec::with_capacity(1);
    let mut position = 0;
    for parsed in Batches::new(bytes) {
        let corrupt = |source| AppendError::Corrupt { position, source };
        let (header, batch) = parsed.map_err(corrupt)?;
        check_size(batch.len(), config)?;
        header.check_crc(batch).map_err(corrupt)?;
        let produced = BatchHeader {
            base_sequence: match is_of_coordinator {
                true => 0,
                false => header.base_sequence,
            },
            ..header
        };
        produced.check_produced().map_err(corrupt)?;
        if header.has_delete_horizon() {
            return Err(corrupt(BatchError::Contradiction {
                field: "attributes",
                value: i64::from(header.attributes),
                rule: "only the log cleaner sets a delete horizon (bit 6)",
            }));
        }
        // The rest is as the producer says, like all that is stored as it comes.
        let head = (header.compression()).map(|codec| codec.check_head(&batch[HEADER_LENGTH..]));
        if let Some(Err(error)) = head {
            return Err(AppendError::InvalidRecord(error.to_string()));
        }
        let mut timestamps = Ok(());
        let mut needs_records = config.cleanup_compact;
        if config.message_timestamp_type == TimestampType::CreateTime {
            if header.is_log_append_time() {
                return Err(AppendError::InvalidRecord(
                    "a producer must not claim LogAppendTime (attributes bit 3)".to_owned(),
                ));
            }
            timestamps = check_timestamps(&header, config, now_ms);
            // The least one is only in the records.
            needs_records |=
                timestamps.is_err() || config.message_timestamp_before_max_ms != i64::MAX;
        }
        if needs_records {
            // What is refused already is looked at only to say which records are wrong.
            let is_refused = timestamps.is_err() && !config.cleanup_compact;
            let bytes_max = match is_refused {
                true => REFUSED_BYTES_MAX,
                false => DECOMPRESSED_BYTES_MAX,
            };
            match check_records(&header, batch, bytes_max, config, now_ms) {
                Err(AppendError::InvalidRecord(_)) if is_refused => {}
                checked => checked?,
            }
        }
        timestamps?;
        position += batch.len();
        headers.push(header);
    }
    if headers.is_empty() {
        return Err(AppendError::InvalidRecord(
            "no record batch was sent".to_owned(),
        ));
    }
    Ok(headers)
}

fn check_size(bytes: usize, config: &LogConfig) -> Result<(), AppendError> {
    let max = config.max_message_bytes.min(BATCH_BYTES_MAX);
    match bytes > max {
        true => Err(AppendError::MessageTooLarge { bytes, max }),
        false => Ok(()),
    }
}

/// `None` where every batch is in the wanted codec already: at what level is not asked, as in Kafka. What a few bytes may become
/// is bounded before anything is decompressed.
fn compress_anew(
    bytes: &[u8],
    headers: &mut [BatchHeader],
    wanted: StoredCompression,
    config: &LogConfig,
) -> Result<Option<Vec<u8>>, AppendError> {
    if headers.iter().all(|header| is_in(header, wanted)) {
        return Ok(None);
    }
    let [header] = headers else {
        return Err(AppendError::InvalidRecord(format!(
            "{} batches for one partition: where compression.type names a codec, one at a time is compressed anew",
            headers.len()
        )));
    };
    let largest = config.max_message_bytes.min(BATCH_BYTES_MAX);
    let max = match wanted.codec {
        Compression::None => largest,
        _ => largest.max(COMPRESSED_ANEW_BYTES_MAX),
    };
    let refused = |error: RebuildError| match error {
        RebuildError::Record(RecordError::Codec(CodecError::TooLarge { .. })) => {
            AppendError::MessageTooLarge {
                bytes: max.saturating_add(1),
                max,
            }
        }
        error => AppendError::InvalidRecord(error.to_string()),
    };
    let rebuilt = with_compression(header, bytes, wanted, max).map_err(refused)?;
    check_size(rebuilt.len(), config)?;
    *header = BatchHeader::parse(&rebuilt)
        .map_err(|error| AppendError::InvalidRecord(error.to_string()))?;
    Ok(Some(rebuilt))
}

fn is_in(header: &BatchHeader, wanted: StoredCompression) -> bool {
    header.compression() == Some(wanted.codec)
}

fn stamp(bytes: &mut [u8], headers: &mut [BatchHeader], now_ms: i64) {
    let mut rest = bytes;
    for header in headers {
        let (batch, after) = rest.split_at_mut(header.total_length());
        batch::assign_log_append_time(batch, now_ms);
        // Only timestamp, attributes and CRC changed, so what could be parsed still can.
        if let Ok(stamped) = BatchHeader::parse(batch) {
            *header = stamped;
        }
        rest = after;
    }
}

/// What the header says of timestamps: the greatest one, and that of the first record.
fn check_timestamps(
    header: &BatchHeader,
    config: &LogConfig,
    now_ms: i64,
) -> Result<(), AppendError> {
    check_timestamp(header.max_timestamp, config, now_ms)?;
    check_timestamp(header.base_timestamp, config, now_ms)
}

fn check_timestamp(timestamp_ms: i64, config: &LogConfig, now_ms: i64) -> Result<(), AppendError> {
    if timestamp_ms == NO_TIMESTAMP {
        return Ok(());
    }
    let before = config.message_timestamp_before_max_ms;
    let after = config.message_timestamp_after_max_ms;
    let (rule, limit_ms) = if now_ms.saturating_sub(timestamp_ms) > before {
        ("message.timestamp.before.max.ms", before)
    } else if timestamp_ms.saturating_sub(now_ms) > after {
        ("message.timestamp.after.max.ms", after)
    } else {
        return Ok(());
    };
    Err(AppendError::InvalidTimestamp {
        timestamp_ms,
        rule,
        limit_ms,
        now_ms,
    })
}

/// Every record, so that the producer hears of each that is wrong (KIP-467). It decompresses.
fn check_records(
    header: &BatchHeader,
    batch: &[u8],
    bytes_max: usize,
    config: &LogConfig,
    now_ms: i64,
) -> Result<(), AppendError> {
    let invalid = |e: foz_protocol::record::RecordError| AppendError::InvalidRecord(e.to_string());
    let bytes = record_bytes(header, batch, bytes_max).map_err(invalid)?;
    let is_stamped_here = config.message_timestamp_type == TimestampType::LogAppendTime;
    let (mut count, mut records, mut code) = (0, Vec::new(), ErrorCode::InvalidRecord);
    for record in Records::new(header, &bytes) {
        let record = record.map_err(invalid)?;
        // In Kafka's order: of one that lacks its key nothing else is said.
        let reason = if config.cleanup_compact && record.key.is_none() {
            "it has no key: a compacted topic (cleanup.policy=compact) needs one".to_owned()
        } else if is_stamped_here {
            continue;
        } else {
            match check_timestamp(record.timestamp(header), config, now_ms) {
                Ok(()) => continue,
                Err(reason) => {
                    code = ErrorCode::InvalidTimestamp;
                    reason.to_string()
                }
            }
        };
        count += 1;
        if records.len() < REJECTED_RECORDS_MAX {
            let batch_index = record.offset_delta;
            records.push(RejectedRecord {
                batch_index,
                reason,
            });
        }
    }
    match count {
        0 => Ok(()),
        _ => Err(AppendError::RejectedRecords {
            code,
            count,
            records,
        }),
    }
}

#[cfg(test)]
mod tests;
