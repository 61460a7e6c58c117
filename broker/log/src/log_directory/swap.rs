//! The end of a move: the copy takes the place of the log.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::creation::remove_rest_of_creation;
use super::futures::{remove_partition_name, rename_to_delete};
use super::{Checkpoints, LogDirectory};
use crate::atomic_file::open_to_flush;
use crate::error::{OpenError, StorageError};
use crate::file_steps::{FileStep, FileSteps};
use crate::log_move::{AppendedToCopy, Finished, LogMove, MISSING_BYTES_MAX, MoveError};
use crate::names::{TopicPartition, moved_directory_name};
use crate::partition_log::{Change, MoveStage, PartitionLog};

const IT_IS_BEING_COMPACTED: &str = "it is being compacted";

/// So long it waits for a flush of the log that is under way, with writers kept out: there is always one under load, but that
/// of a large segment takes far longer.
const PATIENCE: Duration = Duration::from_millis(100);

/// Where neither of the two gets its name now. Who reads and who writes waits meanwhile.
const RENAMING_TRIES: u32 = 10;
const RENAMING_PAUSE: Duration = Duration::from_millis(20);

impl LogDirectory {
    /// Puts the copy, which is in `target`, in the place of its log, which is here. Writers wait meanwhile, for as long as
    /// at most 4 MiB and four flushes take, and for at most 100 ms for a flush that is under way; who keeps them
    /// out before sees none refused. `publish` tells readers of the log in
    /// its new place: who reads from the old one is held up until then, and hears after it that it was deleted. Everything in
    /// the log is flushed then, and nothing more happens to the old one: `publish` is also to wake who waits for its records or
    /// for its flushes, for nobody else does.
    ///
    /// Nobody deletes, buries or sets the log aside meanwhile, nor opens it again. After [`Finished::NotYet`]
    /// [`crate::MoveProgress::next`] says what comes first; ask again after a pause where that is the same again.
    ///
    /// # Errors
    /// [`MoveError`]. Where a renaming or its flush failed, but for [what goes by](StorageError::is_passing), the log has stopped
    /// ([`PartitionLog::has_failed`]) and the next start finds out which of them it is: until then it is [here](Self::get) after
    /// [`MoveError::Source`], and in `target` after [`MoveError::Copy`]. Otherwise the log is as it was.
    pub fn finish_move(
        &self,
        target: &Self,
        it: &LogMove,
        now_ms: i64,
        publish: impl FnOnce(&Arc<PartitionLog>),
    ) -> Result<Finished, MoveError> {
        let steps = FileSteps::new(self.handles.operations());
        self.finish_move_in_steps(target, it, now_ms, publish, steps)
    }

    /// Like [`Self::finish_move`].
    pub(crate) fn finish_move_in_steps(
        &self,
        target: &Self,
        it: &LogMove,
        now_ms: i64,
        publish: impl FnOnce(&Arc<PartitionLog>),
        steps: FileSteps<'_>,
    ) -> Result<Finished, MoveError> {
        it.source.set_move_stage(MoveStage::Ending);
        let result = self.try_finish_move(target, it, now_ms, publish, steps);
        match result {
            // Then the pass that is at work is the last one before the end.
            Ok(Finished::Moved(_) | Finished::NotYet(IT_IS_BEING_COMPACTED)) => {}
            // The next try may be far away.
            _ => it.source.set_move_stage(MoveStage::Copying),
        }
        result
    }

