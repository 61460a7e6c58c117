//! What can go wrong: kinds, whom each strikes, and its script.
//!
//! All of it is decided here, before anything is done: a [`Fault`] is drawn from the seed; against the
//! [`View`] of the cluster at its moment it becomes a [`Script`] of timed [`Act`]s, which ends with
//! everything healed. The shell that carries acts out is `stage.rs`.

mod disk;
mod network;
mod process;
mod view;

pub(crate) use view::{PartitionView, View};

use crate::layout::NodeName;
use crate::network::Trouble;

/// Between one broker and the next where they do not go at once: the controllers have taken note, and the
/// others have gone on.
const IN_TURN_MS: u64 = 2_000;

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Kind {
    KillLeader,
    KillFollower,
    KillController,
    KillActiveController,
    KillQuorum,
    KillAll,
    StopLeader,
    StopActiveController,
    HandOver,
    IsolateLeader,
    IsolateActiveController,
    OneWayIn,
    OneWayOut,
    PartialCut,
    PacketLoss,
    SlowFsync,
    FailedFsync,
    TornTail,
    FlippedBits,
    EmptiedVolume,
    OlderVolume,
}

/// Which kinds a run draws from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum FaultSet {
    /// Processes killed, stopped, asked to end.
    Process,
    /// Links cut and thinned.
    Network,
    /// Disks that are slow, fail, forget or lie.
    Disk,
    /// Everything.
    All,
}

/// One fault as the seed drew it: whom it strikes is decided when its time comes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// Unique in the run.
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    /// Chooses among those that it may strike, and what is damaged.
    pub(crate) pick: u64,
    /// How long the trouble lasts, where it lasts.
    pub(crate) hold_ms: u64,
    /// How long a node that ended stays away.
    pub(crate) away_ms: u64,
    /// Of packets, where they are lost.
    pub(crate) percent: u8,
    /// Whether a cut node is cut from the clients, too.
    pub(crate) from_clients: bool,
}

/// What is done at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Act {
    /// SIGKILL.
    Kill(NodeName),
    /// SIGTERM.
    Terminate(NodeName),
    /// SIGSTOP.
    Pause(NodeName),
    /// SIGCONT.
    Resume(NodeName),
    /// Starts it; waits for the end of one that was asked to end.
    Start(NodeName),
    /// Links go bad.
    Trouble(Trouble),
    /// The links of this fault are well again.
    Mend,
    /// The process's flushes go wrong.
    Fsync(NodeName, FsyncTrouble),
    /// They go well again.
    FsyncWell(NodeName),
    /// A process whose flush failed must have ended by itself; it is killed if it has not.
    MustHaveEnded(NodeName),
    /// The node's machine lost its power: another boot of the kernel, and no more than the flushed part of
    /// one partition's newest segment.
    LoseUnflushed(NodeName),
    /// Bits of a closed segment change.
    FlipBits(NodeName),
    /// The volume is put aside as it is now.
    CopyVolume(NodeName),
    /// The copy comes back in its place.
    RestoreVolume(NodeName),
    /// A new volume.
    EmptyVolume(NodeName),
}

/// How flushes go wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum FsyncTrouble {
    /// Each takes so much longer.
    DelayedMs(u64),
    /// EIO.
    Fails,
}

/// Acts with the time since the fault began, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Script {
    /// The nodes that are struck.
    pub(crate) targets: Vec<NodeName>,
    pub(crate) acts: Vec<(u64, Act)>,
}

impl Kind {
    /// Every kind.
    pub(crate) const ALL: [Kind; 21] = [
        Kind::KillLeader,
        Kind::KillFollower,
        Kind::KillController,
        Kind::KillActiveController,
        Kind::KillQuorum,
        Kind::KillAll,
        Kind::StopLeader,
        Kind::StopActiveController,
        Kind::HandOver,
        Kind::IsolateLeader,
        Kind::IsolateActiveController,
        Kind::OneWayIn,
        Kind::OneWayOut,
        Kind::PartialCut,
        Kind::PacketLoss,
        Kind::SlowFsync,
        Kind::FailedFsync,
        Kind::TornTail,
        Kind::FlippedBits,
        Kind::EmptiedVolume,
        Kind::OlderVolume,
    ];

