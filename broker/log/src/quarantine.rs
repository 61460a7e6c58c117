//! Damaged segments are kept beside the log, so that nobody's data is thrown away by a program: what a
//! person may still read from them is theirs to decide.
//!
//! The copies take space until somebody removes them. A second damage to the same segment replaces the
//! copy of the first.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::atomic_file::{flush_directory, remove_if_exists};
use crate::error::{StorageContext, StorageError};
use crate::names::{QUARANTINED_SUFFIX, TEMPORARY_SUFFIX};
use crate::segment::Segment;

/// Keeps `damaged`, which is about to be cut, and the segments after it, which are about to go. The log
/// itself is as before. Returns the files that are kept.
pub(crate) fn keep(
    damaged: &Segment,
    later: &[Arc<Segment>],
) -> Result<Vec<PathBuf>, StorageError> {
    let mut kept = Vec::with_capacity(1 + later.len());
    let copy = with_suffix(damaged.path(), QUARANTINED_SUFFIX);
    let temporary = with_suffix(&copy, TEMPORARY_SUFFIX);
    let copied = copy_durably(damaged.path(), &temporary);
    if copied.is_err() {
        let _ = fs::remove_file(&temporary);
    }
    copied?;
    fs::rename(&temporary, &copy).at("rename", &temporary)?;
    kept.push(copy);
    for segment in later {
        // A second name is enough: the first one goes, the bytes stay.
        let link = with_suffix(segment.path(), QUARANTINED_SUFFIX);
        remove_if_exists(&link)?;
        fs::hard_link(segment.path(), &link).at("link", segment.path())?;
        kept.push(link);
    }
    if let Some(directory) = damaged.path().parent() {
        flush_directory(directory)?;
    }
    Ok(kept)
}

/// Not called a flush where it fails: the log itself is as before.
fn copy_durably(from: &Path, to: &Path) -> Result<(), StorageError> {
    fs::copy(from, to).at("copy", from)?;
    let flushed = File::open(to).and_then(|file| file.sync_data());
    flushed.at("flush the copy", to)
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}
