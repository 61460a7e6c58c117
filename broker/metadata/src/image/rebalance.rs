//! How far the newest rebalance is.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

use super::Image;
use crate::record;

/// The newest rebalance: the one that runs, or that ran last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rebalance {
    /// The offset of the image with its first record: never used again.
    pub id: i64,
    /// What it is for.
    pub goal: RebalanceGoal,
    /// Whether it goes on.
    pub state: RebalanceState,
    /// For people: why it waits, or how it ended. Empty while it goes on.
    pub message: String,
    /// As it was when it was last written.
    pub progress: RebalanceProgress,
    /// Of the operator that asked; 0 when a hand did.
    pub operator_epoch: i64,
    /// By how many percent the replicas of a broker may differ from its share; 0: nobody said.
    pub threshold_percent: u32,
}

/// What a rebalance is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RebalanceGoal {
    /// Whatever makes the cluster more even.
    Full,
    /// Fill brokers that are new.
    AddedBrokers(BTreeSet<i32>),
    /// Take everything off brokers.
    DrainBrokers(BTreeSet<i32>),
}

/// Whether a rebalance goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub enum RebalanceState {
    Running,
    Completed,
    Cancelled,
    Failed,
}

/// What is done of a rebalance. Moves are counted in partitions. It is planned anew as it goes on, so totals change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names say it")]
pub struct RebalanceProgress {
    pub moves_total: u32,
    pub moves_done: u32,
    pub bytes_total: u64,
    pub bytes_done: u64,
    /// `None`: not known.
    pub seconds_left: Option<u64>,
}

impl Image {
    /// The newest rebalance, running or ended.
    #[must_use]
    pub fn rebalance(&self) -> Option<&Arc<Rebalance>> {
        self.rebalance.as_ref()
    }

    /// The rebalance that runs.
    #[must_use]
    pub fn running_rebalance(&self) -> Option<&Arc<Rebalance>> {
        self.rebalance()
            .filter(|rebalance| rebalance.state == RebalanceState::Running)
    }

    /// The partitions that a rebalance moves right now, as (topic id, index).
    pub fn partitions_moved_by(&self, rebalance_id: i64) -> impl Iterator<Item = (Uuid, i32)> {
        self.partitions()
            .filter(move |(_, _, partition)| partition.rebalance_id == rebalance_id)
            .map(|(topic, index, _)| (topic.id, index))
    }
}

impl Rebalance {
    pub(super) fn from_record(record: &record::RebalanceRecord) -> Result<Self, String> {
        use record::RebalanceState as State;
        let unknown = |what: &str, number: i32| format!("rebalance with {what} {number}");
        let brokers = || record.broker_ids.iter().copied().collect();
        let goal = match record::RebalanceGoal::try_from(record.goal) {
            Ok(record::RebalanceGoal::Full) => RebalanceGoal::Full,
            Ok(record::RebalanceGoal::AddedBrokers) => RebalanceGoal::AddedBrokers(brokers()),
            Ok(record::RebalanceGoal::DrainBrokers) => RebalanceGoal::DrainBrokers(brokers()),
            Ok(record::RebalanceGoal::Unspecified) | Err(_) => {
                return Err(unknown("goal", record.goal));
            }
        };
        let state = match State::try_from(record.state) {
            Ok(State::Running) => RebalanceState::Running,
            Ok(State::Completed) => RebalanceState::Completed,
            Ok(State::Cancelled) => RebalanceState::Cancelled,
            Ok(State::Failed) => RebalanceState::Failed,
            Ok(State::Unspecified) | Err(_) => return Err(unknown("state", record.state)),
        };
        Ok(Self {
            id: record.rebalance_id,
            goal,
            state,
            message: record.message.clone(),
            progress: RebalanceProgress {
                moves_total: u32::try_from(record.moves_total).unwrap_or_default(),
                moves_done: u32::try_from(record.moves_done).unwrap_or_default(),
                bytes_total: u64::try_from(record.bytes_total).unwrap_or_default(),
                bytes_done: u64::try_from(record.bytes_done).unwrap_or_default(),
                seconds_left: u64::try_from(record.seconds_left).ok(),
            },
            operator_epoch: record.operator_epoch,
            threshold_percent: u32::try_from(record.threshold_percent).unwrap_or_default(),
        })
    }

