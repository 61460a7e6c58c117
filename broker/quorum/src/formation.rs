//! Decides, from what each controller says of its own disk, whether to found the quorum, to enter one
//! that is there, or to refuse. No I/O.
//!
//! - Only the lowest configured node id founds, and only when every configured controller answered in
//!   the same round that its disk is empty and that it is configured alike. It makes the founding
//!   membership durable before it tells anyone, so a second attempt is the same founding.
//! - A founder that hears of the founding membership makes it durable and votes by it. It never voted
//!   before: its directory id is new, and its disk was empty.
//! - Everyone else that has an empty disk starts as a member without knowledge, and asks the leader to
//!   be made a voter. That the others are configured differently matters for founding alone: a quorum that is
//!   there may grow and shrink.
//! - Who was removed from the quorum stays out, and asks now and then whether it may come back.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::QuorumFailure;
use crate::identity::raft_id;
use crate::kafka_uuid::KafkaUuid;
use crate::membership::{FOUNDING_INDEX, Membership};
use crate::status::{Member, MemberStatus};
use crate::wire;

/// A controller as it describes itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PeerView {
    pub(crate) node_id: i32,
    pub(crate) directory_id: KafkaUuid,
    pub(crate) cluster_id: Option<String>,
    /// Ascending.
    pub(crate) configured: Vec<i32>,
    /// None: its disk has no state of the quorum.
    pub(crate) membership: Option<Membership>,
}

/// What a controller without state does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Action {
    /// Mint the cluster id; all that answered are founders.
    Found,
    /// Begin as a voter of the founding membership.
    Adopt {
        cluster_id: String,
        membership: Membership,
    },
    /// Begin without knowledge; the leader sends the rest.
    Enter {
        cluster_id: String,
    },
    Refuse(Refusal),
    /// For this reason.
    Wait(String),
}

/// What a controller with state does while it has no leader or does not vote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RunningAction {
    /// Ask the leader to be made a voter.
    Join,
    Refuse(Refusal),
    /// The quorum goes on without this node, by somebody's will: ask whether it may come back.
    StayOut,
    Rest,
}

/// This volume cannot be part of the quorum that is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Refusal {
    WrongCluster {
        found: String,
        expected: String,
        peers: Vec<i32>,
    },
    Removed {
        cluster_id: String,
        node_id: i32,
        directory_id: KafkaUuid,
    },
}

/// `peers` holds the answers of this round, and what formed peers said earlier; never an earlier answer
/// of a peer without state.
pub(crate) fn decide(me: &PeerView, peers: &BTreeMap<i32, PeerView>) -> Action {
    if let Some(refusal) = wrong_cluster(me, peers) {
        return Action::Refuse(refusal);
    }
    let formed = || peers.values().filter_map(PeerView::formed);
    let clusters: BTreeSet<&str> = formed().map(|(cluster_id, _)| cluster_id).collect();
    if clusters.len() > 1 {
        return Action::Wait(format!(
            "the controllers belong to several clusters: {clusters:?}"
        ));
    }
    if let Some((cluster_id, membership)) = formed().max_by_key(|(_, membership)| membership.index)
    {
        if me
            .cluster_id
            .as_deref()
            .is_some_and(|mine| mine != cluster_id)
        {
            return Action::Wait(format!(
                "this volume belongs to cluster {:?}, the controller that answers to {cluster_id}",
                me.cluster_id
            ));
        }
        let cluster_id = cluster_id.to_owned();
        let me_as_founder = membership.members.get(&me.raft_id());
        if membership.index == FOUNDING_INDEX && me_as_founder.is_some() {
            return Action::Adopt {
                cluster_id,
                membership: membership.clone(),
            };
        }
        return Action::Enter { cluster_id };
    }
    decide_founding(me, peers)
}

fn decide_founding(me: &PeerView, peers: &BTreeMap<i32, PeerView>) -> Action {
    for peer in peers.values().chain([me]) {
        if let Some(cluster_id) = &peer.cluster_id {
            return Action::Wait(format!(
                "node {} belonged to cluster {cluster_id} and has lost its state; waiting for a controller that has it",
                peer.node_id
            ));
        }
        if peer.configured != me.configured {
            return Action::Wait(format!(
                "controller.quorum.voters differs: {:?} here, {:?} on node {}",
                me.configured, peer.configured, peer.node_id
            ));
        }
    }
    let silent: Vec<i32> = others(me)
        .filter(|node_id| !peers.contains_key(node_id))
        .collect();
    if !silent.is_empty() {
        return Action::Wait(format!("controllers {silent:?} have not answered yet"));
    }
    match me.configured.first() {
        Some(founder) if *founder != me.node_id => {
            Action::Wait(format!("node {founder} founds the quorum"))
        }
        _ => Action::Found,
    }
}

/// As [`decide`], for a controller that has state.
pub(crate) fn decide_running(
    me: &PeerView,
    peers: &BTreeMap<i32, PeerView>,
    is_voter: bool,
) -> RunningAction {
    if let Some(refusal) = wrong_cluster(me, peers) {
        return RunningAction::Refuse(refusal);
    }
    match removed(me, peers) {
        Some(Removal::Retired) => return RunningAction::StayOut,
        Some(Removal::Replaced(refusal)) => return RunningAction::Refuse(refusal),
        None => {}
    }
    if is_voter {
        RunningAction::Rest
    } else {
        RunningAction::Join
    }
}