    /// In reports and histories.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::KillLeader => "kill-leader",
            Kind::KillFollower => "kill-follower",
            Kind::KillController => "kill-controller",
            Kind::KillActiveController => "kill-active-controller",
            Kind::KillQuorum => "kill-quorum",
            Kind::KillAll => "kill-all",
            Kind::StopLeader => "stop-leader",
            Kind::StopActiveController => "stop-active-controller",
            Kind::HandOver => "hand-over",
            Kind::IsolateLeader => "isolate-leader",
            Kind::IsolateActiveController => "isolate-active-controller",
            Kind::OneWayIn => "one-way-in",
            Kind::OneWayOut => "one-way-out",
            Kind::PartialCut => "partial-cut",
            Kind::PacketLoss => "packet-loss",
            Kind::SlowFsync => "slow-fsync",
            Kind::FailedFsync => "failed-fsync",
            Kind::TornTail => "torn-tail",
            Kind::FlippedBits => "flipped-bits",
            Kind::EmptiedVolume => "emptied-volume",
            Kind::OlderVolume => "older-volume",
        }
    }

    /// A copy of the data is lost or damaged. The promise holds while the others have theirs: such a
    /// fault begins with every replica in sync and nothing else going wrong.
    pub(crate) fn loses_data(self) -> bool {
        matches!(
            self,
            Kind::TornTail | Kind::FlippedBits | Kind::EmptiedVolume | Kind::OlderVolume
        )
    }

    /// So much is away that nothing else is done at the same time.
    pub(crate) fn strikes_many(self) -> bool {
        matches!(self, Kind::KillAll | Kind::KillQuorum)
    }
}

impl FaultSet {
    /// Its kinds.
    pub(crate) fn kinds(self) -> Vec<Kind> {
        let all = Kind::ALL.into_iter();
        all.filter(|kind| matches!(self, FaultSet::All) || set_of(*kind) == self)
            .collect()
    }
}

fn set_of(kind: Kind) -> FaultSet {
    match kind {
        Kind::KillLeader
        | Kind::KillFollower
        | Kind::KillController
        | Kind::KillActiveController
        | Kind::KillQuorum
        | Kind::KillAll
        | Kind::StopLeader
        | Kind::StopActiveController
        | Kind::HandOver => FaultSet::Process,
        Kind::IsolateLeader
        | Kind::IsolateActiveController
        | Kind::OneWayIn
        | Kind::OneWayOut
        | Kind::PartialCut
        | Kind::PacketLoss => FaultSet::Network,
        Kind::SlowFsync
        | Kind::FailedFsync
        | Kind::TornTail
        | Kind::FlippedBits
        | Kind::EmptiedVolume
        | Kind::OlderVolume => FaultSet::Disk,
    }
}

impl Fault {
    /// What to do, given how things are. `None` when there is nobody to strike.
    pub(crate) fn script(&self, view: &View) -> Option<Script> {
        match set_of(self.kind) {
            FaultSet::Process | FaultSet::All => process::script(self, view),
            FaultSet::Network => network::script(self, view),
            FaultSet::Disk => disk::script(self, view),
        }
    }
}

