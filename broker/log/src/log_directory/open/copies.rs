//! Copies of logs that are to be moved here, as a start finds them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use uuid::Uuid;

use super::{Contents, Context, holds_no_records, open_all};
use crate::config::LogConfig;
use crate::error::{OpenError, StorageContext, StorageError};
use crate::log_directory::futures::{
    FutureDirectory, read_future_directory, read_topic_id, rename_to_delete,
};
use crate::log_directory::{LogDirectory, OpenReport};
use crate::log_move::FutureLog;
use crate::names::{TopicPartition, stray_directory_name};

/// A copy that nobody has opened yet.
pub(super) struct FoundCopy {
    path: PathBuf,
    unique: Uuid,
    topic_id: Uuid,
}

/// Copies as they are found.
#[derive(Default)]
pub(super) struct Copies {
    pub(super) opened: HashMap<TopicPartition, Arc<FutureLog>>,
    /// They are damaged: nothing is lost, they are begun anew. With the topics' ids.
    pub(super) unusable: HashMap<TopicPartition, Uuid>,
    /// One has less than it had at the last checkpoint.
    pub(super) is_shorter: bool,
}

/// What is lost of a copy is copied again.
pub(super) fn open_copies(
    path: &Path,
    mut futures: BTreeMap<TopicPartition, FoundCopy>,
    threads: usize,
    context: &Context<'_>,
    report: &mut OpenReport,
) -> Result<Copies, OpenError> {
    let mut copies = Copies::default();
    let found = futures.iter();
    let found = found.map(|(partition, copy)| (partition.clone(), copy.path.clone()));
    for (partition, directory, result) in open_all(found.collect(), threads, context, &|_| {}) {
        let Some(FoundCopy {
            unique, topic_id, ..
        }) = futures.remove(&partition)
        else {
            continue;
        };
        match result {
            Ok((log, _)) => {
                copies.is_shorter |= context.lost_by(&log, &[]).is_some();
                let compacted_offset = log.compacted_offset();
                let future = FutureLog::new(Arc::new(log), unique, compacted_offset);
                copies.opened.insert(partition, Arc::new(future));
            }
            Err(failed) if failed.error.is_shortage() => return Err(failed.error),
            Err(failed) => {
                tracing::warn!(%partition, error = %failed.error, "the copy of a log that moves is begun anew");
                let given_up = rename_to_delete(path, &directory, &partition)?;
                report.being_deleted.push(given_up);
                copies.unusable.insert(partition, topic_id);
            }
        }
    }
    Ok(copies)
}

impl LogDirectory {
    /// The start does not fail for a copy that cannot be made.
    pub(super) fn copy_anew(
        &self,
        partition: &TopicPartition,
        topic_id: Uuid,
        config_of: &(dyn Fn(&TopicPartition, Uuid) -> LogConfig + Sync),
        now_ms: i64,
    ) -> Result<(), StorageError> {
        let config = Arc::new(config_of(partition, topic_id));
        match self.create_future(partition, topic_id, config, 0, now_ms) {
            Err(OpenError::Storage(error)) if error.is_failed_flush() => Err(error),
            Err(error) => {
                tracing::warn!(%partition, %error, "a move is not gone on with");
                Ok(())
            }
            Ok(_) => Ok(()),
        }
    }
}

/// Rests of one that was never begun go.
pub(super) fn add_future(
    data: &Path,
    contents: &mut Contents,
    path: PathBuf,
    report: &mut OpenReport,
) -> Result<(), StorageError> {
    let found = read_future_directory(&path)?.zip(read_topic_id(&path)?);
    match found.filter(|(it, _)| !contents.futures.contains_key(&it.partition)) {
        Some((FutureDirectory { partition, unique }, topic_id)) => {
            let copy = FoundCopy {
                path,
                unique,
                topic_id,
            };
            contents.futures.insert(partition, copy);
        }
        None if holds_no_records(&path)? => {
            let nobodys = TopicPartition::new(Uuid::new_v4().simple().to_string(), 0);
            let given_up = rename_to_delete(data, &path, &nobodys)?;
            report.being_deleted.push(given_up);
        }
        None => {
            tracing::error!(
                ?path,
                "nobody can say what this copy of a log is of: it stays"
            );
            report.ignored.push(path);
        }
    }
    Ok(())
}

/// Nobody goes on with the copy of a log beside the log itself. Which of them counts this directory alone does not tell
/// (`finish_moves` does, before): so it is kept.
pub(super) fn set_superseded_copies_aside(
    data: &Path,
    futures: &mut BTreeMap<TopicPartition, FoundCopy>,
    partitions: &[(TopicPartition, PathBuf)],
) -> Result<(), StorageError> {
    for (partition, _) in partitions {
        if let Some(FoundCopy { path, .. }) = futures.remove(partition) {
            let aside = data.join(stray_directory_name(partition, Uuid::new_v4()));
            std::fs::rename(&path, &aside).at("rename", &path)?;
            tracing::error!(
                ?path,
                ?aside,
                "copy of a log set aside: the log is there as well"
            );
        }
    }
    Ok(())
}
