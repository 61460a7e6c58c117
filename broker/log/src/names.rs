//! Names of files and directories, as Kafka gives them.

use std::fmt;
use std::path::{Path, PathBuf};

/// A topic's name and a partition's number: what a partition's directory is named after.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number, from 0.
    pub partition: i32,
}

impl TopicPartition {
    /// `topic` is a legal topic name.
    pub fn new(topic: impl Into<String>, partition: i32) -> Self {
        Self {
            topic: topic.into(),
            partition,
        }
    }

    /// The partition that a directory `topic-N` belongs to; `None` for any other name.
    #[must_use]
    pub fn from_directory_name(name: &str) -> Option<Self> {
        let (topic, number) = name.rsplit_once('-')?;
        let legal = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        let canonical = number == "0" || !number.starts_with('0');
        if topic.is_empty() || !topic.chars().all(legal) || !canonical {
            return None;
        }
        if !number.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(Self::new(topic, number.parse().ok()?))
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

pub(crate) const LOG_SUFFIX: &str = ".log";
pub(crate) const OFFSET_INDEX_SUFFIX: &str = ".index";
pub(crate) const TIME_INDEX_SUFFIX: &str = ".timeindex";
pub(crate) const TRANSACTION_INDEX_SUFFIX: &str = ".txnindex";
pub(crate) const SNAPSHOT_SUFFIX: &str = ".snapshot";
/// All files of one segment.
pub(crate) const SEGMENT_SUFFIXES: [&str; 5] = [
    OFFSET_INDEX_SUFFIX,
    TIME_INDEX_SUFFIX,
    SNAPSHOT_SUFFIX,
    LOG_SUFFIX,
    // Last: a log that a crash leaves would miss it, and not know. Without a log it is removed when the partition is opened, as
    // any index is.
    TRANSACTION_INDEX_SUFFIX,
];
pub(crate) const TEMPORARY_SUFFIX: &str = ".tmp";
/// What compaction writes, as long as it is part of nothing.
pub(crate) const CLEANED_SUFFIX: &str = ".cleaned";
/// What compaction wrote, once it counts and until it has its name.
pub(crate) const SWAP_SUFFIX: &str = ".swap";
/// Kafka marks files it is about to remove with this.
pub(crate) const DELETED_SUFFIX: &str = ".deleted";
/// A copy of a damaged segment ends with this.
pub(crate) const QUARANTINED_SUFFIX: &str = ".quarantined";
/// A partition directory that is being removed ends with this.
pub(crate) const DELETE_DIRECTORY_SUFFIX: &str = "-delete";
/// One that the metadata does not know, as Kafka names it.
pub(crate) const STRAY_DIRECTORY_SUFFIX: &str = "-stray";
/// One of a deleted topic that can be brought back.
pub(crate) const BURIED_DIRECTORY_SUFFIX: &str = "-deleted";
/// The copy of a log that moves to this data directory, as Kafka names it.
pub(crate) const FUTURE_DIRECTORY_SUFFIX: &str = "-future";
/// A log that has moved to another data directory.
pub(crate) const MOVED_DIRECTORY_SUFFIX: &str = "-moved";
/// Kafka cuts the name of a directory that is being removed, so that it stays a legal file name.
pub(crate) const FILE_NAME_BYTES_MAX: usize = 255;
/// Of the number that makes such a name unique, hexadecimal.
const UNIQUE_DIGITS: usize = 32;

/// `00000000000000000042.log` and its companions.
pub(crate) fn offset_file(directory: &Path, offset: i64, suffix: &str) -> PathBuf {
    directory.join(format!("{offset:020}{suffix}"))
}

/// The offset and the suffix of a file that [`offset_file`] names.
pub(crate) fn parse_offset_file(name: &str) -> Option<(i64, &str)> {
    let (digits, suffix) = name.split_at_checked(20)?;
    if !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    Some((digits.parse().ok()?, suffix))
}

/// `topic-0.0123456789abcdef0123456789abcdef-delete`
pub(crate) fn delete_directory_name(partition: &TopicPartition, unique: uuid::Uuid) -> String {
    unique_directory_name(partition, unique, DELETE_DIRECTORY_SUFFIX)
}

/// `topic-0.0123456789abcdef0123456789abcdef-stray`
pub(crate) fn stray_directory_name(partition: &TopicPartition, unique: uuid::Uuid) -> String {
    unique_directory_name(partition, unique, STRAY_DIRECTORY_SUFFIX)
}

/// `topic-0.0123456789abcdef0123456789abcdef-deleted`, with the topic's id. Two logs never share such a name: of a
/// long one the topic is cut, not the number.
pub(crate) fn buried_directory_name(partition: &TopicPartition, topic_id: uuid::Uuid) -> String {
    let stem = numbered_stem(partition, BURIED_DIRECTORY_SUFFIX);
    format!("{stem}.{}{BURIED_DIRECTORY_SUFFIX}", topic_id.simple())
}

/// `topic-0.0123456789abcdef0123456789abcdef-future`. Of a long name the topic is cut, not the number.
pub(crate) fn future_directory_name(partition: &TopicPartition, unique: uuid::Uuid) -> String {
    let stem = numbered_stem(partition, FUTURE_DIRECTORY_SUFFIX);
    format!("{stem}.{}{FUTURE_DIRECTORY_SUFFIX}", unique.simple())
}

/// `topic-0.0123456789abcdef0123456789abcdef-moved`, with what made the name of the copy unique.
pub(crate) fn moved_directory_name(partition: &TopicPartition, unique: uuid::Uuid) -> String {
    let stem = numbered_stem(partition, MOVED_DIRECTORY_SUFFIX);
    format!("{stem}.{}{MOVED_DIRECTORY_SUFFIX}", unique.simple())
}

/// What is left of a partition's name in the directory of one that keeps its number; all of it where it is not long.
pub(crate) fn numbered_stem(partition: &TopicPartition, suffix: &str) -> String {
    let number = format!("-{}", partition.partition);
    let rest = number.len() + 1 + UNIQUE_DIGITS + suffix.len();
    let mut stem = partition.topic.clone();
    stem.truncate(FILE_NAME_BYTES_MAX - rest);
    stem + &number
}

/// What is left of the partition's name, and the unique part, of a directory that moved away with `suffix` and kept its
/// number.
pub(crate) fn parse_numbered_directory_name(
    name: &str,
    suffix: &str,
) -> Option<(TopicPartition, uuid::Uuid)> {
    let stem = moved_away_stem(name, suffix)?;
    let (_, unique) = name.strip_suffix(suffix)?.rsplit_once('.')?;
    let partition = TopicPartition::from_directory_name(stem)?;
    Some((partition, uuid::Uuid::try_parse(unique).ok()?))
}

/// The topic's id and the partition's number of a directory that [`buried_directory_name`] names.
pub(crate) fn parse_buried_directory_name(name: &str) -> Option<(uuid::Uuid, i32)> {
    let (partition, topic_id) = parse_numbered_directory_name(name, BURIED_DIRECTORY_SUFFIX)?;
    Some((topic_id, partition.partition))
}

/// What a directory was called that was moved away with `suffix`: see [`unique_stem`].
pub(crate) fn moved_away_stem<'a>(name: &'a str, suffix: &str) -> Option<&'a str> {
    let (stem, unique) = name.strip_suffix(suffix)?.rsplit_once('.')?;
    let is_unique = unique.len() == UNIQUE_DIGITS && unique.bytes().all(|b| b.is_ascii_hexdigit());
    is_unique.then_some(stem)
}

