//! What each replica has on disk when all have stopped: a digest for each range of offsets.
//!
//! All replicas of a partition are cut at the same offsets, so equal logs have equal digests and a log that
//! is shorter, longer or damaged has another one somewhere.

use std::path::Path;

use anyhow::Result;
use foz_judge::event::{Event, ReplicaDigest};
use foz_protocol::batch::BatchHeader;

use crate::stage::segments;

/// Offsets of one digest.
const RANGE: i64 = 10_000;

/// One partition of one replica, up to the offset that clients could see.
#[derive(Debug, Clone)]
pub(crate) struct Replica<'a> {
    pub(crate) node: i32,
    pub(crate) topic: &'a str,
    pub(crate) partition: i32,
    pub(crate) end_offset: i64,
}

/// Reads the partition's folder. Second: what is damaged.
pub(crate) fn digests(
    replica: &Replica<'_>,
    folder: &Path,
    t_us: u64,
) -> Result<(Vec<Event>, Vec<String>)> {
    let ranges = (replica.end_offset + RANGE - 1) / RANGE;
    let mut digests = vec![Digest::default(); ranges as usize];
    let mut damaged = Vec::new();
    let segments = if folder.is_dir() {
        segments(folder)?
    } else {
        Vec::new()
    };
    for segment in segments {
        let bytes = std::fs::read(&segment)?;
        if let Err(error) = add(&mut digests, &bytes, replica.end_offset) {
            damaged.push(format!("{}: {error}", segment.display()));
        }
    }
    let event = |(range, digest): (i64, &Digest)| {
        Event::ReplicaDigest(ReplicaDigest {
            t_us,
            node: replica.node,
            topic: replica.topic.to_owned(),
            partition: replica.partition,
            start_offset: range * RANGE,
            end_offset: replica.end_offset.min((range + 1) * RANGE),
            digest: digest.0,
        })
    };
    Ok(((0..).zip(&digests).map(event).collect(), damaged))
}

/// FNV-1a.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Digest(u64);

impl Default for Digest {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Digest {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// Adds each batch, with every byte of it, to the digest of the range in which it begins.
fn add(digests: &mut [Digest], segment: &[u8], end_offset: i64) -> Result<(), String> {
    let (mut at, mut damaged) = (0, Ok(()));
    // Space that is only reserved is full of zeros.
    while segment.len() - at >= 12 && segment[at + 8..at + 12] != [0; 4] {
        let wrong = |what: String| format!("at byte {at}: {what}");
        let header =
            BatchHeader::parse(&segment[at..]).map_err(|error| wrong(error.to_string()))?;
        let end = at + header.total_length();
        let batch = segment
            .get(at..end)
            .ok_or_else(|| wrong(format!("a batch ends at {end}, beyond the file")))?;
        if (0..end_offset).contains(&header.base_offset) {
            digests[(header.base_offset / RANGE) as usize].add(batch);
        }
        if let Err(error) = header.check_crc(batch) {
            damaged = Err(wrong(format!("offset {}: {error}", header.base_offset)));
        }
        at = end;
    }
    damaged
}

#[cfg(test)]
mod tests {
    use foz_protocol::codec::Compression;
    use foz_protocol::record::{BatchBuilder, RecordToWrite};

    use super::*;

    fn batch(base_offset: i64, value: &[u8]) -> Vec<u8> {
        let mut builder = BatchBuilder::new(Compression::None).at(base_offset, 1);
        builder.push(&RecordToWrite {
            value: Some(value),
            ..RecordToWrite::default()
        });
        builder.build().unwrap()
    }

    fn digests_of(segment: &[u8]) -> (Vec<Digest>, Result<(), String>) {
        let mut digests = vec![Digest::default(); 2];
        let damaged = add(&mut digests, segment, 2 * RANGE);
        (digests, damaged)
    }

    #[test]
    fn only_the_range_that_differs_has_another_digest() {
        let one = [batch(0, b"a"), batch(RANGE, b"b")].concat();
        let other = [batch(0, b"a"), batch(RANGE, b"c")].concat();
        let (one, other) = (digests_of(&one).0, digests_of(&other).0);
        assert_eq!(one[0], other[0]);
        assert_ne!(one[1], other[1]);
    }

    #[test]
    fn what_no_client_could_see_and_reserved_space_do_not_count() {
        let mut segment = batch(0, b"a");
        let (alone, _) = digests_of(&segment);
        segment.extend(batch(2 * RANGE, b"tail"));
        segment.extend([0; 99]);
        assert_eq!(digests_of(&segment), (alone, Ok(())));
    }

    #[test]
    fn damage_is_named_and_what_follows_is_still_read() {
        let mut segment = [batch(0, b"a"), batch(RANGE, b"b")].concat();
        let whole = digests_of(&segment).0;
        segment[63] ^= 1;
        let (digests, damaged) = digests_of(&segment);
        assert!(damaged.unwrap_err().contains("offset 0"));
        assert_ne!(digests[0], whole[0]);
        assert_eq!(digests[1], whole[1]);
    }
}
