//! The format of a segment, as plain bytes.
//!
//! ```text
//! segment header (20 bytes): magic 8 · version u32 · salt u32 · crc32c of the 16 before
//! frame header   (24 bytes): magic 4 · payload length u32 · number u64 · payload crc32c · crc32c of
//!                            the salt and the 20 before
//! frame payload            : LogFrame
//! ```
//! All numbers are little-endian. Frames are numbered from 0 in each segment. The salt is random for
//! each segment, so that no frame header can be found by accident inside a payload.

use std::ops::Range;

pub(crate) const SEGMENT_HEADER_BYTES: usize = 20;
pub(crate) const FRAME_HEADER_BYTES: usize = 24;
pub(crate) const FORMAT_VERSION: u32 = 1;

const SEGMENT_MAGIC: [u8; 8] = *b"FOZQLOG\0";
const FRAME_MAGIC: [u8; 4] = *b"FoZf";

/// Why a segment header is not one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum HeaderFault {
    Damaged,
    Version(u32),
}

/// What the bytes of a segment hold.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Scan {
    /// The payloads, in order.
    pub(crate) payloads: Vec<Range<usize>>,
    /// The bytes from here on are no frame, and no frame follows them.
    pub(crate) end: usize,
}

/// A frame that is bad although a later one is there.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) offset: usize,
}

pub(crate) fn segment_header(salt: u32) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut header = [0; SEGMENT_HEADER_BYTES];
    header[..8].copy_from_slice(&SEGMENT_MAGIC);
    header[8..12].copy_from_slice(&FORMAT_VERSION.to_le_bytes());
    header[12..16].copy_from_slice(&salt.to_le_bytes());
    let crc = crc32c::crc32c(&header[..16]);
    header[16..].copy_from_slice(&crc.to_le_bytes());
    header
}

/// The salt of a segment.
pub(crate) fn read_segment_header(bytes: &[u8]) -> Result<u32, HeaderFault> {
    let header = bytes
        .get(..SEGMENT_HEADER_BYTES)
        .ok_or(HeaderFault::Damaged)?;
    if header[..8] != SEGMENT_MAGIC || crc32c::crc32c(&header[..16]) != u32_at(header, 16) {
        return Err(HeaderFault::Damaged);
    }
    match u32_at(header, 8) {
        FORMAT_VERSION => Ok(u32_at(header, 12)),
        other => Err(HeaderFault::Version(other)),
    }
}

/// Appends a frame to `out`.
pub(crate) fn encode(salt: u32, number: u64, payload: &[u8], out: &mut Vec<u8>) {
    let length = u32::try_from(payload.len()).expect("raft's batches are bounded far below 4 GiB");
    let start = out.len();
    out.extend_from_slice(&FRAME_MAGIC);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&number.to_le_bytes());
    out.extend_from_slice(&crc32c::crc32c(payload).to_le_bytes());
    let crc = header_crc(salt, &out[start..]);
    out.extend_from_slice(&crc.to_le_bytes());
    out.extend_from_slice(payload);
}

/// Finds the frames of a segment whose header was read already.
pub(crate) fn scan(salt: u32, bytes: &[u8]) -> Result<Scan, Damage> {
    let mut payloads = Vec::new();
    let mut end = SEGMENT_HEADER_BYTES;
    while end < bytes.len() {
        let number = payloads.len() as u64;
        match frame_at(salt, bytes, end, number) {
            Some(payload) => {
                end = payload.end;
                payloads.push(payload);
            }
            None if has_later_frame(salt, bytes, end, number) => {
                return Err(Damage { offset: end });
            }
            None => break,
        }
    }
    Ok(Scan { payloads, end })
}

fn frame_at(salt: u32, bytes: &[u8], offset: usize, number: u64) -> Option<Range<usize>> {
    let (found, length) = header_at(salt, bytes, offset)?;
    let start = offset + FRAME_HEADER_BYTES;
    let payload = bytes.get(start..start.checked_add(length)?)?;
    let crc = u32_at(&bytes[offset..], 16);
    (found == number && crc32c::crc32c(payload) == crc).then(|| start..start + length)
}

/// A header is enough: it was written after the frame before it was durable, whether its own payload
/// is whole or not.
fn has_later_frame(salt: u32, bytes: &[u8], from: usize, number: u64) -> bool {
    (from + 1..bytes.len())
        .filter(|offset| bytes[*offset] == FRAME_MAGIC[0])
        .any(|offset| header_at(salt, bytes, offset).is_some_and(|(found, _)| found > number))
}