/// Whether the group is the configured one, but for those that were removed from it. When it is not, its having a leader proves nothing: the
/// volume of a single controller of another cluster elects itself.
pub(crate) fn has_all_configured(me: &PeerView) -> bool {
    let members = me
        .membership
        .iter()
        .flat_map(|membership| membership.members.values());
    let members: BTreeSet<i32> = members.map(|member| member.node_id).collect();
    let retired = me.membership.as_ref().map(|membership| &membership.retired);
    let is_retired = |node_id: &i32| retired.is_some_and(|retired| retired.contains(node_id));
    me.configured
        .iter()
        .all(|node_id| members.contains(node_id) || is_retired(node_id))
}

/// Why nobody can be elected: too few of the voters are there, `answered` being Raft ids. A node that answers with
/// another volume is not the voter.
pub(crate) fn no_majority(members: &[MemberStatus], answered: &BTreeSet<u64>) -> Option<String> {
    let voters: Vec<&Member> = members
        .iter()
        .filter(|member| member.is_voter)
        .map(|voter| &voter.member)
        .collect();
    let mut absent: Vec<i32> = voters
        .iter()
        .filter(|voter| !answered.contains(&voter.raft_id))
        .map(|voter| voter.node_id)
        .collect();
    absent.sort_unstable();
    let is_majority = voters.len() - absent.len() > voters.len() / 2;
    (!is_majority).then(|| {
        format!(
            "of {} voters {absent:?} do not answer, or not with the volume that votes: there is no majority",
            voters.len()
        )
    })
}

/// One volume of another cluster must not stop the others, and must stop itself: the majority of the
/// configured controllers says which cluster this is.
fn wrong_cluster(me: &PeerView, peers: &BTreeMap<i32, PeerView>) -> Option<Refusal> {
    let found = me.cluster_id.clone()?;
    let mut others: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for peer in peers
        .values()
        .filter(|peer| me.configured.contains(&peer.node_id))
    {
        if let Some((cluster_id, _)) = peer.formed().filter(|(id, _)| *id != found) {
            others.entry(cluster_id).or_default().push(peer.node_id);
        }
    }
    let majority = me.configured.len() / 2 + 1;
    let (expected, peers) = others
        .into_iter()
        .find(|(_, peers)| peers.len() >= majority)?;
    Some(Refusal::WrongCluster {
        found,
        expected: expected.to_owned(),
        peers,
    })
}

/// The quorum has gone on without this volume.
enum Removal {
    /// Without the node: somebody removed it.
    Retired,
    /// With another volume in its place.
    Replaced(Refusal),
}

/// A later membership without this volume is proof: Raft ids never come back. So is its own, when it has heard of
/// its removal.
fn removed(me: &PeerView, peers: &BTreeMap<i32, PeerView>) -> Option<Removal> {
    let (cluster_id, mine) = me.formed()?;
    let of_this_cluster = peers
        .values()
        .filter_map(PeerView::formed)
        .filter(|(theirs_id, _)| *theirs_id == cluster_id);
    let theirs = of_this_cluster
        .map(|(_, theirs)| theirs)
        .filter(|theirs| theirs.index > mine.index)
        .max_by_key(|theirs| theirs.index);
    let newest = theirs.unwrap_or(mine);
    if newest.members.contains_key(&me.raft_id()) {
        return None;
    }
    // One that has just joined knows of no membership, or of one from before.
    if theirs.is_none() && !mine.is_removed(me.raft_id()) {
        return None;
    }
    if newest.retired.contains(&me.node_id) {
        return Some(Removal::Retired);
    }
    Some(Removal::Replaced(Refusal::Removed {
        cluster_id: cluster_id.to_owned(),
        node_id: me.node_id,
        directory_id: me.directory_id,
    }))
}

fn others(me: &PeerView) -> impl Iterator<Item = i32> {
    me.configured
        .iter()
        .copied()
        .filter(|node_id| *node_id != me.node_id)
}

impl PeerView {
    pub(crate) fn raft_id(&self) -> u64 {
        raft_id(self.node_id, &self.directory_id)
    }

    /// As configured, or as a member of the group.
    pub(crate) fn knows(&self, node_id: i32) -> bool {
        let membership = self.membership.as_ref();
        self.configured.contains(&node_id)
            || membership.is_some_and(|it| it.raft_ids_of(node_id).next().is_some())
    }

    /// The cluster and the membership, when it has both.
    pub(crate) fn formed(&self) -> Option<(&str, &Membership)> {
        Some((self.cluster_id.as_deref()?, self.membership.as_ref()?))
    }

    pub(crate) fn to_wire(&self) -> wire::PeerState {
        wire::PeerState {
            node_id: self.node_id,
            directory_id: self.directory_id.as_bytes().to_vec().into(),
            cluster_id: self.cluster_id.clone().unwrap_or_default(),
            configured_voters: self.configured.clone(),
            membership: self.membership.as_ref().map(Membership::to_wire),
        }
    }

    /// None when it is malformed.
    pub(crate) fn from_wire(state: wire::PeerState) -> Option<Self> {
        let membership = match state.membership {
            Some(membership) => Some(Membership::from_wire(membership)?),
            None => None,
        };
        Some(Self {
            node_id: state.node_id,
            directory_id: KafkaUuid::from_slice(&state.directory_id)?,
            cluster_id: Some(state.cluster_id).filter(|id| !id.is_empty()),
            configured: state.configured_voters,
            membership,
        })
    }
}

impl From<Refusal> for QuorumFailure {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::WrongCluster {
                found,
                expected,
                peers,
            } => Self::WrongCluster {
                found,
                expected,
                peers,
            },
            Refusal::Removed {
                cluster_id,
                node_id,
                directory_id,
            } => Self::Removed {
                cluster_id,
                node_id,
                directory_id: directory_id.to_string(),
            },
        }
    }
}

#[cfg(test)]
mod tests;
