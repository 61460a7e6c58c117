//! A start finishes the moves that were decided, and clears away what is left of others: before any log is opened, for a
//! directory by itself does not tell which of a log and its copy counts.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use uuid::Uuid;

use super::creation::remove_rest_of_creation;
use super::futures::{
    read_future_directory, read_topic_id, remove_partition_name, rename_to_delete,
};
use super::open;
use crate::atomic_file::flush_directory;
use crate::disk_operations::DiskOperations;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::file_steps::{FileStep, FileSteps};
use crate::log_move::unfinished::{Found, Kind, MoveStep, Records, decide};
use crate::names::{
    LOG_SUFFIX, MOVED_DIRECTORY_SUFFIX, TopicPartition, parse_numbered_directory_name,
    parse_offset_file, stray_directory_name,
};

/// Its offset and its length, which is not 0.
const BATCH_BEGIN_BYTES: u64 = 12;

/// What [`finish_moves`] has found.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct FinishedMoves {
    /// Copies that are the logs now.
    pub named: Vec<PathBuf>,
    /// Rests that go with [`crate::LogDirectory::remove_deleted`].
    pub removed: Vec<PathBuf>,
    /// What may be all that there is of a replica, and may be stale: under its new name. There is no log of it, or one that
    /// never held a record.
    pub set_aside: Vec<PathBuf>,
    /// Of which replicas, with the topic's id: they are not to be counted on.
    pub in_doubt: Vec<(Uuid, TopicPartition)>,
    /// Replicas whose log is in a directory that cannot be used: they are not to be made anew.
    pub waiting: Vec<(Uuid, i32)>,
    /// Moves that go on: [`crate::LogDirectory::begin_move`].
    pub going_on: Vec<(Uuid, i32)>,
}

/// To be called with all data directories that can be used, before [`crate::LogDirectory::open`] of any of them.
/// `all_usable`: there are no others. Any number of times.
///
/// # Errors
/// [`OpenError::InUse`], [`OpenError::Storage`]: what is left is done the next time.
pub fn finish_moves(directories: &[PathBuf], all_usable: bool) -> Result<FinishedMoves, OpenError> {
    let operations = DiskOperations::default();
    finish_moves_in_steps(directories, all_usable, FileSteps::new(&operations))
}

/// Like [`finish_moves`].
pub(crate) fn finish_moves_in_steps(
    directories: &[PathBuf],
    all_usable: bool,
    mut steps: FileSteps<'_>,
) -> Result<FinishedMoves, OpenError> {
    let mut locks = Vec::new();
    for path in directories {
        // An empty one stays empty: whoever finds files in it takes it for one that was in use.
        if !is_empty(path)? {
            locks.push(open::lock(path)?);
        }
    }
    let found = find(directories)?;
    let decided = decide(&found, all_usable);
    let mut finished = FinishedMoves {
        in_doubt: decided.named_in_doubt(),
        waiting: decided.waiting.into_iter().collect(),
        going_on: decided.going_on.into_iter().collect(),
        ..FinishedMoves::default()
    };
    for step in decided.steps {
        carry_out(directories, step, &mut steps, &mut finished)?;
    }
    Ok(finished)
}

fn carry_out(
    directories: &[PathBuf],
    step: MoveStep,
    steps: &mut FileSteps<'_>,
    finished: &mut FinishedMoves,
) -> Result<(), StorageError> {
    match step {
        MoveStep::Flush(data) => steps.flush_directory(&directories[data])?,
        MoveStep::GiveName(copy) => {
            let data = &directories[copy.data];
            let home = data.join(copy.partition.to_string());
            // Of a creation that was not finished: it is no log.
            remove_rest_of_creation(&home)?;
            steps.rename(&copy.path, &home)?;
            // The log that was moved is kept until then.
            steps.flush_directory(data)?;
            remove_partition_name(&home);
            finished.named.push(home);
        }
        MoveStep::Remove(it) => {
            steps.announce(FileStep::Rename, "rename", &it.path)?;
            let data = &directories[it.data];
            let doomed = rename_to_delete(data, &it.path, &it.partition)?;
            finished.removed.push(doomed);
        }
        MoveStep::SetAside(it) => {
            let data = &directories[it.data];
            let target = data.join(stray_directory_name(&it.partition, Uuid::new_v4()));
            steps.rename(&it.path, &target)?;
            flush_directory(data)?;
            finished.set_aside.push(target);
        }
    }
    Ok(())
}

fn find(directories: &[PathBuf]) -> Result<Vec<Found>, StorageError> {
    let mut found = Vec::new();
    let mut logs = Vec::new();
    for (data, directory) in directories.iter().enumerate() {
        for (name, path) in list(directory)? {
            let parsed = parse_numbered_directory_name(&name, MOVED_DIRECTORY_SUFFIX);
            let (kind, partition) = if let Some((stem, unique)) = parsed {
                (Kind::Moved(unique), stem)
            } else if let Some(future) = read_future_directory(&path)? {
                (Kind::Future(future.unique), future.partition)
            } else {
                let log = TopicPartition::from_directory_name(&name);
                logs.extend(log.map(|partition| (data, path, partition)));
                continue;
            };
            found.push(Found {
                data,
                topic_id: read_topic_id(&path)?,
                records: records(&path),
                path,
                kind,
                partition,
            });
        }
    }
    let rests = found.len();
    for (data, path, partition) in logs {
        let is_concerned = found[..rests].iter().any(|rest| {
            rest.partition.partition == partition.partition
                && partition.topic.starts_with(&rest.partition.topic)
        });
        if is_concerned && !open::is_unfinished(&path)? {
            found.push(Found {
                data,
                topic_id: read_topic_id(&path)?,
                records: records(&path),
                path,
                kind: Kind::Log,
                partition,
            });
        }
    }
    Ok(found)
}

fn records(log: &Path) -> Records {
    match has_records(log) {
        Ok(true) => Records::Some,
        Ok(false) => Records::NeverAny,
        Err(error) => {
            tracing::warn!(path = %log.display(), %error, "what a move has left is kept");
            Records::Unknown
        }
    }
}

/// Or had some, where it does not begin at 0. What is allocated ahead is full of zeros, and no batch begins with that many.
fn has_records(log: &Path) -> io::Result<bool> {
    for entry in fs::read_dir(log)? {
        let entry = entry?;
        let name = entry.file_name();
        let segment = name.to_str().and_then(parse_offset_file);
        let Some((base_offset, LOG_SUFFIX)) = segment else {
            continue;
        };
        let mut begin = Vec::new();
        let file = fs::File::open(entry.path())?;
        file.take(BATCH_BEGIN_BYTES).read_to_end(&mut begin)?;
        if base_offset > 0 || begin.iter().any(|byte| *byte != 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Also where the directory is yet to be made.
fn is_empty(directory: &Path) -> Result<bool, StorageError> {
    match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(true),
        entries => Ok(entries.at("list", directory)?.next().is_none()),
    }
}

/// None where the directory is yet to be made.
fn list(directory: &Path) -> Result<Vec<(String, PathBuf)>, StorageError> {
    let entries = match fs::read_dir(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.at("list", directory)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        let entry = entry.at("list", directory)?;
        if let Ok(name) = entry.file_name().into_string()
            && entry.file_type().at("read", &entry.path())?.is_dir()
        {
            names.push((name, entry.path()));
        }
    }
    names.sort();
    Ok(names)
}
