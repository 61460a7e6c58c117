//! The codecs of record batches.
//!
//! What we write is what Apache Kafka's clients write; what we read is what any known client
//! writes. Decompression is bounded by its caller: a few bytes can claim to be gigabytes.

use std::io::{Read, Write};

/// RFC 1952: its two bytes, and deflate.
const GZIP_HEAD: [u8; 3] = [0x1f, 0x8b, 8];
/// `doc/lz4_Frame_format.md` of LZ4.
const LZ4_MAGIC: [u8; 4] = 0x184d_2204_u32.to_le_bytes();
/// RFC 8878.
const ZSTD_MAGIC: [u8; 4] = 0xfd2f_b528_u32.to_le_bytes();

/// How the records of a batch are compressed; the number is what the attributes carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Compression {
    /// Stored as they are.
    None = 0,
    /// RFC 1952.
    Gzip = 1,
    /// Snappy in the xerial framing (or raw).
    Snappy = 2,
    /// LZ4 frames.
    Lz4 = 3,
    /// Zstandard frames (KIP-110).
    Zstd = 4,
}

/// Why bytes could not be compressed or decompressed.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// Not what this codec writes.
    #[error("the {} data is damaged: {reason}", .codec.name())]
    Damaged {
        /// Which codec.
        codec: Compression,
        /// What the codec says.
        reason: String,
    },
    /// More than the caller allows.
    #[error("the {} data is larger than {max} bytes when decompressed", .codec.name())]
    TooLarge {
        /// Which codec.
        codec: Compression,
        /// The caller's bound, in bytes.
        max: usize,
    },
    /// The codec refused to compress.
    #[error("{} could not compress: {reason}", .codec.name())]
    Compress {
        /// Which codec.
        codec: Compression,
        /// What the codec says.
        reason: String,
    },
}

impl Compression {
    /// In the order of their numbers.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The codec with this number.
    #[must_use]
    pub fn from_id(id: u8) -> Option<Self> {
        match id {
            0 => Some(Self::None),
            1 => Some(Self::Gzip),
            2 => Some(Self::Snappy),
            3 => Some(Self::Lz4),
            4 => Some(Self::Zstd),
            _ => None,
        }
    }

    /// The number that the attributes of a batch carry.
    #[must_use]
    pub fn id(self) -> u8 {
        self as u8
    }

