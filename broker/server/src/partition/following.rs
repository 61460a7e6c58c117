//! What a follower of a partition does with the answers of the leader.

use std::sync::Arc;

use foz_log::{AppendError, FollowedLeader, OpenError, ReadError};
use foz_replication::{
    EpochEndOffset, FetchedPartition, FollowerLog, Step, next_step, progress_after_append,
};
use tracing::{error, info, warn};

use super::role::{Following, Role};
use super::{Located, Partition, durable_offset, wall_clock_ms};

/// Where a follower goes on to fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct FetchPosition {
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) offset: i64,
    pub(crate) last_fetched_epoch: i32,
    pub(crate) log_start_offset: i64,
    pub(crate) high_watermark: i64,
}

/// What became of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Followed {
    /// Fetch again at once.
    On,
    /// Fetch again at once, but not before what was appended is on the disk.
    OnceFlushed,
    /// Fetch again after a pause.
    Later,
    /// Not before the metadata changes.
    NoMore,
}

impl Partition {
    /// Follows from now on. False when it did before.
    pub(super) fn follow(&self, leader: i32, epoch: i32) -> bool {
        let following = Following { leader, epoch };
        if self.role.read().following() == Some(following) {
            return false;
        }
        self.set_role(Role::Follows(following));
        self.moved.wake();
        self.grown.wake();
        true
    }

    /// Where to fetch; `None` when it does not follow.
    pub(crate) fn fetch_position(&self) -> Option<FetchPosition> {
        let role = self.role.read();
        let Following { leader, epoch } = role.following()?;
        if self.damage().is_some() {
            return None;
        }
        let log = self.log();
        Some(FetchPosition {
            leader,
            leader_epoch: epoch,
            offset: log.log_end_offset(),
            last_fetched_epoch: log.latest_epoch().unwrap_or(-1),
            // What the leader hears of must not come back with a crash.
            log_start_offset: log.durable_log_start_offset(),
            high_watermark: log.high_watermark(),
        })
    }

    /// Everything that was appended is on the disk, where the partition wants it there first.
    pub(crate) fn is_durable(&self) -> bool {
        let log = self.log();
        durable_offset(&log) >= log.log_end_offset()
    }

    /// Takes the answer of the leader in. Blocks while it writes.
    pub(crate) fn take(self: &Arc<Self>, answer: &FetchedPartition, records: &[u8]) -> Followed {
        // No role change in the middle: a leader's log is its own.
        let _role_stays = self.role_change.lock();
        let following = self.role.read().following();
        let Some(following) = following.filter(|_| self.damage().is_none()) else {
            return Followed::NoMore;
        };
        let located = self.located();
        let Located { log, directory } = &**located;
        let local = self.follower_log(following);
        let epoch_end = |epoch| {
            let (epoch, end_offset) = log.end_offset_for_epoch(epoch)?;
            Some(EpochEndOffset { epoch, end_offset })
        };
        match next_step(&local, answer, epoch_end) {
            Step::Append => self.append_from_leader(following, answer, records),
            Step::Truncate { to } => {
                let kept = self.keep_committed(&local, to);
                let cut = kept.and_then(|()| {
                    let logs = directory.logs();
                    logs.truncate(log, to, wall_clock_ms())
                });
                if cut.is_ok() {
                    info!(
                        partition = self.name(),
                        from = local.end_offset,
                        to,
                        "log cut to the leader's"
                    );
                }
                self.done(cut)
            }
            Step::Reset { to } => {
                // What lies before the begin of the leader's log was deleted there, and is to be gone.
                let kept = match to > local.end_offset {
                    true => Ok(()),
                    false => self.keep_committed(&local, local.start_offset),
                };
                let reset = kept.and_then(|()| directory.logs().reset(log, to, wall_clock_ms()));
                if reset.is_ok() {
                    // It may be more than what was deleted there, after an unclean election.
                    warn!(
                        partition = self.name(),
                        start_offset = local.start_offset,
                        high_watermark = local.high_watermark,
                        end_offset = local.end_offset,
                        to,
                        "log begun anew where the leader's begins"
                    );
                }
                self.done(reset)
            }
            Step::Retry => Followed::Later,
            Step::WaitForMetadata => Followed::NoMore,
            Step::Failed(reason) => {
                error!(partition = self.name(), leader = following.leader, %reason, "no longer followed");
                Followed::NoMore
            }
        }
    }

