//! Carries out what `formation` decides: asks the others, writes, starts the replica, and goes on
//! asking while there is no leader or this controller does not vote.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use prost::Message as _;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::command::Command;
use crate::config::QuorumConfig;
use crate::error::{QuorumFailure, StartError};
use crate::formation::{
    Action, PeerView, RunningAction, decide, decide_running, has_all_configured, no_majority,
};
use crate::joining::removed_sentence;
use crate::kafka_uuid::KafkaUuid;
use crate::membership::{FOUNDING_INDEX, FOUNDING_TERM, Membership, member_to_wire};
use crate::meta_properties::{self, MetaProperties};
use crate::replica::{Outputs, Parts, Replica};
use crate::service::{Running, Shared};
use crate::state_machine::StateMachine;
use crate::status::{Leadership, Member, QuorumStatus};
use crate::storage::{
    DIRECTORY, LogStore, QuorumDirectory, SnapshotMeta, StorageError, StoredSnapshot, set_aside,
};
use crate::transport::{client, endpoint};
use crate::wire;
use crate::wire::quorum_client::QuorumClient;

const CALL_TIMEOUT: Duration = Duration::from_millis(500);
/// A quorum that works without one of its configured controllers asks this much less often.
const CALM_ROUNDS: u32 = 10;
/// Beside `quorum`, in the data directory: what a removed controller had.
const SET_ASIDE: &str = "quorum.removed";
/// A reason to wait is told when it changes, and again after this many rounds.
const ROUNDS_BETWEEN_REMINDERS: u32 = 100;

/// One controller on its way to a quorum. `state_machine` and `commands` go to the replica when it
/// starts.
pub(crate) struct Former<S> {
    pub(crate) config: Arc<QuorumConfig>,
    pub(crate) shared: Arc<Shared>,
    pub(crate) meta: MetaProperties,
    pub(crate) state_machine: Option<S>,
    pub(crate) commands: Option<mpsc::UnboundedReceiver<Command>>,
    pub(crate) cluster_id: watch::Sender<Option<String>>,
    pub(crate) leadership: watch::Sender<Leadership>,
    pub(crate) status: watch::Sender<QuorumStatus>,
    pub(crate) failure: watch::Sender<Option<QuorumFailure>>,
    /// Why this controller stays out of the quorum, once it was removed.
    pub(crate) removal: watch::Sender<Option<String>>,
    /// Why there is no leader, or why this controller may not join.
    pub(crate) obstacle: watch::Sender<Option<String>>,
    pub(crate) shutdown: watch::Receiver<bool>,
    pub(crate) ended: watch::Sender<()>,
    pub(crate) clients: BTreeMap<i32, QuorumClient<Channel>>,
    /// The Raft ids of those that answered in the last round.
    pub(crate) answered: BTreeSet<u64>,
}

impl<S: StateMachine> Former<S> {
    /// Starts the replica on a disk that has state.
    pub(crate) fn resume(&mut self, directory: QuorumDirectory) -> Result<(), StartError> {
        // While the cluster id is not written, no vote was: see `begin`.
        let may_create_log = self.meta.cluster_id.is_none();
        let (store, snapshot) = directory.open_log(may_create_log)?;
        let on_disk = snapshot.as_ref().map(cluster_of).transpose()?;
        let path = self.config.data_dir.join(meta_properties::FILE_NAME);
        let cluster_id = match (self.meta.cluster_id.clone(), on_disk) {
            (Some(found), Some(expected)) if found != expected => {
                return Err(StartError::MixedVolume {
                    path,
                    found,
                    expected,
                });
            }
            (Some(cluster_id), _) | (None, Some(cluster_id)) => cluster_id,
            (None, None) => {
                return Err(StartError::Raft(
                    "neither a cluster id nor a snapshot".to_owned(),
                ));
            }
        };
        self.begin(store, snapshot, cluster_id)
    }