    pub(crate) fn to_record(&self) -> record::RebalanceRecord {
        use record::RebalanceState as State;
        let goal = match self.goal {
            RebalanceGoal::Full => record::RebalanceGoal::Full,
            RebalanceGoal::AddedBrokers(_) => record::RebalanceGoal::AddedBrokers,
            RebalanceGoal::DrainBrokers(_) => record::RebalanceGoal::DrainBrokers,
        };
        let state = match self.state {
            RebalanceState::Running => State::Running,
            RebalanceState::Completed => State::Completed,
            RebalanceState::Cancelled => State::Cancelled,
            RebalanceState::Failed => State::Failed,
        };
        let moves = |moves: u32| i32::try_from(moves).unwrap_or(i32::MAX);
        let bytes = |bytes: u64| i64::try_from(bytes).unwrap_or(i64::MAX);
        record::RebalanceRecord {
            rebalance_id: self.id,
            goal: goal.into(),
            broker_ids: self.goal.broker_ids().collect(),
            state: state.into(),
            message: self.message.clone(),
            moves_total: moves(self.progress.moves_total),
            moves_done: moves(self.progress.moves_done),
            bytes_total: bytes(self.progress.bytes_total),
            bytes_done: bytes(self.progress.bytes_done),
            seconds_left: self.progress.seconds_left.map_or(-1, bytes),
            operator_epoch: self.operator_epoch,
            threshold_percent: i32::try_from(self.threshold_percent).unwrap_or(i32::MAX),
        }
    }
}

impl RebalanceGoal {
    /// The brokers that it names.
    pub fn broker_ids(&self) -> impl Iterator<Item = i32> + '_ {
        let named = match self {
            Self::Full => None,
            Self::AddedBrokers(named) | Self::DrainBrokers(named) => Some(named),
        };
        named.into_iter().flatten().copied()
    }

    /// The brokers that it takes everything off.
    pub fn drained(&self) -> impl Iterator<Item = i32> + '_ {
        let is_drain = matches!(self, Self::DrainBrokers(_));
        self.broker_ids().filter(move |_| is_drain)
    }
}

/// As the subject of a sentence.
impl fmt::Display for RebalanceGoal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => write!(formatter, "the rebalance of all brokers"),
            Self::AddedBrokers(named) => {
                write!(formatter, "the filling of {}", brokers(named))
            }
            Self::DrainBrokers(named) => write!(formatter, "the drain of {}", brokers(named)),
        }
    }
}

/// `broker 4`, `brokers 4 and 5`, `brokers 3, 4 and 5`.
fn brokers(named: &BTreeSet<i32>) -> String {
    let mut names: Vec<String> = named.iter().map(i32::to_string).collect();
    match (names.pop(), names.is_empty()) {
        (None, _) => "no broker".to_owned(),
        (Some(only), true) => format!("broker {only}"),
        (Some(last), false) => format!("brokers {} and {last}", names.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_named_in_words() {
        let named = |ids: &[i32]| RebalanceGoal::DrainBrokers(ids.iter().copied().collect());
        let texts = [
            (named(&[4]), "the drain of broker 4"),
            (named(&[5, 4]), "the drain of brokers 4 and 5"),
            (named(&[5, 4, 3]), "the drain of brokers 3, 4 and 5"),
            (RebalanceGoal::Full, "the rebalance of all brokers"),
        ];
        for (goal, text) in texts {
            assert_eq!(goal.to_string(), text);
        }
    }

    #[test]
    fn a_record_that_this_version_does_not_know_is_an_error() {
        let rebalance = Rebalance {
            id: 7,
            goal: RebalanceGoal::AddedBrokers([3, 4].into()),
            state: RebalanceState::Failed,
            message: "why".to_owned(),
            progress: RebalanceProgress {
                moves_total: 9,
                moves_done: 4,
                bytes_total: 1 << 40,
                bytes_done: 1 << 39,
                seconds_left: Some(60),
            },
            operator_epoch: 2,
            threshold_percent: 25,
        };
        let record = rebalance.to_record();
        assert_eq!(Rebalance::from_record(&record).as_ref(), Ok(&rebalance));
        let unknown = record::RebalanceRecord {
            goal: 9,
            ..record.clone()
        };
        assert!(Rebalance::from_record(&unknown).is_err());
        let unknown = record::RebalanceRecord { state: 9, ..record };
        assert!(Rebalance::from_record(&unknown).is_err());
    }
}
