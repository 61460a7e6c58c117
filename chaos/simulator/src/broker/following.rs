//! What a follower does: fetches, appends, cuts its log.

use std::collections::{BTreeMap, BTreeSet};

use foz_replication::{FetchedPartition, FollowerLog, Step, next_step, progress_after_append};

use super::leading::FETCH_WAIT_MS;
use super::{Broker, Role};
use crate::context::{Context, Observation, Timer};
use crate::message::{Fetch, FetchPosition, FetchedRecords, Message};
use crate::mutation::Mutation;

/// After the wait, an answer takes no longer than this.
const ANSWER_MAX_MS: i64 = 600;
const RECONNECT_MS: i64 = 100;
const BACKOFF_MS: i64 = 300;

/// Follows the partitions of one leader over one connection.
#[derive(Debug, Default)]
pub(super) struct Fetcher {
    /// Of the request under way.
    correlation: Option<u64>,
    asked: BTreeMap<i32, FetchPosition>,
    /// Until when not to fetch again.
    paused: BTreeMap<i32, i64>,
    /// Not before the metadata changes.
    given_up: BTreeSet<i32>,
}

enum Followed {
    On,
    Later,
    NoMore,
}

impl Broker {
    pub(super) fn follow(&mut self, index: i32, leader: i32, epoch: i32, ctx: &mut Context<'_>) {
        if let Some(Role::Follows {
            leader: old,
            epoch: of,
        }) = self.roles.get(&index)
            && (*old, *of) == (leader, epoch)
        {
            return;
        }
        if ctx.has(Mutation::TruncatedToHighWatermark)
            && let Some(log) = self.disk.logs.get_mut(&index)
        {
            log.truncate(log.high_watermark());
        }
        self.roles.insert(index, Role::Follows { leader, epoch });
        self.has_moved = true;
        // A leader that has nothing new for the old ones would let this one wait: the connection is given up.
        let fetcher = self.fetchers.entry(leader).or_default();
        fetcher.correlation = None;
        fetcher.paused.remove(&index);
        fetcher.given_up.remove(&index);
        self.fetch(leader, ctx);
    }

    pub(super) fn fetch(&mut self, leader: i32, ctx: &mut Context<'_>) {
        let Self {
            fetchers,
            roles,
            disk,
            ..
        } = self;
        let fetcher = fetchers.entry(leader).or_default();
        if fetcher.correlation.is_some() {
            return;
        }
        fetcher.paused.retain(|_, until| *until > ctx.now_ms);
        fetcher.asked.clear();
        for (index, role) in roles.iter() {
            let (Role::Follows { leader: of, epoch }, Some(log)) = (role, disk.logs.get(index))
            else {
                continue;
            };
            let waits = fetcher.paused.contains_key(index) || fetcher.given_up.contains(index);
            // What is fetched from here on says that everything before is safe.
            let is_safe = !ctx.scenario.flushes_each || log.flushed_offset() == log.end();
            if *of == leader && !waits && is_safe {
                let position = FetchPosition {
                    partition: *index,
                    leader_epoch: *epoch,
                    offset: log.end(),
                    last_fetched_epoch: log.latest_epoch().unwrap_or(-1),
                    high_watermark: log.high_watermark(),
                };
                fetcher.asked.insert(*index, position);
            }
        }
        if fetcher.asked.is_empty() {
            return;
        }
        let correlation = ctx.chance.number();
        fetcher.correlation = Some(correlation);
        let fetch = Fetch {
            correlation,
            broker_epoch: self.epoch,
            partitions: fetcher.asked.values().copied().collect(),
        };
        ctx.send(leader, Message::Fetch(fetch));
        let over = Timer::FetchOver {
            leader,
            correlation,
        };
        ctx.remind(FETCH_WAIT_MS + ANSWER_MAX_MS, over);
    }

    pub(super) fn fetch_over(&mut self, leader: i32, correlation: u64, ctx: &mut Context<'_>) {
        let fetcher = self.fetchers.entry(leader).or_default();
        if fetcher.correlation == Some(correlation) {
            fetcher.correlation = None;
            ctx.remind(RECONNECT_MS, Timer::FetchAgain { leader });
        }
    }

    pub(super) fn fetched(
        &mut self,
        leader: i32,
        correlation: u64,
        partitions: &[FetchedRecords],
        ctx: &mut Context<'_>,
    ) {
        let fetcher = self.fetchers.entry(leader).or_default();
        if fetcher.correlation != Some(correlation) {
            return;
        }
        fetcher.correlation = None;
        let asked = std::mem::take(&mut fetcher.asked);
        for answer in partitions {
            let index = answer.partition;
            let Some(position) = asked.get(&index) else {
                continue;
            };
            let followed = self.take_answer(leader, position, answer, ctx);
            let fetcher = self.fetchers.entry(leader).or_default();
            match followed {
                Followed::On => {}
                Followed::Later => {
                    fetcher.paused.insert(index, ctx.now_ms + BACKOFF_MS);
                    ctx.remind(BACKOFF_MS, Timer::FetchAgain { leader });
                }
                Followed::NoMore => {
                    fetcher.given_up.insert(index);
                }
            }
        }
        self.fetch(leader, ctx);
    }