impl Script {
    fn new(targets: Vec<NodeName>, acts: Vec<(u64, Act)>) -> Self {
        Self { targets, acts }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn fault(kind: Kind, pick: u64) -> Fault {
        Fault {
            id: 1,
            kind,
            pick,
            hold_ms: 3_000,
            away_ms: 1_000,
            percent: 20,
            from_clients: pick.is_multiple_of(2),
        }
    }

    #[test]
    fn every_script_leaves_everything_healed() {
        let view = view::tests::loaded();
        for (kind, pick) in Kind::ALL
            .into_iter()
            .flat_map(|kind| (0..6).map(move |pick| (kind, pick)))
        {
            let script = fault(kind, pick).script(&view).unwrap();
            assert!(!script.targets.is_empty(), "{kind:?}");
            assert!(
                script.acts.is_sorted_by_key(|(at_ms, _)| *at_ms),
                "{script:?}"
            );
            let (mut down, mut paused, mut slow, mut troubled) =
                (BTreeSet::new(), BTreeSet::new(), BTreeSet::new(), false);
            for (_, act) in &script.acts {
                match *act {
                    Act::Kill(node) | Act::Terminate(node) | Act::MustHaveEnded(node) => {
                        down.insert(node);
                    }
                    Act::Start(node) => assert!(down.remove(&node), "{script:?}"),
                    Act::Pause(node) => assert!(paused.insert(node)),
                    Act::Resume(node) => assert!(paused.remove(&node)),
                    Act::Trouble(_) => troubled = true,
                    Act::Mend => troubled = false,
                    Act::Fsync(node, _) => assert!(slow.insert(node)),
                    Act::FsyncWell(node) => assert!(slow.remove(&node)),
                    // Nobody touches the files of a process that runs.
                    Act::LoseUnflushed(node)
                    | Act::FlipBits(node)
                    | Act::CopyVolume(node)
                    | Act::RestoreVolume(node)
                    | Act::EmptyVolume(node) => assert!(down.contains(&node), "{script:?}"),
                }
            }
            assert!(
                down.is_empty() && paused.is_empty() && slow.is_empty() && !troubled,
                "{script:?}"
            );
        }
    }

    #[test]
    fn the_sets_share_nothing_and_miss_nothing() {
        let sets = [FaultSet::Process, FaultSet::Network, FaultSet::Disk];
        let together: Vec<Kind> = sets.into_iter().flat_map(FaultSet::kinds).collect();
        assert_eq!(together.len(), Kind::ALL.len());
        let distinct: BTreeSet<Kind> = together.into_iter().collect();
        assert_eq!(distinct.len(), Kind::ALL.len());
        assert_eq!(FaultSet::All.kinds(), Kind::ALL);
    }

    #[test]
    fn names_are_distinct() {
        let names: BTreeSet<_> = Kind::ALL.into_iter().map(Kind::name).collect();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn what_loses_data_strikes_one_node() {
        let view = view::tests::loaded();
        for kind in Kind::ALL.into_iter().filter(|kind| kind.loses_data()) {
            for pick in 0..6 {
                let script = fault(kind, pick).script(&view).unwrap();
                let damaged: BTreeSet<NodeName> = script
                    .acts
                    .iter()
                    .filter_map(|(_, act)| match act {
                        Act::LoseUnflushed(node)
                        | Act::FlipBits(node)
                        | Act::RestoreVolume(node)
                        | Act::EmptyVolume(node) => Some(*node),
                        _ => None,
                    })
                    .collect();
                assert_eq!(damaged.len(), 1, "{kind:?}");
                assert!(damaged.iter().all(|node| node.is_broker()));
                assert!(damaged.iter().all(|node| script.targets[0] == *node));
            }
        }
    }

    #[test]
    fn who_went_first_is_back_first() {
        let script = fault(Kind::KillAll, 4)
            .script(&view::tests::loaded())
            .unwrap();
        let gone: Vec<_> = script.acts.iter().map(|(_, act)| act).collect();
        let times: Vec<u64> = script.acts.iter().map(|(at_ms, _)| *at_ms).collect();
        let [Act::Kill(a), Act::Kill(b), Act::Kill(c), back @ ..] = gone.as_slice() else {
            panic!("{script:?}");
        };
        assert_eq!(back, [&Act::Start(*a), &Act::Start(*b), &Act::Start(*c)]);
        assert!(times.windows(2).all(|pair| pair[0] < pair[1]), "{times:?}");
    }
}
