//! `partition.metadata`: which topic, by id, a directory belongs to.

use std::path::Path;

use uuid::Uuid;

use crate::atomic_file;
use crate::error::{OpenError, StorageError};

pub(crate) const PARTITION_METADATA_FILE: &str = "partition.metadata";

const BASE64_URL: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// Not flushed here: the first flush of a partition makes its directory durable. Before that there
/// is nothing that could be lost.
pub(crate) fn write(directory: &Path, topic_id: Uuid) -> Result<(), StorageError> {
    let text = format!("version: 0\ntopic_id: {}", encode_id(topic_id));
    let path = directory.join(PARTITION_METADATA_FILE);
    atomic_file::replace_unflushed(&path, text.as_bytes())
}

/// `None` when the file does not exist.
pub(crate) fn read(directory: &Path) -> Result<Option<Uuid>, OpenError> {
    let path = directory.join(PARTITION_METADATA_FILE);
    let Some(contents) = atomic_file::read_small(&path)? else {
        return Ok(None);
    };
    match decode(&contents) {
        Some(topic_id) => Ok(Some(topic_id)),
        None => Err(OpenError::Malformed {
            file: path,
            reason: format!(
                "{:?} is not \"version: 0\\ntopic_id: <22 characters of base64url>\"",
                String::from_utf8_lossy(&contents[..contents.len().min(100)])
            ),
        }),
    }
}

fn decode(contents: &[u8]) -> Option<Uuid> {
    let mut lines = str::from_utf8(contents).ok()?.lines();
    if lines.next()?.strip_prefix("version: ")? != "0" {
        return None;
    }
    decode_id(lines.next()?.strip_prefix("topic_id: ")?)
}

/// Kafka prints ids as base64url without padding.
fn encode_id(id: Uuid) -> String {
    let bits = id.as_u128();
    // 128 bits are 21 groups of six and one of two; that one is padded with zeros on the right.
    let groups = (0..21)
        .map(|n| (bits >> (122 - 6 * n)) & 0x3f)
        .chain([(bits & 0x3) << 4]);
    groups
        .map(|group| char::from(BASE64_URL[group as usize]))
        .collect()
}

fn decode_id(text: &str) -> Option<Uuid> {
    let digit = |byte| BASE64_URL.iter().position(|b| *b == byte);
    let (last, groups) = text.as_bytes().split_last().filter(|_| text.len() == 22)?;
    let mut bits = 0u128;
    for byte in groups {
        bits = (bits << 6) | digit(*byte)? as u128;
    }
    let last = digit(*last)?;
    (last & 0xf == 0).then(|| Uuid::from_u128((bits << 2) | (last >> 4) as u128))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_written_as_kafka_writes_them() {
        // org.apache.kafka.common.Uuid: ONE_UUID, METADATA_TOPIC_ID and a random one.
        let one = Uuid::from_u128(1);
        assert_eq!(encode_id(one), "AAAAAAAAAAAAAAAAAAAAAQ");
        let all = Uuid::from_u128(u128::MAX);
        assert_eq!(encode_id(all), "_____________________w");
        for id in [
            Uuid::nil(),
            one,
            all,
            Uuid::from_u128(0x0123_4567_89ab_cdef_0fed_cba9_8765_4321),
        ] {
            assert_eq!(decode_id(&encode_id(id)), Some(id));
        }
        assert_eq!(
            decode_id("AAAAAAAAAAAAAAAAAAAAAB"),
            None,
            "bits that no id has"
        );
        assert_eq!(decode_id("AAAA"), None);
    }

    #[test]
    fn files_round_trip_and_damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()).unwrap(), None);
        let id = Uuid::from_u128(77);
        write(dir.path(), id).unwrap();
        assert_eq!(read(dir.path()).unwrap(), Some(id));
        std::fs::write(dir.path().join(PARTITION_METADATA_FILE), "version: 1\n").unwrap();
        let error = read(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("partition.metadata") && error.contains("version: 1"),
            "{error}"
        );
    }
}