    /// Founds or finds the quorum, then watches over it.
    pub(crate) async fn form(mut self, directory: QuorumDirectory) {
        let mut said = Reminder::default();
        let mut directory = Some(directory);
        loop {
            let Some(peers) = self.ask().await else {
                return;
            };
            let me = self.shared.me.borrow().clone();
            let started = match decide(&me, &peers) {
                Action::Found => {
                    let cluster_id = KafkaUuid::random().to_string();
                    let members = peers.values().chain([&me]).map(|peer| self.member(peer));
                    let membership = Membership::founding(members);
                    tracing::info!(cluster_id, "founding the metadata quorum");
                    self.start_as_founder(directory.take(), cluster_id, &membership)
                }
                Action::Adopt {
                    cluster_id,
                    membership,
                } => {
                    tracing::info!(cluster_id, "the metadata quorum was founded");
                    self.start_as_founder(directory.take(), cluster_id, &membership)
                }
                Action::Enter { cluster_id } => {
                    tracing::info!(cluster_id, "the metadata quorum is there; joining it");
                    self.start_empty(directory.take(), cluster_id)
                }
                Action::Refuse(refusal) => return self.fail(refusal.into()),
                Action::Wait(reason) => {
                    self.tell(&mut said, "the metadata quorum is not formed yet", reason);
                    self.pause(self.config.poll).await;
                    continue;
                }
            };
            return match started {
                Ok(()) => self.watch().await,
                Err(error) => self.fail(QuorumFailure::Start(Arc::new(error))),
            };
        }
    }

    /// While there is no leader, this controller does not vote, or a configured one is no member: sees
    /// whether the volume belongs here and asks to join. Until there was a leader once, the controller with the lowest id stands
    /// for election at once instead of after a random time.
    pub(crate) async fn watch(mut self) {
        let mut status = self.status.subscribe();
        let mut leadership = self.leadership.subscribe();
        let mut had_leader = false;
        let mut said = Reminder::default();
        while !*self.shutdown.borrow() && self.failure.borrow().is_none() {
            let is_voter = status.borrow_and_update().is_voter;
            let has_leader = leadership.borrow_and_update().leader.is_some();
            had_leader |= has_leader;
            if is_voter && has_leader {
                self.nothing_in_the_way();
            }
            if is_voter && has_leader && has_all_configured(&self.shared.me.borrow()) {
                tokio::select! {
                    _ = status.changed() => {}
                    _ = leadership.changed() => {}
                    _ = self.shutdown.wait_for(|stop| *stop) => {}
                }
                continue;
            }
            let Some(peers) = self.ask().await else {
                return;
            };
            let me = self.shared.me.borrow().clone();
            match decide_running(&me, &peers, is_voter) {
                RunningAction::Refuse(refusal) => return self.fail(refusal.into()),
                RunningAction::Join => {
                    let what = "this controller may not join the metadata quorum";
                    match self.join(&me, &peers, false).await {
                        Heard::Refused(reason) => self.tell(&mut said, what, reason),
                        Heard::Welcome => self.nothing_in_the_way(),
                        Heard::Nothing | Heard::Renew => {}
                    }
                }
                RunningAction::StayOut => {
                    self.stay_out(&me, &peers).await;
                    self.pause(self.config.poll * CALM_ROUNDS).await;
                    continue;
                }
                RunningAction::Rest
                    if !had_leader && me.configured.first() == Some(&me.node_id) =>
                {
                    // An error: the replica has ended.
                    let _ = self.shared.commands.send(Command::Campaign);
                }
                RunningAction::Rest => {}
            }
            if is_voter && !has_leader {
                let members = status.borrow().members.clone();
                self.answered.insert(me.raft_id());
                if let Some(reason) = no_majority(&members, &self.answered) {
                    self.tell(&mut said, "the metadata quorum has no leader", reason);
                }
            }
            let rounds = if is_voter && has_leader {
                CALM_ROUNDS
            } else {
                1
            };
            self.pause(self.config.poll * rounds).await;
        }
    }