/// What is left of a partition's name when its directory is moved away with `suffix`.
pub(crate) fn unique_stem(partition: &TopicPartition, suffix: &str) -> String {
    let mut name = partition.to_string();
    // Topic names are ASCII, so any byte is a boundary.
    name.truncate(FILE_NAME_BYTES_MAX - (1 + UNIQUE_DIGITS + suffix.len()));
    name
}

fn unique_directory_name(partition: &TopicPartition, unique: uuid::Uuid, suffix: &str) -> String {
    let stem = unique_stem(partition, suffix);
    format!("{stem}.{}{suffix}", unique.simple())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn directory_names_are_kafkas() {
        let parse = TopicPartition::from_directory_name;
        assert_eq!(parse("orders-0"), Some(TopicPartition::new("orders", 0)));
        assert_eq!(
            parse("a-b.c_d-12"),
            Some(TopicPartition::new("a-b.c_d", 12))
        );
        for other in [
            "lost+found",
            "orders",
            "-1",
            "orders-",
            "orders-x",
            "orders-01",
            "orders-+1",
        ] {
            assert_eq!(parse(other), None, "{other}");
        }
        assert_eq!(parse("orders-0.0123-delete"), None);
        assert_eq!(parse("orders-99999999999"), None);
    }

    #[test]
    fn the_longest_topic_can_be_deleted() {
        let partition = TopicPartition::new("t".repeat(249), 12345);
        let name = delete_directory_name(&partition, uuid::Uuid::nil());
        assert_eq!(name.len(), 255);
        assert!(name.ends_with("-delete"));
        let stem = unique_stem(&partition, DELETE_DIRECTORY_SUFFIX);
        assert_eq!(
            moved_away_stem(&name, DELETE_DIRECTORY_SUFFIX),
            Some(&*stem)
        );
        assert_eq!(moved_away_stem(&name, STRAY_DIRECTORY_SUFFIX), None);
        assert_eq!(
            moved_away_stem("my.0-delete", DELETE_DIRECTORY_SUFFIX),
            None
        );
    }

    #[test]
    fn buried_logs_are_known_by_id_and_number() {
        let id = uuid::Uuid::from_u128(77);
        for topic in ["t", "my.topic-1", &*"t".repeat(249)] {
            for number in [0, 7, i32::MAX] {
                let partition = TopicPartition::new(topic, number);
                let name = buried_directory_name(&partition, id);
                assert!(name.len() <= 255, "{name}");
                assert_eq!(parse_buried_directory_name(&name), Some((id, number)));
                assert_eq!(TopicPartition::from_directory_name(&name), None);
                assert_eq!(moved_away_stem(&name, DELETE_DIRECTORY_SUFFIX), None);
                let stem = numbered_stem(&partition, BURIED_DIRECTORY_SUFFIX);
                assert_eq!(
                    moved_away_stem(&name, BURIED_DIRECTORY_SUFFIX),
                    Some(&*stem)
                );
            }
        }
        for other in ["t-0", "t-0-deleted", "t-0.12-deleted", "t.0-deleted"] {
            assert_eq!(parse_buried_directory_name(other), None, "{other}");
        }
    }

    #[test]
    fn logs_that_move_are_known_by_number_and_what_makes_them_unique() {
        let unique = uuid::Uuid::from_u128(7);
        for topic in ["t", "my.topic-1", &*"t".repeat(249)] {
            for number in [0, 12, i32::MAX] {
                let partition = TopicPartition::new(topic, number);
                let future = future_directory_name(&partition, unique);
                let moved = moved_directory_name(&partition, unique);
                for (name, suffix) in [(&future, "-future"), (&moved, "-moved")] {
                    assert!(name.len() <= 255, "{name}");
                    assert_eq!(TopicPartition::from_directory_name(name), None);
                    let parsed = parse_numbered_directory_name(name, suffix);
                    let (stem, found) = parsed.unwrap();
                    assert_eq!((found, stem.partition), (unique, number));
                    assert_eq!(stem.to_string(), numbered_stem(&partition, suffix));
                    assert_eq!(stem == partition, topic.len() < 100);
                }
                assert_eq!(parse_numbered_directory_name(&future, "-moved"), None);
            }
        }
        for other in ["t-0-future", "t.0-future", "t-0.12-future", "t-0"] {
            assert_eq!(parse_numbered_directory_name(other, "-future"), None);
        }
    }

    #[test]
    fn offset_files_round_trip() {
        let path = offset_file(Path::new("/d"), 42, LOG_SUFFIX);
        assert_eq!(path, Path::new("/d/00000000000000000042.log"));
        assert_eq!(
            parse_offset_file("00000000000000000042.log"),
            Some((42, ".log"))
        );
        assert_eq!(parse_offset_file("leader-epoch-checkpoint"), None);
        assert_eq!(parse_offset_file("99999999999999999999.log"), None);
    }
}
