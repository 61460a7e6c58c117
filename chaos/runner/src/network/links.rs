//! Which packets do not arrive, as the rules of iptables.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::layout::Place;

/// A way through a cable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Direction {
    /// Who sends.
    pub(crate) from: Place,
    /// Who does not get it.
    pub(crate) to: Place,
}

/// What happens to packets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Trouble {
    /// On these ways.
    pub(crate) ways: Vec<Direction>,
    /// So many of 100 packets are lost; 100 is a cut.
    pub(crate) percent: u8,
}

/// All troubles at the moment, by the fault that made them.
#[derive(Debug, Default)]
pub(crate) struct Links {
    troubles: BTreeMap<u64, Trouble>,
}

impl Links {
    /// Begins a trouble; one fault has one.
    pub(crate) fn begin(&mut self, fault: u64, trouble: Trouble) {
        self.troubles.insert(fault, trouble);
    }

    /// Ends it; unknown ones have ended.
    pub(crate) fn end(&mut self, fault: u64) {
        self.troubles.remove(&fault);
    }

    /// Everything arrives again.
    pub(crate) fn end_all(&mut self) {
        self.troubles.clear();
    }

    /// What `iptables-restore` reads at this place. It replaces all that was there before.
    pub(crate) fn rules(&self, at: Place) -> String {
        let mut rules = String::from("*filter\n:INPUT ACCEPT\n:FORWARD ACCEPT\n:OUTPUT ACCEPT\n");
        for trouble in self.troubles.values() {
            for way in trouble.ways.iter().filter(|way| way.to == at) {
                let _ = write!(rules, "-A INPUT -s {}", way.from.address());
                if trouble.percent < 100 {
                    let probability = f64::from(trouble.percent) / 100.0;
                    let _ = write!(
                        rules,
                        " -m statistic --mode random --probability {probability}"
                    );
                }
                rules.push_str(" -j DROP\n");
            }
        }
        rules.push_str("COMMIT\n");
        rules
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layout::NodeName;

    fn way(from: u8, to: u8) -> Direction {
        let place = |index| Place::Node(NodeName::Broker(index));
        Direction {
            from: place(from),
            to: place(to),
        }
    }

    #[test]
    fn a_packet_is_lost_where_it_arrives_and_only_there() {
        let mut links = Links::default();
        links.begin(
            1,
            Trouble {
                ways: vec![way(0, 1)],
                percent: 100,
            },
        );
        let at = |links: &Links, index| links.rules(Place::Node(NodeName::Broker(index)));
        assert!(at(&links, 1).contains("-A INPUT -s 10.78.0.21 -j DROP\n"));
        assert!(!at(&links, 0).contains("DROP"));
        links.begin(
            2,
            Trouble {
                ways: vec![way(2, 1)],
                percent: 15,
            },
        );
        links.end(1);
        let rules = at(&links, 1);
        assert!(
            rules.contains("-s 10.78.0.23 -m statistic --mode random --probability 0.15 -j DROP")
        );
        assert!(!rules.contains("10.78.0.21"));
    }
}
