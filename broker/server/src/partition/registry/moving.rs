//! Moves logs to other data directories (AlterReplicaLogDirs, KIP-113).
//!
//! Whoever deletes, buries or sets a log aside gives its copy up first, and holds `applied` as does the end of a move: so
//! neither comes between the other. Locks are taken in this order: `applied`, the state of the move, `listing`, the role.

use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_log::{
    Finished, LogMove, MoveAct, MoveError, OpenError, PartitionLog, StorageError, TopicPartition,
};
use foz_protocol::error::ErrorCode;
use parking_lot::RwLockReadGuard;
use tracing::{error, info, warn};
use uuid::Uuid;

use super::{Key, Partitions};
use crate::disk_space::Space;
use crate::partition::located::Located;
use crate::partition::log_move::{Next, after, after_error, after_not_yet};
use crate::partition::log_moves::{MoveState, WantedMove};
use crate::partition::{DataDirectory, LogMoves, Partition, wall_clock_ms};

/// What became of [`Partitions::move_on`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Moved {
    pub(crate) next: Next,
    pub(crate) copied_bytes: u64,
}

impl From<Next> for Moved {
    fn from(next: Next) -> Self {
        Self {
            next,
            copied_bytes: 0,
        }
    }
}

impl Partitions {
    pub(crate) fn moves(&self) -> &LogMoves {
        &self.moves
    }

