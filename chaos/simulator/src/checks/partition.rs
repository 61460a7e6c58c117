//! Of one partition: what was committed, and whether everybody who could lead it has that.

use std::collections::{BTreeMap, BTreeSet};

use foz_metadata::image::{NO_LEADER, Partition as Assigned};

use super::Wrong;
use crate::broker::{Log, Record, Role};
use crate::world::BrokerNode;

#[derive(Debug)]
pub(super) struct Truth {
    pub(super) last_leader: i32,
    /// What any leader ever called committed.
    committed: Vec<Record>,
    /// The next sequence of each producer in there.
    sequences: BTreeMap<u32, u32>,
    /// By leader epoch.
    leaders: BTreeMap<i32, i32>,
    /// By node: its life, and how far its high watermark was.
    high_watermarks: BTreeMap<i32, (u32, i64)>,
    /// Nodes that may have lost something since enough others were in sync, and whether they really did.
    losses: BTreeMap<i32, bool>,
    /// More was lost than can be borne: what is committed is not known until those who are left agree.
    is_beyond: bool,
    /// It was agreed anew what is committed, at least once.
    has_agreed_anew: bool,
    /// They were not there then, or have a disk from before.
    exempt: BTreeSet<i32>,
}

impl Default for Truth {
    fn default() -> Self {
        Self {
            last_leader: NO_LEADER,
            committed: Vec::new(),
            sequences: BTreeMap::new(),
            leaders: BTreeMap::new(),
            high_watermarks: BTreeMap::new(),
            losses: BTreeMap::new(),
            is_beyond: false,
            has_agreed_anew: false,
            exempt: BTreeSet::new(),
        }
    }
}

impl Truth {
    pub(super) fn is_beyond(&self) -> bool {
        self.is_beyond
    }

    /// Nobody leads, and nobody ever will without an administrator.
    pub(super) fn needs_help(&self, assigned: &Assigned) -> bool {
        self.is_beyond && assigned.leader == NO_LEADER
    }

    pub(super) fn losses_with(&self, node_id: i32) -> usize {
        self.losses.len() + usize::from(!self.losses.contains_key(&node_id))
    }

    pub(super) fn leads(&mut self, index: i32, node_id: i32, epoch: i32) -> Result<(), Wrong> {
        let leader = *self.leaders.entry(epoch).or_insert(node_id);
        if leader != node_id {
            return Err(format!(
                "brokers {leader} and {node_id} both lead partition {index} in epoch {epoch}"
            ));
        }
        Ok(())
    }

    fn end(&self) -> i64 {
        self.committed.len() as i64
    }

    fn chain_at(&self, end_offset: i64) -> Option<u64> {
        match end_offset {
            0 => Some(0),
            end => self
                .committed
                .get(usize::try_from(end - 1).ok()?)
                .map(|record| record.chain),
        }
    }

    /// Of what is committed, it has not all, or something else.
    pub(super) fn lacks_committed(&self, log: Option<&Log>) -> bool {
        let end = self.end();
        let chain = match log {
            Some(log) => log.chain_at(end),
            None => (end == 0).then_some(0),
        };
        !self.is_beyond && chain != self.chain_at(end)
    }

    /// What a broker said is safe, is committed and the same.
    pub(super) fn agrees(
        &self,
        index: i32,
        node_id: i32,
        log: Option<&Log>,
        end_offset: i64,
        what: &str,
    ) -> Result<(), Wrong> {
        if self.is_beyond || self.exempt.contains(&node_id) {
            return Ok(());
        }
        let given = log.and_then(|log| log.chain_at(end_offset));
        if given.is_none() || given != self.chain_at(end_offset) {
            return Err(format!(
                "broker {node_id}: what is {what} of partition {index} up to {end_offset} is not committed, \
                 which is up to {}",
                self.end()
            ));
        }
        Ok(())
    }

