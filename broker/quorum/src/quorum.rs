//! The handle.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::command::{Command, PROPOSAL_BYTES_MAX, Proposal, kib};
use crate::config::{QuorumConfig, Voter};
use crate::error::{ChangeVotersError, ProposeError, QuorumFailure, TransferError};
use crate::service::QuorumService;
use crate::status::{Leadership, QuorumStatus};

/// The quorum, as the rest of the controller uses it. Clones are cheap and are the same quorum; when
/// the last one is dropped the quorum stops.
#[derive(Debug, Clone)]
pub struct Quorum {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) config: Arc<QuorumConfig>,
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) proposed: Arc<Semaphore>,
    pub(crate) cluster_id: watch::Receiver<Option<String>>,
    pub(crate) leadership: watch::Receiver<Leadership>,
    pub(crate) status: watch::Receiver<QuorumStatus>,
    pub(crate) failure: watch::Receiver<Option<QuorumFailure>>,
    pub(crate) removal: watch::Receiver<Option<String>>,
    pub(crate) obstacle: watch::Receiver<Option<String>>,
    pub(crate) service: QuorumService,
    pub(crate) shutdown: watch::Sender<bool>,
    /// Closed when the thread and the task that forms the quorum have ended.
    pub(crate) ended: watch::Receiver<()>,
}

impl Quorum {
    pub(crate) fn new(inner: Inner) -> Self {
        Self {
            inner: Arc::new(inner),
        }
    }

    /// The cluster id: minted once, when the first controllers form the quorum.
    #[must_use]
    pub fn cluster_id(&self) -> watch::Receiver<Option<String>> {
        self.inner.cluster_id.clone()
    }

