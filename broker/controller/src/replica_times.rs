//! When each replica of the metadata was last heard of, and when it last had all of it (KIP-836). By the wall clock, as
//! people read it.

use std::collections::BTreeMap;

/// Of replicas, by whatever tells them apart. What was never seen is not in here.
#[derive(Debug)]
pub(crate) struct ReplicaTimes<K> {
    seen: BTreeMap<K, Times>,
}

/// In ms since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Times {
    pub(crate) heard_ms: i64,
    /// `None`: not since this controller became active.
    pub(crate) caught_up_ms: Option<i64>,
}

impl<K: Ord> ReplicaTimes<K> {
    /// A replica told how far it is.
    pub(crate) fn heard(&mut self, replica: K, has_caught_up: bool, now_ms: i64) {
        let times = self.seen.entry(replica).or_insert(Times {
            heard_ms: now_ms,
            caught_up_ms: None,
        });
        times.heard_ms = now_ms;
        if has_caught_up {
            times.caught_up_ms = Some(now_ms);
        }
    }

    pub(crate) fn of(&self, replica: &K) -> Option<Times> {
        self.seen.get(replica).copied()
    }

    /// Forgets those that are not replicas any more.
    pub(crate) fn retain(&mut self, is_replica: impl Fn(&K) -> bool) {
        self.seen.retain(|replica, _| is_replica(replica));
    }

    pub(crate) fn clear(&mut self) {
        self.seen.clear();
    }
}

impl<K> Default for ReplicaTimes<K> {
    fn default() -> Self {
        Self {
            seen: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_falls_behind_keeps_the_time_when_it_had_all() {
        let mut times = ReplicaTimes::default();
        assert_eq!(times.of(&1), None);
        let told = |times: &ReplicaTimes<i32>| {
            let times = times.of(&1).unwrap();
            (times.heard_ms, times.caught_up_ms)
        };
        times.heard(1, false, 10);
        assert_eq!(told(&times), (10, None));
        times.heard(1, true, 20);
        assert_eq!(told(&times), (20, Some(20)));
        times.heard(1, false, 30);
        assert_eq!(told(&times), (30, Some(20)));
        times.heard(2, true, 30);
        times.retain(|replica| *replica == 1);
        assert_eq!(times.of(&2), None);
        assert_eq!(told(&times), (30, Some(20)));
        times.clear();
        assert_eq!(times.of(&1), None);
    }
}
