//! Which log is compacted next, and what becomes of a pass that did not work.

use std::collections::{HashMap, HashSet};
use std::time::{Duration, Instant};

use foz_log::{
    CompactionError, CompactionLimits, CompactionNeed, OpenError, Proceed, ReadError,
    TopicPartition,
};
use tracing::{info, warn};

use super::Partitions;
use crate::partition::wall_clock_ms;

/// A log whose pass came nowhere is left alone for so long: a transaction is open, for example.
const REST: Duration = Duration::from_secs(60);
/// And one whose first pass failed. Whatever is wrong with it, others are not to wait for it. It doubles with each pass
/// that fails,
const REST_FIRST: Duration = Duration::from_secs(30);
/// up to this.
const REST_MOST: Duration = Duration::from_secs(3600);

/// Logs that rest, and those whose last pass failed.
#[derive(Debug, Default)]
pub(crate) struct Resting {
    logs: HashMap<TopicPartition, Rest>,
}

#[derive(Debug, Clone, Copy)]
struct Rest {
    until: Instant,
    /// Passes that failed, one after the other.
    failures: u32,
}

impl Resting {
    /// Its pass failed.
    fn failed(&mut self, partition: &TopicPartition, now: Instant) {
        let failures = self.logs.get(partition).map_or(0, |rest| rest.failures);
        let rest = REST_FIRST.saturating_mul(1 << failures.min(16));
        let until = now + rest.min(REST_MOST);
        let failures = failures.saturating_add(1);
        self.logs
            .insert(partition.clone(), Rest { until, failures });
    }

    /// Its pass came nowhere.
    fn came_nowhere(&mut self, partition: &TopicPartition, now: Instant) {
        let until = now + REST;
        self.logs
            .insert(partition.clone(), Rest { until, failures: 0 });
    }

    fn succeeded(&mut self, partition: &TopicPartition) {
        self.logs.remove(partition);
    }

    fn rests(&self, partition: &TopicPartition, now: Instant) -> bool {
        self.logs
            .get(partition)
            .is_some_and(|rest| rest.until > now)
    }

    /// Forgets those that are not here any more.
    fn retain(&mut self, here: &HashSet<&TopicPartition>) {
        self.logs.retain(|partition, _| here.contains(partition));
    }

    /// Logs whose last pass failed.
    fn failing(&self) -> usize {
        self.logs.values().filter(|rest| rest.failures > 0).count()
    }
}

impl Partitions {
    /// Makes a pass over the log that needs it most. Blocks. `false` when none needs it.
    pub(crate) fn compact_next(
        &self,
        limits: CompactionLimits,
        resting: &mut Resting,
        proceed: Proceed<'_>,
    ) -> bool {
        let now_ms = wall_clock_ms();
        let now = Instant::now();
        let held = self.all();
        resting.retain(&held.iter().map(|it| it.topic_partition()).collect());
        self.metrics
            .compaction_failing
            .set(resting.failing() as i64);
        let mut needs = Vec::new();
        for partition in &held {
            if resting.rests(partition.topic_partition(), now) {
                continue;
            }
            let located = partition.located();
            match located.log.compaction_need(now_ms) {
                Ok(Some(need)) => needs.push((need, partition)),
                Ok(None) => {}
                Err(error) => {
                    warn!(partition = partition.name(), %error, "cannot tell what there is to compact");
                    resting.failed(partition.topic_partition(), now);
                    self.metrics.compaction_failures.inc();
                }
            }
        }
        let due = needs.iter().map(|(need, _)| need).filter(|it| is_due(it));
        let due_bytes: u64 = due.map(|need| need.dirty_bytes).sum();
        self.metrics.compaction_due_bytes.set(due_bytes as i64);
        let Some(at) = most_urgent(needs.iter().map(|(need, _)| need)) else {
            return false;
        };
        let partition = needs[at].1;
        let located = partition.located();
        let before = located.log.compacted_offset();
        let error = match located.log.compact(limits, now_ms, proceed) {
            Ok(compacted) => {
                info!(
                    partition = partition.name(),
                    up_to = compacted.compacted_offset,
                    bytes_before = compacted.bytes_before,
                    bytes_after = compacted.bytes_after,
                    "compacted"
                );
                self.metrics.compacted(compacted);
                let name = partition.topic_partition();
                if compacted.compacted_offset == before {
                    resting.came_nowhere(name, Instant::now());
                } else {
                    resting.succeeded(name);
                }
                self.metrics
                    .compaction_failing
                    .set(resting.failing() as i64);
                return true;
            }
            Err(CompactionError::Stopped) => return false,
            // Retention may come between again and again, and the end of a move takes its time: others are not to wait for it.
            Err(CompactionError::Disturbed | CompactionError::Busy) => {
                resting.came_nowhere(partition.topic_partition(), Instant::now());
                return false;
            }
            // It is in another directory by now.
            Err(_) if !partition.is_at(&located) => return true,
            Err(error) => error,
        };
        warn!(partition = partition.name(), %error, "not compacted");
        self.metrics.compaction_failures.inc();
        resting.failed(partition.topic_partition(), Instant::now());
        self.metrics
            .compaction_failing
            .set(resting.failing() as i64);
        match error {
            CompactionError::Read(ReadError::Corrupt { offset, .. }) => {
                partition.found_damage(&located, offset);
            }
            CompactionError::Storage(error) if located.log.has_failed() => {
                let name = partition.topic_partition();
                located
                    .directory
                    .failure()
                    .log_stopped(name, &OpenError::Storage(error));
            }
            CompactionError::Storage(error) | CompactionError::Read(ReadError::Storage(error)) => {
                located.directory.failure().storage_failed(&error);
            }
            _ => {}
        }
        true
    }
}

