//! How a segment that was compacted takes the place of those it was made from, so that a crash between any two
//! steps leaves the one or the other.
//!
//! Names are Kafka's. Files are written as `.cleaned`, and flushed. The log's `.swap` name is the decision: with it
//! the new segment counts, without it the old ones do. It replaces what begins within its offsets, and its
//! last batch ends where the last one of them did, so it needs no list of them. The old ones after the first go
//! before it takes the name of the first: nothing ever looks as if two segments overlapped. Opening a log
//! completes or removes what it finds.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::batch_scanner::{BatchScanner, HEADER_CHUNK_BYTES, ScanError};
use crate::error::{OpenError, StorageContext, StorageError};
use crate::file_steps::FileSteps;
use crate::names::{
    CLEANED_SUFFIX, LOG_SUFFIX, OFFSET_INDEX_SUFFIX, SEGMENT_SUFFIXES, SWAP_SUFFIX,
    TIME_INDEX_SUFFIX, TRANSACTION_INDEX_SUFFIX, offset_file, parse_offset_file,
};

/// The log last: it decides. The directory is flushed before, for after a power failure a new log with the indexes of
/// the old one would look whole.
const SWAPPED_SUFFIXES: [&str; 4] = [
    OFFSET_INDEX_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
    LOG_SUFFIX,
];

/// Of these the last one may be missing, if the segment whose place is taken has none either.
const INDEX_SUFFIXES: [&str; 3] = [
    OFFSET_INDEX_SUFFIX,
    TIME_INDEX_SUFFIX,
    TRANSACTION_INDEX_SUFFIX,
];

/// `00000000000000000042.log.cleaned`
pub(super) fn cleaned_file(directory: &Path, base_offset: i64, suffix: &str) -> PathBuf {
    offset_file(directory, base_offset, &format!("{suffix}{CLEANED_SUFFIX}"))
}

fn swap_file(directory: &Path, base_offset: i64, suffix: &str) -> PathBuf {
    offset_file(directory, base_offset, &format!("{suffix}{SWAP_SUFFIX}"))
}

/// The new segment's files are flushed. Its indexes get the names that they need before it counts; see [`take_back`].
pub(super) fn prepare(
    steps: &mut FileSteps<'_>,
    directory: &Path,
    base_offset: i64,
) -> Result<(), StorageError> {
    for suffix in INDEX_SUFFIXES {
        let from = cleaned_file(directory, base_offset, suffix);
        let to = swap_file(directory, base_offset, suffix);
        if suffix != TRANSACTION_INDEX_SUFFIX || from.exists() {
            steps.rename(&from, &to)?;
        } else if to.exists() {
            // It is of an attempt that was not taken back.
            steps.remove(&to)?;
        }
    }
    steps.flush_directory(directory)
}

/// After [`prepare`], which may have failed: it does not come to a decision.
pub(super) fn take_back(
    steps: &mut FileSteps<'_>,
    directory: &Path,
    base_offset: i64,
) -> Result<(), StorageError> {
    INDEX_SUFFIXES
        .iter()
        .try_for_each(|suffix| steps.remove(&swap_file(directory, base_offset, suffix)))
}

/// After [`prepare`]. Afterwards the new segment counts.
pub(super) fn decide(
    steps: &mut FileSteps<'_>,
    directory: &Path,
    base_offset: i64,
) -> Result<(), StorageError> {
    steps.rename(
        &cleaned_file(directory, base_offset, LOG_SUFFIX),
        &swap_file(directory, base_offset, LOG_SUFFIX),
    )?;
    steps.flush_directory(directory)
}

/// Any number of times after [`decide`]: the new segment gets its name. `later` are the base offsets of the old
/// segments after the first one, rising.
pub(super) fn carry_out(
    steps: &mut FileSteps<'_>,
    directory: &Path,
    base_offset: i64,
    later: &[i64],
) -> Result<(), StorageError> {
    for old in later.iter().rev() {
        for suffix in SEGMENT_SUFFIXES {
            steps.remove(&offset_file(directory, *old, suffix))?;
        }
    }
    if !later.is_empty() {
        steps.flush_directory(directory)?;
    }
    for suffix in SWAPPED_SUFFIXES {
        let from = swap_file(directory, base_offset, suffix);
        if suffix == LOG_SUFFIX {
            steps.flush_directory(directory)?;
        }
        // An earlier attempt came as far as this one.
        if suffix == LOG_SUFFIX || from.exists() {
            steps.rename(&from, &offset_file(directory, base_offset, suffix))?;
        }
    }
    steps.flush_directory(directory)
}

