//! Who is alive, by virtual time: the rules of `foz-controller`'s leases.

use std::collections::BTreeMap;

use crate::message::Beat;

pub(crate) const LEASE_MS: i64 = 2_500;
pub(crate) const RECONNECT_GRACE_MS: i64 = 500;
const STALL_MS: i64 = 750;

#[derive(Debug, Default)]
pub(crate) struct Leases {
    brokers: BTreeMap<i32, Lease>,
    last_look_ms: i64,
    closes_mean_nothing_until_ms: i64,
}

#[derive(Debug)]
struct Lease {
    epoch: i64,
    ends_ms: i64,
    stream: Option<u64>,
    is_disconnected: bool,
    catch_up_offset: i64,
    is_leaving: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wish {
    Unfence,
    Fence,
    Nothing,
}

impl Leases {
    pub(crate) fn new(now_ms: i64) -> Self {
        Self {
            last_look_ms: now_ms,
            closes_mean_nothing_until_ms: now_ms,
            ..Self::default()
        }
    }

    /// Everybody who is alive has a lease, if only a fresh one.
    pub(crate) fn cover(&mut self, alive: impl Iterator<Item = (i32, i64)>, now_ms: i64) {
        for (node_id, epoch) in alive {
            self.brokers.entry(node_id).or_insert(Lease {
                epoch,
                ends_ms: now_ms + LEASE_MS,
                stream: None,
                is_disconnected: false,
                catch_up_offset: i64::MAX,
                is_leaving: false,
            });
        }
    }

    pub(crate) fn beat(
        &mut self,
        node_id: i32,
        beat: &Beat,
        newest_offset: i64,
        now_ms: i64,
    ) -> Wish {
        let ends_ms = now_ms + LEASE_MS;
        let lease = self.brokers.entry(node_id).or_insert_with(|| Lease {
            epoch: beat.epoch,
            ends_ms,
            stream: None,
            is_disconnected: false,
            catch_up_offset: newest_offset,
            is_leaving: false,
        });
        if lease.stream != Some(beat.stream) || lease.epoch != beat.epoch {
            lease.is_leaving = false;
            lease.epoch = beat.epoch;
            lease.stream = Some(beat.stream);
            lease.catch_up_offset = newest_offset;
        }
        lease.ends_ms = ends_ms;
        lease.is_disconnected = false;
        lease.is_leaving |= beat.is_leaving;
        if lease.is_leaving {
            Wish::Fence
        } else if beat.applied_offset >= lease.catch_up_offset {
            Wish::Unfence
        } else {
            Wish::Nothing
        }
    }

    pub(crate) fn closed(&mut self, node_id: i32, stream: u64, is_observing: bool, now_ms: i64) {
        self.forgive_own_stall(now_ms);
        let is_dead = !is_observing && now_ms >= self.closes_mean_nothing_until_ms;
        if let Some(lease) = self.brokers.get_mut(&node_id)
            && lease.stream == Some(stream)
        {
            lease.stream = None;
            lease.is_disconnected = true;
            let grace_ms = if is_dead { 0 } else { RECONNECT_GRACE_MS };
            lease.ends_ms = lease.ends_ms.min(now_ms + grace_ms);
        }
    }

    pub(crate) fn stopped_observing(&mut self, node_id: i32, now_ms: i64) {
        self.forgive_own_stall(now_ms);
        if now_ms < self.closes_mean_nothing_until_ms {
            return;
        }
        if let Some(lease) = self.brokers.get_mut(&node_id)
            && lease.is_disconnected
        {
            lease.ends_ms = lease.ends_ms.min(now_ms);
        }
    }

    pub(crate) fn is_disconnected(&self, node_id: i32) -> bool {
        let lease = self.brokers.get(&node_id);
        lease.is_none_or(|lease| lease.is_disconnected)
    }

    /// Takes out what has ended: node ids with epochs.
    pub(crate) fn expired(&mut self, now_ms: i64) -> Vec<(i32, i64)> {
        self.forgive_own_stall(now_ms);
        let ended: Vec<(i32, i64)> = self
            .brokers
            .iter()
            .filter(|(_, lease)| lease.ends_ms <= now_ms)
            .map(|(node_id, lease)| (*node_id, lease.epoch))
            .collect();
        for (node_id, _) in &ended {
            self.brokers.remove(node_id);
        }
        ended
    }

    fn forgive_own_stall(&mut self, now_ms: i64) {
        let since_ms = now_ms - self.last_look_ms;
        self.last_look_ms = now_ms;
        if since_ms > STALL_MS {
            for lease in self.brokers.values_mut() {
                lease.ends_ms += since_ms;
            }
            self.closes_mean_nothing_until_ms = now_ms + RECONNECT_GRACE_MS;
        }
    }
}
