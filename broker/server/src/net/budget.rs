//! Byte budgets: they push back on sockets before memory runs out.
//!
//! Clients and nodes have budgets of their own. What producers hold is given back when followers have
//! fetched it, so a follower must not wait for what producers hold, nor behind consumers that do not read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units, since a semaphore counts to 2^32 only.
const UNIT_BYTES: usize = 1024;

/// Requests above this are few: `max.request.size` of a Java producer is 1 MiB.
const LARGE_BYTES: usize = 2 << 20;

/// What the answers to the followers of one node may take: `replica.fetch.response.max.bytes`, and some for one
/// that was cut off and holds what it was answered.
const RESPONSE_BYTES_PER_NODE: usize = 16 << 20;
/// To all nodes, however few they are.
const NODE_RESPONSE_BYTES_LEAST: usize = 32 << 20;
/// However many: with more, each gets less at a time.
const NODE_RESPONSE_BYTES_MAX: usize = 256 << 20;

/// What one kind of listener may take.
#[derive(Debug)]
pub(crate) struct Budgets {
    pub(crate) requests: RequestBudget,
    pub(crate) responses: Budget,
}

/// How many bytes of one kind may be in memory at once.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    free: Arc<Semaphore>,
    units_max: Arc<AtomicU32>,
}

/// The bytes of requests. Large ones are counted apart: memory is taken when a frame is announced, and
/// four bytes that announce a hundred mebibytes which never come must not hold up everybody else.
#[derive(Debug)]
pub(crate) struct RequestBudget {
    usual: Budget,
    large: Budget,
}

/// Bytes taken from a budget; dropping gives them back.
#[derive(Debug)]
pub(crate) struct Reserved {
    permit: OwnedSemaphorePermit,
}

impl Budgets {
    /// Requests and responses may take `bytes` each.
    pub(crate) fn of_clients(bytes: usize, request_bytes_max: usize) -> Self {
        Self {
            requests: RequestBudget::new(bytes, request_bytes_max),
            responses: Budget::new(bytes),
        }
    }

    /// There are few nodes, and each has few connections.
    pub(crate) fn of_nodes(request_bytes_max: usize) -> Self {
        Self {
            requests: RequestBudget::new(0, request_bytes_max),
            responses: Budget::new(NODE_RESPONSE_BYTES_LEAST),
        }
    }

    /// There are so many nodes now. What was once given is not taken back.
    pub(crate) fn grow_to_nodes(&self, nodes: usize) {
        let bytes = nodes.saturating_mul(RESPONSE_BYTES_PER_NODE);
        self.responses.grow_to(bytes.min(NODE_RESPONSE_BYTES_MAX));
    }
}

impl Budget {
    /// Of at least one unit.
    pub(crate) fn new(bytes: usize) -> Self {
        let units_max = units(bytes).max(1);
        Self {
            free: Arc::new(Semaphore::new(units_max as usize)),
            units_max: Arc::new(AtomicU32::new(units_max)),
        }
    }

    /// To `bytes`; it never shrinks.
    fn grow_to(&self, bytes: usize) {
        let wanted = units(bytes);
        let before = self.units_max.fetch_max(wanted, Ordering::AcqRel);
        self.free
            .add_permits(wanted.saturating_sub(before) as usize);
    }

    fn units_max(&self) -> u32 {
        self.units_max.load(Ordering::Acquire)
    }

    /// Waits until `bytes` are free. More than the whole budget counts as the whole budget.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reserved {
        let wanted = units(bytes).min(self.units_max());
        let permit = Arc::clone(&self.free).acquire_many_owned(wanted).await;
        Reserved {
            permit: permit.expect("a budget is never closed"),
        }
    }

    /// Takes up to `wanted` bytes: at most half of what is free, so that a few who hold theirs for long
    /// leave something to everyone else, but `least` in any case, and waits for that.
    pub(crate) async fn reserve_some(&self, wanted: usize, least: usize) -> Reserved {
        let half = self.free.available_permits() / 2 * UNIT_BYTES;
        self.reserve(wanted.min(half.max(least))).await
    }

    /// Bytes that are taken now.
    #[cfg(test)]
    fn used_bytes(&self) -> usize {
        (self.units_max() as usize - self.free.available_permits()) * UNIT_BYTES
    }
}

