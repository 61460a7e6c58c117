//! Which fetcher fetches which partition.
//!
//! A leader's broker has up to `num.replica.fetchers` fetchers here; one ends with its last partition. When that number
//! changes, partitions go to the fetchers that they would join then.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::fetcher::{Assigned, run};
use super::throttle::Throttle;
use crate::broker::Broker;
use crate::partition::{Key, Partition};

/// Of one leader: each has a connection, a task and a fetch session there.
const FETCHERS_MAX: u32 = 64;

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
    /// The `num.replica.fetchers` that partitions were spread by last; 0 before.
    spread_over: u32,
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
        let mut state = self.state.lock();
        // Read under the lock: else `spread` might have passed with a newer one.
        let fetcher_key = (leader, fetcher_of(partition.key(), count(broker)));
        self.assign(&mut state, broker, fetcher_key, partition);
    }

    /// Takes over `num.replica.fetchers`, once the broker's image has it.
    pub(crate) fn spread(&self, broker: &Broker) {
        let mut state = self.state.lock();
        let count = count(broker);
        if state.spread_over == count {
            return;
        }
        state.spread_over = count;
        let mut by_partition = state.by_partition.iter();
        if by_partition.all(|(key, from)| from.1 == fetcher_of(*key, count)) {
            return;
        }
        // All begin anew. One that only lost some of its partitions would keep its connection, and what it had asked for there
        // could reach the leader after what its successor asks, as if the follower had gone back.
        let followed = state.by_partition.iter().filter_map(|(key, from)| {
            let partition = state.running.get(from)?.assigned.partition(*key)?;
            Some(((from.0, fetcher_of(*key, count)), partition))
        });
        let followed: Vec<_> = followed.collect();
        state.by_partition.clear();
        for (_, running) in std::mem::take(&mut state.running) {
            running.stop.cancel();
        }
        for (to, partition) in followed {
            self.assign(&mut state, broker, to, &partition);
        }
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

    /// What an earlier fetcher of the partition is still told it drops: the partition is not its own any more.
    fn assign(
        &self,
        state: &mut State,
        broker: &Broker,
        fetcher_key: FetcherKey,
        partition: &Arc<Partition>,
    ) {
        if state.is_stopped {
            return;
        }
        let key = partition.key();
        if state.by_partition.get(&key) != Some(&fetcher_key) {
            state.leave(key);
        }
        state.by_partition.insert(key, fetcher_key);
        let running = state.running.entry(fetcher_key).or_insert_with(|| {
            let (assigned, stop) = (Arc::<Assigned>::default(), CancellationToken::new());
            let leader = fetcher_key.0;
            let fetching = run(broker.me(), leader, Arc::clone(&assigned), stop.clone());
            self.tasks.spawn(fetching);
            Running { assigned, stop }
        });
        running.assigned.add(Arc::clone(partition));
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

/// `num.replica.fetchers`.
fn count(broker: &Broker) -> u32 {
    let count = broker.config_number("num.replica.fetchers");
    u32::try_from(count).unwrap_or(1).clamp(1, FETCHERS_MAX)
}

/// Topic ids are random.
fn fetcher_of((topic_id, index): Key, count: u32) -> u32 {
    (topic_id.as_u128() as u32).wrapping_add(index.cast_unsigned()) % count
}