    /// Kafka's name for it, as in `compression.type`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec of this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        match name {
            "none" => Some(Self::None),
            "gzip" => Some(Self::Gzip),
            "snappy" => Some(Self::Snappy),
            "lz4" => Some(Self::Lz4),
            "zstd" => Some(Self::Zstd),
            _ => None,
        }
    }

    /// That `compressed` begins as every client's decoder wants it, without decompressing: what begins otherwise no Java
    /// consumer ever gets past. Snappy may be raw, and then begins with anything.
    ///
    /// # Errors
    /// [`CodecError::Damaged`].
    pub fn check_head(self, compressed: &[u8]) -> Result<(), CodecError> {
        let begins_with = |magic: &[u8]| match compressed.starts_with(magic) {
            true => Ok(()),
            false => Err(format!("it does not begin with {magic:02x?}")),
        };
        let checked = match self {
            Self::None | Self::Snappy => Ok(()),
            Self::Gzip => begins_with(&GZIP_HEAD),
            Self::Lz4 => begins_with(&LZ4_MAGIC).and_then(|()| check_lz4_descriptor(compressed)),
            Self::Zstd => begins_with(&ZSTD_MAGIC),
        };
        checked.map_err(|reason| CodecError::Damaged {
            codec: self,
            reason,
        })
    }

    /// Compresses at each codec's default level.
    ///
    /// # Errors
    /// [`CodecError::Compress`].
    pub fn compress(self, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
        self.compress_at(None, plain)
    }

    /// Compresses at a level where the codec has some here: gzip (1 to 9) and zstd (-131072 to 22). LZ4 has one.
    ///
    /// # Errors
    /// [`CodecError::Compress`].
    pub fn compress_at(self, level: Option<i32>, plain: &[u8]) -> Result<Vec<u8>, CodecError> {
        let failed = |reason: String| CodecError::Compress {
            codec: self,
            reason,
        };
        match self {
            Self::None => Ok(plain.to_vec()),
            Self::Gzip => {
                let level = level.and_then(|level| u32::try_from(level).ok());
                let level =
                    level.map_or_else(flate2::Compression::default, flate2::Compression::new);
                let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
                encoder
                    .write_all(plain)
                    .map_err(|error| failed(error.to_string()))?;
                encoder.finish().map_err(|error| failed(error.to_string()))
            }
            Self::Snappy => xerial::compress(plain).map_err(|error| failed(error.to_string())),
            Self::Lz4 => lz4_compress(plain).map_err(|error| failed(error.to_string())),
            Self::Zstd => {
                let level = level.unwrap_or(zstd::DEFAULT_COMPRESSION_LEVEL);
                zstd::bulk::compress(plain, level).map_err(|error| failed(error.to_string()))
            }
        }
    }

    /// Decompresses to at most `max` bytes.
    ///
    /// # Errors
    /// [`CodecError::Damaged`], [`CodecError::TooLarge`].
    pub fn decompress(self, packed: &[u8], max: usize) -> Result<Vec<u8>, CodecError> {
        match self {
            Self::None if packed.len() > max => Err(CodecError::TooLarge { codec: self, max }),
            Self::None => Ok(packed.to_vec()),
            Self::Gzip => self.read_bounded(flate2::bufread::MultiGzDecoder::new(packed), max),
            Self::Snappy => xerial::decompress(packed, max),
            Self::Lz4 => self.read_bounded(lz4_flex::frame::FrameDecoder::new(packed), max),
            Self::Zstd => match zstd::stream::read::Decoder::with_buffer(packed) {
                Ok(decoder) => self.read_bounded(decoder, max),
                Err(error) => Err(CodecError::Damaged {
                    codec: self,
                    reason: error.to_string(),
                }),
            },
        }
    }

    fn read_bounded(self, mut decoder: impl Read, max: usize) -> Result<Vec<u8>, CodecError> {
        let mut plain = Vec::new();
        let bound = (max as u64).saturating_add(1);
        match decoder.by_ref().take(bound).read_to_end(&mut plain) {
            Err(error) => Err(CodecError::Damaged {
                codec: self,
                reason: error.to_string(),
            }),
            Ok(_) if plain.len() > max => Err(CodecError::TooLarge { codec: self, max }),
            Ok(_) => Ok(plain),
        }
    }
}

/// The rules of Java's `Lz4BlockInputStream`.
fn check_lz4_descriptor(frame: &[u8]) -> Result<(), String> {
    let &[flags, block, ..] = &frame[LZ4_MAGIC.len()..] else {
        return Err("it ends within its head".to_owned());
    };
    let version = flags >> 6;
    if version != 1 {
        return Err(format!("its frame has version {version}: 1 is right"));
    }
    if flags & 0b10_0000 == 0 {
        return Err(
            "its blocks depend on each other, which Java's clients do not read: they must be independent"
                .to_owned(),
        );
    }
    if flags & 0b11 != 0 {
        return Err("its frame needs a dictionary, or sets a reserved bit".to_owned());
    }
    match block {
        0x40 | 0x50 | 0x60 | 0x70 => Ok(()),
        _ => Err(format!("its frame has no block size by {block:#04x}")),
    }
}

/// Java's reader takes only independent blocks, and 64 KiB is what its writer uses
/// (`Lz4BlockOutputStream`).
fn lz4_compress(plain: &[u8]) -> Result<Vec<u8>, lz4_flex::frame::Error> {
    let frame = lz4_flex::frame::FrameInfo::new()
        .block_mode(lz4_flex::frame::BlockMode::Independent)
        .block_size(lz4_flex::frame::BlockSize::Max64KB);
    let mut encoder = lz4_flex::frame::FrameEncoder::with_frame_info(frame, Vec::new());
    encoder.write_all(plain)?;
    encoder.finish()
}

/// The framing that snappy-java puts around snappy's raw blocks: a magic, two versions, then blocks
/// with their length in front. librdkafka writes one raw block without it; a reader tells them apart
/// by the magic, as snappy-java does.
mod xerial {
    use super::{CodecError, Compression};