    fn take_answer(
        &mut self,
        from: i32,
        asked: &FetchPosition,
        answer: &FetchedRecords,
        ctx: &mut Context<'_>,
    ) -> Followed {
        let index = answer.partition;
        let (Some(Role::Follows { leader, epoch }), Some(log)) =
            (self.roles.get(&index), self.disk.logs.get_mut(&index))
        else {
            return Followed::NoMore;
        };
        if *leader != from {
            return Followed::NoMore;
        }
        let local = FollowerLog {
            leader_epoch: *epoch,
            start_offset: 0,
            end_offset: log.end(),
            high_watermark: log.high_watermark(),
        };
        let fetched = answer.answer_to(asked);
        match next_step(&local, &fetched, |epoch| log.end_offset_for_epoch(epoch)) {
            Step::Append => self.append_from_leader(index, &local, &fetched, answer, ctx),
            Step::Truncate { to } | Step::Reset { to } => {
                ctx.note(|| format!("cuts {index} from {} to {to}", local.end_offset));
                ctx.observe(Observation::Truncated);
                log.truncate(to);
                if let Some(target) = self.flushing.get_mut(&index) {
                    *target = (*target).min(to);
                }
                self.has_moved = true;
                Followed::On
            }
            Step::Retry => Followed::Later,
            Step::WaitForMetadata => Followed::NoMore,
            Step::Failed(reason) => {
                ctx.note(|| format!("no longer follows {index}: {reason}"));
                Followed::NoMore
            }
        }
    }

    fn append_from_leader(
        &mut self,
        index: i32,
        local: &FollowerLog,
        fetched: &FetchedPartition,
        answer: &FetchedRecords,
        ctx: &mut Context<'_>,
    ) -> Followed {
        let Some(log) = self.disk.logs.get_mut(&index) else {
            return Followed::NoMore;
        };
        let filed_under = ctx
            .has(Mutation::EpochOfRecordsNotKept)
            .then_some(local.leader_epoch);
        if !log.append_as_follower(&answer.records, filed_under) {
            ctx.note(|| format!("what the leader of {index} sent cannot be appended"));
            return Followed::Later;
        }
        let after = FollowerLog {
            end_offset: log.end(),
            ..*local
        };
        let progress = progress_after_append(&after, fetched);
        if ctx.has(Mutation::FollowerHighWatermarkUnbounded) {
            log.set_high_watermark_unbounded(fetched.high_watermark.max(log.high_watermark()));
        } else if progress.high_watermark > log.high_watermark() {
            log.set_high_watermark(progress.high_watermark);
            self.has_moved = true;
        }
        if ctx.scenario.flushes_each {
            self.flush(index, ctx);
        }
        Followed::On
    }

    /// Begins a flush, if none is under way.
    pub(super) fn flush(&mut self, index: i32, ctx: &mut Context<'_>) {
        let Some(log) = self.disk.logs.get(&index) else {
            return;
        };
        if log.flushed_offset() == log.end() || self.flushing.contains_key(&index) {
            return;
        }
        self.flushing.insert(index, log.end());
        let takes_ms = if ctx.chance.permille(30) {
            ctx.chance.between(50, 800)
        } else {
            ctx.chance.between(1, 6)
        };
        ctx.remind(takes_ms, Timer::Flushed { partition: index });
    }

    pub(super) fn flush_due(&mut self, index: i32, ctx: &mut Context<'_>) {
        if let Some(log) = self.disk.logs.get_mut(&index) {
            log.write_checkpoint();
        }
        self.flush(index, ctx);
        let pause_ms = ctx.scenario.flush_every_ms;
        let next_ms = ctx.chance.between(pause_ms / 2, pause_ms);
        ctx.remind(next_ms, Timer::Flush { partition: index });
    }

    pub(super) fn flushed(&mut self, index: i32, ctx: &mut Context<'_>) {
        let (Some(target), Some(log)) =
            (self.flushing.remove(&index), self.disk.logs.get_mut(&index))
        else {
            return;
        };
        log.flushed(target);
        if !ctx.scenario.flushes_each {
            return;
        }
        self.appended(index, ctx);
        self.flush(index, ctx);
        if let Some(Role::Follows { leader, .. }) = self.roles.get(&index) {
            self.fetch(*leader, ctx);
        }
    }
}
