//! What a controller asks of the active one for itself, which may be itself: to be let go.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use foz_api::v1::node_client::NodeClient;
use foz_api::v1::{AskToStopRequest, AskToStopResponse, ControllerStartedRequest};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};
use uuid::Uuid;

use crate::services::{Calls, ask_to_stop, controller_started};

/// Between two questions.
const ASK_PAUSE: Duration = Duration::from_millis(250);
/// A question takes an election timeout and a half where the other controllers are looked at.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// The same, when nothing depends on the answer any more.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(1);
/// Without an active controller for so long there is no majority, which this controller then is no part of.
const NONE_ACTIVE_MAX: Duration = Duration::from_secs(5);
/// Until somebody has heard that this controller has started.
const STARTED_PAUSE: Duration = Duration::from_millis(500);

/// How a controller was let go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetGo {
    /// The others do without it.
    Granted,
    /// All controllers were asked to end: brokers go first, see
    /// [`ControllerHandle::wait_for_brokers`](crate::ControllerHandle::wait_for_brokers).
    WithAll,
    /// It was not, and goes all the same.
    Insists,
    /// Nobody answers who could.
    NobodyActive,
}

/// Asks in the name of one process.
#[derive(Clone)]
pub(crate) struct AskActive {
    calls: Arc<Calls>,
    incarnation: Uuid,
}

impl fmt::Debug for AskActive {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = formatter.debug_struct("AskActive");
        shown.field("incarnation", &self.incarnation);
        shown.finish_non_exhaustive()
    }
}

impl AskActive {
    pub(crate) fn new(calls: Arc<Calls>) -> Self {
        Self {
            calls,
            incarnation: Uuid::new_v4(),
        }
    }

    fn node_id(&self) -> i32 {
        self.calls.shared.config.node_id
    }

    /// Says that this process has started, until it was heard.
    pub(crate) async fn started(self) {
        let request = ControllerStartedRequest {
            node_id: self.node_id(),
            incarnation: self.incarnation.as_bytes().to_vec(),
        };
        loop {
            let heard = match self.active().await {
                Ok(None) => controller_started::controller_started(&self.calls, request.clone())
                    .await
                    .map(|_| ()),
                Ok(Some(mut active)) => {
                    active.controller_started(request.clone()).await.map(|_| ())
                }
                Err(error) => Err(error),
            };
            match heard {
                Ok(()) => return,
                Err(error) => {
                    tracing::debug!(%error, "nobody heard yet that this controller has started")
                }
            }
            sleep(STARTED_PAUSE).await;
        }
    }

    /// See [`ControllerHandle::may_stop`](crate::ControllerHandle::may_stop).
    pub(crate) async fn may_stop(self, mut insists: watch::Receiver<bool>) -> LetGo {
        let node_id = self.node_id();
        let mut told = String::new();
        let mut answered = Instant::now();
        loop {
            if self.calls.shared.quorum.removal().borrow().is_some() {
                return LetGo::Granted;
            }
            let insist = *insists.borrow_and_update();
            let answer_max = if insist { LAST_ANSWER_MAX } else { ANSWER_MAX };
            let asked = tokio::select! {
                asked = timeout(answer_max, self.ask(insist)) => asked,
                // To ask again at once, insisting. An error: nobody can insist.
                Ok(_) = insists.wait_for(|insists| *insists), if !insist => continue,
            };
            match asked {
                Ok(Ok(answer)) if answer.denied.is_empty() => {
                    return match (answer.all_are_asking, insist) {
                        (true, _) => LetGo::WithAll,
                        (false, true) => LetGo::Insists,
                        (false, false) => LetGo::Granted,
                    };
                }
                _ if insist => return LetGo::Insists,
                Ok(Ok(answer)) => {
                    answered = Instant::now();
                    if told != answer.denied {
                        told = answer.denied;
                        tracing::info!(
                            node_id,
                            reason = told,
                            "this controller may not stop yet, and goes on"
                        );
                    }
                }
                Ok(Err(error)) => tracing::debug!(%error, "no answer to the wish to stop"),
                Err(_) => tracing::debug!("no answer in time to the wish to stop"),
            }
            if answered.elapsed() > NONE_ACTIVE_MAX {
                tracing::warn!(
                    node_id,
                    "no controller is active: this one stops without a grant"
                );
                return LetGo::NobodyActive;
            }
            tokio::select! {
                () = sleep(ASK_PAUSE) => {}
                Ok(_) = insists.wait_for(|insists| *insists) => {}
            }
        }
    }

    async fn ask(&self, insist: bool) -> Result<AskToStopResponse, Status> {
        let request = AskToStopRequest {
            node_id: self.node_id(),
            incarnation: self.incarnation.as_bytes().to_vec(),
            insist,
        };
        match self.active().await? {
            None => ask_to_stop::ask_to_stop(&self.calls, request).await,
            Some(mut active) => active
                .ask_to_stop(request)
                .await
                .map(tonic::Response::into_inner),
        }
    }

    /// `None`: it is this one.
    async fn active(&self) -> Result<Option<NodeClient<Channel>>, Status> {
        let leadership = self.calls.shared.quorum.leadership().borrow().clone();
        if leadership.is_self {
            return Ok(None);
        }
        let Some(leader) = leadership.leader else {
            return Err(foz_api::not_active(None));
        };
        let endpoint = Endpoint::from_shared(format!("http://{}", leader.address))
            .map_err(|error| Status::internal(error.to_string()))?
            .connect_timeout(LAST_ANSWER_MAX);
        let channel = endpoint.connect().await;
        let channel = channel.map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Some(NodeClient::new(channel)))
    }
}