    const MAGIC: [u8; 8] = [0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0];
    const HEADER_LENGTH: usize = 16;
    const VERSION: [u8; 4] = 1u32.to_be_bytes();
    /// snappy-java's default.
    const BLOCK_BYTES: usize = 32 * 1024;

    pub(super) fn compress(plain: &[u8]) -> Result<Vec<u8>, snap::Error> {
        let mut packed = Vec::with_capacity(HEADER_LENGTH + plain.len() / 2);
        packed.extend_from_slice(&MAGIC);
        packed.extend_from_slice(&VERSION);
        packed.extend_from_slice(&VERSION);
        let mut encoder = snap::raw::Encoder::new();
        for block in plain.chunks(BLOCK_BYTES) {
            let block = encoder.compress_vec(block)?;
            packed.extend_from_slice(&(block.len() as u32).to_be_bytes());
            packed.extend_from_slice(&block);
        }
        Ok(packed)
    }

    pub(super) fn decompress(packed: &[u8], max: usize) -> Result<Vec<u8>, CodecError> {
        let mut plain = Vec::new();
        if !packed.starts_with(&MAGIC) {
            append_block(packed, max, &mut plain)?;
            return Ok(plain);
        }
        let Some(mut rest) = packed.get(HEADER_LENGTH..) else {
            return Err(damaged("the xerial header is cut short"));
        };
        while !rest.is_empty() {
            let Some((length, after)) = rest.split_first_chunk::<4>() else {
                return Err(damaged("the length of a block is cut short"));
            };
            let length = u32::from_be_bytes(*length) as usize;
            let Some((block, after)) = after.split_at_checked(length) else {
                return Err(damaged("a block is longer than the data"));
            };
            append_block(block, max, &mut plain)?;
            rest = after;
        }
        Ok(plain)
    }

    fn append_block(block: &[u8], max: usize, plain: &mut Vec<u8>) -> Result<(), CodecError> {
        let length =
            snap::raw::decompress_len(block).map_err(|error| damaged(&error.to_string()))?;
        let from = plain.len();
        if length > max - from {
            return Err(CodecError::TooLarge {
                codec: Compression::Snappy,
                max,
            });
        }
        // No element of snappy's format makes more than 64 bytes out of two.
        if length > block.len().saturating_mul(64) {
            return Err(damaged("a block claims more than its bytes could make"));
        }
        plain.resize(from + length, 0);
        snap::raw::Decoder::new()
            .decompress(block, &mut plain[from..])
            .map_err(|error| damaged(&error.to_string()))?;
        Ok(())
    }