    fn start_as_founder(
        &mut self,
        directory: Option<QuorumDirectory>,
        cluster_id: String,
        membership: &Membership,
    ) -> Result<(), StartError> {
        let mut directory = directory.ok_or_else(|| StartError::Raft("started twice".into()))?;
        let data = wire::SnapshotData {
            cluster_id: cluster_id.clone(),
            membership: Some(membership.to_wire()),
            state: None,
        };
        let snapshot = StoredSnapshot {
            meta: SnapshotMeta {
                index: FOUNDING_INDEX,
                term: FOUNDING_TERM,
            },
            conf_state: membership.founding_conf_state(),
            data: data.encode_to_vec().into(),
        };
        directory.found(&snapshot)?;
        let (store, snapshot) = directory.open_log(true)?;
        self.begin(store, snapshot, cluster_id)
    }

    fn start_empty(
        &mut self,
        directory: Option<QuorumDirectory>,
        cluster_id: String,
    ) -> Result<(), StartError> {
        let directory = directory.ok_or_else(|| StartError::Raft("started twice".into()))?;
        let (store, snapshot) = directory.open_log(true)?;
        self.begin(store, snapshot, cluster_id)
    }

    /// Starts the replica, once the volume says to which cluster it belongs: from then on it may vote.
    fn begin(
        &mut self,
        store: LogStore,
        snapshot: Option<StoredSnapshot>,
        cluster_id: String,
    ) -> Result<(), StartError> {
        if self.meta.cluster_id.as_ref() != Some(&cluster_id) {
            self.meta.cluster_id = Some(cluster_id.clone());
            self.meta.write(&self.config.data_dir)?;
        }
        let (Some(state_machine), Some(commands)) =
            (self.state_machine.take(), self.commands.take())
        else {
            return Err(StartError::Raft("started twice".into()));
        };
        let membership = snapshot.as_ref().map(membership_of).transpose()?;
        self.shared.me.send_modify(|me| {
            me.cluster_id = Some(cluster_id.clone());
            me.membership = membership;
        });
        let me = self.member(&self.shared.me.borrow());
        let raft_id = me.raft_id;
        let replica = Replica::new(Parts {
            config: Arc::clone(&self.config),
            shared: Arc::clone(&self.shared),
            me,
            cluster_id: cluster_id.clone(),
            store,
            snapshot,
            state_machine,
            commands,
            runtime: tokio::runtime::Handle::current(),
            outputs: Outputs {
                leadership: self.leadership.clone(),
                status: self.status.clone(),
            },
        })?;
        self.spawn(replica)?;
        self.shared.running.send_replace(Some(Running {
            cluster_id: cluster_id.clone(),
            raft_id,
        }));
        self.cluster_id.send_replace(Some(cluster_id));
        Ok(())
    }