    /// While this is held no log goes from one directory to another: each is found in one of them.
    pub(crate) fn keep_in_place(&self) -> RwLockReadGuard<'_, ()> {
        self.listing.read()
    }

    /// The log is to be in that directory; what was asked for before does not count any more. It is copied there in the
    /// background, and so it is after a restart. Blocks.
    ///
    /// # Errors
    /// REPLICA_NOT_AVAILABLE, KAFKA_STORAGE_ERROR.
    pub(crate) fn move_log(
        &self,
        partition: &Arc<Partition>,
        target: &Arc<DataDirectory>,
    ) -> Result<(), ErrorCode> {
        let (key, name) = (partition.key(), partition.topic_partition());
        let wanted = self.moves.get(key);
        if wanted.is_some_and(|it| !it.is_over() && Arc::ptr_eq(&it.target, target)) {
            return Ok(());
        }
        self.cancel_move(key, name)?;
        let _applied = self.applied.lock();
        let held = self.get(key.0, key.1);
        let partition = held.ok_or(ErrorCode::ReplicaNotAvailable)?;
        if partition.is_in(target) {
            return Ok(());
        }
        if target.has_failed() {
            return Err(ErrorCode::KafkaStorageError);
        }
        let Some(wanted) = self.moves.add(key.0, name, target) else {
            // Somebody asks for something else at the same time: who comes last counts.
            return Err(ErrorCode::KafkaStorageError);
        };
        let located = partition.located.load_full();
        let begun = begin(&wanted, &mut wanted.state.lock(), &partition);
        // From here on a restart knows of it.
        match begun {
            Ok(()) | Err(MoveError::UnderWay(_)) => {}
            Err(error) => {
                self.move_failed(&wanted, &partition, &located, &error);
                self.moves.end(&wanted);
                return Err(ErrorCode::KafkaStorageError);
            }
        }
        let to = target.path().display();
        info!(partition = %name, from = %partition.directory().path().display(), %to, "log is to move to another data directory");
        target.moves().notify_one();
        Ok(())
    }

    /// Afterwards another one can begin.
    fn cancel_move(&self, key: Key, name: &TopicPartition) -> Result<(), ErrorCode> {
        let wanted = self.moves.get(key);
        if let Some(wanted) = &wanted {
            LogMoves::stop(wanted);
        }
        let given_up = self.give_up_files(key.0, name);
        if let Some(wanted) = wanted {
            // Whoever is at a step of it comes to its end; before that nobody begins another one.
            drop(wanted.state.lock().it.take());
            self.moves.end(&wanted);
            let to = wanted.target.path().display();
            info!(partition = %name, %to, "log does not move to another data directory any more");
        }
        given_up.map_err(|_| ErrorCode::KafkaStorageError)
    }

    /// The log is about to be deleted, buried or set aside.
    pub(super) fn give_up_copies(&self, topic_id: Uuid, name: &TopicPartition) {
        if let Some(wanted) = self.moves.get((topic_id, name.partition)) {
            self.moves.end(&wanted);
        }
        // What stays, a start sets aside: the log is gone by then.
        let _ = self.give_up_files(topic_id, name);
    }

    fn give_up_files(&self, topic_id: Uuid, name: &TopicPartition) -> Result<(), StorageError> {
        let mut given_up = Ok(());
        for directory in self.directories.usable() {
            let future = directory.logs().future(name);
            let is_due = match future {
                Some(future) => future.topic_id() == topic_id,
                None => directory.logs().copy_may_come_back(name),
            };
            if !is_due {
                continue;
            }
            if let Err(error) = directory.logs().give_up_future(name) {
                warn!(partition = %name, %error, "the copy of a log that does not move any more cannot be deleted");
                directory.failure().storage_failed(&error);
                given_up = Err(error);
            }
            directory.deletions().notify_one();
        }
        given_up
    }

    /// Where the process before this one, or the time before the replica was offline, has left a copy.
    pub(super) fn go_on_with_move(&self, partition: &Partition) {
        let (key, name) = (partition.key(), partition.topic_partition());
        for directory in self.directories.usable() {
            let future = directory.logs().future(name);
            let is_its = future.is_some_and(|it| it.topic_id() == key.0);
            if is_its && self.moves.add(key.0, name, directory).is_some() {
                let to = directory.path().display();
                info!(partition = %name, %to, "log goes on to move to another data directory");
                directory.moves().notify_one();
            }
        }
    }

    /// The next step of a move. Blocks.
    pub(crate) fn move_on(&self, wanted: &Arc<WantedMove>, bytes_max: usize) -> Moved {
        let key = wanted.key();
        let Some(partition) = self.get(key.0, key.1).filter(|_| !wanted.is_over()) else {
            return self.over(wanted);
        };
        if partition.damage().is_some() {
            // It may be cut before the damage, and what is behind that be fetched again.
            if let Some(it) = &wanted.state.lock().it {
                it.rest();
            }
            return Next::AFTER_ANOTHER.into();
        }
        let located = partition.located.load_full();
        let stepped = match self.step(wanted, &partition, bytes_max) {
            Ok(moved) => moved,
            Err(error) => (self.move_failed(wanted, &partition, &located, &error)).into(),
        };
        match stepped.next {
            Next::Over => return self.over(wanted),
            Next::Anew(_) => {
                drop(wanted.state.lock().it.take());
                let _ = self.give_up_files(key.0, &wanted.partition);
            }
            Next::Same(_) | Next::Others(_) => {}
        }
        stepped
    }

    fn over(&self, wanted: &Arc<WantedMove>) -> Moved {
        // First: who asks for the next one finds this log free.
        drop(wanted.state.lock().it.take());
        self.moves.end(wanted);
        Next::Over.into()
    }

    fn step(
        &self,
        wanted: &Arc<WantedMove>,
        partition: &Arc<Partition>,
        bytes_max: usize,
    ) -> Result<Moved, MoveError> {
        let is_begun = wanted.state.lock().it.is_some();
        if !is_begun {
            return self.begin_or_end(wanted);
        }
        let has_room = wanted.target.disk_gate().space() == Space::Roomy;
        let mut state = wanted.state.lock();
        let MoveState {
            it,
            progress,
            careful,
        } = &mut *state;
        let Some(it) = it else {
            return Ok(Next::Over.into());
        };
        let (target, now_ms) = (wanted.target.logs(), wall_clock_ms());
        let seen = it.seen(has_room)?;
        let act = match progress.next(seen) {
            MoveAct::Swap if careful.is_on() && seen.missing_bytes > 0 && has_room => MoveAct::Copy,
            act => act,
        };
        let mut copied_bytes = 0;
        match act {
            MoveAct::Cut => it.follow_cuts(target, now_ms)?,
            MoveAct::Check => {
                it.check(target, bytes_max, now_ms)?;
            }
            MoveAct::Copy => {
                let copied = it.copy(target, careful.step_bytes(bytes_max), now_ms)?;
                careful.copied(copied);
                wanted.target.disk_gate().wrote(copied);
                copied_bytes = copied as u64;
                self.metrics.log_moved_bytes.inc_by(copied_bytes);
            }
            MoveAct::Flush => it.flush()?,
            MoveAct::Swap => {
                drop(state);
                return self.swap(wanted, partition);
            }
            MoveAct::Wait => {}
        }
        wanted.said.is_over();
        Ok(Moved {
            next: after(act, seen.has_room),
            copied_bytes,
        })
    }

    fn begin_or_end(&self, wanted: &Arc<WantedMove>) -> Result<Moved, MoveError> {
        let _applied = self.applied.lock();
        let key = wanted.key();
        let Some(partition) = self.get(key.0, key.1) else {
            return Ok(Next::Over.into());
        };
        let mut state = wanted.state.lock();
        if wanted.is_over() || partition.is_in(&wanted.target) {
            return Ok(Next::Over.into());
        }
        // Whoever asked for it may have been faster.
        if state.it.is_none() {
            begin(wanted, &mut state, &partition)?;
        }
        Ok(Next::Same(Duration::ZERO).into())
    }

    /// The end of a move, if it is near enough. Who writes waits.
    pub(super) fn swap(
        &self,
        wanted: &Arc<WantedMove>,
        partition: &Arc<Partition>,
    ) -> Result<Moved, MoveError> {
        let _applied = self.applied.lock();
        let key = wanted.key();
        let held = self.get(key.0, key.1);
        let is_held = held.is_some_and(|it| Arc::ptr_eq(&it, partition));
        let state = wanted.state.lock();
        let Some(it) = state.it.as_ref().filter(|_| is_held && !wanted.is_over()) else {
            return Ok(Next::Over.into());
        };
        let _listed_once = self.listing.write();
        let began = Instant::now();
        let finished = partition.swap(it, &wanted.target);
        let held_up = began.elapsed();
        let from = match finished? {
            Swapped::Moved { from } => from,
            Swapped::NotYet => return Ok(after_not_yet(held_up).into()),
        };
        info!(
            partition = partition.name(),
            from = %from.path().display(),
            to = %wanted.target.path().display(),
            held_up_us = held_up.as_micros() as u64,
            "log is in another data directory now"
        );
        from.deletions().notify_one();
        wanted.target.due_retention().add(key);
        Ok(Next::Over.into())
    }

    /// Has a directory fail that is to blame, and damage be mended. `located`: where the log was before that step.
    pub(super) fn move_failed(
        &self,
        wanted: &WantedMove,
        partition: &Arc<Partition>,
        located: &Located,
        error: &MoveError,
    ) -> Next {
        let has_stopped = located.log.has_failed() || partition.log().has_failed();
        let (name, target) = (&wanted.partition, &wanted.target);
        if !matches!(error, MoveError::Over(..)) && wanted.said.is_new(error.to_string()) {
            let to = target.path().display();
            warn!(partition = %name, %to, %error, "a log that is to move to another data directory does not go on");
        }
        match error {
            MoveError::Damaged { offset, reason } => {
                if partition.is_new_damage(*offset) && partition.found_damage(located, *offset) {
                    error!(partition = %name, offset, reason, "found while moving to another data directory");
                }
            }
            MoveError::Unreadable { offset, source } => {
                if wanted.state.lock().careful.failed(*offset) {
                    partition.disk_does_not_give(located, *offset, source);
                } else {
                    located.directory.failure().storage_failed(source);
                }
            }
            MoveError::Source(error) if has_stopped => {
                stopped(&located.directory, name, error);
            }
            MoveError::Source(error) if error.is_shortage() => {
                located.directory.disk_gate().refuse();
            }
            MoveError::Source(error) => located.directory.failure().storage_failed(error),
            MoveError::Undone(error) => {
                if error.is_shortage() {
                    target.disk_gate().refuse();
                }
            }
            MoveError::Copy(error) => {
                let future = target.logs().future(name);
                // What stops where the log comes from is not to be blamed on where it goes.
                let stopped = future.is_some_and(|it| it.has_failed())
                    || partition.is_in(target) && partition.log().has_failed();
                match stopped {
                    true => target.failure().log_stopped(name, error),
                    false if error.is_shortage() => target.disk_gate().refuse(),
                    false => target.failure().open_failed(error),
                }
            }
            MoveError::Over(..) | MoveError::UnderWay(_) => {}
        }
        if let MoveError::Copy(OpenError::Exists(_)) = error {
            let _ = self.give_up_files(wanted.topic_id, name);
        }
        let is_out_of_use = target.has_failed() || located.directory.has_failed() || has_stopped;
        after_error(error, is_out_of_use)
    }
}

