//! Checks, while logs are in service, the batches that the start after a crash has put off
//! ([ADR 0026](../../../../docs/adr/0026-checked-after-it-is-opened.md)).

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use foz_log::ReadError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::broker::Broker;
use crate::partition::{FailedRead, Key, Partition};

/// Read in one go.
const STEP_BYTES: u64 = 4 << 20;
/// After each step it rests so many times as long as that took, whatever a disk can do: a quarter of one processor and of the
/// disk's time is what clients can do without.
const REST_FOR_EACH: u32 = 3;
/// However long a disk stood still.
const REST_MOST: Duration = Duration::from_secs(5);
/// Before a log is tried again that cannot be read, or is damaged.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What is shorter is not worth the switch: it is rested for together with the next.
const REST_LEAST: Duration = Duration::from_millis(5);

/// Whether what failed needs to be tried again at all: others may have cut the damage off, or deleted it.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// Damage waits so long for more of its kind: each time it is told may cost a registration.
const TELL_AFTER: Duration = Duration::from_secs(30);

/// What became of a log's check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Checked to the end, or not here any more.
    Over,
    /// Damaged, or it cannot be read: what is behind that is still to be checked, should it go away.
    Failed,
    Stopped,
}

/// One go through all logs that are due.
#[derive(Debug, Default)]
struct Round {
    checked_bytes: u64,
    /// Not rested for yet.
    worked: Duration,
    /// Not told yet: all that a round finds can go with one registration. Who reads it tells it at once.
    damaged: Vec<Found>,
}

#[derive(Debug)]
struct Found {
    at: Instant,
    partition: Arc<Partition>,
    read: FailedRead,
    offset: i64,
}

/// Until `stop`, one log after the other, whatever disks they are on: it rests for the sake of the processor, too. What is
/// not checked by then, the next start goes on with.
pub(super) async fn keep_checked(broker: Arc<Broker>, stop: CancellationToken) {
    // What clients wait for comes first.
    let mut alive = broker.alive.subscribe();
    tokio::select! {
        () = stop.cancelled() => return,
        alive = alive.wait_for(|alive| *alive) => if alive.is_err() { return },
    }
    let due = broker.partitions.due_checks();
    let mut failed = BTreeSet::new();
    let mut again_at = Instant::now();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = due.added() => {}
            () = tokio::time::sleep(LOOK_INTERVAL), if !failed.is_empty() => {}
        }
        failed.retain(|key| is_unchecked(&broker, *key));
        let mut keys = due.take();
        if Instant::now() >= again_at {
            keys.append(&mut failed);
        }
        let tell_left = |left: usize| {
            let left = left + due.count();
            broker.metrics.unchecked_logs.set(left as i64);
        };
        let (began, logs) = (Instant::now(), keys.len());
        let mut round = Round::default();
        while let Some(key) = keys.pop_first() {
            tell_left(keys.len() + failed.len() + 1);
            match round.check(&broker, key, &stop).await {
                Outcome::Over => {}
                Outcome::Failed => {
                    failed.insert(key);
                    again_at = Instant::now() + PAUSE_AFTER_FAILURE;
                }
                Outcome::Stopped => return,
            }
            let first = round.damaged.first();
            if first.is_some_and(|found| found.at.elapsed() >= TELL_AFTER) {
                round.tell_damage();
            }
        }
        round.tell_damage();
        tell_left(failed.len());
        if round.checked_bytes > 0 {
            info!(
                logs,
                failed = failed.len(),
                bytes = round.checked_bytes,
                took_ms = began.elapsed().as_millis() as u64,
                "checked what the start had put off"
            );
        }
    }
}

fn is_unchecked(broker: &Broker, key: Key) -> bool {
    let partition = broker.partitions.get(key.0, key.1);
    partition.is_some_and(|partition| partition.has_unchecked_batches())
}

impl Round {
    async fn check(&mut self, broker: &Broker, key: Key, stop: &CancellationToken) -> Outcome {
        loop {
            let Some(partition) = broker.partitions.get(key.0, key.1) else {
                return Outcome::Over;
            };
            let began = Instant::now();
            let check = move || {
                let checked = partition.check_next(STEP_BYTES);
                (partition, checked)
            };
            let checked = tokio::select! {
                // A disk that stands still holds up no stop.
                () = stop.cancelled() => return Outcome::Stopped,
                checked = tokio::task::spawn_blocking(check) => checked,
            };
            let outcome = match checked {
                Ok((_, Ok(checked))) => {
                    self.checked_bytes += checked.bytes;
                    checked.is_done.then_some(Outcome::Over)
                }
                Ok((partition, Err(read))) => Some(self.failed(partition, read)),
                Err(error) => {
                    warn!(%error, "a check failed");
                    Some(Outcome::Failed)
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Outcome::Stopped,
                () = tokio::time::sleep(self.rest_after(began.elapsed())) => {}
            }
            if let Some(outcome) = outcome {
                return outcome;
            }
        }
    }

    fn failed(&mut self, partition: Arc<Partition>, read: FailedRead) -> Outcome {
        match &read.reason {
            ReadError::Unusable(..) => return Outcome::Over,
            ReadError::Corrupt { offset, .. } => {
                let offset = *offset;
                self.damaged.push(Found {
                    at: Instant::now(),
                    partition,
                    read,
                    offset,
                });
            }
            error => {
                if let ReadError::Storage(error) = error {
                    read.located.directory.failure().storage_failed(error);
                }
                let partition = partition.name();
                warn!(partition, %error, "a log cannot be checked; it is tried again");
            }
        }
        Outcome::Failed
    }

    /// But not of a log that has moved meanwhile: its copy was checked.
    fn tell_damage(&mut self) {
        for found in self.damaged.drain(..) {
            (found.partition).found_damage(&found.read.located, found.offset);
        }
    }

    fn rest_after(&mut self, step: Duration) -> Duration {
        self.worked = self.worked.saturating_add(step);
        let rest = self.worked.saturating_mul(REST_FOR_EACH).min(REST_MOST);
        if rest < REST_LEAST {
            return Duration::ZERO;
        }
        self.worked = Duration::ZERO;
        rest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_of_the_time_is_for_checks() {
        let ms = Duration::from_millis;
        let mut round = Round::default();
        for (took, rest) in [
            (0, 0),
            (2, 6),
            (1, 0),
            (0, 0),
            (1, 6),
            (100, 300),
            (2_000, 5_000),
            (1 << 60, 5_000),
            (1, 0),
        ] {
            assert_eq!(round.rest_after(ms(took)), ms(rest), "{took}");
        }
    }
}
