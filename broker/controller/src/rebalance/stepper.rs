//! A rebalance, step by step.

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::time::Duration;

use foz_balance::{Broker, Estimate, Move, MoveState};
use foz_metadata::Image;
use foz_metadata::image::{Rebalance, RebalanceGoal, RebalanceProgress};
use foz_metadata::rules::{ProgressRebalance, RebalanceEnd};
use uuid::Uuid;

use super::begun::Begun;
use super::conversion::{brokers, is_there};
use super::current_plan::CurrentPlan;
use super::limits::RebalanceLimits;
use super::loads::Loads;
use super::pace::Pace;
use super::planning::plan;
use super::under_way::{UnderWay, under_way};
use super::waiting::why_it_waits;

/// Between two plans, where the first came to nothing.
const PLAN_AGAIN_AFTER: Duration = Duration::from_secs(5);
/// A plan of which nothing can begin is made anew after so long: loads and disks change.
const PLAN_OLD_AFTER: Duration = Duration::from_secs(30);
/// While clients go on the loads shift, and a cluster may never be quite even. A drain goes on until it is done.
const PLANS_MAX: u32 = 5;

/// What this controller knows of the rebalance that runs. One that becomes active begins with nothing but the image.
#[derive(Debug)]
pub(crate) struct Stepper {
    rebalance_id: i64,
    limits: RebalanceLimits,
    plan: Option<CurrentPlan>,
    /// Why there is none.
    refused: Option<String>,
    /// The brokers that it was planned for.
    planned_for: Vec<Broker>,
    planned_at: Option<Duration>,
    /// When the first step was asked for.
    began: Option<Duration>,
    /// Plans that had something to do.
    plans: u32,
    begun: Begun,
    pace: Pace,
    /// Since when brokers are away.
    away: BTreeMap<i32, Duration>,
}

/// What is to be done now.
#[derive(Debug)]
pub(crate) struct Step {
    /// How far it is by this step is in there.
    pub(crate) request: ProgressRebalance,
    /// Copied of late.
    pub(crate) bytes_per_second: u64,
}

impl Stepper {
    pub(crate) fn new(rebalance: &Rebalance, limits: RebalanceLimits) -> Self {
        Self {
            rebalance_id: rebalance.id,
            limits,
            plan: None,
            refused: None,
            planned_for: Vec::new(),
            planned_at: None,
            began: None,
            plans: 0,
            begun: Begun::new(&rebalance.progress),
            pace: Pace::default(),
            away: BTreeMap::new(),
        }
    }

    pub(crate) fn rebalance_id(&self) -> i64 {
        self.rebalance_id
    }

    /// The next step of `rebalance`, which runs in `image`. `now` counts from anywhere, and grows.
    pub(crate) fn step(
        &mut self,
        image: &Image,
        loads: &Loads,
        rebalance: &Rebalance,
        now: Duration,
    ) -> Step {
        let goal = &rebalance.goal;
        self.began.get_or_insert(now);
        let mut request = ProgressRebalance {
            rebalance_id: self.rebalance_id,
            ..ProgressRebalance::default()
        };
        if let Some(why) = contradiction(image, goal) {
            request.end = Some(RebalanceEnd::Failed(why));
            return self.end(request);
        }
        let under_way = under_way(image, loads);
        self.begun.look(image, self.rebalance_id);
        for it in self.own(&under_way) {
            self.begun.add(it.id, it.one.to.clone(), it.one.bytes);
        }
        request.call_off = self.hopeless(image, &under_way, now);
        if self.needs_plan(image, loads, &under_way, now) {
            self.plan(image, loads, rebalance, now);
        }
        let mut states = Vec::new();
        let mut lacking_room = None;
        if let Some(plan) = &mut self.plan {
            states = plan.take_stock(image);
            let batch = plan.next_batch(&states, &under_way, image, loads, &self.limits);
            (request.begin, lacking_room) = (batch.begin, batch.lacking_room);
        }
        let progress = self.progress(&rebalance.progress, &under_way, &states, now);
        let is_idle = request.begin.is_empty()
            && request.call_off.is_empty()
            && self.own(&under_way).next().is_none();
        let has_nothing_to_do = self.plan.as_ref().is_some_and(CurrentPlan::was_empty);
        if is_idle && has_nothing_to_do && is_reached(image, goal) {
            request.end = Some(RebalanceEnd::Completed);
        }
        let waits = match (&request.end, is_idle) {
            (Some(_), _) => None,
            (None, false) => self.stalled(image, &under_way),
            (None, true) => self.refused.clone().or_else(|| {
                let plan = self.plan.as_ref();
                why_it_waits(image, goal, plan, &states, lacking_room, &under_way)
            }),
        };
        for wanted in &request.begin {
            let adding = wanted.to.iter().filter(|id| !wanted.from.contains(id));
            let load = loads.partition(wanted.topic_id, wanted.index);
            let bytes = load.unwrap_or_default().bytes * adding.count() as u64;
            let id = (wanted.topic_id, wanted.index);
            self.begun.add(id, wanted.to.clone(), bytes);
        }
        request.told = Some((progress, waits.unwrap_or_default()));
        self.end(request)
    }

