//! Who is asking to stop, and whether that is everybody. Pure: the time is given.
//!
//! A node alone waits until the others can do without it. When all of them are asking, the cluster is being stopped
//! (its namespace is deleted, it is suspended, Ctrl-C), and there is nobody left to wait for. Brokers and controllers are
//! looked at apart, one [`StopWishes`] each.
//!
//! Only those that live are asked about: one that is away would never say that it wants to stop. But it may be away
//! because it restarts, and be back in a moment. So while there is one, all others have to ask for
//! [`TOGETHER`]; unless it asked a moment before it went: then it went with them.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

/// Nodes that ask within this time are stopped together; longer than Kubernetes takes to tell all pods of a namespace.
/// Who lives and has not said it again for so long does not ask any more. Brokers say it every 500 ms; controllers once a
/// second or more often, until they are let go, and then they wait for brokers for as long as this.
pub(crate) const TOGETHER: Duration = Duration::from_secs(5);

/// The nodes of one kind that are asking to stop, or were a moment ago.
#[derive(Debug, Clone, Default)]
pub(crate) struct StopWishes {
    nodes: BTreeMap<i32, Wish>,
}

#[derive(Debug, Clone, Copy)]
struct Wish {
    /// Which process asks.
    process: i64,
    since: Instant,
    last: Instant,
}

impl StopWishes {
    /// `process` tells one process of the node from another: the epoch of a broker.
    pub(crate) fn asks(&mut self, node_id: i32, process: i64, now: Instant) {
        let fresh = Wish {
            process,
            since: now,
            last: now,
        };
        let wish = self.nodes.entry(node_id).or_insert(fresh);
        if wish.process != process || !wish.is_said(now) {
            *wish = fresh;
        }
        wish.last = now;
    }

    /// The node is there, and says nothing of stopping.
    pub(crate) fn stays(&mut self, node_id: i32) {
        self.nodes.remove(&node_id);
    }

    /// Whether all of `living` (node id, process) are asking, and those of `away` went with them or are not to be
    /// waited for. With nobody living there is nobody to ask.
    pub(crate) fn are_of_all(
        &self,
        living: impl IntoIterator<Item = (i32, i64)>,
        away: impl IntoIterator<Item = i32>,
        now: Instant,
    ) -> bool {
        let mut all_since = None;
        for (node_id, process) in living {
            let wish = self.nodes.get(&node_id);
            let Some(wish) = wish.filter(|wish| wish.process == process && wish.is_said(now))
            else {
                return false;
            };
            all_since = all_since.max(Some(wish.since));
        }
        let is_long_so = all_since.is_none_or(|since| since + TOGETHER <= now);
        let went_with_them = |node_id| {
            let wish = self.nodes.get(&node_id);
            wish.is_some_and(|wish| wish.is_said(now))
        };
        is_long_so || away.into_iter().all(went_with_them)
    }
}

impl Wish {
    fn is_said(&self, now: Instant) -> bool {
        now < self.last + TOGETHER
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TICK: Duration = Duration::from_millis(500);

    fn ask(wishes: &mut StopWishes, nodes: &[i32], now: Instant) {
        for node_id in nodes {
            wishes.asks(*node_id, 7, now);
        }
    }

    fn all(wishes: &StopWishes, living: &[i32], away: &[i32], now: Instant) -> bool {
        let living = living.iter().map(|node_id| (*node_id, 7));
        wishes.are_of_all(living, away.iter().copied(), now)
    }

    #[test]
    fn all_that_there_are_ask_at_once() {
        let (mut wishes, now) = (StopWishes::default(), Instant::now());
        assert!(!all(&wishes, &[0], &[], now));
        ask(&mut wishes, &[0, 2], now);
        assert!(!all(&wishes, &[0, 1, 2], &[], now));
        ask(&mut wishes, &[1], now);
        assert!(all(&wishes, &[0, 1, 2], &[], now));
        wishes.stays(2);
        assert!(
            !all(&wishes, &[0, 1, 2], &[], now),
            "it has changed its mind"
        );
    }

    #[test]
    fn another_process_of_the_node_has_said_nothing() {
        let (mut wishes, now) = (StopWishes::default(), Instant::now());
        ask(&mut wishes, &[0], now);
        assert!(!wishes.are_of_all([(0, 8)], [], now));
        wishes.asks(0, 8, now);
        assert!(wishes.are_of_all([(0, 8)], [], now));
    }

    #[test]
    fn who_went_a_moment_ago_went_with_them() {
        let (mut wishes, began) = (StopWishes::default(), Instant::now());
        ask(&mut wishes, &[0], began);
        // It was granted, and is gone.
        let now = began + TOGETHER - TICK;
        ask(&mut wishes, &[1, 2], now);
        assert!(all(&wishes, &[1, 2], &[0], now));
        assert!(!all(&wishes, &[1, 2], &[0], began + TOGETHER));
        assert!(!all(&wishes, &[1, 2], &[0, 3], now), "3 never asked");
    }

    /// What is away is waited for a moment, and no longer: it may be gone for good.
    #[test]
    fn who_is_away_may_come_back() {
        let (mut wishes, began) = (StopWishes::default(), Instant::now());
        let mut now = began;
        ask(&mut wishes, &[0], now);
        now += TICK;
        // From here on both are asking.
        ask(&mut wishes, &[0, 1], now);
        let all_since = now;
        while now < all_since + TOGETHER {
            assert!(!all(&wishes, &[0, 1], &[2], now), "{:?}", now - all_since);
            now += TICK;
            ask(&mut wishes, &[0, 1], now);
        }
        assert!(all(&wishes, &[0, 1], &[2], now));
        // It is back, and serves.
        assert!(!all(&wishes, &[0, 1, 2], &[], now));
    }

    #[test]
    fn what_was_said_long_ago_does_not_count() {
        let (mut wishes, now) = (StopWishes::default(), Instant::now());
        ask(&mut wishes, &[0], now);
        assert!(!all(&wishes, &[0], &[], now + TOGETHER));
        // Asked again, it begins anew.
        let again = now + TOGETHER;
        ask(&mut wishes, &[0], again);
        assert!(!all(&wishes, &[0], &[1], again));
    }
}