    fn try_finish_move(
        &self,
        target: &Self,
        it: &LogMove,
        now_ms: i64,
        publish: impl FnOnce(&Arc<PartitionLog>),
        mut steps: FileSteps<'_>,
    ) -> Result<Finished, MoveError> {
        let (source, copy) = (&it.source, &it.future.log);
        let partition = source.partition();
        let Some(_compacting) = source.keep_compaction_out() else {
            return Ok(Finished::NotYet(IT_IS_BEING_COMPACTED));
        };
        // Nobody makes a log there: it would take the place of the copy, or a log without records for the rest of another.
        let Ok(_creating) = target.claim_name(partition) else {
            return Ok(Finished::NotYet("a log of its name is being made there"));
        };
        // Before the log's own locks, as everybody does. It may be for long: copies of damaged data are made meanwhile.
        let Some(mut written) = target.written.try_lock() else {
            return Ok(Finished::NotYet("checkpoints are being written there"));
        };
        let change = match source.change_within(PATIENCE) {
            Ok(Some(change)) => change,
            Ok(None) => return Ok(Finished::NotYet("it is being flushed")),
            Err(_) if source.waits_for_checkpoint() => {
                return Ok(Finished::NotYet("it waits for the checkpoints"));
            }
            Err(OpenError::Unusable(partition, why)) => {
                return Err(MoveError::Over(partition, why));
            }
            Err(error) => return Err(it.copy_failed(error)),
        };
        let is_here = self
            .get(partition)
            .is_some_and(|log| Arc::ptr_eq(&log, source));
        let is_there = (target.future(partition)).is_some_and(|it| Arc::ptr_eq(&it.log, copy));
        if !is_here || !is_there {
            return Err(MoveError::Over(partition.to_string(), "not where it was"));
        }
        if let Some(why) = target.copy_rest(it, &mut written, now_ms)? {
            return Ok(Finished::NotYet(why));
        }
        let home = target
            .make_way(partition)
            .map_err(|error| it.copy_failed(error))?;
        (target.make_ready(it, &change, &mut written, &mut steps))
            .map_err(|error| it.copy_failed(error.into()))?;
        let moved = self
            .path
            .join(moved_directory_name(partition, it.future.unique));
        if !copy.is_usable() {
            return Err(MoveError::Over(partition.to_string(), "no longer copied"));
        }
        let here = open_to_flush(&self.path).map_err(MoveError::Source)?;
        let there = open_to_flush(&target.path).map_err(|error| it.copy_failed(error.into()))?;
        self.give_away(&change, &moved, &here, &mut steps)?;
        let mut tries = 1..RENAMING_TRIES;
        let named = loop {
            let error = match rename(&mut steps, copy.directory(), &home) {
                Renamed::Done => break steps.flush_opened(&there, &target.path),
                Renamed::Unknown(error) => break Err(error),
                Renamed::NotNow(error) => error,
            };
            if self.take_back(&change, &moved, &here, &mut steps)? {
                return Err(MoveError::Undone(error));
            }
            if tries.next().is_none() {
                break Err(error);
            }
            #[expect(
                clippy::disallowed_methods,
                reason = "a move is made on a thread that may block"
            )]
            std::thread::sleep(RENAMING_PAUSE);
        };
        if let Err(error) = named {
            copy.stop_after(&error);
            // As a start finds it: what fails with that directory is this log. The one before is given away, and all of it
            // flushed: whoever is to flush it must not find a failure in a directory that is well.
            (target.logs.write()).insert(partition.clone(), Arc::clone(copy));
            target.futures.write().remove(partition);
            self.logs.write().remove(partition);
            change.retire();
            return Err(MoveError::Copy(error.into()));
        }
        let log = Arc::new(copy.renamed(home));
        // Whoever gathers checkpoints finds it in one place at least.
        (target.logs.write()).insert(partition.clone(), Arc::clone(&log));
        target.futures.write().remove(partition);
        self.logs.write().remove(partition);
        publish(&log);
        change.retire();
        drop(written);
        remove_partition_name(log.directory());
        match steps_to_delete(&self.path, &moved, &log, &mut steps) {
            Ok(doomed) => self.deleted.lock().add_full(doomed),
            // The next start removes it.
            Err(error) => {
                tracing::warn!(%partition, %error, "the rest of a log that has moved stays")
            }
        }
        Ok(Finished::Moved(log))
    }

    /// What is left to copy; why it is not done where it is not.
    fn copy_rest(
        &self,
        it: &LogMove,
        written: &mut Checkpoints,
        now_ms: i64,
    ) -> Result<Option<&'static str>, MoveError> {
        let (source, copy) = (&it.source, &it.future.log);
        if copy.waits_for_checkpoint() {
            // Its mark would take away what is appended once it is the log.
            return Ok(Some("the copy waits for the checkpoints"));
        }
        let seen = it.seen(true)?;
        if seen.is_cut {
            return Ok(Some("it was cut"));
        }
        if seen.is_unchecked {
            return Ok(Some("the copy is not checked yet"));
        }
        if seen.missing_bytes.saturating_add(seen.unflushed_bytes) >= MISSING_BYTES_MAX {
            return Ok(Some("too much is to be copied or flushed"));
        }
        while copy.log_end_offset() < source.log_end_offset() {
            let bytes = it.read(MISSING_BYTES_MAX as usize)?;
            let mut appended = it.append(&bytes, now_ms)?;
            if let AppendedToCopy::BeginsAt(offset) = appended {
                let begun = copy.change().and_then(|change| {
                    change.reset(offset, now_ms, || self.write_checkpoints(written, None))
                });
                begun.map_err(|error| it.copy_failed(error))?;
                appended = it.append(&bytes, now_ms)?;
            }
            if bytes.is_empty() || !matches!(appended, AppendedToCopy::Whole) {
                return Ok(Some("it was cut"));
            }
        }
        it.follow_marks();
        let span = |log: &PartitionLog| (log.log_start_offset(), log.log_end_offset());
        Ok((span(source) != span(copy)).then_some("the copy begins or ends elsewhere"))
    }

    /// Where the copy is to be. Whoever calls this has claimed the name.
    fn make_way(&self, partition: &TopicPartition) -> Result<PathBuf, OpenError> {
        let home = self.path.join(partition.to_string());
        let is_known = self.get(partition).is_some() || self.is_offline(partition);
        if home.exists() && (is_known || !remove_rest_of_creation(&home)?) {
            return Err(OpenError::Exists(home));
        }
        Ok(home)
    }

    /// Nothing that a crash could take from the log is missing from the copy afterwards.
    fn make_ready(
        &self,
        it: &LogMove,
        change: &Change<'_>,
        written: &mut Checkpoints,
        steps: &mut FileSteps<'_>,
    ) -> Result<(), StorageError> {
        let copy = &it.future.log;
        change.pass_on_to(copy)?;
        steps.announce(FileStep::Flush, "flush", copy.directory())?;
        copy.flush()?;
        // What DeleteRecords deleted does not come back with the move (ADR 0024).
        steps.announce(FileStep::Write, "write", &self.path)?;
        self.write_checkpoints(written, None)
    }

    /// From here on the copy is the log.
    fn give_away(
        &self,
        change: &Change<'_>,
        moved: &Path,
        here: &File,
        steps: &mut FileSteps<'_>,
    ) -> Result<(), MoveError> {
        change.hold_readers();
        let flushed = match rename(steps, change.log().directory(), moved) {
            Renamed::Done => steps.flush_opened(here, &self.path),
            Renamed::NotNow(error) => {
                change.let_readers_go_on();
                return Err(MoveError::Source(error));
            }
            Renamed::Unknown(error) => Err(error),
        };
        flushed.map_err(|error| stop(change, error))
    }

    /// The copy does not get the name now: the log is what it was. False where that does not work now either.
    fn take_back(
        &self,
        change: &Change<'_>,
        moved: &Path,
        here: &File,
        steps: &mut FileSteps<'_>,
    ) -> Result<bool, MoveError> {
        match rename(steps, moved, change.log().directory()) {
            Renamed::Done => {}
            Renamed::NotNow(_) => return Ok(false),
            Renamed::Unknown(error) => return Err(stop(change, error)),
        }
        // Before anything is written that the copy does not have.
        (steps.flush_opened(here, &self.path)).map_err(|error| stop(change, error))?;
        change.let_readers_go_on();
        Ok(true)
    }
}

