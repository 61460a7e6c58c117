//! Restarts that the quorum has denied lately. A question is worth asking again when something has changed, and once
//! in a while in any case; asking with every pass would be asking without end.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::observed::QuorumView;
use crate::cluster::roll::input::Denial;
use crate::events::words;
use crate::hash::fingerprint;

/// Replicas that catch up change what the quorum tells many times.
const COUNTS_AT_LEAST: Duration = Duration::from_secs(1);
/// Not all that a denial rests on is told.
const COUNTS_AT_MOST: Duration = Duration::from_secs(15);
/// A Cluster may be gone, or its roll be over.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(3600);

/// What was denied, by the uid of the Cluster and the node id.
#[derive(Debug, Default)]
pub struct Denials(Mutex<HashMap<(String, i32), Denied>>);

#[derive(Debug)]
struct Denied {
    denial: Denial,
    at: Instant,
    /// What the quorum told then.
    told: u64,
}

impl Denials {
    /// The denials that still count, by node id, and when the first of them will not any more.
    #[must_use]
    pub fn recent(
        &self,
        uid: &str,
        view: &QuorumView,
        now: Instant,
    ) -> (BTreeMap<i32, Denial>, Option<Duration>) {
        let all = self.0.lock();
        let mut of_cluster = all.iter().filter(|((of, _), _)| of == uid).peekable();
        if of_cluster.peek().is_none() {
            return (BTreeMap::new(), None);
        }
        let told = told(view);
        let (mut recent, mut first) = (BTreeMap::new(), None);
        for ((_, node_id), denied) in of_cluster {
            if let Some(left) = denied.counts_for(told, now) {
                recent.insert(*node_id, denied.denial.clone());
                first = Some(first.map_or(left, |first: Duration| first.min(left)));
            }
        }
        (recent, first)
    }

    /// This was denied. Says whether that is news: numbers alone are none.
    pub fn remember(
        &self,
        uid: &str,
        node_id: i32,
        denial: &Denial,
        view: &QuorumView,
        now: Instant,
    ) -> bool {
        let mut all = self.0.lock();
        all.retain(|_, denied| now.duration_since(denied.at) < FORGOTTEN_AFTER);
        let denied = Denied {
            denial: denial.clone(),
            at: now,
            told: told(view),
        };
        let before = all.insert((uid.to_owned(), node_id), denied);
        before.is_none_or(|before| {
            before.denial.incarnation != denial.incarnation
                || !words(&before.denial.message).eq(words(&denial.message))
        })
    }

    /// It has been granted.
    pub fn forget(&self, uid: &str, node_id: i32) {
        self.0.lock().remove(&(uid.to_owned(), node_id));
    }
}

impl Denied {
    /// How much longer it counts.
    fn counts_for(&self, told: u64, now: Instant) -> Option<Duration> {
        let counts = if self.told == told {
            COUNTS_AT_MOST
        } else {
            COUNTS_AT_LEAST
        };
        counts
            .checked_sub(now.duration_since(self.at))
            .filter(|left| !left.is_zero())
    }
}

fn told(view: &QuorumView) -> u64 {
    fingerprint(format!("{view:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::Denials;
    use crate::cluster::observed::QuorumView;
    use crate::cluster::roll::input::Denial;

    fn denial(incarnation: &str, message: &str) -> Denial {
        Denial {
            incarnation: incarnation.into(),
            message: message.into(),
        }
    }

    #[test]
    fn a_denial_counts_for_a_while_and_shorter_when_something_has_changed() {
        let (denials, then) = (Denials::default(), Instant::now());
        let same = QuorumView::default();
        let other = QuorumView {
            under_replicated: 1,
            ..QuorumView::default()
        };
        let no = denial("a", "orders-3 has 1");
        assert!(denials.remember("u", 0, &no, &same, then));
        let left = |view: &QuorumView, millis: u64| {
            let now = then + Duration::from_millis(millis);
            let (recent, left) = denials.recent("u", view, now);
            assert_eq!(recent.len(), usize::from(left.is_some()));
            assert!(recent.values().all(|denial| *denial == no));
            left.map(|left| left.as_millis())
        };
        assert_eq!(left(&same, 0), Some(15_000));
        assert_eq!(left(&same, 14_999), Some(1));
        assert_eq!(left(&same, 15_000), None);
        assert_eq!(left(&other, 400), Some(600));
        assert_eq!(left(&other, 1_000), None);
        // Of another Cluster.
        assert_eq!(denials.recent("v", &same, then).1, None);
        denials.forget("u", 0);
        assert_eq!(left(&same, 0), None);
    }

    #[test]
    fn the_same_sentence_about_the_same_process_is_told_once() {
        let (denials, now) = (Denials::default(), Instant::now());
        let view = QuorumView::default();
        let news = |node_id: i32, incarnation: &str, message: &str, seconds: u64| {
            let now = now + Duration::from_secs(seconds);
            denials.remember("u", node_id, &denial(incarnation, message), &view, now)
        };
        assert!(news(0, "a", "orders-3 would have 1 of 2", 0));
        assert!(!news(0, "a", "orders-4 would have 0 of 2", 60));
        assert!(news(1, "a", "orders-3 would have 1 of 2", 60));
        assert!(news(0, "b", "orders-3 would have 1 of 2", 90));
        assert!(news(0, "b", "bills-3 would have 1 of 2", 120));
        assert!(news(0, "b", "bills-3 would have 1 of 2", 4_000));
    }

    #[test]
    fn the_first_that_does_not_count_any_more_is_told() {
        let (denials, then) = (Denials::default(), Instant::now());
        let view = QuorumView::default();
        for (node_id, seconds) in [(0, 3), (1, 0), (2, 5)] {
            let at = then + Duration::from_secs(seconds);
            denials.remember("u", node_id, &denial("a", "no"), &view, at);
        }
        let (recent, left) = denials.recent("u", &view, then + Duration::from_secs(6));
        assert_eq!((recent.len(), left), (3, Some(Duration::from_secs(9))));
    }
}
