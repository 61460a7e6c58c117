//! What brokers have applied, so that a change is answered when the living ones have seen it.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::watch;

/// DESIGN: a client that was answered reads its own writes from any broker; a broker that is slow holds
/// nobody up for longer than this.
const VISIBLE_WITHIN: Duration = Duration::from_millis(500);

/// The offsets that unfenced brokers with a stream last told.
#[derive(Debug, Default)]
pub(crate) struct AppliedOffsets {
    brokers: watch::Sender<BTreeMap<i32, i64>>,
}

impl AppliedOffsets {
    pub(crate) fn update(&self, node_id: i32, applied_offset: i64) {
        self.brokers.send_if_modified(|brokers| {
            brokers.insert(node_id, applied_offset) != Some(applied_offset)
        });
    }

    pub(crate) fn remove(&self, node_id: i32) {
        self.brokers
            .send_if_modified(|brokers| brokers.remove(&node_id).is_some());
    }

    pub(crate) fn clear(&self) {
        self.brokers.send_replace(BTreeMap::new());
    }

    /// What each last told.
    pub(crate) fn told(&self) -> BTreeMap<i32, i64> {
        self.brokers.borrow().clone()
    }

    /// Returns when every broker has applied `offset`, or when that takes too long.
    pub(crate) async fn wait(&self, offset: i64) {
        self.wait_for(offset, &[]).await;
    }

    /// As [`wait`](Self::wait), and each of `node_ids` has to have told anything at all: after a takeover they
    /// come one by one.
    pub(crate) async fn wait_for(&self, offset: i64, node_ids: &[i32]) {
        let mut brokers = self.brokers.subscribe();
        let all = brokers.wait_for(|brokers| {
            brokers.values().all(|applied| *applied >= offset)
                && node_ids.iter().all(|node_id| brokers.contains_key(node_id))
        });
        // Neither the time limit nor the end of the controller makes the change any less committed.
        let _ = tokio::time::timeout(VISIBLE_WITHIN, all).await;
    }

    /// Those of `node_ids` that have not told that they have applied `offset`.
    pub(crate) fn behind(&self, offset: i64, node_ids: &[i32]) -> Vec<i32> {
        let brokers = self.brokers.borrow();
        let has_applied = |id: &i32| brokers.get(id).is_some_and(|applied| *applied >= offset);
        let node_ids = node_ids.iter().copied();
        node_ids.filter(|id| !has_applied(id)).collect()
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn waits_for_the_slowest_broker_but_not_for_ever() {
        let applied = AppliedOffsets::default();
        applied.wait(7).await;
        applied.update(0, 7);
        applied.update(1, 6);
        let mut waiting = Box::pin(applied.wait(7));
        assert_eq!((&mut waiting).now_or_never(), None);
        applied.update(1, 7);
        waiting.await;

        let start = tokio::time::Instant::now();
        applied.wait(8).await;
        assert_eq!(start.elapsed(), VISIBLE_WITHIN);

        applied.remove(0);
        applied.update(1, 8);
        applied.wait(8).await;
        assert_eq!(start.elapsed(), VISIBLE_WITHIN);

        let mut waiting = Box::pin(applied.wait_for(8, &[0, 1]));
        assert_eq!((&mut waiting).now_or_never(), None);
        assert_eq!(applied.behind(8, &[0, 1]), [0]);
        assert_eq!(applied.behind(9, &[0, 1]), [0, 1]);
        applied.update(0, 8);
        waiting.await;
        assert!(applied.behind(8, &[0, 1]).is_empty());
        assert_eq!(start.elapsed(), VISIBLE_WITHIN);
    }
}
