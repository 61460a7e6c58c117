//! What every call works with.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::rules::{self, Decided, Decision, Refusal, RegisterBroker};
use foz_quorum::{ChangeVotersError, Leadership};
use futures::Stream;
use tokio::sync::mpsc::error::TrySendError;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::Status;
use uuid::Uuid;

use crate::active::{
    AnyCommand, LeaseMessage, LeaseState, Message, Newcomer, NotDone, Shared, command,
};
use crate::convert;
use crate::handovers::Handover;
use crate::leases::Beat;
use crate::quorum_health;

/// How long a call waits for the quorum to have a leader. An election takes less when the leader's process has
/// ended. Whoever asks a controller that is cut off from the others loses no more than this before it asks the next.
const LEADERLESS_WAIT_MAX: Duration = Duration::from_millis(300);

/// The answer of a streaming call.
pub(super) type AnswerStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

/// Shared by both services.
pub(crate) struct Calls {
    pub(crate) shared: Arc<Shared>,
    messages: mpsc::Sender<Message>,
    leases: mpsc::Sender<LeaseMessage>,
    stopping: watch::Receiver<bool>,
    streams: AtomicU64,
}

impl Calls {
    pub(crate) fn new(
        shared: Arc<Shared>,
        messages: mpsc::Sender<Message>,
        leases: mpsc::Sender<LeaseMessage>,
        stopping: watch::Receiver<bool>,
    ) -> Arc<Self> {
        Arc::new(Self {
            shared,
            messages,
            leases,
            stopping,
            streams: AtomicU64::new(0),
        })
    }

    /// Runs a rule; the answer comes when it is committed, with the offset at which it is true.
    pub(crate) async fn run<A, R>(&self, rule: R) -> Result<(A, i64), Status>
    where
        A: Send + 'static,
        R: FnOnce(&Image) -> Decided<A> + Send + 'static,
    {
        self.send(rule, Message::Run).await
    }

    /// As [`run`](Self::run), for the registration of a node. A refusal that names directories is an answer.
    pub(super) async fn register(
        &self,
        request: RegisterBroker,
    ) -> Result<(Result<i64, Refusal>, i64), Status> {
        let newcomer = Newcomer {
            node_id: request.node_id,
            incarnation: request.incarnation,
            disk_epoch: request.newest_disk_epoch(),
        };
        let rule = move |image: &_| match rules::register_broker(image, &request) {
            Ok(Decision { records, answer }) => Ok(Decision {
                records,
                answer: Ok(answer),
            }),
            Err(refusal) if !refusal.older_directories.is_empty() => Ok(Decision {
                records: Vec::new(),
                answer: Err(refusal),
            }),
            Err(refusal) => Err(refusal),
        };
        let message = |command| Message::Register(newcomer, command);
        self.send(rule, message).await
    }

    /// As [`run`](Self::run), but the answer comes when the living brokers have seen the change, too.
    pub(super) async fn change<A, R>(&self, rule: R) -> Result<A, Status>
    where
        A: Send + 'static,
        R: FnOnce(&Image) -> Decided<A> + Send + 'static,
    {
        let (answer, offset) = self.run(rule).await?;
        self.shared.applied.wait(offset).await;
        Ok(answer)
    }

    /// As [`change`](Self::change); the answer comes with the living brokers that have not seen the change yet.
    pub(super) async fn change_everywhere<A, R>(&self, rule: R) -> Result<(A, Vec<i32>), Status>
    where
        A: Send + 'static,
        R: FnOnce(&Image) -> Decided<A> + Send + 'static,
    {
        let (answer, offset) = self.run(rule).await?;
        let alive = || -> Vec<i32> {
            let image = self.shared.metadata.image();
            image.alive_brokers().map(|it| it.node_id).collect()
        };
        self.shared.applied.wait_for(offset, &alive()).await;
        Ok((answer, self.shared.applied.behind(offset, &alive())))
    }

    /// As [`change`](Self::change), for a rule whose records may be split over several batches.
    pub(super) async fn change_in_parts<A, R>(&self, rule: R) -> Result<A, Status>
    where
        A: Send + 'static,
        R: FnOnce(&Image) -> Decided<A> + Send + 'static,
    {
        let (answer, offset) = self.send(rule, Message::RunInParts).await?;
        self.shared.applied.wait(offset).await;
        Ok(answer)
    }

    async fn send<A, R>(
        &self,
        rule: R,
        wrap: impl FnOnce(Box<dyn AnyCommand>) -> Message,
    ) -> Result<(A, i64), Status>
    where
        A: Send + 'static,
        R: FnOnce(&Image) -> Decided<A> + Send + 'static,
    {
        self.check_active().await?;
        let (command, answer) = command(rule);
        self.messages
            .try_send(wrap(command))
            .map_err(|error| match error {
                TrySendError::Full(_) => self.status(NotDone::Busy),
                TrySendError::Closed(_) => self.not_active(),
            })?;
        // An error: the task ended, with the quorum, before it came to the command's outcome.
        let outcome = answer.await.unwrap_or(Err(NotDone::UnknownOutcome));
        outcome.map_err(|why| self.status(why))
    }

    /// Prolongs a lease, if the quorum still answers this controller.
    pub(super) async fn beat(&self, beat: Beat) -> Result<LeaseState, Status> {
        if !self.shared.quorum.confirm_leadership().await {
            return Err(self.not_active());
        }
        let (sender, answer) = oneshot::channel();
        let sent = self.leases.send(LeaseMessage::Beat(beat, sender)).await;
        sent.map_err(|_| self.not_active())?;
        let state = answer.await.unwrap_or(Err(NotDone::NotActive));
        state.map_err(|why| self.status(why))
    }

