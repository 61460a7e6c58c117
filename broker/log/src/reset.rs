//! The mark of a reset that is under way: the log of this directory is to begin anew, empty, at an
//! offset.
//!
//! Once the mark is on disk the reset has happened, whatever else the files and checkpoints say:
//! opening a log carries it out. It goes when everything else is on disk, and before anything can be
//! appended.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use crate::atomic_file::{self, flush_directory, remove_if_exists};
use crate::checkpoint;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::file_handles::FileHandles;
use crate::leader_epochs::{LEADER_EPOCH_FILE, LeaderEpochs};
use crate::names::{SEGMENT_SUFFIXES, parse_offset_file};
use crate::segment::Segment;

const RESET_FILE: &str = "reset-offset-checkpoint";

pub(crate) fn mark(directory: &Path, offset: i64) -> Result<(), StorageError> {
    let text = checkpoint::encode([offset.to_string()].into_iter());
    atomic_file::replace(&directory.join(RESET_FILE), text.as_bytes())
}

/// Where the log is to begin anew; `None` where no reset is under way.
pub(crate) fn read_mark(directory: &Path) -> Result<Option<i64>, OpenError> {
    let path = directory.join(RESET_FILE);
    let parse = |line: &str| line.parse().ok().filter(|offset: &i64| *offset >= 0);
    Ok(checkpoint::read(&path, "<offset>", parse)?.pop())
}

/// Everything else is on disk, the checkpoints of the data directory too.
pub(crate) fn remove_mark(directory: &Path) -> Result<(), StorageError> {
    remove_if_exists(&directory.join(RESET_FILE))?;
    // If it came back it would take away what is appended now.
    flush_directory(directory)
}

/// Carries out what the mark says, any number of times. Returns the one segment there is then.
pub(crate) fn carry_out(
    directory: &Path,
    handles: &Arc<FileHandles>,
    offset: i64,
) -> Result<Segment, StorageError> {
    for entry in fs::read_dir(directory).at("list", directory)? {
        let path = entry.at("list", directory)?.path();
        let name = path.file_name().and_then(|name| name.to_str());
        let of_a_segment = |(_, suffix): (i64, &str)| SEGMENT_SUFFIXES.contains(&suffix);
        if name.and_then(parse_offset_file).is_some_and(of_a_segment) {
            remove_if_exists(&path)?;
        }
    }
    match LeaderEpochs::default().write(directory) {
        // Without the file the batches tell, of which there are none.
        Err(error) if error.is_shortage() => remove_if_exists(&directory.join(LEADER_EPOCH_FILE))?,
        written => written?,
    }
    let segment = Segment::create(handles, directory, offset)?;
    flush_directory(directory)?;
    Ok(segment)
}