/// The number and the payload length of a frame header.
fn header_at(salt: u32, bytes: &[u8], offset: usize) -> Option<(u64, usize)> {
    let header = bytes.get(offset..offset + FRAME_HEADER_BYTES)?;
    if header[..4] != FRAME_MAGIC || header_crc(salt, &header[..20]) != u32_at(header, 20) {
        return None;
    }
    let number = u64::from(u32_at(header, 8)) | u64::from(u32_at(header, 12)) << 32;
    Some((number, usize::try_from(u32_at(header, 4)).ok()?))
}

fn header_crc(salt: u32, header: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&salt.to_le_bytes()), header)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const SALT: u32 = 0x5a17_0001;

    fn segment(payloads: &[Vec<u8>]) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = segment_header(SALT).to_vec();
        let mut ends = vec![bytes.len()];
        for (number, payload) in payloads.iter().enumerate() {
            encode(SALT, number as u64, payload, &mut bytes);
            ends.push(bytes.len());
        }
        (bytes, ends)
    }

    #[test]
    fn a_tail_torn_at_any_byte_leaves_the_whole_frames_before_it() {
        let (bytes, ends) = segment(&[b"one".to_vec(), vec![], vec![7; 100]]);
        for length in SEGMENT_HEADER_BYTES..=bytes.len() {
            let whole = ends.iter().filter(|end| **end <= length).count() - 1;
            let scan = scan(SALT, &bytes[..length]).unwrap();
            assert_eq!(
                (scan.payloads.len(), scan.end),
                (whole, ends[whole]),
                "cut at {length}"
            );
        }
    }

    #[test]
    fn a_flipped_bit_is_never_read_and_is_refused_unless_it_is_in_the_last_frame() {
        let (bytes, ends) = segment(&[b"one".to_vec(), b"two".to_vec(), b"three".to_vec()]);
        for bit in SEGMENT_HEADER_BYTES * 8..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let frame = ends.iter().filter(|end| **end <= bit / 8).count() - 1;
            let result = scan(SALT, &flipped);
            if frame == 2 {
                assert_eq!(result.unwrap().end, ends[2], "bit {bit}");
            } else {
                assert_eq!(
                    result,
                    Err(Damage {
                        offset: ends[frame]
                    }),
                    "bit {bit}"
                );
            }
        }
    }

    #[test]
    fn a_segment_header_is_checked() {
        let header = segment_header(SALT);
        assert_eq!(read_segment_header(&header), Ok(SALT));
        for bit in 0..header.len() * 8 {
            let mut flipped = header;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(
                read_segment_header(&flipped),
                Err(HeaderFault::Damaged),
                "bit {bit}"
            );
        }
        assert_eq!(
            read_segment_header(&header[..19]),
            Err(HeaderFault::Damaged)
        );
        let mut newer = header;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..16]);
        newer[16..].copy_from_slice(&crc.to_le_bytes());
        assert_eq!(read_segment_header(&newer), Err(HeaderFault::Version(2)));
    }

    proptest! {
        #[test]
        fn garbage_after_the_frames_changes_nothing(
            payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..40), 0..6),
            garbage in prop::collection::vec(any::<u8>(), 0..80),
        ) {
            let (mut bytes, ends) = segment(&payloads);
            bytes.extend(garbage);
            let scan = scan(SALT, &bytes).unwrap();
            prop_assert_eq!(scan.end, *ends.last().unwrap());
            let read: Vec<Vec<u8>> =
                scan.payloads.into_iter().map(|range| bytes[range].to_vec()).collect();
            prop_assert_eq!(read, payloads);
        }

        #[test]
        fn a_segment_inside_a_payload_is_only_a_payload(
            inner in prop::collection::vec(any::<u8>(), 0..40),
            cut in 0_usize..60,
        ) {
            let (inside, _) = segment(&[inner.clone(), inner]);
            let mut bytes = segment_header(SALT + 1).to_vec();
            let start = bytes.len();
            encode(SALT + 1, 0, &inside, &mut bytes);
            let torn = bytes.len() - cut.min(bytes.len() - start - 1) - 1;
            let scan = scan(SALT + 1, &bytes[..torn]).unwrap();
            prop_assert_eq!(scan.end, start);
        }
    }
}
