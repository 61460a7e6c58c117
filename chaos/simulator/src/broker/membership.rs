//! Registration, lease, and the stop in good order.

use foz_metadata::image::SupportedFeatures;
use foz_metadata::rules::{DataDirectory, RegisterBroker};

use super::Broker;
use crate::context::{Context, Timer};
use crate::message::{Beat, BeatAnswer, Denied, Message};
use crate::mutation::Mutation;
use crate::scenario::{CONTROLLERS, FIRST_CONTROLLER};

const BEAT_MS: i64 = 500;
const RETRY_MS: i64 = 100;
const CALL_MAX_MS: i64 = 400;
const ANSWER_WAIT_MAX_MS: i64 = 1_500;
const HAND_OVER_MAX_MS: i64 = 5_000;
const LEAVE_MAX_MS: i64 = 1_000;

#[derive(Debug, Default)]
pub(super) struct Membership {
    /// The controller that is asked now.
    target: usize,
    attempt: u64,
    /// A registration under way.
    call: Option<u64>,
    lease: Option<Lease>,
    stop: Option<Stop>,
}

#[derive(Debug)]
struct Lease {
    stream: u64,
    controller: i32,
    answered_ms: i64,
}

#[derive(Debug, Clone, Copy)]
enum Stop {
    HandOver { until_ms: i64 },
    Leave { until_ms: i64 },
}

impl Broker {
    pub(super) fn register(&mut self, ctx: &mut Context<'_>) {
        let call = ctx.chance.number();
        let membership = &mut self.membership;
        membership.lease = None;
        membership.call = Some(call);
        membership.attempt += 1;
        let attempt = membership.attempt;
        let to = controller(membership.target);
        let known = self.image.broker(self.node_id).map(|broker| broker.epoch);
        let disk_epoch = if ctx.has(Mutation::LostDiskCounts) {
            known.unwrap_or(self.disk.epoch)
        } else {
            self.disk.epoch
        };
        let request = RegisterBroker {
            node_id: self.node_id,
            incarnation: self.incarnation,
            directories: vec![DataDirectory {
                id: self.disk.directory,
                disk_epoch,
                intact: self.log_intact,
                logs: Vec::new(),
            }],
            offline_directories: 0,
            in_doubt: Vec::new(),
            cluster_id: self.disk.cluster_id(),
            host: format!("broker-{}", self.node_id),
            port: 9092,
            replication_host: format!("broker-{}", self.node_id),
            replication_port: 9091,
            rack: None,
            version: "simulated".to_owned(),
            features: SupportedFeatures::of_this_program(),
        };
        let request = Box::new(request);
        ctx.send(to, Message::Register { call, request });
        ctx.remind(CALL_MAX_MS, Timer::Membership { attempt });
    }

    pub(super) fn registered(
        &mut self,
        call: u64,
        result: Result<(i64, i64), Denied>,
        ctx: &mut Context<'_>,
    ) {
        if self.membership.call != Some(call) {
            return;
        }
        match result {
            Ok((epoch, _)) => {
                ctx.note(|| format!("registered with epoch {epoch}"));
                self.membership.call = None;
                self.disk.join(epoch, self.boot);
                // From here on this process itself wrote all there is.
                self.log_intact = true;
                self.epoch = epoch;
                self.take_roles(ctx);
                self.open_lease(ctx);
            }
            Err(denied) => {
                ctx.note(|| format!("not registered: {denied:?}"));
                if !matches!(denied, Denied::Refused(_)) {
                    self.membership.target += 1;
                }
                self.try_again(ctx);
            }
        }
    }

    pub(super) fn registration_failed(&mut self, call: u64, ctx: &mut Context<'_>) {
        if self.membership.call == Some(call) {
            self.membership.target += 1;
            self.try_again(ctx);
        }
    }

    fn try_again(&mut self, ctx: &mut Context<'_>) {
        self.membership.attempt += 1;
        let attempt = self.membership.attempt;
        ctx.remind(RETRY_MS, Timer::Membership { attempt });
    }

    pub(super) fn membership_due(&mut self, attempt: u64, ctx: &mut Context<'_>) {
        let membership = &mut self.membership;
        if membership.attempt != attempt {
            return;
        }
        if membership.call.is_some() {
            membership.target += 1;
            self.register(ctx);
        } else if membership.lease.is_none() {
            self.open_lease(ctx);
        }
    }

    fn open_lease(&mut self, ctx: &mut Context<'_>) {
        let stream = ctx.chance.number();
        let membership = &mut self.membership;
        membership.attempt += 1;
        membership.lease = Some(Lease {
            stream,
            controller: controller(membership.target),
            answered_ms: ctx.now_ms,
        });
        self.beat(ctx);
        ctx.remind(BEAT_MS, Timer::Beat { stream });
    }