enum Renamed {
    Done,
    /// It goes by, and nothing has happened.
    NotNow(StorageError),
    /// Only a start finds out.
    Unknown(StorageError),
}

/// Looks before it believes that nothing has happened: FUSE, NFS and overlay may have done what they say they had not.
fn rename(steps: &mut FileSteps<'_>, from: &Path, to: &Path) -> Renamed {
    let error = match steps.rename(from, to) {
        Ok(()) => return Renamed::Done,
        Err(error) => error,
    };
    let is_there = |path: &Path| match path.symlink_metadata() {
        Ok(_) => Some(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Some(false),
        Err(_) => None,
    };
    match (is_there(from), is_there(to)) {
        (Some(true), _) if error.is_passing() => Renamed::NotNow(error),
        (Some(false), Some(true)) if error.is_passing() => Renamed::Done,
        _ => Renamed::Unknown(error),
    }
}

/// Only a start finds out which of them is the log. The copy is left as any whose log has failed: its directory is well, and
/// stops in good order.
fn stop(change: &Change<'_>, error: StorageError) -> MoveError {
    change.log().stop_after(&error);
    change.let_readers_go_on();
    MoveError::Source(error)
}

fn steps_to_delete(
    data: &Path,
    moved: &Path,
    log: &PartitionLog,
    steps: &mut FileSteps<'_>,
) -> Result<PathBuf, StorageError> {
    steps.announce(FileStep::Rename, "rename", moved)?;
    rename_to_delete(data, moved, log.partition())
}