    /// The lease stream closed.
    pub(super) async fn closed(&self, node_id: i32, stream: u64) {
        // An error: the task has ended, and with it all leases.
        let _ = self
            .leases
            .send(LeaseMessage::Closed(node_id, stream))
            .await;
    }

    /// A stream of the metadata was opened by the process of the node.
    pub(super) fn observing(&self, node_id: i32, incarnation: Uuid) {
        self.shared.observers.opened(node_id, incarnation);
    }

    /// A stream of the metadata was closed.
    pub(super) async fn stopped_observing(&self, node_id: i32, incarnation: Uuid) {
        self.shared.observers.closed(node_id, incarnation);
        // An error: the task has ended, and with it all leases.
        let _ = self
            .leases
            .send(LeaseMessage::StoppedObserving(node_id))
            .await;
    }

    /// Returns when what the broker led is led by others, as far as any may, and the living brokers know.
    pub(super) async fn handed_over(&self, node_id: i32, epoch: i64) -> Handover {
        loop {
            let handover = self.shared.handovers.wait(node_id, epoch).await;
            let image = self.shared.metadata.image();
            let alive: Vec<_> = image.alive_brokers().map(|it| it.node_id).collect();
            self.shared.applied.wait_for(handover.offset, &alive).await;
            if self.shared.handovers.is_newest(node_id, handover) {
                return handover;
            }
        }
    }

    /// A number for a stream, never used before in this process.
    pub(super) fn next_stream(&self) -> u64 {
        self.streams.fetch_add(1, Ordering::Relaxed)
    }

    /// In the middle of an election it waits for the outcome: else whoever asks would go round all controllers,
    /// pause, and come back, and that would take longer than the election.
    pub(super) async fn check_active(&self) -> Result<(), Status> {
        let me = self.shared.config.node_id;
        let mut leadership = self.shared.quorum.leadership();
        let mut stopping = self.stopping.clone();
        let is_settled = |now: &Leadership| {
            now.is_self || now.leader.as_ref().is_some_and(|it| it.node_id != me)
        };
        let settled = tokio::select! {
            settled = leadership.wait_for(is_settled) => settled.ok().map(|now| now.clone()),
            _ = stopping.wait_for(|stopping| *stopping) => None,
            () = tokio::time::sleep(LEADERLESS_WAIT_MAX) => None,
        };
        match settled {
            Some(now) if now.is_self && !*self.stopping.borrow() => Ok(()),
            // As it was then: by now the next election may be under way, and nobody be known.
            Some(now) => Err(self.not_active_but(now)),
            None => Err(self.not_active()),
        }
    }

    /// This controller leads and must not: another voter is to, and whoever calls is sent on to it.
    pub(super) async fn hand_over_to_another(&self) -> Status {
        let quorum = &self.shared.quorum;
        let me = self.shared.config.node_id;
        // Those with the highest ids leave first: the lowest that can take over stays longest.
        let health = quorum_health::of(&quorum.status().borrow(), me);
        let to = health.reachable.into_iter().find(|node_id| *node_id != me);
        match quorum.transfer_leadership(to).await {
            Ok(()) => tracing::info!("leadership was handed over, as this controller is to leave"),
            Err(error) => tracing::info!(%error, "leadership was not handed over"),
        }
        match self.check_active().await {
            Err(not_active) => not_active,
            Ok(()) => Status::unavailable(
                "this controller leads, and nobody takes over from it; nothing was changed",
            ),
        }
    }

    pub(super) fn voters_not_changed(&self, error: &ChangeVotersError) -> Status {
        match error {
            ChangeVotersError::NotLeader | ChangeVotersError::IsLeader { .. } => self.not_active(),
            ChangeVotersError::Busy => Status::resource_exhausted(error.to_string()),
            ChangeVotersError::Refused(_) => Status::failed_precondition(error.to_string()),
            ChangeVotersError::UnknownOutcome => Status::unavailable(error.to_string()),
        }
    }

    /// Returns when this controller is not active any more, or stops.
    pub(super) async fn until_not_active(&self) -> Status {
        let mut leadership = self.shared.quorum.leadership();
        let mut stopping = self.stopping.clone();
        tokio::select! {
            _ = leadership.wait_for(|leadership| !leadership.is_self) => {}
            _ = stopping.wait_for(|stopping| *stopping) => {}
        }
        self.not_active()
    }

    fn not_active(&self) -> Status {
        self.not_active_but(self.shared.quorum.leadership().borrow().clone())
    }

    fn not_active_but(&self, leadership: Leadership) -> Status {
        let active = leadership
            .leader
            .filter(|leader| leader.node_id != self.shared.config.node_id);
        match active {
            Some(leader) => foz_api::not_active(Some(&leader.address)),
            None => foz_api::none_active(self.shared.quorum.obstacle().borrow().as_deref()),
        }
    }

    fn status(&self, why: NotDone) -> Status {
        match why {
            NotDone::NotActive => self.not_active(),
            NotDone::Refused(refusal) => convert::status(&refusal),
            NotDone::Busy => Status::resource_exhausted(why.to_string()),
            NotDone::TooLarge { .. } => Status::invalid_argument(why.to_string()),
            NotDone::UnknownOutcome => Status::unavailable(why.to_string()),
        }
    }
}