    fn spawn(&self, replica: Replica<S>) -> Result<(), StartError> {
        let (failure, leadership) = (self.failure.clone(), self.leadership.clone());
        let ended = self.ended.clone();
        let run = move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| replica.run()));
            let outcome =
                outcome.unwrap_or_else(|panic| Err(QuorumFailure::Broken(said_by(&*panic))));
            leadership.send_modify(|leadership| {
                leadership.leader = None;
                leadership.is_self = false;
            });
            if let Err(reason) = outcome {
                tracing::error!(%reason, "the metadata quorum stopped on this controller");
                failure.send_replace(Some(reason));
            }
            drop(ended);
        };
        let thread = std::thread::Builder::new()
            .name("foz-quorum".into())
            .spawn(run);
        thread
            .map(drop)
            .map_err(|error| StartError::Raft(error.to_string()))
    }

    fn tell(&self, said: &mut Reminder, what: &'static str, reason: String) {
        said.say(what, &reason);
        self.obstacle.send_if_modified(|told| {
            let is_news = told.as_ref() != Some(&reason);
            *told = Some(reason);
            is_news
        });
    }

    fn nothing_in_the_way(&self) {
        self.obstacle.send_if_modified(|told| told.take().is_some());
    }

    fn fail(&self, reason: QuorumFailure) {
        tracing::error!(%reason, "this controller cannot be part of the metadata quorum");
        self.failure.send_replace(Some(reason));
        // An error: no replica runs.
        let _ = self.shared.commands.send(Command::Stop);
    }

    /// Asks every other controller that is configured or a member; adds what formed ones said when they asked. None when it
    /// is time to stop.
    async fn ask(&mut self) -> Option<BTreeMap<i32, PeerView>> {
        let mut calls = JoinSet::new();
        let me = self.shared.me.borrow().clone();
        for (node_id, address) in self.others(&me) {
            let Some(mut client) = client_of(&mut self.clients, node_id, &address) else {
                continue;
            };
            let me = me.to_wire();
            calls.spawn(async move {
                let answer = tokio::time::timeout(CALL_TIMEOUT, client.hello(me)).await;
                let view = PeerView::from_wire(answer.ok()?.ok()?.into_inner())?;
                if view.node_id != node_id {
                    tracing::warn!(
                        address,
                        expected = node_id,
                        found = view.node_id,
                        "controller.quorum.voters: another node answers at this address"
                    );
                    return None;
                }
                Some(view)
            });
        }
        let mut peers = self.shared.heard.lock().clone();
        peers.retain(|node_id, _| *node_id != self.config.node_id);
        self.answered.clear();
        loop {
            tokio::select! {
                _ = self.shutdown.wait_for(|stop| *stop) => return None,
                answer = calls.join_next() => match answer {
                    Some(Ok(Some(view))) => {
                        self.answered.insert(view.raft_id());
                        peers.insert(view.node_id, view);
                    }
                    Some(_) => {}
                    None => return Some(peers),
                },
            }
        }
    }

    /// Asks the leader to be let in, or with `renew` whether it would let this node in again.
    async fn join(&mut self, me: &PeerView, peers: &BTreeMap<i32, PeerView>, renew: bool) -> Heard {
        let request = wire::JoinRequest {
            cluster_id: me.cluster_id.clone().unwrap_or_default(),
            member: Some(member_to_wire(&self.member(me))),
            configured_voters: me.configured.clone(),
            renew,
        };
        let formed = peers.values().filter(|peer| peer.formed().is_some());
        let mut heard = Heard::Nothing;
        for node_id in formed.map(|peer| peer.node_id) {
            let Some(client) = self.clients.get_mut(&node_id) else {
                continue;
            };
            let answer = tokio::time::timeout(CALL_TIMEOUT, client.join(request.clone())).await;
            match answer.map(|answer| answer.map(tonic::Response::into_inner)) {
                Ok(Ok(answer)) if answer.renew => return Heard::Renew,
                Ok(Ok(answer)) if !answer.refused.is_empty() => {
                    return Heard::Refused(answer.refused);
                }
                Ok(Ok(answer)) if answer.leader => return Heard::Welcome,
                Ok(Err(status)) if status.code() != tonic::Code::Unavailable => {
                    let reason = status.message();
                    heard = Heard::Refused(format!("node {node_id}: {reason}"));
                }
                _ => {}
            }
        }
        heard
    }

    /// The quorum goes on without this node. Raft ends here, so that nobody is disturbed; the process stays, or it
    /// would be started again and again.
    async fn stay_out(&mut self, me: &PeerView, peers: &BTreeMap<i32, PeerView>) {
        if self.removal.borrow().is_none() {
            let reason = removed_sentence(me.node_id);
            tracing::warn!(
                reason,
                "this controller is no longer part of the metadata quorum"
            );
            self.removal.send_replace(Some(reason));
            // An error: the thread has ended.
            let _ = self.shared.commands.send(Command::Stop);
        }
        if self.join(me, peers, true).await == Heard::Renew {
            let failure = match self.set_aside() {
                Ok(aside) => QuorumFailure::Renewed {
                    cluster_id: me.cluster_id.clone().unwrap_or_default(),
                    node_id: me.node_id,
                    aside,
                },
                Err(error) => QuorumFailure::Storage(Arc::new(error)),
            };
            self.fail(failure);
        }
    }

    /// An empty folder is what the next start takes for a reason to join under another directory id.
    fn set_aside(&self) -> Result<PathBuf, StorageError> {
        let quorum = self.config.data_dir.join(DIRECTORY);
        let aside = self.config.data_dir.join(SET_ASIDE);
        set_aside(&quorum, &aside)?;
        Ok(aside)
    }

    /// Where the others listen: as configured, else as they said when they joined.
    fn others(&self, me: &PeerView) -> BTreeMap<i32, String> {
        let members = me.membership.iter().flat_map(|it| it.members.values());
        let members = members.map(|member| (member.node_id, member.address.clone()));
        let configured = self.config.voters.iter();
        let configured = configured.map(|voter| (voter.node_id, voter.address.clone()));
        let mut others: BTreeMap<i32, String> = members.chain(configured).collect();
        others.remove(&self.config.node_id);
        others
    }

    /// Until the next round, or until a formed peer is heard of.
    async fn pause(&mut self, time: Duration) {
        tokio::select! {
            () = tokio::time::sleep(time) => {}
            () = self.shared.heard_more.notified() => {}
            _ = self.shutdown.wait_for(|stop| *stop) => {}
        }
    }

    fn member(&self, peer: &PeerView) -> Member {
        Member {
            raft_id: peer.raft_id(),
            node_id: peer.node_id,
            directory_id: peer.directory_id,
            address: self
                .config
                .address_of(peer.node_id)
                .unwrap_or_default()
                .to_owned(),
        }
    }
}

