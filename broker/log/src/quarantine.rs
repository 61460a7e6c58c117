//! Damaged segments are kept beside the log, so that nobody's data is thrown away by a program: what a
//! person may still read from them is theirs to decide.
//!
//! What the disk does not give is left out of them. The copies take space until somebody removes them. A second damage to
//! the same segment replaces the copy of the first.

use std::fs::{self, File};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::atomic_file::{flush_directory, remove_if_exists};
use crate::error::{StorageContext, StorageError, says_disk_failed};
use crate::names::{QUARANTINED_SUFFIX, TEMPORARY_SUFFIX};
use crate::reading_files;
use crate::segment::{PAGE_BYTES, Segment};

/// Copied at once where the disk does not give all of it.
const CHUNK_BYTES: u64 = 256 << 10;
/// Of pages. A disk takes seconds for each, and checkpoints wait meanwhile; one that does not give more has failed, and the
/// segment stays as it is.
const FAILED_READS_MAX: u32 = 64;

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
        // After a kill nobody may have flushed it yet, and nobody will that has left the log.
        segment.flush()?;
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
    match reading_files::copy(from, to) {
        // Of the one or of the other.
        Err(error) if says_disk_failed(&error) => copy_what_can_be_read(from, to)?,
        copied => copied.at("copy", from)?,
    }
    let flushed = File::open(to).and_then(|file| file.sync_data());
    flushed.at("flush the copy", to)
}

/// The rest is a hole: what can be read has its place.
fn copy_what_can_be_read(from: &Path, to: &Path) -> Result<(), StorageError> {
    let source = File::open(from).at("open", from)?;
    let target = File::create(to).at("create", to)?;
    let length = source.metadata().at("read", from)?.len();
    target.set_len(length).at("truncate", to)?;
    let (mut copied, mut failed_reads) = (0, 0);
    for chunk in pieces(0..length, CHUNK_BYTES) {
        if copy_piece(&source, &target, &chunk, from, to)?.is_none() {
            copied += chunk.end - chunk.start;
            continue;
        }
        for page in pieces(chunk, PAGE_BYTES) {
            match copy_piece(&source, &target, &page, from, to)? {
                None => copied += page.end - page.start,
                Some(_) if failed_reads < FAILED_READS_MAX => failed_reads += 1,
                Some(error) => return Err(error).at("copy", from),
            }
        }
    }
    let (path, left_out) = (from.display(), length - copied);
    tracing::warn!(%path, left_out, "what the disk does not give is left out of the copy of a damaged segment");
    Ok(())
}

/// Returns why the disk does not give it, if it does not.
fn copy_piece(
    source: &File,
    target: &File,
    piece: &Range<u64>,
    from: &Path,
    to: &Path,
) -> Result<Option<io::Error>, StorageError> {
    let mut bytes = vec![0; (piece.end - piece.start) as usize];
    match reading_files::read_exact_at(source, &mut bytes, piece.start) {
        Err(error) if says_disk_failed(&error) => return Ok(Some(error)),
        read => read.at("read", from)?,
    }
    target.write_all_at(&bytes, piece.start).at("write", to)?;
    Ok(None)
}

fn pieces(of: Range<u64>, bytes: u64) -> impl Iterator<Item = Range<u64>> {
    let end = of.end;
    of.step_by(bytes as usize)
        .map(move |at| at..end.min(at + bytes))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests;
