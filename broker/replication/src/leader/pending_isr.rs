//! Changes of the ISR that were proposed, and what may have become of them.

use std::collections::BTreeSet;

use crate::proposal::IsrProposal;

/// A proposal that waits for its answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct InFlight {
    proposal: IsrProposal,
    added: BTreeSet<i32>,
    since_ms: i64,
}

/// Why nothing is proposed now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Pause {
    No,
    /// A proposal failed: fetches come by the thousand, ticks do not.
    UntilTick,
    /// The controller has another state; metadata brings it. After the lag time it is tried again.
    UntilMetadata {
        since_ms: i64,
    },
}

/// At most one proposal under way, and the members that earlier ones, whose outcome nobody knows, may
/// have added. All are against the same partition epoch, so at most one of them was applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PendingIsr {
    in_flight: Option<InFlight>,
    /// Added by proposals of unknown outcome.
    unsettled: BTreeSet<i32>,
    /// When the last of them was given up.
    unsettled_since_ms: i64,
    pause: Pause,
    attempts: u64,
}

impl PendingIsr {
    pub(super) fn new() -> Self {
        Self {
            in_flight: None,
            unsettled: BTreeSet::new(),
            unsettled_since_ms: 0,
            pause: Pause::No,
            attempts: 0,
        }
    }

    /// A proposal may be made.
    pub(super) fn is_free(&self) -> bool {
        self.in_flight.is_none() && self.pause == Pause::No
    }

    /// Nothing is open, and nothing waits to be tried again.
    pub(super) fn is_settled(&self) -> bool {
        self.is_free() && self.unsettled.is_empty()
    }

    pub(super) fn in_flight(&self) -> Option<&IsrProposal> {
        self.in_flight.as_ref().map(|it| &it.proposal)
    }

    /// The number that the next proposal carries.
    pub(super) fn next_attempt(&mut self) -> u64 {
        self.attempts += 1;
        self.attempts
    }

    /// The node may be in the ISR by now, by a proposal that is not known to be committed.
    pub(super) fn may_have_added(&self, node_id: i32) -> bool {
        self.unsettled.contains(&node_id)
            || self
                .in_flight
                .as_ref()
                .is_some_and(|it| it.added.contains(&node_id))
    }

    pub(super) fn has_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    pub(super) fn sent(&mut self, proposal: IsrProposal, isr: &BTreeSet<i32>, now_ms: i64) {
        let added = proposal
            .new_isr
            .iter()
            .map(|&(node_id, _)| node_id)
            .filter(|node_id| !isr.contains(node_id))
            .collect();
        self.in_flight = Some(InFlight {
            proposal,
            added,
            since_ms: now_ms,
        });
    }

    /// The proposal under way, when it is this one: any other was overtaken by metadata or given up.
    pub(super) fn take(&mut self, proposal: &IsrProposal) -> Option<InFlight> {
        self.in_flight.take_if(|it| it.proposal == *proposal)
    }

    /// The partition is in a newer state than any proposal was made against.
    pub(super) fn settled(&mut self) {
        self.in_flight = None;
        self.unsettled.clear();
        self.pause = Pause::No;
    }

    /// Not applied, nor has the partition epoch moved, so neither was any earlier one. An earlier one that was
    /// given up may still be on its way; not longer than the lag time, which is the caller's to keep to (an RPC's deadline is
    /// much shorter), so only a proposal made that much later settles it.
    pub(super) fn not_applied(&mut self, was: &InFlight, lag_time_max_ms: i64) {
        if was.since_ms.saturating_sub(self.unsettled_since_ms) >= lag_time_max_ms {
            self.unsettled.clear();
        }
        self.pause = Pause::UntilTick;
    }

    /// Not applied; of earlier ones nobody knows anything new.
    pub(super) fn not_decided(&mut self) {
        self.pause = Pause::UntilTick;
    }

    pub(super) fn unknown(&mut self, was: InFlight, now_ms: i64) {
        if !was.added.is_empty() {
            self.unsettled.extend(was.added);
            self.unsettled_since_ms = now_ms;
        }
        self.pause = Pause::UntilTick;
    }

    pub(super) fn superseded(&mut self, was: InFlight, now_ms: i64) {
        self.unknown(was, now_ms);
        self.pause = Pause::UntilMetadata { since_ms: now_ms };
    }

    /// Time has passed: an answer that did not come will not come, and what failed may be tried again.
    pub(super) fn tick(&mut self, lag_time_max_ms: i64, now_ms: i64) {
        let is_over = |since_ms: i64| now_ms.saturating_sub(since_ms) >= lag_time_max_ms;
        if let Some(late) = self.in_flight.take_if(|it| is_over(it.since_ms)) {
            self.unknown(late, now_ms);
        }
        match self.pause {
            Pause::UntilMetadata { since_ms } if !is_over(since_ms) => {}
            _ => self.pause = Pause::No,
        }
    }
}