    /// What a producer is told is safe is on as many replicas as were promised, those included that lost it since.
    pub(super) fn is_held(
        &self,
        index: i32,
        end_offset: i64,
        min_insync: usize,
        brokers: &BTreeMap<i32, BrokerNode>,
    ) -> Result<(), Wrong> {
        let chain = self.chain_at(end_offset);
        let holds = |node: &&BrokerNode| {
            let has = node.log(index).and_then(|log| log.chain_at(end_offset));
            has == chain || node.loss().is_some()
        };
        let holders = brokers.values().filter(holds).count();
        if !self.is_beyond && holders + self.losses.len() < min_insync {
            return Err(format!(
                "partition {index}: offset {end_offset} is acknowledged, and {holders} brokers have what is below, \
                 not {min_insync}"
            ));
        }
        Ok(())
    }

    pub(super) fn look(
        &mut self,
        index: i32,
        assigned: &Assigned,
        min_insync: usize,
        brokers: &BTreeMap<i32, BrokerNode>,
    ) -> Result<(), Wrong> {
        self.count_losses(index, assigned, min_insync, brokers)?;
        if self.is_beyond {
            self.agree_anew(index, assigned, min_insync, brokers);
            if self.is_beyond {
                return Ok(());
            }
        }
        self.grow(index, brokers)?;
        self.check_eligible(index, assigned, brokers)?;
        self.check_high_watermarks(index, assigned, brokers)
    }

    fn count_losses(
        &mut self,
        index: i32,
        assigned: &Assigned,
        min_insync: usize,
        brokers: &BTreeMap<i32, BrokerNode>,
    ) -> Result<(), Wrong> {
        let loss = |id: &i32| brokers.get(id).and_then(|node| node.loss());
        let eligible = || assigned.isr.iter().chain(&assigned.elr);
        for id in eligible() {
            if let Some(really) = loss(id) {
                self.losses.insert(*id, really);
            }
        }
        // Who led last leads again when nobody is sure to have all: also what it loses later counts.
        for (id, really) in &mut self.losses {
            *really |= loss(id) == Some(true);
        }
        let sound = assigned.isr.iter().filter(|id| loss(id).is_none()).count();
        if sound >= min_insync {
            let isr_or_elr: BTreeSet<i32> = eligible().copied().collect();
            self.losses
                .retain(|id, _| isr_or_elr.contains(id) && loss(id).is_some());
        }
        let nobody = !eligible().any(|id| loss(id).is_none());
        if nobody && !self.is_beyond {
            if self.losses.len() < min_insync {
                return Err(format!(
                    "partition {index}: nobody is eligible to lead ({assigned:?}), though only {:?} lost anything",
                    self.losses
                ));
            }
            self.is_beyond = self.losses.values().any(|really| *really);
        }
        Ok(())
    }

    /// Enough are in sync again, and all who live know it: what the leader calls committed counts from here on.
    fn agree_anew(
        &mut self,
        index: i32,
        assigned: &Assigned,
        min_insync: usize,
        brokers: &BTreeMap<i32, BrokerNode>,
    ) {
        let is_sound = |id: &i32| brokers.get(id).is_some_and(|node| node.loss().is_none());
        if assigned.isr.len() < min_insync
            || !assigned.isr.iter().all(is_sound)
            || !assigned.elr.is_empty()
        {
            return;
        }
        let epoch = assigned.leader_epoch;
        let knows = |node: &BrokerNode| match node.role(index) {
            None | Some(Role::Idle) => true,
            Some(Role::Leads(leader)) => leader.leader_epoch() == epoch,
            Some(Role::Follows { epoch: of, .. }) => *of == epoch,
        };
        let leads = brokers
            .get(&assigned.leader)
            .filter(|node| matches!(node.role(index), Some(Role::Leads(_))));
        let Some(log) = leads.and_then(|node| node.log(index)) else {
            return;
        };
        let end = log.high_watermark();
        let has_it = |id: &i32| {
            let other = brokers.get(id).and_then(|node| node.log(index));
            other.is_some_and(|it| {
                it.chain_at(end) == log.chain_at(end) && it.high_watermark() <= end
            })
        };
        if !brokers.values().all(knows) || !assigned.isr.iter().all(has_it) {
            return;
        }
        self.committed = log.read(0, end as usize);
        self.sequences.clear();
        for record in &self.committed {
            self.sequences.insert(record.producer, record.sequence + 1);
        }
        self.losses.clear();
        self.high_watermarks.clear();
        self.is_beyond = false;
        self.has_agreed_anew = true;
        let others = brokers.keys().filter(|id| !assigned.isr.contains(id));
        self.exempt = others.copied().collect();
    }

