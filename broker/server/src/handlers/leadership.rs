//! Whether this broker still leads: what a leader cannot know by itself once it was stopped or cut off.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::broker::Broker;
use crate::partition::Partition;

/// How long an answer waits until it is known that nobody else leads.
pub(crate) const CONFIRMATION_MAX: Duration = Duration::from_secs(1);

/// The answer of a partition's leader counts only if nobody led in a newer epoch when the question came.
#[derive(Debug)]
pub(crate) struct LedIn {
    pub(crate) partition: Arc<Partition>,
    pub(crate) leader_epoch: i32,
}

/// Why the answer does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unconfirmed {
    /// This broker does not lead in that epoch any more.
    Over,
    /// Nobody could be asked in time.
    Unknown,
}

impl LedIn {
    /// Has the followers say that they follow, unless that is known already. To be called for all partitions
    /// of a request before the first of them is [confirmed](Self::confirm): what confirms one confirms the others
    /// that the same followers know.
    pub(crate) fn ask_followers(&self, broker: &Broker, asked_ms: i64) {
        let is_alone = || self.partition.is_alone_in_sync();
        if !broker.lease.is_fresh(is_alone)
            && self.partition.led_at(self.leader_epoch, asked_ms) == Some(false)
        {
            self.partition.ask_followers(asked_ms);
        }
    }

    /// Whether an answer that was found in memory since `asked_ms` counts. An answer that anything was written for needs no
    /// such question.
    pub(crate) async fn counts(&self, broker: &Broker, asked_ms: i64) -> bool {
        self.ask_followers(broker, asked_ms);
        let deadline = Instant::now() + CONFIRMATION_MAX;
        self.confirm(broker, asked_ms, deadline).await.is_ok()
    }

    /// One of two things must be known: the quorum has lately confirmed this broker's lease; or nobody led in a
    /// newer epoch when the question came (`asked_ms`), which the followers know also while no controller answers.
    /// Both are looked at after the answer was found, since this process may be stopped at any moment. And then
    /// this broker leads in the same epoch still: a lease that was lost and given again speaks of what it leads
    /// now.
    pub(crate) async fn confirm(
        &self,
        broker: &Broker,
        asked_ms: i64,
        deadline: Instant,
    ) -> Result<(), Unconfirmed> {
        let is_alone = || self.partition.is_alone_in_sync();
        loop {
            let moved = Arc::new(Notify::new());
            self.partition.moved.register(&moved);
            let is_fresh = broker.lease.is_fresh(is_alone);
            match self.partition.led_at(self.leader_epoch, asked_ms) {
                None => return Err(Unconfirmed::Over),
                Some(led) if led || is_fresh => return Ok(()),
                Some(_) if Instant::now() >= deadline => return Err(Unconfirmed::Unknown),
                Some(_) => {}
            }
            tokio::select! {
                () = moved.notified() => {}
                _ = broker.lease.renewed(is_alone, deadline) => {}
            }
        }
    }
}