    fn end(&self, request: ProgressRebalance) -> Step {
        Step {
            request,
            bytes_per_second: self.pace.bytes_per_second(),
        }
    }

    fn own<'a>(&self, under_way: &'a [UnderWay]) -> impl Iterator<Item = &'a UnderWay> + use<'a> {
        let rebalance_id = self.rebalance_id;
        under_way
            .iter()
            .filter(move |it| it.rebalance_id == rebalance_id)
    }

    /// Moves of its own to a broker that gets nothing new by now, or that is away for too long, and those that wait for a
    /// replica on a disk that has failed. What they were for is planned anew.
    fn hopeless(
        &mut self,
        image: &Image,
        under_way: &[UnderWay],
        now: Duration,
    ) -> Vec<(Uuid, i32)> {
        let is_away = |node_id: &i32| !is_there(image, *node_id);
        let gone = image.brokers().map(|broker| broker.node_id).filter(is_away);
        self.away = gone
            .map(|node_id| (node_id, self.away.get(&node_id).copied().unwrap_or(now)))
            .collect();
        let is_hopeless = |node_id: &i32| {
            let since = self.away.get(node_id);
            image.broker(*node_id).is_none()
                || image.is_cordoned(*node_id)
                || since.is_some_and(|since| now.saturating_sub(*since) >= self.limits.away)
        };
        let own = self.own(under_way);
        let hopeless =
            own.filter(|it| it.is_hopeless || it.behind_and_new().any(|id| is_hopeless(&id)));
        hopeless.map(|it| it.id).collect()
    }

    fn needs_plan(
        &self,
        image: &Image,
        loads: &Loads,
        under_way: &[UnderWay],
        now: Duration,
    ) -> bool {
        let Some(planned_at) = self.planned_at else {
            let waited = self
                .began
                .map_or(Duration::ZERO, |at| now.saturating_sub(at));
            return loads.are_told(image) || waited >= self.limits.loads_wait;
        };
        let age = now.saturating_sub(planned_at);
        let is_same = self.planned_for == planned_for(image, loads);
        let has_own = self.own(under_way).next().is_some();
        match &self.plan {
            None => age >= PLAN_AGAIN_AFTER || !is_same && age >= PLAN_AGAIN_AFTER / 5,
            Some(_) if !is_same => age >= PLAN_AGAIN_AFTER / 5,
            Some(_) if has_own => false,
            Some(plan) if plan.is_over(image) => plan.has_begun() || age >= PLAN_AGAIN_AFTER,
            Some(_) => age >= PLAN_OLD_AFTER,
        }
    }

    fn plan(&mut self, image: &Image, loads: &Loads, rebalance: &Rebalance, now: Duration) {
        let (goal, threshold_percent) = (&rebalance.goal, rebalance.threshold_percent);
        let is_next = self.plan.as_ref().is_some_and(CurrentPlan::has_begun);
        (self.planned_for, self.planned_at) = (planned_for(image, loads), Some(now));
        match plan(
            image,
            loads,
            &still_possible(image, goal),
            threshold_percent,
        ) {
            Ok(planned) => {
                let mut plan = CurrentPlan::new(planned);
                self.plans += u32::from(is_next && !plan.was_empty());
                if self.plans >= PLANS_MAX && goal.drained().next().is_none() {
                    plan = plan.without_moves();
                }
                (self.plan, self.refused) = (Some(plan), None);
            }
            Err(why) => (self.plan, self.refused) = (None, Some(why)),
        }
    }

    fn progress(
        &mut self,
        before: &RebalanceProgress,
        under_way: &[UnderWay],
        states: &[MoveState],
        now: Duration,
    ) -> RebalanceProgress {
        let own = self.own(under_way);
        let (running, running_states): (Vec<Move>, Vec<MoveState>) =
            own.map(|it| (it.one.clone(), it.state)).unzip();
        let running = Estimate::new(&running, &running_states, 0);
        let waiting = self.plan.as_ref().map_or_else(Estimate::default, |plan| {
            Estimate::new(plan.moves(), states, 0)
        });
        let copied = self.begun.done_bytes.saturating_add(running.copied_bytes);
        self.pace.add(now, copied, self.begun.done_moves);
        let left_moves = (running.left_moves + waiting.left_moves) as u64;
        let left_bytes = running.left_bytes.saturating_add(waiting.left_bytes);
        let moves = |moves: u64| u32::try_from(moves).unwrap_or(u32::MAX);
        let progress = RebalanceProgress {
            moves_total: moves(self.begun.done_moves + left_moves),
            moves_done: moves(self.begun.done_moves),
            bytes_total: copied.saturating_add(left_bytes),
            bytes_done: copied,
            seconds_left: self.pace.seconds_left(left_bytes, left_moves),
        };
        if self.plan.is_some() {
            return progress;
        }
        // How much is left is not known right now.
        RebalanceProgress {
            moves_total: progress.moves_total.max(before.moves_total),
            bytes_total: progress.bytes_total.max(before.bytes_total),
            seconds_left: None,
            ..progress
        }
    }

    /// Whom the moves under way wait for, where all of them do.
    fn stalled(&self, image: &Image, under_way: &[UnderWay]) -> Option<String> {
        let mut own = self.own(under_way);
        let first = own.next()?.waits_for(image)?;
        own.all(|it| it.waits_for(image).is_some()).then_some(first)
    }
}

