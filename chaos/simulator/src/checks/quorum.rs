//! Of the controllers: one leader for each term, and one log.

use std::collections::BTreeMap;

use super::Wrong;

#[derive(Debug, Default)]
pub(super) struct QuorumTruth {
    /// Who led, by term.
    leaders: BTreeMap<u64, u64>,
    /// Term and hash of the entries that were committed, by index.
    committed: BTreeMap<u64, (u64, u64)>,
}

impl QuorumTruth {
    pub(super) fn leads(&mut self, raft_id: u64, term: u64) -> Result<(), Wrong> {
        let leader = *self.leaders.entry(term).or_insert(raft_id);
        if leader != raft_id {
            return Err(format!(
                "controllers {leader} and {raft_id} both lead in term {term}"
            ));
        }
        Ok(())
    }

    pub(super) fn terms(&self) -> usize {
        self.leaders.len()
    }

    pub(super) fn applied(
        &mut self,
        node_id: i32,
        index: u64,
        entry: (u64, u64),
    ) -> Result<(), Wrong> {
        let committed = *self.committed.entry(index).or_insert(entry);
        if committed != entry {
            return Err(format!(
                "controller {node_id} applied another entry at {index} than others: term {} instead of {}",
                entry.0, committed.0
            ));
        }
        Ok(())
    }
}
