//! Disks that are slow, fail, forget or lie.
//!
//! The kernel outlives a killed process, so what it wrote is still there: only a loss of power forgets,
//! and it forgets what was not flushed. It is made here by cutting the file of one node while it is down
//! and giving it another boot id, so that the node knows.

use super::{Act, Fault, FsyncTrouble, IN_TURN_MS, Kind, Script, View};
use crate::layout::NodeName;

/// A process whose flush fails has this long to end by itself.
const END_LIMIT_MS: u64 = 3_000;
/// Long enough for controllers to take note that the others are gone, and too short for the topics' flushes
/// of each second: there is something to lose.
const TORN_AFTER_MS: u64 = 300;
/// The least that an older copy is older.
const OLDER_MS_MIN: u64 = 2_000;

pub(super) fn script(fault: &Fault, view: &View) -> Option<Script> {
    let node = view.leader(fault.pick)?;
    let (hold, away) = (fault.hold_ms, fault.away_ms);
    let damaged = |damage: Act| vec![(0, Act::Kill(node)), (0, damage), (away, Act::Start(node))];
    let acts = match fault.kind {
        Kind::SlowFsync => {
            let delayed = FsyncTrouble::DelayedMs(50 + fault.pick % 950);
            vec![(0, Act::Fsync(node, delayed)), (hold, Act::FsyncWell(node))]
        }
        Kind::FailedFsync => {
            let ended = hold + END_LIMIT_MS;
            vec![
                (0, Act::Fsync(node, FsyncTrouble::Fails)),
                (ended, Act::MustHaveEnded(node)),
                (ended, Act::FsyncWell(node)),
                (ended + away, Act::Start(node)),
            ]
        }
        Kind::TornTail if fault.pick.is_multiple_of(2) => return Some(torn_last(fault, node)),
        Kind::TornTail => damaged(Act::LoseUnflushed(node)),
        Kind::FlippedBits => damaged(Act::FlipBits(node)),
        Kind::EmptiedVolume => damaged(Act::EmptyVolume(node)),
        Kind::OlderVolume => {
            let again = away + hold.max(OLDER_MS_MIN);
            vec![
                (0, Act::Kill(node)),
                (0, Act::CopyVolume(node)),
                (away, Act::Start(node)),
                (again, Act::Kill(node)),
                (again, Act::RestoreVolume(node)),
                (again + away, Act::Start(node)),
            ]
        }
        _ => return None,
    };
    Some(Script::new(vec![node], acts))
}

/// The others are gone before, so that nobody else is in sync, and come back after: the one whose power
/// failed must wait for them.
fn torn_last(fault: &Fault, node: NodeName) -> Script {
    let back = TORN_AFTER_MS + fault.away_ms;
    let (mut gone, mut again) = (Vec::new(), Vec::new());
    let mut targets = vec![node];
    for other in NodeName::brokers().filter(|other| *other != node) {
        targets.push(other);
        gone.push((0, Act::Kill(other)));
        again.push((back + IN_TURN_MS, Act::Start(other)));
    }
    let torn = vec![
        (TORN_AFTER_MS, Act::Kill(node)),
        (TORN_AFTER_MS, Act::LoseUnflushed(node)),
        (back, Act::Start(node)),
    ];
    Script::new(targets, [gone, torn, again].concat())
}