impl RequestBudget {
    /// What the greatest request leaves is for those of usual size.
    pub(crate) const USUAL_BYTES_LEAST: usize = 8 << 20;

    /// Together `bytes`, of which the greatest request takes `request_bytes_max`.
    pub(crate) fn new(bytes: usize, request_bytes_max: usize) -> Self {
        let usual = bytes.saturating_sub(request_bytes_max);
        Self {
            usual: Budget::new(usual.max(Self::USUAL_BYTES_LEAST)),
            large: Budget::new(request_bytes_max),
        }
    }

    /// Waits until there is room for a request of so many bytes.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reserved {
        if bytes > LARGE_BYTES {
            self.large.reserve(bytes).await
        } else {
            self.usual.reserve(bytes).await
        }
    }
}

impl Reserved {
    /// How many bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.permit.num_permits() * UNIT_BYTES
    }

    /// Gives back all but `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        let keep = units(bytes) as usize;
        let held = self.permit.num_permits();
        if held > keep {
            drop(self.permit.split(held - keep));
        }
    }
}

fn units(bytes: usize) -> u32 {
    u32::try_from(bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    #[tokio::test]
    async fn slow_readers_leave_something_to_others() {
        let budget = Budget::new(128 * UNIT_BYTES);
        let mut held = Vec::new();
        for _ in 0..6 {
            let some = budget.reserve_some(50 * UNIT_BYTES, UNIT_BYTES);
            let some = some.now_or_never().expect("nobody waits");
            assert!(some.bytes() >= UNIT_BYTES, "{}", some.bytes());
            held.push(some);
        }
        assert_eq!(held[0].bytes(), 50 * UNIT_BYTES);
        let all = Budget::new(2 * UNIT_BYTES);
        let first = all.reserve_some(usize::MAX, 2 * UNIT_BYTES).await;
        let second = all.reserve_some(usize::MAX, UNIT_BYTES);
        assert!(second.now_or_never().is_none(), "the least is waited for");
        drop(first);
        assert_eq!(all.reserve_some(0, UNIT_BYTES).await.bytes(), 0);
    }

    #[tokio::test]
    async fn followers_that_are_cut_off_leave_something_to_the_others() {
        const ANSWER_BYTES: usize = 10 << 20;
        for nodes in [0, 1, 3, 7, 10_000] {
            let budgets = Budgets::of_nodes(1);
            budgets.grow_to_nodes(nodes);
            // Fewer again: what is there stays.
            budgets.grow_to_nodes(1);
            let mut held = Vec::new();
            for _ in 0..nodes.min(12) {
                let some = budgets.responses.reserve_some(ANSWER_BYTES, UNIT_BYTES);
                held.push(some.now_or_never().expect("nobody waits"));
            }
            let last = held.last().map_or(ANSWER_BYTES, Reserved::bytes);
            assert!(last >= 4 << 20, "{last} of {nodes}");
            let taken = budgets.responses.used_bytes();
            held.clear();
            assert_eq!(budgets.responses.used_bytes(), 0);
            assert!(taken <= NODE_RESPONSE_BYTES_MAX);
        }
    }

    #[tokio::test]
    async fn who_waits_gets_what_a_budget_grows_by() {
        let budget = Budget::new(2 * UNIT_BYTES);
        let _all = budget.reserve(2 * UNIT_BYTES).await;
        let mut waiting = std::pin::pin!(budget.reserve(UNIT_BYTES));
        assert!(waiting.as_mut().now_or_never().is_none());
        budget.grow_to(3 * UNIT_BYTES);
        assert_eq!(waiting.await.bytes(), UNIT_BYTES);
    }

    #[tokio::test]
    async fn what_is_reserved_comes_back() {
        let budget = Budget::new(10 * UNIT_BYTES);
        let mut first = budget.reserve(8 * UNIT_BYTES).await;
        assert_eq!(budget.used_bytes(), 8 * UNIT_BYTES);
        first.shrink(3 * UNIT_BYTES);
        assert_eq!(budget.used_bytes(), 3 * UNIT_BYTES);
        let second = budget.reserve(7 * UNIT_BYTES).await;
        let waiting = tokio::spawn({
            let budget = budget.clone();
            async move { budget.reserve(usize::MAX).await }
        });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished(), "nothing is free");
        drop(first);
        drop(second);
        drop(waiting.await.unwrap());
        assert_eq!(budget.used_bytes(), 0);
    }
}
