//! Asking the quorum whether a process may stop. The answer is a lock: `docs/adr/0013-the-restart-grant.md`.

use std::time::Duration;

use foz_api::v1::acquire_restart_response::Answer;
use foz_api::v1::{AcquireRestartRequest, DeniedReason, EndRestartRequest};

use crate::quorum::view::from_hex;
use crate::quorum::{Contact, Quorum, QuorumError};
use crate::sentence::cut;

/// The stream of events brings a grant within milliseconds, or it does not live.
const TOLD_TIMEOUT: Duration = Duration::from_secs(1);
/// What the quorum takes as a reason.
const REASON_BYTES_MAX: usize = 1024;

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RestartQuestion {
    /// A broker, or a controller.
    pub node_id: i32,
    /// The process, as 32 hexadecimal digits.
    pub incarnation: String,
    /// Why it is to stop.
    pub reason: String,
    /// Go on where no waiting would help.
    pub allow_unavailable: bool,
    /// Whatever it costs.
    pub insist: bool,
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RestartAnswer {
    /// It may, until the grant ends.
    Granted {
        /// The grant.
        grant_epoch: i64,
        /// What has too few members meanwhile: partitions, or the quorum.
        unprotected: Vec<String>,
    },
    /// Not now.
    Denied {
        /// What kind of reason.
        reason: DeniedReason,
        /// A sentence.
        message: String,
    },
}

impl Quorum {
    /// Asks whether a process may stop.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`]. The process may have a grant all the same.
    pub async fn acquire_restart(
        &self,
        question: &RestartQuestion,
    ) -> Result<RestartAnswer, QuorumError> {
        let incarnation = from_hex(&question.incarnation)
            .filter(|bytes| bytes.len() == 16)
            .ok_or_else(|| QuorumError::NoProcess(question.incarnation.clone()))?;
        let request = AcquireRestartRequest {
            node_id: question.node_id,
            incarnation,
            reason: cut(question.reason.clone(), REASON_BYTES_MAX),
            operator_epoch: 0,
            allow_unavailable: question.allow_unavailable,
            insist: question.insist,
        };
        let answer = self
            .change(|mut client, operator_epoch| {
                let request = AcquireRestartRequest {
                    operator_epoch,
                    ..request.clone()
                };
                async move { client.acquire_restart(request).await }
            })
            .await?;
        Ok(answered(answer.into_inner().answer))
    }

    /// Ends a grant.
    ///
    /// # Errors
    /// When the call fails; see [`QuorumError`].
    pub async fn end_restart(&self, node_id: i32, grant_epoch: i64) -> Result<(), QuorumError> {
        self.change(|mut client, operator_epoch| {
            let request = EndRestartRequest {
                node_id,
                grant_epoch,
                operator_epoch,
            };
            async move { client.end_restart(request).await }
        })
        .await
        .map(drop)
    }

    /// Whether the quorum tells of this grant, for this process, now: a yes that was given a while ago may have ended
    /// since, or the process. Waits a moment for the event of a grant that is new. Always false once another
    /// operator may act.
    pub async fn tells_of_grant(&self, node_id: i32, incarnation: &str, grant_epoch: i64) -> bool {
        let told = async {
            loop {
                let mut changed = std::pin::pin!(self.changed.notified());
                // What changes from here on is not missed.
                changed.as_mut().enable();
                if self.has_grant(node_id, incarnation, grant_epoch) {
                    return;
                }
                changed.await;
            }
        };
        let told = tokio::time::timeout(TOLD_TIMEOUT, told).await;
        told.is_ok() && !self.term.is_cancelled()
    }

    fn has_grant(&self, node_id: i32, incarnation: &str, grant_epoch: i64) -> bool {
        let state = self.state.read();
        let is_current = matches!(state.contact, Contact::Followed);
        let view = &state.view;
        let grant = view.grants.get(&node_id);
        let broker = view.brokers.get(&node_id);
        is_current
            && grant.is_some_and(|grant| {
                grant.grant_epoch == grant_epoch && grant.incarnation == incarnation
            })
            && broker.is_none_or(|broker| broker.incarnation == incarnation)
    }
}

fn answered(answer: Option<Answer>) -> RestartAnswer {
    match answer {
        Some(Answer::Granted(granted)) => RestartAnswer::Granted {
            grant_epoch: granted.grant_epoch,
            unprotected: granted.unprotected,
        },
        Some(Answer::Denied(denied)) => RestartAnswer::Denied {
            reason: denied.reason(),
            message: denied.message,
        },
        // Of a newer controller. When unsure, nothing is stopped.
        None => RestartAnswer::Denied {
            reason: DeniedReason::Unspecified,
            message: "the controllers answer what this operator does not understand: upgrade it"
                .to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio_util::sync::CancellationToken;

    use crate::quorum::view::{BrokerView, GrantView};
    use crate::quorum::{Contact, Quorum};

    /// Grant 7 of node 0.
    fn grant() -> GrantView {
        GrantView {
            incarnation: "process".into(),
            grant_epoch: 7,
            ..GrantView::default()
        }
    }

    fn followed() -> Quorum {
        let quorum = Quorum::new(CancellationToken::new(), "test".into(), Duration::ZERO);
        let mut state = quorum.state.write();
        state.contact = Contact::Followed;
        let broker = BrokerView {
            incarnation: "process".into(),
            ..BrokerView::default()
        };
        state.view.brokers.insert(0, broker);
        drop(state);
        quorum
    }

    #[test]
    fn a_grant_is_told_for_one_process_while_the_quorum_is_followed() {
        let quorum = followed();
        assert!(!quorum.has_grant(0, "process", 7));
        quorum.state.write().view.grants.insert(0, grant());
        assert!(quorum.has_grant(0, "process", 7));
        assert!(!quorum.has_grant(0, "process", 6));
        assert!(!quorum.has_grant(0, "another", 7));
        assert!(!quorum.has_grant(1, "process", 7));
        quorum.state.write().contact = Contact::Reconnecting;
        assert!(!quorum.has_grant(0, "process", 7));
        // The container has been started anew since.
        let quorum = followed();
        let mut state = quorum.state.write();
        state.view.grants.insert(0, grant());
        let broker = state.view.brokers.get_mut(&0).expect("a broker");
        broker.incarnation = "next".into();
        drop(state);
        assert!(!quorum.has_grant(0, "process", 7));
    }

    #[tokio::test]
    async fn a_grant_whose_event_is_on_its_way_is_waited_for() {
        let quorum = Arc::new(followed());
        let waits = {
            let quorum = Arc::clone(&quorum);
            tokio::spawn(async move { quorum.tells_of_grant(0, "process", 7).await })
        };
        tokio::task::yield_now().await;
        assert!(!waits.is_finished());
        quorum.state.write().view.grants.insert(0, grant());
        quorum.changed.notify_waiters();
        assert!(waits.await.expect("no panic"));
        quorum.term.cancel();
        assert!(!quorum.tells_of_grant(0, "process", 7).await);
    }
}