    /// Who leads.
    #[must_use]
    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    /// Where the log stands.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<QuorumStatus> {
        self.inner.status.clone()
    }

    /// Set once, when the quorum cannot go on: a failed fsync, a volume of another cluster. It answers
    /// nothing from then on and repairs nothing; the process should log it and end.
    #[must_use]
    pub fn failure(&self) -> watch::Receiver<Option<QuorumFailure>> {
        self.inner.failure.clone()
    }

    /// Set once, when this controller was removed from the quorum: a sentence. It takes part in nothing from then
    /// on, and is of use to nobody. Should its node be added again, [`Quorum::failure`] says so: the next start joins.
    #[must_use]
    pub fn removal(&self) -> watch::Receiver<Option<String>> {
        self.inner.removal.clone()
    }

    /// Why there is no leader, or why this controller may not join: a sentence for people. None while all is well, or
    /// while it is too early to tell.
    #[must_use]
    pub fn obstacle(&self) -> watch::Receiver<Option<String>> {
        self.inner.obstacle.clone()
    }

    /// The directory that holds `meta.properties`.
    #[must_use]
    pub fn data_dir(&self) -> &Path {
        &self.inner.config.data_dir
    }

    /// The voters: of the group once there is one, else as configured.
    #[must_use]
    pub fn voters(&self) -> Vec<Voter> {
        let status = self.inner.status.borrow();
        if status.members.is_empty() {
            return self.inner.config.voters.clone();
        }
        let voters = status.members.iter().filter(|member| member.is_voter);
        voters
            .map(|voter| Voter {
                node_id: voter.member.node_id,
                address: voter.member.address.clone(),
            })
            .collect()
    }

    /// Proposes a batch; it is on its way when this returns, in the order of the calls, and many may be
    /// under way at once. The future gives the batch's Raft index after it was committed **and** applied
    /// here. Dropping the future does not take the batch back.
    ///
    /// `term` is the one of [`Leadership`] under which the caller decided: a batch decided under an
    /// older one is never written.
    pub fn propose(
        &self,
        term: u64,
        data: impl Into<Bytes>,
    ) -> impl Future<Output = Result<u64, ProposeError>> + Send + 'static {
        let sent = self.send_proposal(term, data.into());
        async move { sent?.await.unwrap_or(Err(ProposeError::Stopped)) }
    }

    fn send_proposal(
        &self,
        term: u64,
        data: Bytes,
    ) -> Result<oneshot::Receiver<Result<u64, ProposeError>>, ProposeError> {
        let (bytes, bytes_max) = (data.len(), PROPOSAL_BYTES_MAX);
        if bytes > bytes_max {
            return Err(ProposeError::TooLarge { bytes, bytes_max });
        }
        {
            let leadership = self.inner.leadership.borrow();
            if !leadership.is_self || leadership.term != term {
                let leader = leadership.leader.clone().filter(|_| !leadership.is_self);
                return Err(ProposeError::NotLeader { leader });
            }
        }
        let budget = Arc::clone(&self.inner.proposed);
        let permit = budget
            .try_acquire_many_owned(kib(bytes))
            .map_err(|_| ProposeError::Busy)?;
        let (answer, receiver) = oneshot::channel();
        let proposal = Proposal {
            term,
            data,
            answer,
            permit,
        };
        self.inner
            .commands
            .send(Command::Propose(proposal))
            .map_err(|_| ProposeError::Stopped)?;
        Ok(receiver)
    }

    /// Whether this controller still led after the call was made: a majority of the voters answered it
    /// since (Raft's read index). Calls made at once share one round.
    pub async fn confirm_leadership(&self) -> bool {
        if !self.inner.leadership.borrow().is_self {
            return false;
        }
        let (answer, receiver) = oneshot::channel();
        let sent = self.inner.commands.send(Command::ConfirmLeadership(answer));
        sent.is_ok() && receiver.await.unwrap_or(false)
    }

    /// Hands leadership to a voter, or to the one that is furthest when `to` is none, and waits until
    /// this controller leads no more. Proposals made meanwhile fail with `NotLeader`.
    pub async fn transfer_leadership(&self, to: Option<i32>) -> Result<(), TransferError> {
        let mut leadership = self.inner.leadership.clone();
        let (answer, receiver) = oneshot::channel();
        let sent = self.inner.commands.send(Command::Transfer { to, answer });
        if !leadership.borrow_and_update().is_self {
            return Err(TransferError::NotLeader);
        }
        sent.map_err(|_| TransferError::Stopped)?;
        receiver.await.map_err(|_| TransferError::Stopped)??;
        let handed_over = leadership.wait_for(|now| !now.is_self);
        match tokio::time::timeout(self.election_timeout_max(), handed_over).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) => Err(TransferError::Stopped),
            Err(_) => Err(TransferError::TimedOut),
        }
    }

    /// Takes a controller out of the quorum, and returns when it is no member any more; it need not have been one.
    /// Its node stays out until [`Quorum::add_voter`] is called for it. Refused while those who are left would have no
    /// majority that answers; refused to the leader of itself. Only the leader can. The call may last for as long as
    /// another change is under way; dropped, it may still take effect.
    pub async fn remove_voter(&self, node_id: i32) -> Result<(), ChangeVotersError> {
        self.change_voters(|answer| Command::RemoveVoter { node_id, answer })
            .await
    }

    /// Lets a controller that was removed come back: it joins by itself when it runs. Nothing is written, so another
    /// leader knows nothing of it: ask again until the node is a member. Only the leader can.
    pub async fn add_voter(&self, node_id: i32) -> Result<(), ChangeVotersError> {
        self.change_voters(|answer| Command::AddVoter { node_id, answer })
            .await
    }

    async fn change_voters(
        &self,
        command: impl FnOnce(oneshot::Sender<Result<(), ChangeVotersError>>) -> Command,
    ) -> Result<(), ChangeVotersError> {
        if !self.inner.leadership.borrow().is_self {
            return Err(ChangeVotersError::NotLeader);
        }
        let (answer, receiver) = oneshot::channel();
        let sent = self.inner.commands.send(command(answer));
        sent.map_err(|_| ChangeVotersError::NotLeader)?;
        let answer = receiver.await;
        answer.unwrap_or(Err(ChangeVotersError::UnknownOutcome))
    }

    /// What to mount on the controller's gRPC listener. It must be served from the moment the quorum is
    /// started: the controllers find each other through it.
    #[must_use]
    pub fn service(&self) -> QuorumService {
        self.inner.service.clone()
    }

    /// Stops, and returns when the files are closed. Leadership is not handed over: see
    /// [`Quorum::transfer_leadership`].
    pub async fn stop(self) {
        self.inner.begin_stop();
        let mut ended = self.inner.ended.clone();
        // An error: the sender is gone, which is what is waited for.
        while ended.changed().await.is_ok() {}
    }

    fn election_timeout_max(&self) -> Duration {
        let ticks = u32::try_from(2 * self.inner.config.election_ticks).unwrap_or(u32::MAX);
        self.inner.config.tick.saturating_mul(ticks)
    }
}

impl Inner {
    fn begin_stop(&self) {
        self.shutdown.send_replace(true);
        // An error: the thread has ended already.
        let _ = self.commands.send(Command::Stop);
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.begin_stop();
    }
}
