//! `meta.properties`: to which cluster and node a directory belongs.
//!
//! The text is Kafka's (version 1, KIP-631): `version`, `cluster.id`, `node.id`, `directory.id`. Keys
//! that this code does not know are kept as they are. A directory that lost the file, or has one that
//! cannot be read, is never taken for an empty one by the code that reads it: absence is `None`,
//! everything else is an error.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io;
use std::path::{Path, PathBuf};

use crate::disk::{self, NotReplaced};
use crate::kafka_uuid::KafkaUuid;

/// The file's name.
pub const FILE_NAME: &str = "meta.properties";

/// A file of properties is small; a larger one is not what it seems.
const FILE_BYTES_MAX: u64 = 64 * 1024;

/// What the file says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetaProperties {
    /// The cluster, once it is known.
    pub cluster_id: Option<String>,
    /// The node that owns the directory.
    pub node_id: i32,
    /// The directory itself: a wiped disk gets a new one.
    pub directory_id: KafkaUuid,
    /// All other keys, `foz.boot.id` among them.
    pub other: BTreeMap<String, String>,
}

/// Why a `meta.properties` could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MetaPropertiesError {
    /// The file system refused.
    #[error("{path}: cannot {action}: {source}", path = path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What was tried.
        action: &'static str,
        /// The refusal.
        source: io::Error,
    },
    /// There is no room on the disk (ENOSPC, EDQUOT) for a new one; the old one is as it was.
    #[error("{path}: no room to write: {source}", path = path.display())]
    NoRoom {
        /// The file.
        path: PathBuf,
        /// The refusal.
        source: io::Error,
    },
    /// The file says something that cannot be.
    #[error("{path}: {key}={found}: expected {expected}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// The key, or the line number.
        key: String,
        /// The value found.
        found: String,
        /// What would be right.
        expected: &'static str,
    },
}

impl MetaPropertiesError {
    /// It is to be tried again when there is room.
    #[must_use]
    pub fn is_shortage(&self) -> bool {
        matches!(self, Self::NoRoom { .. })
    }
}

impl MetaProperties {
    /// A directory that nobody used: a new directory id, no cluster yet.
    #[must_use]
    pub fn mint(node_id: i32) -> Self {
        let directory_id = KafkaUuid::random();
        Self {
            cluster_id: None,
            node_id,
            directory_id,
            other: BTreeMap::new(),
        }
    }

    /// Reads the file of `directory`; `None` when there is none.
    pub fn read(directory: &Path) -> Result<Option<Self>, MetaPropertiesError> {
        let path = directory.join(FILE_NAME);
        match disk::read_bounded(&path, FILE_BYTES_MAX) {
            Ok(bytes) => Self::parse(&path, &String::from_utf8_lossy(&bytes)).map(Some),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(source) => Err(MetaPropertiesError::Io {
                path,
                action: "read",
                source,
            }),
        }
    }

    /// Replaces the file of `directory` (made if it is not there): after a crash there is the old one
    /// or the new one, whole.
    pub fn write(&self, directory: &Path) -> Result<(), MetaPropertiesError> {
        let path = directory.join(FILE_NAME);
        let result = disk::create_directory(directory)
            .map_err(NotReplaced::from)
            .and_then(|()| disk::replace_file(&path, self.to_text().as_bytes()));
        result.map_err(|error| match error.is_shortage {
            true => MetaPropertiesError::NoRoom {
                path,
                source: error.source,
            },
            false => MetaPropertiesError::Io {
                path,
                action: "write",
                source: error.source,
            },
        })
    }

    fn parse(path: &Path, text: &str) -> Result<Self, MetaPropertiesError> {
        let malformed = |key: &str, found: &str, expected| MetaPropertiesError::Malformed {
            path: path.to_owned(),
            key: key.to_owned(),
            found: found.to_owned(),
            expected,
        };
        let mut values = BTreeMap::new();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line.split_once('=').ok_or_else(|| {
                malformed(
                    &format!("line {}", number + 1),
                    line,
                    "a line of the form key=value",
                )
            })?;
            values.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        let version = values.remove("version").unwrap_or_default();
        if version != "1" {
            return Err(malformed("version", &version, "1"));
        }
        let node_id = values.remove("node.id").unwrap_or_default();
        let node_id = node_id
            .parse()
            .map_err(|_| malformed("node.id", &node_id, "the number of the node"))?;
        let directory_id = values.remove("directory.id").unwrap_or_default();
        let directory_id = directory_id
            .parse()
            .map_err(|_| malformed("directory.id", &directory_id, "22 characters of base64"))?;
        let cluster_id = values.remove("cluster.id").filter(|id| !id.is_empty());
        Ok(Self {
            cluster_id,
            node_id,
            directory_id,
            other: values,
        })
    }

    fn to_text(&self) -> String {
        let mut text =
            String::from("# Which cluster and node this directory belongs to.\nversion=1\n");
        let mut line = |key: &str, value: &dyn std::fmt::Display| {
            writeln!(text, "{key}={value}").expect("a String takes all");
        };
        if let Some(cluster_id) = &self.cluster_id {
            line("cluster.id", cluster_id);
        }
        line("node.id", &self.node_id);
        line("directory.id", &self.directory_id);
        for (key, value) in &self.other {
            line(key, value);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        let directory = tempfile::tempdir().unwrap();
        let nested = directory.path().join("a/b");
        assert_eq!(MetaProperties::read(&nested).unwrap(), None);
        let mut meta = MetaProperties::mint(1001);
        meta.write(&nested).unwrap();
        assert_eq!(MetaProperties::read(&nested).unwrap(), Some(meta.clone()));
        meta.cluster_id = Some("MkU3OEVBNTcwNTJENDM2Qg".into());
        meta.other.insert("foz.boot.id".into(), "a=b".into());
        meta.write(&nested).unwrap();
        assert_eq!(MetaProperties::read(&nested).unwrap(), Some(meta));
        assert_eq!(
            std::fs::read_dir(&nested).unwrap().count(),
            1,
            "no temporary file stays"
        );
    }

    #[test]
    fn a_file_that_cannot_be_right_is_named() {
        let good = "version=1\nnode.id=3\ndirectory.id=AAAAAAAAAAAAAAAAAAAAAQ\n";
        let parse = |text: &str| MetaProperties::parse(Path::new("/d/meta.properties"), text);
        assert_eq!(parse(good).unwrap().node_id, 3);
        for (from, to, key) in [
            ("version=1", "version=0", "version"),
            ("version=1", "", "version"),
            ("node.id=3", "node.id=x", "node.id"),
            ("node.id=3", "", "node.id"),
            ("AAAAAAAAAAAAAAAAAAAAAQ", "short", "directory.id"),
            ("node.id=3", "node.id", "line 2"),
        ] {
            let error = parse(&good.replace(from, to)).unwrap_err().to_string();
            assert!(
                error.contains(key) && error.contains("/d/meta.properties"),
                "{error}"
            );
        }
    }
}
