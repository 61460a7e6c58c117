//! Which fetcher fetches which partition.
//!
//! A leader's broker has up to `num.replica.fetchers` fetchers here; one ends with its last partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fetcher::{Assigned, run};
use super::throttle::Throttle;
use crate::broker::Broker;
use crate::partition::{Key, Partition};

/// A leader's node and the number of the fetcher.
type FetcherKey = (i32, u32);

/// All fetchers of this broker.
#[derive(Debug, Default)]
pub(crate) struct Fetchers {
    state: Mutex<State>,
    pub(super) throttle: Throttle,
    tasks: TaskTracker,
}

#[derive(Debug, Default)]
struct State {
    running: BTreeMap<FetcherKey, Running>,
    by_partition: HashMap<Key, FetcherKey>,
    is_stopped: bool,
}

#[derive(Debug)]
struct Running {
    assigned: Arc<Assigned>,
    stop: CancellationToken,
}

impl Fetchers {
    /// Follows `leader` in this partition from now on, or hears of a new leader epoch.
    pub(crate) fn join(&self, broker: &Broker, leader: i32, partition: &Arc<Partition>) {
        let key = partition.key();
        let fetcher_key = (leader, fetcher_of(key, broker));
        let mut state = self.state.lock();
        if state.is_stopped {
            return;
        }
        if state.by_partition.get(&key) != Some(&fetcher_key) {
            state.leave(key);
        }
        state.by_partition.insert(key, fetcher_key);
        let running = state.running.entry(fetcher_key).or_insert_with(|| {
            let (assigned, stop) = (Arc::<Assigned>::default(), CancellationToken::new());
            let fetching = run(broker.me(), leader, Arc::clone(&assigned), stop.clone());
            self.tasks.spawn(fetching);
            Running { assigned, stop }
        });
        running.assigned.add(Arc::clone(partition));
    }

    /// What a follower says of its log in this partition has changed: the leader hears of it at once.
    pub(crate) fn fetch_anew(&self, key: Key) {
        let state = self.state.lock();
        let running = state.by_partition.get(&key);
        if let Some(running) = running.and_then(|it| state.running.get(it)) {
            running.assigned.renew(key);
        }
    }

    /// Follows nobody in this partition.
    pub(crate) fn leave(&self, key: Key) {
        self.state.lock().leave(key);
    }

    /// Ends all. Returns when the last write is done.
    pub(crate) async fn stop(&self) {
        {
            let mut state = self.state.lock();
            state.is_stopped = true;
            for (_, running) in std::mem::take(&mut state.running) {
                running.stop.cancel();
            }
        }
        self.tasks.close();
        self.tasks.wait().await;
    }
}

impl State {
    fn leave(&mut self, key: Key) {
        let Some(fetcher_key) = self.by_partition.remove(&key) else {
            return;
        };
        if let Some(running) = self.running.get(&fetcher_key)
            && running.assigned.remove(key)
        {
            running.stop.cancel();
            self.running.remove(&fetcher_key);
        }
    }
}

/// Topic ids are random.
fn fetcher_of((topic_id, index): Key, broker: &Broker) -> u32 {
    let count = broker.config_number("num.replica.fetchers").max(1);
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    (topic_id.as_u128() as u32).wrapping_add(index.cast_unsigned()) % count
}
