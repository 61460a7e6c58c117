//! What the leader of a partition does: serves followers, moves the high watermark, asks for changes of the ISR.

use foz_metadata::Image;
use foz_protocol::error::ErrorCode;
use foz_replication::{
    Assignment, Cluster, Effects, FollowerFetch, IsrProposal, Leader, LocalLog, ProposalOutcome,
    Settings,
};

use super::{Broker, Log, Role};
use crate::context::{Context, Observation, Timer};
use crate::message::{Fetch, FetchPosition, FetchedRecords, Message};
use crate::mutation::Mutation;

/// How long a fetch waits for something new.
pub(super) const FETCH_WAIT_MS: i64 = 500;
/// Records in one answer.
const RECORDS_MAX: usize = 8;

/// A fetch that waits.
#[derive(Debug)]
pub(super) struct Parked {
    from: i32,
    fetch: Fetch,
    until_ms: i64,
}

/// The nodes of the cluster, as the metadata has them.
struct Nodes<'a> {
    image: &'a Image,
    /// A bug: an incarnation is as good as another.
    without_epochs: bool,
}

impl<'a> Nodes<'a> {
    fn of(image: &'a Image, ctx: &Context<'_>) -> Self {
        let without_epochs = ctx.has(Mutation::BrokerEpochNotChecked);
        Self {
            image,
            without_epochs,
        }
    }
}

impl Cluster for Nodes<'_> {
    fn may_join(&self, node_id: i32) -> Option<i64> {
        let node = self.image.broker(node_id)?;
        let epoch = if self.without_epochs { 0 } else { node.epoch };
        node.can_lead().then_some(epoch)
    }

    fn is_alive(&self, node_id: i32) -> bool {
        self.image.is_alive(node_id)
    }
}

impl Broker {
    pub(super) fn lead(
        &mut self,
        index: i32,
        assignment: &Assignment,
        settings: Settings,
        ctx: &mut Context<'_>,
    ) {
        let (now_ms, epoch) = (ctx.now_ms, assignment.leader_epoch);
        if self.led_epoch(index) == Some(epoch) {
            self.with_leader(index, ctx, |leader, local, _| {
                leader.assignment_changed(assignment, settings, local, now_ms)
            });
            return;
        }
        let log = self.disk.logs.entry(index).or_default();
        if ctx.has(Mutation::ProducerStateLost) {
            log.forget_producers();
        }
        log.assign_epoch(epoch, log.end());
        let local = log.local(ctx.scenario.flushes_each);
        let known = log.high_watermark();
        let leader = Leader::new(self.node_id, assignment, settings, local, known, now_ms);
        log.set_high_watermark(leader.high_watermark());
        let high_watermark = leader.high_watermark();
        ctx.note(|| {
            let (end, isr) = (local.end_offset, &assignment.isr);
            format!(
                "leads {index} in epoch {epoch}, ISR {isr:?}, log to {end}, HW {high_watermark}"
            )
        });
        ctx.observe(Observation::Leads {
            partition: index,
            leader_epoch: epoch,
        });
        self.roles.insert(index, Role::Leads(Box::new(leader)));
        self.has_moved = true;
    }

    pub(super) fn led_epoch(&self, index: i32) -> Option<i32> {
        match self.roles.get(&index) {
            Some(Role::Leads(leader)) => Some(leader.leader_epoch()),
            _ => None,
        }
    }

    /// Something happens to a leader; what comes of it is carried out.
    fn with_leader(
        &mut self,
        index: i32,
        ctx: &mut Context<'_>,
        happens: impl FnOnce(&mut Leader, LocalLog, &dyn Cluster) -> Effects,
    ) {
        let (Some(Role::Leads(leader)), Some(log)) =
            (self.roles.get_mut(&index), self.disk.logs.get_mut(&index))
        else {
            return;
        };
        let local = log.local(vouches_for_flushed(ctx));
        let effects = happens(leader, local, &Nodes::of(&self.image, ctx));
        self.carry_out(index, effects, ctx);
    }