    /// Leaders move the high watermark: what they have below it is what everybody else had there.
    fn grow(&mut self, index: i32, brokers: &BTreeMap<i32, BrokerNode>) -> Result<(), Wrong> {
        for (node_id, node) in brokers {
            let (Some(Role::Leads(leader)), Some(log)) = (node.role(index), node.log(index)) else {
                continue;
            };
            let high_watermark = log.high_watermark();
            if high_watermark <= self.end() || self.exempt.contains(node_id) {
                continue;
            }
            if log.chain_at(self.end()) != self.chain_at(self.end()) {
                return Err(format!(
                    "broker {node_id}, leader of partition {index} in epoch {}, calls {high_watermark} committed, \
                     but has other records below {} than were committed",
                    leader.leader_epoch(),
                    self.end()
                ));
            }
            let count = (high_watermark - self.end()) as usize;
            for record in log.read(self.end(), count) {
                let expected = self.sequences.entry(record.producer).or_insert(0);
                if record.sequence != *expected {
                    return Err(format!(
                        "partition {index}: sequence {} of producer {} is committed where {expected} is due",
                        record.sequence, record.producer
                    ));
                }
                *expected += 1;
                self.committed.push(record);
            }
        }
        Ok(())
    }

    fn check_eligible(
        &self,
        index: i32,
        assigned: &Assigned,
        brokers: &BTreeMap<i32, BrokerNode>,
    ) -> Result<(), Wrong> {
        let end = self.end();
        for id in assigned.isr.iter().chain(&assigned.elr) {
            let Some(node) = brokers.get(id).filter(|node| node.loss().is_none()) else {
                continue;
            };
            if self.lacks_committed(node.log(index)) {
                let has = node.log(index).map_or(0, Log::end);
                return Err(format!(
                    "partition {index}: broker {id} could lead ({assigned:?}), but of {end} records that are \
                     committed it has {}",
                    if has < end {
                        format!("{has}")
                    } else {
                        "others".to_owned()
                    }
                ));
            }
        }
        Ok(())
    }

    fn check_high_watermarks(
        &mut self,
        index: i32,
        assigned: &Assigned,
        brokers: &BTreeMap<i32, BrokerNode>,
    ) -> Result<(), Wrong> {
        self.exempt.retain(|id| !assigned.isr.contains(id));
        for (id, node) in brokers {
            if self.has_agreed_anew && node.loss().is_some() {
                self.exempt.insert(*id);
            }
            let Some(log) = node.log(index).filter(|_| !self.exempt.contains(id)) else {
                continue;
            };
            let high_watermark = log.high_watermark();
            let chain = log.chain_at(high_watermark);
            if chain.is_none() || chain != self.chain_at(high_watermark) {
                return Err(format!(
                    "partition {index}: broker {id} has the high watermark {high_watermark} and {} records, which \
                     are not those that are committed, {} of them",
                    log.end(),
                    self.end()
                ));
            }
            let now = (node.life(), high_watermark);
            let before = self.high_watermarks.insert(*id, now);
            if let Some((life, before)) = before
                && life == now.0
                && before > high_watermark
                && node.role(index).is_some()
            {
                return Err(format!(
                    "partition {index}: the high watermark of broker {id} goes back from {before} to {high_watermark}"
                ));
            }
        }
        Ok(())
    }
}
