//! For which places of replicas a plan is the newest: it is asked for again when they are elsewhere.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::observed::QuorumView;
use crate::hash::fingerprint;

/// Not all that a refusal rests on is told.
pub const REFUSAL_COUNTS: Duration = Duration::from_secs(30);
/// A Rebalance may be gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// What was planned, by the uid of the Rebalance.
#[derive(Debug, Default)]
pub struct Planned(Mutex<HashMap<String, Answered>>);

#[derive(Debug)]
struct Answered {
    question: u64,
    refused: bool,
    at: Instant,
}

impl Planned {
    /// Whether the answer still counts that was given to this Rebalance.
    #[must_use]
    pub fn is_current(&self, uid: &str, generation: i64, view: &QuorumView, now: Instant) -> bool {
        let all = self.0.lock();
        all.get(uid).is_some_and(|answered| {
            let counts = !answered.refused || now.duration_since(answered.at) < REFUSAL_COUNTS;
            counts && answered.question == question(generation, view)
        })
    }

    /// It was answered now.
    pub fn remember(
        &self,
        uid: &str,
        generation: i64,
        view: &QuorumView,
        refused: bool,
        now: Instant,
    ) {
        let mut all = self.0.lock();
        all.retain(|_, answered| now.duration_since(answered.at) < FORGOTTEN_AFTER);
        let answered = Answered {
            question: question(generation, view),
            refused,
            at: now,
        };
        all.insert(uid.to_owned(), answered);
    }
}

/// Where replicas are, and where they could be.
fn question(generation: i64, view: &QuorumView) -> u64 {
    let brokers = view.brokers.iter();
    let brokers: Vec<_> = brokers
        .map(|(node_id, it)| (node_id, it.fenced, it.cordoned, it.rack.as_ref()))
        .collect();
    let question = (generation, &view.replicas, brokers);
    fingerprint(format!("{question:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::{Planned, REFUSAL_COUNTS};
    use crate::cluster::observed::QuorumView;

    #[test]
    fn a_plan_counts_until_replicas_are_elsewhere_and_a_refusal_for_a_while() {
        let (planned, now) = (Planned::default(), Instant::now());
        let mut view = QuorumView::default();
        assert!(!planned.is_current("u", 1, &view, now));
        planned.remember("u", 1, &view, false, now);
        assert!(planned.is_current("u", 1, &view, now + REFUSAL_COUNTS));
        assert!(!planned.is_current("u", 2, &view, now));
        assert!(!planned.is_current("v", 1, &view, now));
        planned.remember("u", 1, &view, true, now);
        assert!(planned.is_current("u", 1, &view, now));
        assert!(!planned.is_current("u", 1, &view, now + REFUSAL_COUNTS));
        planned.remember("u", 1, &view, false, now);
        view.replicas.insert(3, 1);
        assert!(!planned.is_current("u", 1, &view, now));
    }
}
