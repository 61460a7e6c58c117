//! What the quorum answered lately when it was asked to move replicas. Asking the same again is worth it when
//! something has changed, and after a refusal once in a while; asking with every pass would be asking without end.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::cluster::observed::QuorumView;
use crate::hash::fingerprint;
use crate::quorum::rebalance::{Goal, RebalanceState};

/// Not all that a refusal rests on is told, nor why a rebalance could not go on.
const REFUSAL_COUNTS: Duration = Duration::from_secs(30);
/// A Cluster may be gone.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(24 * 3600);

/// An answer that still counts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Nothing is to be moved for this goal, as replicas are now.
    NothingToDo,
    /// Not now, and why; or it began, and could not go on.
    Refused(String),
}

/// What was answered, by the uid of the Cluster and the goal.
#[derive(Debug, Default)]
pub struct Asked(Mutex<HashMap<(String, Goal), Told>>);

#[derive(Debug)]
struct Told {
    answer: Answer,
    at: Instant,
    /// Where replicas were then.
    replicas: u64,
    /// The rebalance that failed, if that is the answer.
    rebalance_id: Option<i64>,
}

impl Asked {
    /// The answers that still count, and when the first of them will not any more. A rebalance that failed is an
    /// answer too.
    #[must_use]
    pub fn recent(
        &self,
        uid: &str,
        view: &QuorumView,
        now: Instant,
    ) -> (BTreeMap<Goal, Answer>, Option<Duration>) {
        self.take_failure(uid, view, now);
        let replicas = replicas(view);
        let (mut recent, mut first) = (BTreeMap::new(), None);
        for ((_, goal), told) in self.0.lock().iter().filter(|((of, _), _)| of == uid) {
            match told.answer {
                Answer::NothingToDo if told.replicas != replicas => continue,
                Answer::NothingToDo => {}
                Answer::Refused(_) => {
                    let left = REFUSAL_COUNTS.checked_sub(now.duration_since(told.at));
                    let Some(left) = left.filter(|left| !left.is_zero()) else {
                        continue;
                    };
                    first = Some(first.map_or(left, |first: Duration| first.min(left)));
                }
            }
            recent.insert(goal.clone(), told.answer.clone());
        }
        (recent, first)
    }

    /// This was answered.
    pub fn remember(
        &self,
        uid: &str,
        goal: &Goal,
        answer: Answer,
        view: &QuorumView,
        now: Instant,
    ) {
        self.insert(uid, goal, answer, view, None, now);
    }

    /// The newest rebalance could not go on: it would not when it was begun again at once.
    fn take_failure(&self, uid: &str, view: &QuorumView, now: Instant) {
        let newest = view.rebalances.last_key_value().map(|(_, newest)| newest);
        let failed = newest.filter(|newest| newest.state == RebalanceState::Failed);
        let Some((failed, goal)) = failed.and_then(|it| Some((it, it.goal.as_ref()?))) else {
            return;
        };
        let is_known = {
            let all = self.0.lock();
            let known = all.get(&(uid.to_owned(), goal.clone()));
            known.is_some_and(|known| known.rebalance_id >= Some(failed.id))
        };
        if !is_known {
            let answer = Answer::Refused(failed.message.clone());
            self.insert(uid, goal, answer, view, Some(failed.id), now);
        }
    }

    fn insert(
        &self,
        uid: &str,
        goal: &Goal,
        answer: Answer,
        view: &QuorumView,
        failed: Option<i64>,
        now: Instant,
    ) {
        let mut all = self.0.lock();
        all.retain(|_, told| now.duration_since(told.at) < FORGOTTEN_AFTER);
        let key = (uid.to_owned(), goal.clone());
        let rebalance_id = failed.max(all.get(&key).and_then(|told| told.rebalance_id));
        let told = Told {
            answer,
            at: now,
            replicas: replicas(view),
            rebalance_id,
        };
        all.insert(key, told);
    }
}

/// Where replicas are, and where they could be.
fn replicas(view: &QuorumView) -> u64 {
    let brokers = view.brokers.iter();
    let brokers: Vec<_> = brokers
        .map(|(node_id, it)| (node_id, it.fenced, it.cordoned, it.rack.as_ref()))
        .collect();
    let counts = (&view.replicas, view.partitions, brokers);
    fingerprint(format!("{counts:?}").as_bytes())
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::{Answer, Asked};
    use crate::cluster::observed::QuorumView;
    use crate::quorum::rebalance::{Goal, RebalanceState, RebalanceView};

    const ONCE: Duration = Duration::from_millis(1);

    #[test]
    fn that_nothing_is_to_do_counts_until_replicas_are_elsewhere() {
        let (asked, start) = (Asked::default(), Instant::now());
        let mut view = QuorumView::default();
        asked.remember("u", &Goal::Full, Answer::NothingToDo, &view, start);
        let later = start + Duration::from_secs(3600);
        let (found, again) = asked.recent("u", &view, later);
        assert_eq!(found, [(Goal::Full, Answer::NothingToDo)].into());
        assert_eq!(again, None);
        assert!(asked.recent("another", &view, later).0.is_empty());
        view.replicas.insert(1, 1);
        assert!(asked.recent("u", &view, later).0.is_empty());
    }

    #[test]
    fn a_refusal_counts_for_a_while() {
        let (asked, start) = (Asked::default(), Instant::now());
        let view = QuorumView::default();
        let refused = Answer::Refused("no".into());
        asked.remember("u", &Goal::Full, refused, &view, start);
        let (found, again) = asked.recent("u", &view, start + ONCE);
        assert_eq!(found.len(), 1);
        let again = again.expect("it ends");
        assert!(asked.recent("u", &view, start + ONCE + again).0.is_empty());
    }

    /// Also by an operator that has not seen it begin.
    #[test]
    fn a_rebalance_that_failed_is_not_begun_again_at_once_and_each_failure_counts_once() {
        let (asked, start) = (Asked::default(), Instant::now());
        let mut view = QuorumView::default();
        let goal = Goal::DrainBrokers([3].into());
        let failed = |id| RebalanceView {
            id,
            goal: Some(Goal::DrainBrokers([3].into())),
            state: RebalanceState::Failed,
            message: "the disks are full".into(),
            moves_total: 0,
            moves_done: 0,
            bytes_total: 0,
            bytes_done: 0,
            seconds_left: None,
        };
        view.rebalances.insert(7, failed(7));
        let answer = Answer::Refused("the disks are full".into());
        let (found, again) = asked.recent("u", &view, start);
        assert_eq!(found.get(&goal), Some(&answer));
        let later = start + again.expect("it ends");
        assert!(asked.recent("u", &view, later).0.is_empty());
        view.rebalances.insert(9, failed(9));
        assert_eq!(asked.recent("u", &view, later).0.len(), 1);
    }
}
