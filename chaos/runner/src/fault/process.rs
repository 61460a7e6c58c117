//! Processes killed, stopped, or asked to end.

use super::{Act, Fault, IN_TURN_MS, Kind, Script, View};
use crate::layout::NodeName;

pub(super) fn script(fault: &Fault, view: &View) -> Option<Script> {
    let pick = fault.pick;
    Some(match fault.kind {
        Kind::KillLeader => kill(fault, vec![view.leader(pick)?]),
        Kind::KillFollower => kill(fault, vec![view.follower(pick)?]),
        Kind::KillController => kill(fault, vec![view.controller(pick)?]),
        Kind::KillActiveController => kill(fault, vec![view.active_controller(pick)?]),
        Kind::KillQuorum => kill(fault, NodeName::controllers().collect()),
        Kind::KillAll if pick.is_multiple_of(2) => in_turn(fault),
        Kind::KillAll => kill(fault, NodeName::all().collect()),
        Kind::StopLeader => stop(fault, view.leader(pick)?),
        Kind::StopActiveController => stop(fault, view.active_controller(pick)?),
        Kind::HandOver => {
            let node = view.leader(pick)?;
            let acts = vec![(0, Act::Terminate(node)), (fault.away_ms, Act::Start(node))];
            Script::new(vec![node], acts)
        }
        _ => return None,
    })
}

/// All at once; each comes back at a time of its own.
fn kill(fault: &Fault, nodes: Vec<NodeName>) -> Script {
    let mut acts: Vec<(u64, Act)> = nodes.iter().map(|node| (0, Act::Kill(*node))).collect();
    let several = nodes.len() as u64;
    for (at, node) in (1..).zip(&nodes) {
        acts.push((fault.away_ms * at / several, Act::Start(*node)));
    }
    Script::new(nodes, acts)
}

/// Brokers go one after the other, so that the last knows more than the first, and come back in the same
/// order: who is back first must wait.
fn in_turn(fault: &Fault) -> Script {
    let mut nodes: Vec<NodeName> = NodeName::brokers().collect();
    let several = nodes.len();
    nodes.rotate_left(fault.pick as usize / 2 % several);
    let after = |number: usize| number as u64 * IN_TURN_MS;
    let back = after(several - 1) + fault.away_ms;
    let go = nodes.iter().enumerate();
    let mut acts: Vec<(u64, Act)> = go
        .map(|(number, node)| (after(number), Act::Kill(*node)))
        .collect();
    for (number, node) in nodes.iter().enumerate() {
        acts.push((back + after(number), Act::Start(*node)));
    }
    Script::new(nodes, acts)
}

fn stop(fault: &Fault, node: NodeName) -> Script {
    let acts = vec![(0, Act::Pause(node)), (fault.hold_ms, Act::Resume(node))];
    Script::new(vec![node], acts)
}
