//! Moving replicas between brokers: what the active controller carries out by itself once it was asked to, and what
//! belongs to it: cordons, and forgetting brokers.

use std::collections::BTreeSet;

use foz_api::CallError;
use foz_api::v1::plan_rebalance_response::{Answer as PlanAnswer, Plan};
use foz_api::v1::start_rebalance_response::Answer as StartAnswer;
use foz_api::v1::{
    CancelRebalanceRequest, CordonBrokersRequest, PlanRebalanceRequest, RebalanceGoal,
    StartRebalanceRequest, UnregisterBrokerRequest, rebalance,
};
use tonic::Code;

use crate::quorum::{Quorum, QuorumError};

/// What replicas are moved for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Goal {
    /// All brokers get equally many.
    Full,
    /// These get some.
    AddedBrokers(BTreeSet<i32>),
    /// These lose all.
    DrainBrokers(BTreeSet<i32>),
}

/// A rebalance as the quorum tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebalanceView {
    /// Never given to another.
    pub id: i64,
    /// What for; `None` for a goal of a newer version.
    pub goal: Option<Goal>,
    /// Whether it runs, and how it ended.
    pub state: RebalanceState,
    /// Why it waits or how it ended; may be empty.
    pub message: String,
    /// Partitions that it moves.
    pub moves_total: i32,
    /// Of them those that it has moved.
    pub moves_done: i32,
    /// Bytes that it copies.
    pub bytes_total: i64,
    /// Of them those that it has copied.
    pub bytes_done: i64,
    /// An estimate, where there is one.
    pub seconds_left: Option<i64>,
}

/// The state of a rebalance.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RebalanceState {
    /// It goes on.
    Running,
    /// Nothing is left to be moved.
    Completed,
    /// Somebody stopped it, or another one took its place.
    Cancelled,
    /// It could not go on.
    Failed,
}

/// What came of the wish to begin one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Started {
    /// It runs now, or did already.
    Yes {
        /// Its number.
        id: i64,
        /// Partitions that it moves.
        moves: i32,
        /// Bytes that it copies.
        bytes: i64,
    },
    /// All is as it would be afterwards.
    NothingToDo,
    /// Not now; why.
    Refused(String),
}

impl Goal {
    /// The brokers that it names.
    #[must_use]
    pub fn brokers(&self) -> Option<&BTreeSet<i32>> {
        match self {
            Self::Full => None,
            Self::AddedBrokers(brokers) | Self::DrainBrokers(brokers) => Some(brokers),
        }
    }

    /// The brokers that it empties.
    #[must_use]
    pub fn drained(&self) -> Option<&BTreeSet<i32>> {
        match self {
            Self::Full | Self::AddedBrokers(_) => None,
            Self::DrainBrokers(brokers) => Some(brokers),
        }
    }

    const fn in_contract(&self) -> RebalanceGoal {
        match self {
            Self::Full => RebalanceGoal::Full,
            Self::AddedBrokers(_) => RebalanceGoal::AddedBrokers,
            Self::DrainBrokers(_) => RebalanceGoal::DrainBrokers,
        }
    }

    fn broker_ids(&self) -> Vec<i32> {
        let brokers = self.brokers().into_iter().flatten();
        brokers.copied().collect()
    }
}

impl RebalanceView {
    /// It goes on.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.state == RebalanceState::Running
    }

    /// Partitions that are still to be moved.
    #[must_use]
    pub fn moves_left(&self) -> i32 {
        self.moves_total.saturating_sub(self.moves_done).max(0)
    }

    /// Bytes that are still to be copied.
    #[must_use]
    pub fn bytes_left(&self) -> i64 {
        self.bytes_total.saturating_sub(self.bytes_done).max(0)
    }
}

impl From<foz_api::v1::Rebalance> for RebalanceView {
    fn from(told: foz_api::v1::Rebalance) -> Self {
        use rebalance::State;
        let brokers = || told.broker_ids.iter().copied().collect();
        let goal = match told.goal() {
            RebalanceGoal::Unspecified => None,
            RebalanceGoal::Full => Some(Goal::Full),
            RebalanceGoal::AddedBrokers => Some(Goal::AddedBrokers(brokers())),
            RebalanceGoal::DrainBrokers => Some(Goal::DrainBrokers(brokers())),
        };
        let state = match told.state() {
            State::Running => RebalanceState::Running,
            State::Completed => RebalanceState::Completed,
            State::Cancelled => RebalanceState::Cancelled,
            // One of a newer version: it is not known to go on.
            State::Failed | State::Unspecified => RebalanceState::Failed,
        };
        Self {
            id: told.rebalance_id,
            goal,
            state,
            message: told.message,
            moves_total: told.moves_total,
            moves_done: told.moves_done,
            bytes_total: told.bytes_total,
            bytes_done: told.bytes_done,
            seconds_left: (told.seconds_left >= 0).then_some(told.seconds_left),
        }
    }
}