fn is_due(need: &CompactionNeed) -> bool {
    need.is_due || need.is_overdue
}

/// What waits for longer than it may comes first, then what has the most that is new for its size.
fn most_urgent<'a>(needs: impl Iterator<Item = &'a CompactionNeed>) -> Option<usize> {
    let due = needs.enumerate().filter(|(_, need)| is_due(need));
    let most = due.max_by(|(_, a), (_, b)| {
        let by_ratio = a.dirty_ratio.total_cmp(&b.dirty_ratio);
        a.is_overdue.cmp(&b.is_overdue).then(by_ratio)
    });
    most.map(|(at, _)| at)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn need(dirty_ratio: f64, is_due: bool, is_overdue: bool) -> CompactionNeed {
        CompactionNeed {
            dirty_ratio,
            dirty_bytes: 1,
            is_due,
            is_overdue,
        }
    }

    #[test]
    fn what_waited_too_long_comes_before_what_is_much() {
        let needs = [
            need(0.6, true, false),
            need(0.4, false, false),
            need(0.9, true, false),
            need(0.1, false, true),
            need(0.2, false, true),
        ];
        assert_eq!(most_urgent(needs.iter()), Some(4));
        assert_eq!(most_urgent(needs[..3].iter()), Some(2));
        assert_eq!(most_urgent(needs[1..2].iter()), None);
        assert_eq!(most_urgent([].iter()), None);
    }

    #[test]
    fn a_log_rests_for_longer_each_time_its_pass_fails() {
        let (now, name) = (Instant::now(), TopicPartition::new("t", 0));
        let mut resting = Resting::default();
        assert!(!resting.rests(&name, now));
        for seconds in [30, 60, 120, 240, 480, 960, 1_920, 3_600, 3_600] {
            resting.failed(&name, now);
            let rest = Duration::from_secs(seconds);
            assert!(resting.rests(&name, now + rest - Duration::from_millis(1)));
            assert!(!resting.rests(&name, now + rest), "{seconds}");
            assert!(!resting.rests(&TopicPartition::new("t", 1), now));
            assert_eq!(resting.failing(), 1, "and counts as failing afterwards too");
        }
        for _ in 0..100 {
            resting.failed(&name, now);
        }
        resting.came_nowhere(&name, now);
        assert!(resting.rests(&name, now) && !resting.rests(&name, now + REST));
        assert_eq!(resting.failing(), 0);
        resting.failed(&name, now);
        assert!(!resting.rests(&name, now + REST_FIRST), "it begins anew");
        resting.succeeded(&name);
        assert!(!resting.rests(&name, now));
        resting.failed(&name, now);
        resting.retain(&HashSet::from([&name]));
        assert_eq!(resting.failing(), 1);
        resting.retain(&HashSet::new());
        assert_eq!(resting.failing(), 0);
    }
}
