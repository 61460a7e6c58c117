//! A rebalance that runs is taken on, one step after the other.
//!
//! A step is worked out on a thread of its own, on the image as it is then: a plan for 100,000 replicas takes some
//! hundred milliseconds, and beats and commands do not wait for it. What comes of it is a decision of a rule like any
//! other.

use std::sync::atomic::Ordering;
use std::time::Duration;

use foz_metadata::rules::{RebalanceEnd, progress_rebalance};
use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::time::Instant;

use super::{Active, IN_FLIGHT_MAX};
use crate::rebalance::{Step, Stepper};

/// Between the beginnings of two steps where something has changed since.
const STEP_PAUSE: Duration = Duration::from_millis(200);
/// Where nothing has.
const IDLE_PAUSE: Duration = Duration::from_secs(1);
/// A step that takes long is not taken again right away: at most one part in so many of the time goes there.
const WORK_PART: u32 = 5;
/// How often at most it is written how far it is.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// What this term knows of the rebalance that runs.
#[derive(Default)]
pub(super) struct Rebalancing {
    /// Not while a step is worked out.
    stepper: Option<Box<Stepper>>,
    pub(super) work: Option<BoxFuture<'static, Option<Worked>>>,
    last: Option<Last>,
    told_at: Option<Instant>,
    /// As it was logged last.
    waits: String,
}

/// The step before.
struct Last {
    began: Instant,
    took: Duration,
    /// Of the image afterwards.
    offset: i64,
}

/// A step that was worked out.
pub(super) struct Worked {
    stepper: Box<Stepper>,
    step: Step,
    began: Instant,
}

impl Rebalancing {
    /// The pending image begins again from what is committed, and another decision may get a known offset.
    pub(super) fn image_replaced(&mut self) {
        self.last = None;
    }

    fn is_due(&self, offset: i64, now: Instant) -> bool {
        let Some(last) = &self.last else {
            return true;
        };
        let pause = match last.offset == offset {
            true => IDLE_PAUSE,
            false => STEP_PAUSE,
        };
        now.saturating_duration_since(last.began) >= pause.max(last.took * WORK_PART)
    }
}

impl Active {
    /// Quick while none runs, or a step is worked out.
    pub(super) fn rebalance(&mut self) {
        let is_busy = self.is_in_doubt || self.in_flight.len() >= IN_FLIGHT_MAX / 2;
        if is_busy || self.rebalancing.work.is_some() {
            return;
        }
        let Some(running) = self.pending.running_rebalance().cloned() else {
            self.rebalancing = Rebalancing::default();
            return;
        };
        let began = Instant::now();
        if !self.rebalancing.is_due(self.pending.offset(), began) {
            return;
        }
        let known = self.rebalancing.stepper.take();
        let known = known.filter(|stepper| stepper.rebalance_id() == running.id);
        let mut stepper = known.unwrap_or_else(|| {
            let rebalance_id = running.id;
            tracing::info!(rebalance_id, goal = %running.goal, "a rebalance goes on here");
            self.rebalancing.waits.clear();
            let limits = self.shared.config.rebalance.clone();
            Box::new(Stepper::new(&running, limits))
        });
        let image = self.pending.clone();
        let loads = self.shared.loads.lock().clone();
        let now = self.began.elapsed();
        let work = tokio::task::spawn_blocking(move || {
            let step = stepper.step(&image, &loads, &running, now);
            Worked {
                stepper,
                step,
                began,
            }
        });
        // An error: it panicked, which is logged; the next step begins anew.
        self.rebalancing.work = Some(work.map(Result::ok).boxed());
    }

    pub(super) fn rebalance_worked(&mut self, worked: Option<Worked>) {
        self.rebalancing.work = None;
        let now = Instant::now();
        let Some(Worked {
            stepper,
            step,
            began,
        }) = worked
        else {
            tracing::error!("a step of the rebalance could not be worked out");
            self.rebalancing.last = Some(Last {
                began: now,
                took: IDLE_PAUSE,
                offset: self.pending.offset(),
            });
            return;
        };
        let Step {
            mut request,
            bytes_per_second,
        } = step;
        let copied = &self.shared.copied_bytes_per_second;
        copied.store(bytes_per_second, Ordering::Relaxed);
        self.rebalancing.stepper = Some(stepper);
        if !self.is_in_doubt {
            self.log_waiting(request.told.as_ref().map_or("", |(_, why)| why));
            let is_early = |at: Instant| now.saturating_duration_since(at) < TOLD_EVERY;
            if request.end.is_none() && self.rebalancing.told_at.is_some_and(is_early) {
                request.told = None;
            } else {
                self.rebalancing.told_at = Some(now);
            }
            let has_work = request.end.is_some()
                || request.told.is_some()
                || !request.begin.is_empty()
                || !request.call_off.is_empty();
            let step = has_work.then(|| {
                self.run_own("go on with a rebalance", |image| {
                    progress_rebalance(image, &request)
                })
            });
            let step = step.flatten().unwrap_or_default();
            let rebalance_id = request.rebalance_id;
            if step.begun + step.called_off > 0 {
                let (begun, called_off) = (step.begun, step.called_off);
                tracing::debug!(rebalance_id, begun, called_off, "moves of a rebalance");
            }
            match &request.end {
                Some(RebalanceEnd::Completed) if step.has_ended => {
                    let done = request.told.map(|(progress, _)| progress);
                    let done = done.unwrap_or_default();
                    let (moves, bytes) = (done.moves_done, done.bytes_done);
                    tracing::info!(rebalance_id, moves, bytes, "a rebalance is complete");
                }
                Some(RebalanceEnd::Failed(why)) if step.has_ended => {
                    tracing::warn!(rebalance_id, why, "a rebalance has failed");
                }
                Some(_) | None => {}
            }
        }
        self.rebalancing.last = Some(Last {
            began,
            took: now.saturating_duration_since(began),
            offset: self.pending.offset(),
        });
    }

    fn log_waiting(&mut self, why: &str) {
        if self.rebalancing.waits == why {
            return;
        }
        why.clone_into(&mut self.rebalancing.waits);
        if !why.is_empty() {
            tracing::info!(why, "a rebalance waits");
        }
    }
}
