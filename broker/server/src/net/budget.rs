//! Byte budgets: they push back on sockets before memory runs out.
//!
//! Clients and nodes have budgets of their own. What producers hold is given back when followers have
//! fetched it, so a follower must not wait for what producers hold, nor behind consumers that do not read.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Bytes are counted in units, since a semaphore counts to 2^32 only.
const UNIT_BYTES: usize = 1024;

/// Requests above this are few: `max.request.size` of a Java producer is 1 MiB.
const LARGE_BYTES: usize = 2 << 20;

/// What the answers to all followers may take: some of `replica.fetch.response.max.bytes` each.
const NODE_RESPONSE_BYTES: usize = 32 << 20;

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
    units_max: u32,
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
            responses: Budget::new(NODE_RESPONSE_BYTES),
        }
    }
}

impl Budget {
    /// Of at least one unit.
    pub(crate) fn new(bytes: usize) -> Self {
        let units_max = units(bytes).max(1);
        Self {
            free: Arc::new(Semaphore::new(units_max as usize)),
            units_max,
        }
    }

    /// Waits until `bytes` are free. More than the whole budget counts as the whole budget.
    pub(crate) async fn reserve(&self, bytes: usize) -> Reserved {
        let wanted = units(bytes).min(self.units_max);
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
        (self.units_max as usize - self.free.available_permits()) * UNIT_BYTES
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