/// Removes what was written for nothing.
pub(super) fn remove_cleaned(
    steps: &mut FileSteps<'_>,
    directory: &Path,
    base_offset: i64,
) -> Result<(), StorageError> {
    SWAPPED_SUFFIXES
        .iter()
        .try_for_each(|suffix| steps.remove(&cleaned_file(directory, base_offset, suffix)))
}

/// Completes what was decided before a crash, and removes what was not. With `keep_damaged` a new segment that
/// is damaged counts as far as it can be read; what comes behind the damage is cut off later, and copied.
pub(crate) fn finish_interrupted(
    steps: &mut FileSteps<'_>,
    directory: &Path,
    keep_damaged: bool,
) -> Result<(), OpenError> {
    let rest = list(directory)?;
    for path in &rest.undecided {
        steps.remove(path)?;
    }
    for base_offset in rest.decided {
        let end_offset = end_of(directory, base_offset, keep_damaged)?;
        let replaced = base_offset + 1..end_offset;
        let later: Vec<i64> = rest
            .segments
            .iter()
            .copied()
            .filter(|base| replaced.contains(base))
            .collect();
        carry_out(steps, directory, base_offset, &later)?;
    }
    Ok(())
}

/// The log begins anew: nothing of this counts.
pub(crate) fn remove_interrupted(
    steps: &mut FileSteps<'_>,
    directory: &Path,
) -> Result<(), StorageError> {
    let rest = list(directory)?;
    for path in &rest.undecided {
        steps.remove(path)?;
    }
    for base_offset in rest.decided {
        for suffix in SWAPPED_SUFFIXES {
            steps.remove(&swap_file(directory, base_offset, suffix))?;
        }
    }
    Ok(())
}

#[derive(Default)]
struct Rest {
    /// Files to remove.
    undecided: Vec<PathBuf>,
    /// Base offsets, rising.
    decided: Vec<i64>,
    /// Base offsets of the segments that have their names, rising.
    segments: Vec<i64>,
}

fn list(directory: &Path) -> Result<Rest, StorageError> {
    let mut rest = Rest::default();
    let mut indexes = Vec::new();
    for entry in fs::read_dir(directory).at("list", directory)? {
        let path = entry.at("list", directory)?.path();
        let Some((base, suffix)) = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(parse_offset_file)
        else {
            continue;
        };
        if suffix == LOG_SUFFIX {
            rest.segments.push(base);
        } else if suffix.ends_with(CLEANED_SUFFIX) {
            rest.undecided.push(path);
        } else if suffix.strip_suffix(SWAP_SUFFIX) == Some(LOG_SUFFIX) {
            rest.decided.push(base);
        } else if suffix.ends_with(SWAP_SUFFIX) {
            indexes.push((base, path));
        }
    }
    rest.segments.sort_unstable();
    rest.decided.sort_unstable();
    let is_decided = |base: &i64| rest.decided.binary_search(base).is_ok();
    let undecided = indexes.into_iter().filter(|(base, _)| !is_decided(base));
    rest.undecided.extend(undecided.map(|(_, path)| path));
    Ok(rest)
}

/// The offset behind a segment that was decided on.
fn end_of(directory: &Path, base_offset: i64, keep_damaged: bool) -> Result<i64, OpenError> {
    let path = swap_file(directory, base_offset, LOG_SUFFIX);
    let file = File::open(&path).at("open", &path)?;
    let length = file.metadata().at("read", &path)?.len();
    let chunk = HEADER_CHUNK_BYTES;
    let mut scanner = BatchScanner::new(Arc::new(file), 0, base_offset, length, chunk);
    let mut end_offset = base_offset;
    loop {
        match scanner.next() {
            Ok(None) => return Ok(end_offset),
            Ok(Some(batch)) => end_offset = batch.header.next_offset(),
            Err(ScanError::Bad { .. }) if keep_damaged => return Ok(end_offset),
            Err(ScanError::Bad {
                position, error, ..
            }) => {
                return Err(OpenError::Corrupt {
                    file: path,
                    position,
                    reason: error.to_string(),
                    recovery_offset: end_offset + 1,
                });
            }
            Err(ScanError::Io(source)) => return Err(source).at("read", &path)?,
        }
    }
}