    fn append_from_leader(
        self: &Arc<Self>,
        following: Following,
        answer: &FetchedPartition,
        records: &[u8],
    ) -> Followed {
        let leader = FollowedLeader {
            epoch: answer.request_leader_epoch,
            high_watermark: answer.high_watermark,
        };
        // The answer counts all the same: what the leader deletes is what gives room back.
        let has_room = records.is_empty() || self.has_room();
        let records = if has_room { records } else { &[] };
        let located = self.located();
        let Located { log, directory } = &**located;
        let append = || log.append_as_follower(records, leader, wall_clock_ms());
        let mut appended = append();
        let mut was_begun_anew = false;
        if let Err(AppendError::NotNext { found, expected }) = appended
            && found < expected
            && log.log_start_offset() == log.log_end_offset()
        {
            // The leader's log begins inside a batch (DeleteRecords): so does this one. To fetch from the
            // batch's own begin, the leader would answer that it is out of range.
            if let Err(error) = directory.logs().reset(log, found, wall_clock_ms()) {
                return self.done(Err(error));
            }
            was_begun_anew = true;
            appended = append();
        }
        match appended {
            Ok(_) => directory.disk_gate().wrote(records.len()),
            Err(error) => {
                self.found_no_room(error.is_shortage());
                if self.said.is_new(error.to_string()) {
                    warn!(partition = self.name(), leader = following.leader, %error, "what the leader sent cannot be appended; it is tried again");
                }
                self.append_failed(&error);
                return Followed::Later;
            }
        }
        self.said.is_over();
        let progress = progress_after_append(&self.follower_log(following), answer);
        if progress.high_watermark > log.high_watermark() {
            log.set_high_watermark(progress.high_watermark);
            self.moved.wake();
        }
        if progress.log_start_offset > log.log_start_offset() {
            log.advance_log_start_offset_to(progress.log_start_offset);
            self.moved.wake();
        }
        if progress.log_start_offset > log.durable_log_start_offset() {
            if was_begun_anew && let Err(error) = directory.logs().checkpoint_log_starts() {
                // The leader may have counted on the start that was there before the log was begun anew.
                warn!(partition = self.name(), %error, "where the log starts is not written; it is tried again");
                directory.failure().storage_failed(&error);
            }
            directory.due_starts().add(self.key());
        }
        directory.flusher().appended(log);
        if !records.is_empty() {
            self.grew();
        }
        if !has_room {
            Followed::Later
        } else if self.is_durable() {
            Followed::On
        } else {
            Followed::OnceFlushed
        }
    }

    /// Copies of what is cut off below the high watermark are kept: that is right after an unclean election
    /// only, and whoever asked for one may find it wrong afterwards.
    fn keep_committed(&self, local: &FollowerLog, from_offset: i64) -> Result<(), OpenError> {
        if from_offset >= local.high_watermark {
            return Ok(());
        }
        let located = self.located();
        let logs = located.directory.logs();
        let copies = logs.quarantine(&located.log, from_offset, wall_clock_ms())?;
        warn!(
            partition = self.name(),
            from_offset,
            high_watermark = local.high_watermark,
            ?copies,
            "the leader lacks committed records; what is cut off here was set aside"
        );
        Ok(())
    }

    fn done(&self, outcome: Result<(), OpenError>) -> Followed {
        self.moved.wake();
        let located = self.located();
        let failure = located.directory.failure();
        match outcome {
            Ok(()) => {
                self.said.is_over();
                Followed::On
            }
            Err(OpenError::Damaged { offset, reason }) => {
                // Where what is deleted is damaged, in a segment that is still there, that segment goes: damage
                // below the start would be forgotten, and met again by the next try.
                let offset = offset.max(located.log.log_start_offset());
                if self.said.is_new(reason.to_string()) {
                    error!(partition = self.name(), offset, %reason, "log cannot be cut: what is to stay is damaged");
                }
                match *reason {
                    ReadError::Storage(error) => {
                        self.disk_does_not_give(&located, offset, &error);
                    }
                    _ => drop(self.found_damage(&located, offset)),
                }
                Followed::Later
            }
            Err(error) if located.log.has_failed() => {
                error!(partition = self.name(), %error, "log cannot be cut; no longer followed");
                failure.log_stopped(self.topic_partition(), &error);
                Followed::NoMore
            }
            Err(error) => {
                self.found_no_room(error.is_shortage());
                if self.said.is_new(error.to_string()) {
                    warn!(partition = self.name(), %error, "log cannot be cut; it is tried again");
                }
                failure.open_failed(&error);
                Followed::Later
            }
        }
    }

    fn follower_log(&self, following: Following) -> FollowerLog {
        let log = self.log();
        FollowerLog {
            leader_epoch: following.epoch,
            start_offset: log.log_start_offset(),
            end_offset: log.log_end_offset(),
            high_watermark: log.high_watermark(),
        }
    }
}
