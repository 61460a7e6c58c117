//! Which logs are to move to which data directory of this broker.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use foz_log::{LogMove, MoveProgress, TopicPartition};
use parking_lot::Mutex;
use prometheus::IntGauge;
use uuid::Uuid;

use super::log_move::Careful;
use super::said_once::SaidOnce;
use super::{DataDirectory, Key, monotonic};
use crate::debt::Debt;

/// Each log once: it cannot come to be in two places.
#[derive(Debug)]
pub(crate) struct LogMoves {
    all: Mutex<All>,
    count: IntGauge,
    /// What was copied ahead of `replica.alter.log.dirs.io.max.bytes.per.second`, by all of them together.
    debt: Mutex<Debt>,
}

#[derive(Debug, Default)]
struct All {
    by_log: BTreeMap<Key, Arc<WantedMove>>,
    /// How many were asked for.
    asked: u64,
}

/// A log that somebody wants in another directory.
#[derive(Debug)]
pub(crate) struct WantedMove {
    pub(super) topic_id: Uuid,
    pub(super) partition: TopicPartition,
    pub(super) target: Arc<DataDirectory>,
    order: u64,
    is_over: AtomicBool,
    /// Held during each step.
    pub(super) state: Mutex<MoveState>,
    pub(super) said: SaidOnce,
}

/// How far it is.
#[derive(Debug, Default)]
pub(super) struct MoveState {
    /// `None` where it is yet to begin, or to go on after a start.
    pub(super) it: Option<LogMove>,
    pub(super) progress: MoveProgress,
    pub(super) careful: Careful,
}

impl LogMoves {
    pub(super) fn new(count: IntGauge) -> Self {
        Self {
            all: Mutex::default(),
            count,
            debt: Mutex::default(),
        }
    }

    /// `None` where it is to move somewhere already.
    pub(super) fn add(
        &self,
        topic_id: Uuid,
        partition: &TopicPartition,
        target: &Arc<DataDirectory>,
    ) -> Option<Arc<WantedMove>> {
        let mut all = self.all.lock();
        let key = (topic_id, partition.partition);
        if all.by_log.contains_key(&key) {
            return None;
        }
        all.asked += 1;
        let wanted = Arc::new(WantedMove {
            topic_id,
            partition: partition.clone(),
            target: Arc::clone(target),
            order: all.asked,
            is_over: AtomicBool::new(false),
            state: Mutex::default(),
            said: SaidOnce::default(),
        });
        all.by_log.insert(key, Arc::clone(&wanted));
        self.count.set(all.by_log.len() as i64);
        Some(wanted)
    }

    /// Whoever is at a step of it finds out; nobody can ask for another one before [`Self::end`].
    pub(super) fn stop(wanted: &WantedMove) {
        wanted.is_over.store(true, Ordering::Release);
    }

    pub(super) fn get(&self, key: Key) -> Option<Arc<WantedMove>> {
        self.all.lock().by_log.get(&key).cloned()
    }

    /// Whoever is at a step of it finds out.
    pub(super) fn end(&self, wanted: &Arc<WantedMove>) {
        Self::stop(wanted);
        let mut all = self.all.lock();
        let key = wanted.key();
        // Somebody may have asked for another one since.
        if all
            .by_log
            .get(&key)
            .is_some_and(|it| Arc::ptr_eq(it, wanted))
        {
            all.by_log.remove(&key);
            self.count.set(all.by_log.len() as i64);
        }
    }

    /// The one to this directory that was asked for first, of those that do not rest.
    pub(crate) fn first_to(
        &self,
        target: &Arc<DataDirectory>,
        resting: &BTreeSet<u64>,
    ) -> Option<Arc<WantedMove>> {
        let all = self.all.lock();
        let to_it = all.by_log.values();
        let to_it = to_it.filter(|it| Arc::ptr_eq(&it.target, target));
        let ready = to_it.filter(|it| !resting.contains(&it.order));
        ready.min_by_key(|it| it.order).cloned()
    }

    /// So much was copied. `rate`: bytes in a second.
    pub(crate) fn copied(&self, rate: u64, bytes: u64) {
        self.debt.lock().add(monotonic(), rate, bytes);
    }

    /// How long nothing may be copied.
    pub(crate) fn wait(&self, rate: u64) -> Duration {
        self.debt.lock().wait(monotonic(), rate)
    }
}

impl WantedMove {
    pub(super) fn key(&self) -> Key {
        (self.topic_id, self.partition.partition)
    }

    /// The first one that was asked for has the lowest.
    pub(crate) fn order(&self) -> u64 {
        self.order
    }

    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Acquire) || self.target.has_failed()
    }
}