/// A reason to wait, told once and not every round.
#[derive(Debug, Default)]
struct Reminder {
    last: String,
    rounds: u32,
}

impl Reminder {
    fn say(&mut self, what: &'static str, reason: &str) {
        if self.last != reason || self.rounds >= ROUNDS_BETWEEN_REMINDERS {
            tracing::info!(reason, "{what}");
            reason.clone_into(&mut self.last);
            self.rounds = 0;
        }
        self.rounds += 1;
    }
}

/// What came of asking to be let in.
#[derive(Debug, PartialEq, Eq)]
enum Heard {
    /// Nobody leads.
    Nothing,
    Welcome,
    Renew,
    Refused(String),
}

/// The client of a controller, connected when it is first used.
fn client_of(
    clients: &mut BTreeMap<i32, QuorumClient<Channel>>,
    node_id: i32,
    address: &str,
) -> Option<QuorumClient<Channel>> {
    if let Some(client) = clients.get(&node_id) {
        return Some(client.clone());
    }
    match endpoint(address) {
        Ok(endpoint) => {
            let client = client(endpoint.connect_lazy());
            Some(clients.entry(node_id).or_insert(client).clone())
        }
        Err(reason) => {
            tracing::error!(node_id, reason, "controller.quorum.voters");
            None
        }
    }
}

fn data_of(snapshot: &StoredSnapshot) -> Result<wire::SnapshotData, StartError> {
    let index = snapshot.meta.index;
    wire::SnapshotData::decode(snapshot.data.clone()).map_err(|error| StartError::Restore {
        index,
        reason: error.to_string(),
    })
}

fn cluster_of(snapshot: &StoredSnapshot) -> Result<String, StartError> {
    Ok(data_of(snapshot)?.cluster_id)
}

fn membership_of(snapshot: &StoredSnapshot) -> Result<Membership, StartError> {
    let membership = data_of(snapshot)?
        .membership
        .and_then(Membership::from_wire);
    membership.ok_or_else(|| StartError::Restore {
        index: snapshot.meta.index,
        reason: "it has no membership".to_owned(),
    })
}

fn said_by(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("a panic")
        .to_owned()
}
