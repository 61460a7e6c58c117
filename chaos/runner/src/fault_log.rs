//! What was done to the cluster and how long it took to be well again.

use std::collections::BTreeMap;

use foz_judge::event::{self, Event, FaultPhase, TopicPartition};

use crate::fault::{Fault, Kind, Script, View};

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Recorded {
    pub(crate) id: u64,
    pub(crate) kind: Kind,
    pub(crate) targets: Vec<String>,
    /// Those whose leader was struck.
    pub(crate) partitions: Vec<(String, i32)>,
    /// A leader with requests in flight was struck.
    pub(crate) loaded_leader: bool,
    pub(crate) begin_us: u64,
    /// When the last of it was healed; 0 until then.
    pub(crate) end_us: u64,
    pub(crate) notes: Vec<String>,
}

/// All faults of a run.
#[derive(Debug, Default)]
pub(crate) struct FaultLog {
    pub(crate) faults: Vec<Recorded>,
    /// Microseconds from the end of a fault, or of several that overlap, until every partition was written
    /// to again.
    pub(crate) recoveries_us: Vec<u64>,
    /// And until every replica was in sync again, where that was waited for.
    pub(crate) resyncs_us: Vec<u64>,
}

/// Of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    pub(crate) faults: usize,
    pub(crate) on_loaded_leader: usize,
}

impl FaultLog {
    /// A fault begins.
    pub(crate) fn begin(&mut self, fault: &Fault, script: &Script, view: &View, now_us: u64) {
        let struck = script.targets.iter();
        let partitions = struck
            .clone()
            .flat_map(|node| view.led_by(*node))
            .map(|(partition, _)| partition.clone());
        self.faults.push(Recorded {
            id: fault.id,
            kind: fault.kind,
            targets: struck.clone().map(ToString::to_string).collect(),
            partitions: partitions.collect(),
            loaded_leader: struck.clone().any(|node| view.is_loaded_leader(*node)),
            begin_us: now_us,
            end_us: 0,
            notes: Vec::new(),
        });
    }

    /// A fault is healed.
    pub(crate) fn end(&mut self, fault: u64, now_us: u64) {
        if let Some(recorded) = self.find(fault) {
            recorded.end_us = now_us;
        }
    }

    /// Something to remember of it.
    pub(crate) fn note(&mut self, fault: u64, note: String) {
        if let Some(recorded) = self.find(fault) {
            recorded.notes.push(note);
        }
    }

    /// For the history.
    pub(crate) fn events(&self) -> Vec<Event> {
        let mut events: Vec<Event> = Vec::new();
        for fault in &self.faults {
            for note in &fault.notes {
                events.push(Event::Note(event::Note {
                    t_us: fault.begin_us,
                    text: format!("fault {}: {note}", fault.id),
                }));
            }
            let partitions = fault.partitions.iter();
            let phase = |phase, t_us| {
                Event::Fault(event::Fault {
                    t_us,
                    id: fault.id,
                    kind: fault.kind.name().to_owned(),
                    phase,
                    targets: fault.targets.clone(),
                    partitions: partitions
                        .clone()
                        .map(|(topic, index)| TopicPartition(topic.clone(), *index))
                        .collect(),
                    loaded_leader: fault.loaded_leader,
                })
            };
            events.push(phase(FaultPhase::Begin, fault.begin_us));
            if fault.end_us > 0 {
                events.push(phase(FaultPhase::End, fault.end_us));
            }
        }
        events.sort_by_key(Event::t_us);
        events
    }

    /// How many of each kind.
    pub(crate) fn tallies(&self) -> BTreeMap<Kind, Tally> {
        let mut tallies: BTreeMap<Kind, Tally> = BTreeMap::new();
        for fault in &self.faults {
            let tally = tallies.entry(fault.kind).or_default();
            tally.faults += 1;
            tally.on_loaded_leader += usize::from(fault.loaded_leader);
        }
        tallies
    }

    fn find(&mut self, fault: u64) -> Option<&mut Recorded> {
        self.faults
            .iter_mut()
            .rev()
            .find(|recorded| recorded.id == fault)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::fault::PartitionView;
    use crate::layout::NodeName;

    #[test]
    fn a_fault_is_counted_by_whom_it_struck() {
        let partition = PartitionView {
            leader: Some(NodeName::Broker(0)),
            in_flight: 4,
            ..PartitionView::default()
        };
        let view = View {
            partitions: BTreeMap::from([(("t".to_owned(), 2), partition)]),
            active_controller: None,
            running: BTreeSet::from([NodeName::Broker(0), NodeName::Controller(1)]),
        };
        let mut log = FaultLog::default();
        for (id, kind) in [(1, Kind::KillLeader), (2, Kind::KillController)] {
            let fault = Fault {
                id,
                kind,
                pick: 0,
                hold_ms: 1,
                away_ms: 1,
                percent: 5,
                from_clients: true,
            };
            let script = fault.script(&view).unwrap();
            log.begin(&fault, &script, &view, 10 * id);
        }
        log.end(1, 15);
        log.note(1, "noted".to_owned());
        let tally = log.tallies()[&Kind::KillLeader];
        assert_eq!((tally.faults, tally.on_loaded_leader), (1, 1));
        assert_eq!(log.tallies()[&Kind::KillController].on_loaded_leader, 0);
        let times: Vec<u64> = log.events().iter().map(Event::t_us).collect();
        assert_eq!(times, [10, 10, 15, 20]);
        assert_eq!(log.faults[0].partitions, [("t".to_owned(), 2)]);
    }
}