impl Quorum {
    /// Asks what would be moved. Nothing is. 0 percent: how even is even is not said.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`]. A refusal is no error: a sentence that says why.
    pub async fn plan_rebalance(
        &self,
        goal: &Goal,
        threshold_percent: i32,
    ) -> Result<Result<Plan, String>, QuorumError> {
        let request = PlanRebalanceRequest {
            goal: goal.in_contract().into(),
            broker_ids: goal.broker_ids(),
            threshold_percent,
        };
        let answer = self
            .read(|mut client| {
                let request = request.clone();
                async move { client.plan_rebalance(request).await }
            })
            .await;
        let answer = match known(answer)? {
            Ok(answer) => answer.into_inner().answer,
            Err(why) => return Ok(Err(why)),
        };
        Ok(match answer {
            Some(PlanAnswer::Plan(plan)) => Ok(plan),
            Some(PlanAnswer::Refused(why)) => Err(why),
            None => Err(NEWER.to_owned()),
        })
    }

    /// Begins to move replicas; `only_if_uneven` where there is a reason to.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`]. It may have begun all the same.
    pub async fn start_rebalance(
        &self,
        goal: &Goal,
        threshold_percent: i32,
        only_if_uneven: bool,
    ) -> Result<Started, QuorumError> {
        let answer = self
            .change(|mut client, operator_epoch| {
                let request = StartRebalanceRequest {
                    goal: goal.in_contract().into(),
                    broker_ids: goal.broker_ids(),
                    operator_epoch,
                    threshold_percent,
                    only_if_uneven,
                };
                async move { client.start_rebalance(request).await }
            })
            .await;
        let answer = match known(answer)? {
            Ok(answer) => answer.into_inner().answer,
            Err(why) => return Ok(Started::Refused(why)),
        };
        Ok(match answer {
            Some(StartAnswer::Started(started)) => Started::Yes {
                id: started.rebalance_id,
                moves: started.moves,
                bytes: started.bytes,
            },
            Some(StartAnswer::NothingToDo(_)) => Started::NothingToDo,
            Some(StartAnswer::Refused(why)) => Started::Refused(why),
            None => Started::Refused(NEWER.to_owned()),
        })
    }

    /// Stops one, and what it has under way. Says whether it ran.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn cancel_rebalance(&self, rebalance_id: i64) -> Result<bool, QuorumError> {
        self.change(|mut client, operator_epoch| {
            let request = CancelRebalanceRequest {
                rebalance_id,
                operator_epoch,
            };
            async move { client.cancel_rebalance(request).await }
        })
        .await
        .map(|answer| answer.into_inner().cancelled)
    }

    /// Says that brokers get no new replicas, or takes that back.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn cordon(&self, brokers: &BTreeSet<i32>, cordoned: bool) -> Result<(), QuorumError> {
        self.change(|mut client, operator_epoch| {
            let request = CordonBrokersRequest {
                node_ids: brokers.iter().copied().collect(),
                cordoned,
                operator_epoch,
            };
            async move { client.cordon_brokers(request).await }
        })
        .await
        .map(drop)
    }

    /// Has a broker forgotten that is gone for good. `Err` within is why it is not.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn unregister_broker(&self, node_id: i32) -> Result<Result<(), String>, QuorumError> {
        let answer = self
            .change(|mut client, operator_epoch| {
                let request = UnregisterBrokerRequest {
                    node_id,
                    operator_epoch,
                };
                async move { client.unregister_broker(request).await }
            })
            .await?;
        let outcome = answer.into_inner().outcome.unwrap_or_default();
        Ok(match outcome.kafka_code {
            // Somebody else has done it.
            0 | BROKER_ID_NOT_REGISTERED => Ok(()),
            _ => Err(outcome.message),
        })
    }
}

/// Kafka's code (https://kafka.apache.org/protocol#protocol_error_codes).
const BROKER_ID_NOT_REGISTERED: i32 = 102;

const NEWER: &str = "the controllers answer what this operator does not understand: upgrade it";

/// Controllers of an older version do not know the call: that is no trouble of the connection.
fn known<T>(answer: Result<T, QuorumError>) -> Result<Result<T, String>, QuorumError> {
    match answer {
        Err(QuorumError::Call(CallError::Answered(status)))
            if status.code() == Code::Unimplemented =>
        {
            let why = "the controllers cannot move replicas: they are of an older version";
            Ok(Err(why.to_owned()))
        }
        answer => answer.map(Ok),
    }
}

#[cfg(test)]
mod tests {
    use super::{Goal, RebalanceState, RebalanceView};
    use foz_api::v1::rebalance::State;
    use foz_api::v1::{Rebalance, RebalanceGoal};

    #[test]
    fn what_is_told_is_read() {
        let view = RebalanceView::from(Rebalance {
            rebalance_id: 7,
            goal: RebalanceGoal::DrainBrokers.into(),
            broker_ids: vec![5, 4],
            state: State::Running.into(),
            moves_total: 120,
            moves_done: 34,
            bytes_total: 10,
            bytes_done: 12,
            seconds_left: -1,
            ..Rebalance::default()
        });
        assert_eq!(view.goal, Some(Goal::DrainBrokers([4, 5].into())));
        assert!(view.runs());
        assert_eq!((view.moves_left(), view.bytes_left()), (86, 0));
        assert_eq!(view.seconds_left, None);
        // Of a newer version.
        let view = RebalanceView::from(Rebalance {
            goal: 99,
            state: 99,
            ..Rebalance::default()
        });
        assert_eq!((view.goal, view.state), (None, RebalanceState::Failed));
    }
}