/// What a plan is made anew for when it changes. Some file systems say another size whenever they are asked.
fn planned_for(image: &Image, loads: &Loads) -> Vec<Broker> {
    let mut brokers = brokers(image, loads);
    for broker in &mut brokers {
        broker.capacity_bytes = broker.capacity_bytes.map(|_| 0);
    }
    brokers
}

/// Somebody took back what the rebalance needs.
fn contradiction(image: &Image, goal: &RebalanceGoal) -> Option<String> {
    let is_registered = |id: &i32| image.broker(*id).is_some();
    match goal {
        RebalanceGoal::Full => None,
        RebalanceGoal::AddedBrokers(_) => {
            let mut named = goal.broker_ids().filter(is_registered);
            let id = named.find(|id| image.is_cordoned(*id))?;
            Some(format!(
                "broker {id} was cordoned, so it gets no new replicas"
            ))
        }
        RebalanceGoal::DrainBrokers(_) => {
            let mut named = goal.broker_ids().filter(is_registered);
            let id = named.find(|id| !image.is_cordoned(*id))?;
            Some(format!(
                "broker {id} is not cordoned any more, so it gets new replicas while it is drained: \
                 cordon it and start again"
            ))
        }
    }
}

/// Brokers that were unregistered have nothing and need nothing; those that are away get theirs when they are back.
fn still_possible(image: &Image, goal: &RebalanceGoal) -> RebalanceGoal {
    let is_registered = |id: &i32| image.broker(*id).is_some();
    match goal {
        RebalanceGoal::Full => RebalanceGoal::Full,
        RebalanceGoal::AddedBrokers(named) => {
            let there = named.iter().copied().filter(|id| is_there(image, *id));
            RebalanceGoal::AddedBrokers(there.collect())
        }
        RebalanceGoal::DrainBrokers(named) => {
            RebalanceGoal::DrainBrokers(named.iter().copied().filter(is_registered).collect())
        }
    }
}

/// Whether nothing is left for when nothing is planned.
fn is_reached(image: &Image, goal: &RebalanceGoal) -> bool {
    let is_gone = |id: i32| image.broker(id).is_none();
    match goal {
        RebalanceGoal::Full => true,
        RebalanceGoal::AddedBrokers(named) => {
            named.iter().all(|id| is_gone(*id) || is_there(image, *id))
        }
        RebalanceGoal::DrainBrokers(named) => named.iter().all(|id| image.replica_count(*id) == 0),
    }
}
