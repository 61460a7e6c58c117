//! `<offset>.snapshot`: the producers of a partition as of an offset, in Kafka's version 1.
//!
//! An INT16 version, the CRC-32C of everything after it, then a counted array of entries
//! (Kafka's `ProducerSnapshot.json`). Only the last batch of each producer is in it.

use std::collections::VecDeque;

use foz_canary::{Canary, sings};

use crate::producer_state::{AppendedBatch, Producer, Producers};

const VERSION: i16 = 1;
const CRC_COVERED_FROM: usize = 6;
const ENTRIES_FROM: usize = 10;
const ENTRY_BYTES: usize = 46;

pub(crate) fn encode(producers: &Producers) -> Vec<u8> {
    let mut sorted: Vec<_> = producers.iter().collect();
    sorted.sort_unstable_by_key(|(id, _)| **id);
    let mut out = Vec::with_capacity(ENTRIES_FROM + sorted.len() * ENTRY_BYTES);
    out.extend(VERSION.to_be_bytes());
    out.extend([0; 4]);
    out.extend((sorted.len() as i32).to_be_bytes());
    for (id, producer) in sorted {
        encode_entry(&mut out, *id, producer);
    }
    let crc = crc32c::crc32c(&out[CRC_COVERED_FROM..]);
    out[2..CRC_COVERED_FROM].copy_from_slice(&crc.to_be_bytes());
    out
}

/// The same without open transactions; `None` where there are none.
pub(crate) fn without_transactions(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut producers = decode(bytes).ok()?;
    producers.forget_transactions().then(|| encode(&producers))
}

/// The reason in words when `bytes` are not a snapshot.
pub(crate) fn decode(bytes: &[u8]) -> Result<Producers, String> {
    let mut reader = Reader { rest: bytes };
    let version = i16::from_be_bytes(reader.take()?);
    if version != VERSION {
        return Err(format!("version is {version}, {VERSION} is right"));
    }
    let stored = u32::from_be_bytes(reader.take()?);
    let computed = crc32c::crc32c(reader.rest);
    if stored != computed {
        return Err(format!(
            "CRC-32C is {computed:#010x}, the file says {stored:#010x}"
        ));
    }
    let count = i32::from_be_bytes(reader.take()?);
    if usize::try_from(count)
        .ok()
        .and_then(|n| n.checked_mul(ENTRY_BYTES))
        != Some(reader.rest.len())
    {
        return Err(format!(
            "{count} entries do not take {} bytes",
            reader.rest.len()
        ));
    }
    let mut producers = Producers::default();
    for _ in 0..count {
        let (id, producer) = decode_entry(&mut reader)?;
        producers.insert(id, producer);
    }
    Ok(producers)
}

fn encode_entry(out: &mut Vec<u8>, id: i64, producer: &Producer) {
    let nothing = AppendedBatch {
        last_sequence: -1,
        last_offset: -1,
        offset_delta: 0,
        timestamp_ms: producer.last_timestamp_ms,
    };
    let last = producer.batches.back().unwrap_or(&nothing);
    out.extend(id.to_be_bytes());
    out.extend(producer.epoch.to_be_bytes());
    out.extend(last.last_sequence.to_be_bytes());
    out.extend(last.last_offset.to_be_bytes());
    out.extend(last.offset_delta.to_be_bytes());
    out.extend(producer.last_timestamp_ms.to_be_bytes());
    out.extend(producer.coordinator_epoch.to_be_bytes());
    let mut first_offset = producer.current_transaction_first_offset;
    if sings(Canary::MarkerNotInSnapshot) && producer.coordinator_epoch >= 0 {
        first_offset = first_offset.or(producer.batches.back().map(AppendedBatch::first_offset));
    }
    out.extend(first_offset.unwrap_or(-1).to_be_bytes());
}

fn decode_entry(reader: &mut Reader<'_>) -> Result<(i64, Producer), String> {
    let id = i64::from_be_bytes(reader.take()?);
    let epoch = i16::from_be_bytes(reader.take()?);
    let last_sequence = i32::from_be_bytes(reader.take()?);
    let last_offset = i64::from_be_bytes(reader.take()?);
    let offset_delta = i32::from_be_bytes(reader.take()?);
    let timestamp_ms = i64::from_be_bytes(reader.take()?);
    let coordinator_epoch = i32::from_be_bytes(reader.take()?);
    let first_offset = i64::from_be_bytes(reader.take()?);
    let batch = AppendedBatch {
        last_sequence,
        last_offset,
        offset_delta,
        timestamp_ms,
    };
    let producer = Producer {
        epoch,
        batches: (last_offset >= 0)
            .then_some(batch)
            .into_iter()
            .collect::<VecDeque<_>>(),
        last_timestamp_ms: timestamp_ms,
        last_offset,
        coordinator_epoch,
        current_transaction_first_offset: (first_offset >= 0).then_some(first_offset),
        has_earlier_batches: true,
    };
    Ok((id, producer))
}

struct Reader<'a> {
    rest: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let (taken, rest) = self
            .rest
            .split_first_chunk::<N>()
            .ok_or_else(|| format!("{} bytes where {N} are needed", self.rest.len()))?;
        self.rest = rest;
        Ok(*taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn producers() -> Producers {
        let mut producers = Producers::default();
        let batch = AppendedBatch {
            last_sequence: 9,
            last_offset: 29,
            offset_delta: 4,
            timestamp_ms: 77,
        };
        let producer = Producer {
            epoch: 3,
            batches: VecDeque::from([batch]),
            last_timestamp_ms: 77,
            last_offset: 29,
            coordinator_epoch: -1,
            current_transaction_first_offset: None,
            has_earlier_batches: true,
        };
        producers.insert(4711, producer.clone());
        producers.insert(
            5,
            Producer {
                batches: VecDeque::new(),
                last_offset: -1,
                current_transaction_first_offset: Some(12),
                ..producer
            },
        );
        producers
    }

    #[test]
    fn what_is_written_is_read() {
        let bytes = encode(&producers());
        assert_eq!(bytes.len(), ENTRIES_FROM + 2 * ENTRY_BYTES);
        assert_eq!(decode(&bytes).unwrap(), producers());
        assert_eq!(
            decode(&encode(&Producers::default())).unwrap(),
            Producers::default()
        );
    }

    #[test]
    fn transactions_can_be_left_out() {
        let without = without_transactions(&encode(&producers())).unwrap();
        let decoded = decode(&without).unwrap();
        assert_eq!(decoded.len(), 2);
        let is_open = |it: &Producer| it.current_transaction_first_offset.is_some();
        assert!(!decoded.iter().any(|(_, it)| is_open(it)));
        assert_eq!(without_transactions(&without), None);
        assert_eq!(without_transactions(b"damaged"), None);
    }

    #[test]
    fn every_damage_is_seen() {
        let bytes = encode(&producers());
        for cut in 0..bytes.len() {
            assert!(decode(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&flipped).is_err(), "bit {bit}");
        }
    }
}
