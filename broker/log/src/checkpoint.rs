//! Kafka's text checkpoints: a version line, a count line, then one entry on each line.

use std::collections::BTreeMap;
use std::path::Path;

use crate::atomic_file;
use crate::error::{OpenError, StorageError};
use crate::names::TopicPartition;

/// Everything below these offsets is flushed: recovery starts here.
pub(crate) const RECOVERY_POINT_FILE: &str = "recovery-point-offset-checkpoint";
/// Below these offsets what a kill left was checked (ADR 0026). A log that is not in it was checked as far as it was flushed.
pub(crate) const CHECKED_OFFSET_FILE: &str = "checked-offset-checkpoint";
/// First offsets of partitions whose start was moved into a segment (DeleteRecords).
pub(crate) const LOG_START_OFFSET_FILE: &str = "log-start-offset-checkpoint";
/// High watermarks.
pub(crate) const HIGH_WATERMARK_FILE: &str = "replication-offset-checkpoint";
/// Up to where logs are compacted, as Kafka's log cleaner calls it.
pub(crate) const COMPACTED_OFFSET_FILE: &str = "cleaner-offset-checkpoint";

const VERSION: &str = "0";

/// An offset for each partition of a data directory.
pub(crate) type Offsets = BTreeMap<TopicPartition, i64>;

pub(crate) fn write_offsets(path: &Path, offsets: &Offsets) -> Result<(), StorageError> {
    let lines = offsets
        .iter()
        .map(|(p, offset)| format!("{} {} {offset}", p.topic, p.partition));
    atomic_file::replace(path, encode(lines).as_bytes())
}

/// Empty when the file does not exist.
pub(crate) fn read_offsets(path: &Path) -> Result<Offsets, OpenError> {
    let parse = |line: &str| {
        let mut words = line.split(' ');
        let (topic, partition, offset) = (words.next()?, words.next()?, words.next()?);
        let offset: i64 = offset.parse().ok().filter(|o| *o >= 0)?;
        let key = TopicPartition::new(topic, partition.parse().ok()?);
        words.next().is_none().then_some((key, offset))
    };
    Ok(read(path, "<topic> <partition> <offset>", parse)?
        .into_iter()
        .collect())
}

pub(crate) fn encode(lines: impl ExactSizeIterator<Item = String>) -> String {
    let mut text = format!("{VERSION}\n{}\n", lines.len());
    for line in lines {
        text.push_str(&line);
        text.push('\n');
    }
    text
}

/// The entries of a checkpoint; none when the file does not exist.
pub(crate) fn read<T>(
    path: &Path,
    shape: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, OpenError> {
    let Some(contents) = atomic_file::read_small(path)? else {
        return Ok(Vec::new());
    };
    decode(&contents, shape, parse).map_err(|reason| OpenError::Malformed {
        file: path.to_path_buf(),
        reason,
    })
}

fn decode<T>(
    contents: &[u8],
    shape: &'static str,
    parse: impl Fn(&str) -> Option<T>,
) -> Result<Vec<T>, String> {
    let text = str::from_utf8(contents).map_err(|e| format!("not UTF-8: {e}"))?;
    let mut lines = text.lines();
    match lines.next() {
        Some(VERSION) => {}
        other => return Err(format!("version line is {other:?}, \"{VERSION}\" is right")),
    }
    let count = lines.next().unwrap_or_default();
    let expected: usize = count
        .parse()
        .map_err(|_| format!("line 2 is {count:?}, the number of entries is right"))?;
    let entries = lines
        .map(|line| parse(line).ok_or_else(|| format!("line {line:?} is not {shape}")))
        .collect::<Result<Vec<_>, _>>()?;
    if entries.len() != expected {
        return Err(format!("{} entries, line 2 says {expected}", entries.len()));
    }
    Ok(entries)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_round_trip_in_kafkas_format() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RECOVERY_POINT_FILE);
        assert!(read_offsets(&path).unwrap().is_empty());
        let offsets = Offsets::from([
            (TopicPartition::new("b", 10), 7),
            (TopicPartition::new("a", 0), 0),
        ]);
        write_offsets(&path, &offsets).unwrap();
        assert_eq!(
            std::fs::read_to_string(&path).unwrap(),
            "0\n2\na 0 0\nb 10 7\n"
        );
        assert_eq!(read_offsets(&path).unwrap(), offsets);
        assert_eq!(
            std::fs::read_dir(dir.path()).unwrap().count(),
            1,
            "no temporary file is left"
        );
    }

    #[test]
    fn damage_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(HIGH_WATERMARK_FILE);
        for (contents, expected) in [
            ("", "version line is None"),
            ("1\n0\n", "version line is Some(\"1\")"),
            ("0\nx\n", "line 2 is \"x\""),
            ("0\n2\na 0 1\n", "1 entries, line 2 says 2"),
            (
                "0\n1\na 0\n",
                "line \"a 0\" is not <topic> <partition> <offset>",
            ),
            ("0\n1\na 0 1 2\n", "is not <topic>"),
            ("0\n1\na 0 -1\n", "is not <topic>"),
        ] {
            std::fs::write(&path, contents).unwrap();
            let error = read_offsets(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{contents:?}: {error}");
            assert!(error.contains(HIGH_WATERMARK_FILE), "{error}");
        }
    }
}