/// What became of [`Partition::swap`].
enum Swapped {
    Moved { from: Arc<DataDirectory> },
    NotYet,
}

impl Partition {
    /// From the first lock to the last nobody writes.
    fn swap(
        self: &Arc<Self>,
        it: &LogMove,
        target: &Arc<DataDirectory>,
    ) -> Result<Swapped, MoveError> {
        let role_change = self.role_change.lock();
        let role = self.role.write();
        // Held until the log is elsewhere: what is found until then is of this one.
        let damage = self.damage.lock();
        if damage.is_some() {
            return Ok(Swapped::NotYet);
        }
        let located = self.located.load_full();
        if !Arc::ptr_eq(&located.log, it.source()) {
            return Err(MoveError::Over(self.name(), "another one by now"));
        }
        if target.has_failed() {
            return Err(MoveError::Over(
                self.name(),
                "not to move: its new directory has failed",
            ));
        }
        let publish = |log: &Arc<PartitionLog>| self.locate(log, target);
        let source = located.directory.logs();
        let finished = source.finish_move(target.logs(), it, wall_clock_ms(), publish);
        if let Err(MoveError::Copy(_)) = &finished
            && located.log.is_deleted()
            && let Some(log) = target.logs().get(&self.name)
        {
            // What is left of it fails with that directory.
            self.locate(&log, target);
        }
        drop((damage, role, role_change));
        match finished? {
            Finished::NotYet(_) => Ok(Swapped::NotYet),
            Finished::Moved(log) => {
                target.flusher().appended(&log);
                // All of it is flushed, and nobody else says so.
                self.flushed();
                self.grown.wake();
                let from = Arc::clone(&located.directory);
                Ok(Swapped::Moved { from })
            }
        }
    }

    fn locate(&self, log: &Arc<PartitionLog>, directory: &Arc<DataDirectory>) {
        self.located.store(Arc::new(Located {
            log: Arc::clone(log),
            directory: Arc::clone(directory),
        }));
    }
}

/// Whoever calls this keeps the log from being deleted meanwhile.
fn begin(
    wanted: &WantedMove,
    state: &mut MoveState,
    partition: &Partition,
) -> Result<(), MoveError> {
    let source = Arc::clone(&partition.log());
    let it = wanted.target.logs().begin_move(&source, wall_clock_ms())?;
    *state = MoveState {
        it: Some(it),
        ..MoveState::default()
    };
    Ok(())
}

fn stopped(directory: &DataDirectory, name: &TopicPartition, error: &StorageError) {
    let failure = directory.failure();
    if error.is_failed_flush() {
        failure.flush_failed(name, error);
    } else {
        failure.fail(format!("{name} was left half-way: {error}"), false);
    }
}