    fn carry_out(&mut self, index: i32, effects: Effects, ctx: &mut Context<'_>) {
        let Some(log) = self.disk.logs.get_mut(&index) else {
            return;
        };
        if let Some(high_watermark) = effects.high_watermark {
            let extra = i64::from(ctx.has(Mutation::HighWatermarkOffByOne));
            log.set_high_watermark(high_watermark + extra);
            ctx.note(|| format!("HW of {index} moved to {high_watermark}"));
            self.has_moved = true;
        }
        if let Some(proposal) = effects.propose {
            ctx.note(|| format!("proposes for {index}: {proposal:?}"));
            if ctx.has(Mutation::IsrShrunkWithoutController) {
                self.shrink_without_asking(index, proposal, ctx);
            } else {
                self.proposals.push((index, proposal));
            }
        }
    }

    fn shrink_without_asking(&mut self, index: i32, proposal: IsrProposal, ctx: &mut Context<'_>) {
        let Some(Role::Leads(leader)) = self.roles.get(&index) else {
            return;
        };
        if proposal.new_isr.len() >= leader.isr().len() {
            self.proposals.push((index, proposal));
            return;
        }
        let outcome = ProposalOutcome::Committed {
            leader_epoch: proposal.leader_epoch,
            partition_epoch: proposal.partition_epoch + 1,
            isr: proposal.new_isr.iter().map(|(id, _)| *id).collect(),
        };
        self.proposal_answered(index, &proposal, outcome, ctx);
    }

    pub(super) fn proposal_answered(
        &mut self,
        index: i32,
        proposal: &IsrProposal,
        outcome: ProposalOutcome,
        ctx: &mut Context<'_>,
    ) {
        let now_ms = ctx.now_ms;
        if self.led_epoch(index) == Some(proposal.leader_epoch) {
            self.with_leader(index, ctx, |leader, local, _| {
                leader.answered(proposal, outcome, local, now_ms)
            });
        }
    }

    /// The log of a partition that is led grew, or more of it is flushed.
    pub(super) fn appended(&mut self, index: i32, ctx: &mut Context<'_>) {
        self.with_leader(index, ctx, |leader, local, _| leader.appended(local));
        self.has_moved = true;
    }

    pub(super) fn tick(&mut self, ctx: &mut Context<'_>) {
        let now_ms = ctx.now_ms;
        let indexes: Vec<i32> = self.roles.keys().copied().collect();
        for index in indexes {
            self.note_kept_out(index, ctx);
            self.with_leader(index, ctx, |leader, local, cluster| {
                leader.tick(local, cluster, now_ms)
            });
        }
    }

    /// For the figures: followers that would be proposed now but for their broker epoch.
    fn note_kept_out(&self, index: i32, ctx: &mut Context<'_>) {
        let Some(Role::Leads(leader)) = self.roles.get(&index) else {
            return;
        };
        let fit_from = leader.high_watermark().max(leader.epoch_start_offset());
        let cluster = Nodes::of(&self.image, ctx);
        for follower in leader.followers() {
            let is_fit = follower.log_end_offset.is_some_and(|end| end >= fit_from);
            let is_other = cluster
                .may_join(follower.node_id)
                .is_some_and(|epoch| epoch != follower.broker_epoch);
            if is_fit && is_other && !follower.in_isr {
                ctx.note(|| format!("{follower:?} of {index} is kept out by its epoch"));
                ctx.observe(Observation::KeptOutByEpoch {
                    partition: index,
                    follower: follower.node_id,
                });
            }
        }
    }

    pub(super) fn fetch_asked(&mut self, from: i32, fetch: Fetch, ctx: &mut Context<'_>) {
        // One connection has one request; another one that waits is of a connection that is gone.
        self.parked.retain(|parked| parked.from != from);
        self.parked.push(Parked {
            from,
            fetch,
            until_ms: ctx.now_ms + FETCH_WAIT_MS,
        });
        ctx.remind(FETCH_WAIT_MS, Timer::ParkedOver);
        self.answer_parked(ctx);
    }