    /// Says that it lives, and how far it has come.
    pub(super) fn beat(&mut self, ctx: &mut Context<'_>) {
        let Some(lease) = &self.membership.lease else {
            return;
        };
        let beat = Beat {
            stream: lease.stream,
            epoch: self.epoch,
            applied_offset: self.image.offset(),
            is_stopping: matches!(self.membership.stop, Some(Stop::HandOver { .. })),
            is_leaving: matches!(self.membership.stop, Some(Stop::Leave { .. })),
        };
        ctx.send(lease.controller, Message::Beat(beat));
    }

    pub(super) fn beat_due(&mut self, stream: u64, ctx: &mut Context<'_>) {
        let Some(lease) = self
            .membership
            .lease
            .as_ref()
            .filter(|it| it.stream == stream)
        else {
            return;
        };
        if ctx.now_ms - lease.answered_ms > ANSWER_WAIT_MAX_MS {
            self.lease_broke(stream, ctx);
            return;
        }
        self.go_on_stopping(None, ctx);
        self.beat(ctx);
        let is_stopping = self.membership.stop.is_some();
        let pause_ms = if is_stopping { 50 } else { BEAT_MS };
        ctx.remind(pause_ms, Timer::Beat { stream });
    }

    pub(super) fn lease_broke(&mut self, stream: u64, ctx: &mut Context<'_>) {
        let broken = self.membership.lease.take_if(|it| it.stream == stream);
        if let Some(lease) = broken {
            ctx.note(|| "the lease stream broke".to_owned());
            ctx.send(lease.controller, Message::BeatsClosed { stream });
            self.membership.target += 1;
            if self.membership.stop.is_some() {
                self.has_stopped = true;
            }
            self.try_again(ctx);
        }
    }

    pub(super) fn beat_answered(
        &mut self,
        stream: u64,
        result: Result<BeatAnswer, Denied>,
        ctx: &mut Context<'_>,
    ) {
        let lease = self.membership.lease.as_mut();
        let Some(lease) = lease.filter(|it| it.stream == stream) else {
            return;
        };
        match result {
            Ok(answer) => {
                lease.answered_ms = ctx.now_ms;
                self.go_on_stopping(Some(&answer), ctx);
            }
            Err(Denied::Refused(code)) => {
                ctx.note(|| format!("the registration no longer counts: {code:?}"));
                let controller = lease.controller;
                ctx.send(controller, Message::BeatsClosed { stream });
                if self.membership.stop.is_some() {
                    self.has_stopped = true;
                }
                self.register(ctx);
            }
            Err(_) => self.lease_broke(stream, ctx),
        }
    }

    /// SIGTERM.
    pub(crate) fn stop(&mut self, ctx: &mut Context<'_>) {
        if self.membership.lease.is_none() {
            self.has_stopped = true;
        } else if self.membership.stop.is_none() {
            let until_ms = ctx.now_ms + HAND_OVER_MAX_MS;
            self.membership.stop = Some(Stop::HandOver { until_ms });
            self.beat(ctx);
            if let Some(lease) = &self.membership.lease {
                let stream = lease.stream;
                ctx.remind(50, Timer::Beat { stream });
            }
        }
    }

    fn go_on_stopping(&mut self, answer: Option<&BeatAnswer>, ctx: &mut Context<'_>) {
        match self.membership.stop {
            Some(Stop::HandOver { until_ms })
                if ctx.now_ms >= until_ms || answer.is_some_and(|it| it.may_stop) =>
            {
                ctx.note(|| "leadership was handed over".to_owned());
                let until_ms = ctx.now_ms + LEAVE_MAX_MS;
                self.membership.stop = Some(Stop::Leave { until_ms });
                self.beat(ctx);
            }
            Some(Stop::Leave { until_ms })
                if ctx.now_ms >= until_ms || answer.is_some_and(|it| it.is_fenced) =>
            {
                self.has_stopped = true;
            }
            _ => {}
        }
    }

    /// Streams that break when the process ends.
    pub(crate) fn streams(&self) -> Vec<(i32, Message)> {
        let lease = self.membership.lease.as_ref().map(|lease| {
            let stream = lease.stream;
            (lease.controller, Message::BeatsClosed { stream })
        });
        lease.into_iter().chain(self.watch_stream()).collect()
    }
}

/// The controllers in turn.
pub(super) fn controller(target: usize) -> i32 {
    FIRST_CONTROLLER + (target % CONTROLLERS) as i32
}
