//! Links cut, both ways or one, in whole or in part.

use super::{Act, Fault, Kind, Script, View};
use crate::layout::{NodeName, Place};
use crate::network::{Direction, Trouble};

pub(super) fn script(fault: &Fault, view: &View) -> Option<Script> {
    let pick = fault.pick;
    let node = match fault.kind {
        Kind::IsolateActiveController => view.active_controller(pick)?,
        _ => view.leader(pick)?,
    };
    let peers = || Place::all().filter(|place| *place != Place::Node(node));
    let cut_peers = || peers().filter(|place| fault.from_clients || *place != Place::Clients);
    let mut targets = vec![node];
    let (ways, percent) = match fault.kind {
        Kind::IsolateLeader | Kind::IsolateActiveController => {
            (cut_peers().flat_map(|peer| both(node, peer)).collect(), 100)
        }
        Kind::OneWayIn => (cut_peers().map(|peer| inward(node, peer)).collect(), 100),
        Kind::OneWayOut => (cut_peers().map(|peer| outward(node, peer)).collect(), 100),
        Kind::PartialCut => {
            let other = view.other_broker(node, pick / 3)?;
            targets.push(other);
            (both(node, Place::Node(other)).into(), 100)
        }
        Kind::PacketLoss => (
            peers().flat_map(|peer| both(node, peer)).collect(),
            fault.percent,
        ),
        _ => return None,
    };
    let trouble = Trouble { ways, percent };
    let acts = vec![(0, Act::Trouble(trouble)), (fault.hold_ms, Act::Mend)];
    Some(Script::new(targets, acts))
}

fn inward(node: NodeName, peer: Place) -> Direction {
    Direction {
        from: peer,
        to: Place::Node(node),
    }
}

fn outward(node: NodeName, peer: Place) -> Direction {
    Direction {
        from: Place::Node(node),
        to: peer,
    }
}

fn both(node: NodeName, peer: Place) -> [Direction; 2] {
    [inward(node, peer), outward(node, peer)]
}

#[cfg(test)]
mod tests {
    use super::super::view::tests::loaded;
    use super::*;

    fn ways(kind: Kind, from_clients: bool) -> Vec<Direction> {
        let fault = Fault {
            id: 1,
            kind,
            pick: 0,
            hold_ms: 1_000,
            away_ms: 0,
            percent: 10,
            from_clients,
        };
        let script = fault.script(&loaded()).unwrap();
        let Act::Trouble(trouble) = &script.acts[0].1 else {
            panic!("{script:?}");
        };
        trouble.ways.clone()
    }

    #[test]
    fn a_node_is_cut_from_all_others_and_from_clients_only_if_drawn_so() {
        let leader = Place::Node(NodeName::Broker(0));
        assert_eq!(ways(Kind::IsolateLeader, true).len(), 12);
        let peers_only = ways(Kind::IsolateLeader, false);
        assert_eq!(peers_only.len(), 10);
        let clients = |way: &Direction| way.from == Place::Clients || way.to == Place::Clients;
        assert!(!peers_only.iter().any(clients));
        assert!(
            peers_only
                .iter()
                .all(|way| (way.from == leader) != (way.to == leader))
        );
    }

    #[test]
    fn one_way_is_one_way() {
        let leader = Place::Node(NodeName::Broker(0));
        assert!(
            ways(Kind::OneWayIn, true)
                .iter()
                .all(|way| way.to == leader)
        );
        assert!(
            ways(Kind::OneWayOut, true)
                .iter()
                .all(|way| way.from == leader)
        );
    }

    #[test]
    fn a_partial_cut_leaves_both_a_way_to_the_third() {
        let ways = ways(Kind::PartialCut, true);
        assert_eq!(ways.len(), 2);
        assert_eq!(ways[0].from, ways[1].to);
    }
}
