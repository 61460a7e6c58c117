//! How far scaling has got, for the status, the conditions and the Events. Pure.

use std::collections::BTreeSet;

use foz_crd::ClusterStatus;
use foz_crd::balancing::ScalingStatus;

use crate::cluster::observed::{Observed, QuorumView};
use crate::cluster::scaling::{Scaling, wording};
use crate::conditions::Finding;
use crate::events::Notice;
use crate::names::{ClusterName, Role};
use crate::quorum::rebalance::{Goal, RebalanceState};

/// Brokers that are to go, or are going.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leaving {
    /// How many there were.
    pub from: i32,
    /// How many stay.
    pub to: i32,
    /// Their node ids.
    pub brokers: BTreeSet<i32>,
}

impl Leaving {
    /// `None` when none is.
    #[must_use]
    pub fn new(
        staying: i32,
        present: i32,
        observed: &Observed,
        view: &QuorumView,
        previous: &ClusterStatus,
    ) -> Option<Self> {
        let pods = observed.pods.keys();
        let pods = pods.filter_map(|(role, ordinal)| (*role == Role::Broker).then_some(*ordinal));
        let known = view.brokers.keys().copied().chain(pods);
        let brokers: BTreeSet<i32> = known.filter(|node_id| *node_id >= staying).collect();
        let last = brokers.last()?;
        let before = previous.scaling.as_ref().map(|scaling| scaling.from);
        Some(Self {
            from: before
                .filter(|from| *from > staying)
                .unwrap_or_else(|| present.max(last + 1)),
            to: staying,
            brokers,
        })
    }
}

impl Scaling {
    /// What is under way, in a sentence for the conditions.
    pub(super) fn tell(&mut self, name: &ClusterName, view: &QuorumView) {
        let Some(message) = self.message(name, view) else {
            return;
        };
        let reason = if self.leaving.is_some() {
            "ScalingDown"
        } else if !self.draining.is_empty() {
            "Draining"
        } else {
            "Rebalancing"
        };
        self.progressing.push(Finding::new(reason, message));
    }

    /// How far it has got; `None` when nothing is under way.
    #[must_use]
    pub fn status(&self, name: &ClusterName, view: &QuorumView) -> Option<ScalingStatus> {
        let message = self.message(name, view)?;
        let running = view.rebalancing();
        let added = running.and_then(|it| match &it.goal {
            Some(Goal::AddedBrokers(added)) => i32::try_from(added.len()).ok(),
            _ => None,
        });
        let (from, to) = match &self.leaving {
            Some(leaving) => (leaving.from, leaving.to),
            None => (self.brokers - added.unwrap_or_default(), self.brokers),
        };
        Some(ScalingStatus {
            from,
            to,
            draining: self.draining.iter().copied().collect(),
            rebalance_id: running.map(|it| it.id),
            moved: running.map(|it| it.moves_done),
            left: running.map(|it| it.moves_left()),
            bytes_left: running.map(|it| it.bytes_left()),
            seconds_left: running.and_then(|it| it.seconds_left),
            message,
        })
    }

    fn message(&self, name: &ClusterName, view: &QuorumView) -> Option<String> {
        let running = view.rebalancing().map(wording::progress);
        let draining = || wording::brokers(&self.draining);
        let Some(leaving) = &self.leaving else {
            let about_to = || format!("{} is to be emptied", draining());
            return running.or_else(|| (!self.draining.is_empty()).then(about_to));
        };
        let doing = match running {
            Some(running) => running,
            None if !self.draining.is_empty() => format!("{} is to be emptied", draining()),
            None => {
                let pods = leaving.brokers.iter();
                let pods: Vec<String> = pods.map(|id| name.pod(Role::Broker, *id)).collect();
                format!(
                    "nothing is left on these, and they stop: {}",
                    pods.join(", ")
                )
            }
        };
        Some(format!(
            "from {} to {} brokers: {doing}",
            leaving.from, leaving.to
        ))
    }
}

/// The Event of a rebalance that has ended since the last pass.
#[must_use]
pub fn end(previous: &ClusterStatus, view: &QuorumView) -> Option<Notice> {
    let id = previous.scaling.as_ref()?.rebalance_id?;
    let ended = view.rebalances.get(&id)?;
    let moved = wording::partitions(ended.moves_done);
    let why = if ended.message.is_empty() {
        String::new()
    } else {
        format!("; {}", ended.message)
    };
    Some(match ended.state {
        RebalanceState::Running => return None,
        RebalanceState::Completed => {
            let whereto = match &ended.goal {
                Some(Goal::DrainBrokers(drained)) => format!(" off {}", wording::brokers(drained)),
                Some(Goal::AddedBrokers(added)) => format!(" onto {}", wording::brokers(added)),
                Some(Goal::Full) | None => String::new(),
            };
            let copied = wording::bytes(ended.bytes_done);
            Notice::done(
                "RebalanceCompleted",
                format!("moved {moved}{whereto}, {copied}{why}"),
            )
        }
        RebalanceState::Cancelled => Notice::done(
            "RebalanceCancelled",
            format!("{moved} had been moved, and stay where they are{why}"),
        ),
        RebalanceState::Failed => {
            Notice::warning("RebalanceFailed", format!("{moved} had been moved{why}"))
        }
    })
}
