//! Follows the metadata, and takes the roles that it gives.

use foz_metadata::Image;
use foz_metadata::image::{NO_LEADER, Partition as Assigned};
use foz_metadata::rules::{min_insync_replicas, partition_min_insync};
use foz_replication::{Assignment, Settings};

use super::membership::controller;
use super::{Broker, LAG_TIME_MAX_MS, Role};
use crate::context::{Context, Timer};
use crate::message::{Frame, Message};
use crate::mutation::Mutation;
use crate::scenario::TOPIC;

const RETRY_MS: i64 = 100;
const LOOK_MS: i64 = 1_000;
/// Unheard for this long, the stream is opened anew.
const SILENCE_MAX_MS: i64 = 2_000;

#[derive(Debug, Default)]
pub(super) struct Watch {
    stream: u64,
    target: usize,
    heard_ms: i64,
    /// What is here does not go together with what comes.
    wants_snapshot: bool,
}

impl Broker {
    pub(super) fn open_watch(&mut self, ctx: &mut Context<'_>) {
        let stream = ctx.chance.number();
        // To follow from the beginning would be to live through the past of the cluster again.
        let begins = self.image.offset() == 0 || self.watch.wants_snapshot;
        let from_offset = if begins { -1 } else { self.image.offset() };
        self.watch.stream = stream;
        self.watch.heard_ms = ctx.now_ms;
        let to = controller(self.watch.target);
        ctx.send(
            to,
            Message::Watch {
                stream,
                from_offset,
            },
        );
        ctx.remind(LOOK_MS, Timer::Watch { stream });
    }

    pub(super) fn watch_stream(&self) -> Option<(i32, Message)> {
        let stream = self.watch.stream;
        let to = controller(self.watch.target);
        Some((to, Message::WatchClosed { stream }))
    }

    pub(super) fn watch_due(&mut self, stream: u64, ctx: &mut Context<'_>) {
        if self.watch.stream != stream {
            return;
        }
        if stream == 0 {
            self.open_watch(ctx);
        } else if ctx.now_ms - self.watch.heard_ms > SILENCE_MAX_MS {
            ctx.send(
                controller(self.watch.target),
                Message::WatchClosed { stream },
            );
            self.watch.target += 1;
            self.open_watch(ctx);
        } else {
            ctx.remind(LOOK_MS, Timer::Watch { stream });
        }
    }

    pub(super) fn watch_broke(&mut self, stream: u64, ctx: &mut Context<'_>) {
        if self.watch.stream == stream && stream != 0 {
            self.watch.stream = 0;
            self.watch.target += 1;
            ctx.remind(RETRY_MS, Timer::Watch { stream: 0 });
        }
    }

    pub(super) fn take_frame(&mut self, stream: u64, frame: Frame, ctx: &mut Context<'_>) {
        if self.watch.stream != stream {
            return;
        }
        self.watch.heard_ms = ctx.now_ms;
        let image = match frame {
            Frame::Snapshot(image) if image.offset() < self.image.offset() => {
                // Of a controller that is behind: what is here must not go back.
                self.close_watch(ctx);
                return;
            }
            Frame::Snapshot(image) => {
                self.watch.wants_snapshot = false;
                *image
            }
            Frame::Batch(batch) => match self.image.apply(&batch) {
                Ok(image) => image,
                Err(_) => {
                    self.watch.wants_snapshot = true;
                    self.close_watch(ctx);
                    return;
                }
            },
        };
        self.advance(image, ctx);
    }

    fn close_watch(&mut self, ctx: &mut Context<'_>) {
        let stream = self.watch.stream;
        ctx.send(
            controller(self.watch.target),
            Message::WatchClosed { stream },
        );
        self.watch_broke(stream, ctx);
    }

    fn advance(&mut self, image: Image, ctx: &mut Context<'_>) {
        self.image = image;
        self.take_roles(ctx);
        self.beat(ctx);
    }

    /// What an image from before the registration says of partitions was said to an earlier process: that had other
    /// proposals under way, and perhaps another log.
    pub(super) fn take_roles(&mut self, ctx: &mut Context<'_>) {
        let known = self.image.broker(self.node_id).map(|broker| broker.epoch);
        self.has_roles |= self.epoch >= 0 && known == Some(self.epoch);
        if !self.has_roles {
            return;
        }
        let Some(topic) = self.image.topic(TOPIC).cloned() else {
            return;
        };
        for (index, assigned) in topic.indexed_partitions() {
            if self.assigned.get(&index) == Some(assigned) {
                continue;
            }
            if self.assigned.insert(index, assigned.clone()).is_none() {
                let first_ms = ctx.chance.between(1, ctx.scenario.flush_every_ms);
                ctx.remind(first_ms, Timer::Flush { partition: index });
            }
            self.take_role(index, assigned, ctx);
        }
    }

    fn take_role(&mut self, index: i32, assigned: &Assigned, ctx: &mut Context<'_>) {
        if !assigned.replicas.contains(&self.node_id) {
            self.resign(index);
            return;
        }
        self.disk.logs.entry(index).or_default();
        match assigned.leader {
            NO_LEADER => self.resign(index),
            leader if leader == self.node_id => {
                let assignment = Assignment {
                    replicas: assigned.replicas.clone(),
                    isr: assigned.isr.clone(),
                    leader,
                    leader_epoch: assigned.leader_epoch,
                    partition_epoch: assigned.partition_epoch,
                };
                let settings = self.settings(assigned, ctx);
                self.lead(index, &assignment, settings, ctx);
            }
            leader => self.follow(index, leader, assigned.leader_epoch, ctx),
        }
    }

    fn settings(&self, assigned: &Assigned, ctx: &Context<'_>) -> Settings {
        let configured = self
            .image
            .topic(TOPIC)
            .map_or(1, |topic| min_insync_replicas(&self.image, topic));
        let min_insync = if ctx.has(Mutation::MinInsyncNotKept) {
            1
        } else {
            partition_min_insync(configured, assigned)
        };
        Settings {
            min_insync,
            lag_time_max_ms: LAG_TIME_MAX_MS,
        }
    }

    fn resign(&mut self, index: i32) {
        self.roles.insert(index, Role::Idle);
        self.has_moved = true;
    }
}