    fn damaged(reason: &str) -> CodecError {
        CodecError::Damaged {
            codec: Compression::Snappy,
            reason: reason.to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ids_and_names_come_back() {
        for codec in Compression::ALL {
            assert_eq!(Compression::from_id(codec.id()), Some(codec));
            assert_eq!(Compression::from_name(codec.name()), Some(codec));
        }
        assert_eq!(Compression::from_id(5), None);
        assert_eq!(Compression::from_name("GZIP"), None);
    }

    #[test]
    fn every_head_that_is_written_is_taken_and_no_other() {
        for codec in Compression::ALL {
            let packed = codec.compress(b"some bytes").unwrap();
            codec.check_head(&packed).unwrap();
            let is_told = !matches!(codec, Compression::None | Compression::Snappy);
            for length in 0..3 {
                assert_eq!(codec.check_head(&packed[..length]).is_err(), is_told);
            }
        }
        let refused = |flags: u8, block: u8| {
            let head = [&LZ4_MAGIC[..], &[flags, block]].concat();
            Compression::Lz4.check_head(&head).is_err()
        };
        assert!((4..8).all(|size| !refused(0x60, size << 4)));
        assert!(
            !refused(0x7c, 0x40),
            "checksums and the size of the content"
        );
        for flags in [0x40, 0x20, 0xa0, 0x61, 0x62] {
            assert!(refused(flags, 0x40), "{flags:#x}");
        }
        for block in [0, 0x30, 0x41, 0x80] {
            assert!(refused(0x60, block), "{block:#x}");
        }
        for length in 4..6 {
            let head = [&LZ4_MAGIC[..], &[0x60, 0x40]].concat();
            assert!(Compression::Lz4.check_head(&head[..length]).is_err());
        }
    }

    #[test]
    fn a_bomb_is_stopped_at_the_bound() {
        let zeros = vec![0; 4 << 20];
        for codec in Compression::ALL {
            let packed = codec.compress(&zeros).unwrap();
            assert!(matches!(
                codec.decompress(&packed, zeros.len() - 1),
                Err(CodecError::TooLarge { max, .. }) if max == zeros.len() - 1
            ));
            assert_eq!(codec.decompress(&packed, zeros.len()).unwrap(), zeros);
        }
    }

    #[test]
    fn a_cut_stream_is_damaged() {
        let plain: Vec<u8> = (0..100_000u32).flat_map(u32::to_be_bytes).collect();
        for codec in &Compression::ALL[1..] {
            let packed = codec.compress(&plain).unwrap();
            let cut = codec.decompress(&packed[..packed.len() - 20], 1 << 20);
            assert!(matches!(cut, Err(CodecError::Damaged { .. })), "{codec:?}");
        }
    }

    #[test]
    fn snappy_is_read_raw_and_in_the_xerial_framing() {
        let plain = b"snappy as librdkafka writes it".repeat(10);
        let raw = snap::raw::Encoder::new().compress_vec(&plain).unwrap();
        assert_eq!(Compression::Snappy.decompress(&raw, 1000).unwrap(), plain);

        // Two blocks, as snappy-java frames them.
        let mut framed = vec![
            0x82, b'S', b'N', b'A', b'P', b'P', b'Y', 0, 0, 0, 0, 1, 0, 0, 0, 1,
        ];
        for block in plain.chunks(200) {
            let block = snap::raw::Encoder::new().compress_vec(block).unwrap();
            framed.extend_from_slice(&(block.len() as u32).to_be_bytes());
            framed.extend_from_slice(&block);
        }
        assert_eq!(
            Compression::Snappy.decompress(&framed, 1000).unwrap(),
            plain
        );
        assert!(
            Compression::Snappy
                .compress(&plain)
                .unwrap()
                .starts_with(&framed[..16])
        );
    }

    #[test]
    fn a_snappy_block_that_claims_the_moon_is_refused_without_memory_for_it() {
        // A varint of 1 GiB and nothing behind it.
        let lie = [0x80, 0x80, 0x80, 0x80, 0x04, 0];
        assert!(matches!(
            Compression::Snappy.decompress(&lie, usize::MAX),
            Err(CodecError::Damaged { .. })
        ));
    }

    #[test]
    fn lz4_frames_have_the_flags_that_java_reads() {
        let packed = Compression::Lz4.compress(b"frame").unwrap();
        assert_eq!(packed[..4], 0x184d_2204u32.to_le_bytes());
        assert_eq!(
            packed[4] & 0b1110_0000,
            0b0110_0000,
            "version 1, independent blocks"
        );
        assert_eq!(packed[5], 0x40, "blocks of 64 KiB");
    }

    #[test]
    fn concatenated_gzip_members_are_one_stream() {
        let mut packed = Compression::Gzip.compress(b"one ").unwrap();
        packed.extend(Compression::Gzip.compress(b"two").unwrap());
        assert_eq!(
            Compression::Gzip.decompress(&packed, 100).unwrap(),
            b"one two"
        );
    }

    proptest! {
        #[test]
        fn what_is_compressed_comes_back(
            plain in proptest::collection::vec(any::<u8>(), 0..5000),
            repeat in 1usize..30,
        ) {
            let plain = plain.repeat(repeat);
            for codec in Compression::ALL {
                let packed = codec.compress(&plain).unwrap();
                prop_assert_eq!(&codec.decompress(&packed, plain.len()).unwrap(), &plain);
            }
        }

        #[test]
        fn garbage_never_panics(garbage in proptest::collection::vec(any::<u8>(), 0..300)) {
            for codec in Compression::ALL {
                if let Ok(plain) = codec.decompress(&garbage, 4096) {
                    prop_assert!(plain.len() <= 4096);
                }
            }
        }
    }
}