    pub(super) fn answer_parked(&mut self, ctx: &mut Context<'_>) {
        for parked in std::mem::take(&mut self.parked) {
            let Parked {
                from,
                fetch,
                until_ms,
            } = &parked;
            let mut has_news = false;
            let partitions: Vec<FetchedRecords> = fetch
                .partitions
                .iter()
                .map(|asked| {
                    let read = self.read_for_follower(*from, fetch.broker_epoch, asked, ctx);
                    has_news |= read.error != ErrorCode::None
                        || read.diverging_epoch.is_some()
                        || !read.records.is_empty()
                        || read.high_watermark > asked.high_watermark;
                    read
                })
                .collect();
            if has_news || ctx.now_ms >= *until_ms {
                let correlation = fetch.correlation;
                ctx.send(
                    *from,
                    Message::Fetched {
                        correlation,
                        partitions,
                    },
                );
            } else {
                self.parked.push(parked);
            }
        }
    }

    fn read_for_follower(
        &mut self,
        from: i32,
        broker_epoch: i64,
        asked: &FetchPosition,
        ctx: &mut Context<'_>,
    ) -> FetchedRecords {
        let index = asked.partition;
        let failed = |error| FetchedRecords {
            partition: index,
            error,
            high_watermark: -1,
            log_start_offset: -1,
            diverging_epoch: None,
            records: Vec::new(),
        };
        let (Some(Role::Leads(leader)), Some(log)) =
            (self.roles.get_mut(&index), self.disk.logs.get(&index))
        else {
            return failed(ErrorCode::NotLeaderOrFollower);
        };
        if asked.leader_epoch < leader.leader_epoch() {
            return failed(ErrorCode::FencedLeaderEpoch);
        }
        if asked.leader_epoch > leader.leader_epoch() {
            return failed(ErrorCode::UnknownLeaderEpoch);
        }
        if !leader.followers().any(|it| it.node_id == from) {
            return failed(ErrorCode::UnknownLeaderEpoch);
        }
        let answer = |leader: &Leader, diverging_epoch, records| FetchedRecords {
            high_watermark: leader.high_watermark(),
            log_start_offset: 0,
            diverging_epoch,
            records,
            ..failed(ErrorCode::None)
        };
        let ignores_divergence =
            ctx.has(Mutation::DivergenceNotChecked) || ctx.has(Mutation::TruncatedToHighWatermark);
        let diverging = log
            .divergence(asked.last_fetched_epoch, asked.offset)
            .filter(|_| !ignores_divergence);
        if diverging.is_some() {
            return answer(leader, diverging, Vec::new());
        }
        let cluster = Nodes::of(&self.image, ctx);
        let fetch = FollowerFetch {
            node_id: from,
            broker_epoch: if cluster.without_epochs {
                0
            } else {
                broker_epoch
            },
            fetch_offset: asked.offset,
            log_start_offset: 0,
        };
        let local = log.local(vouches_for_flushed(ctx));
        let records = log.read(asked.offset, RECORDS_MAX);
        match leader.fetched(fetch, local, &cluster, ctx.now_ms) {
            Ok(effects) => {
                let read = answer(leader, None, records);
                self.carry_out(index, effects, ctx);
                read
            }
            Err(refused) => FetchedRecords {
                high_watermark: leader.high_watermark(),
                log_start_offset: 0,
                ..failed(refused.code())
            },
        }
    }

    pub(super) fn log_of_leader(&mut self, index: i32) -> Option<(&Leader, &mut Log)> {
        match (self.roles.get(&index), self.disk.logs.get_mut(&index)) {
            (Some(Role::Leads(leader)), Some(log)) => Some((leader, log)),
            _ => None,
        }
    }
}

/// Whether a leader counts of its own log only what is on the disk.
fn vouches_for_flushed(ctx: &Context<'_>) -> bool {
    ctx.scenario.flushes_each && !ctx.has(Mutation::AcknowledgedBeforeFlushed)
}
