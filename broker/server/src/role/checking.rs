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
use crate::partition::Key;

/// Read in one go.
const STEP_BYTES: u64 = 4 << 20;
/// After each step it rests so many times as long as that took, whatever a disk can do: a quarter of one processor and of the
/// disk's time is what clients can do without.
const REST_FOR_EACH: u32 = 3;
/// However long a disk stood still.
const REST_MOST: Duration = Duration::from_secs(5);
/// Before a log is tried again that cannot be read.
const PAUSE_AFTER_FAILURE: Duration = Duration::from_secs(60);

/// What is shorter is not worth the switch: it is rested for together with the next.
const REST_LEAST: Duration = Duration::from_millis(5);

/// What became of a log's check.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// Checked to the end, or damaged, or not here any more.
    Over,
    Failed,
    Stopped,
}

/// One go through all logs that are due.
#[derive(Debug, Default)]
struct Round {
    checked_bytes: u64,
    /// Not rested for yet.
    worked: Duration,
}

/// Until `stop`. What is not checked by then, the next start goes on with.
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
            () = tokio::time::sleep_until(again_at), if !failed.is_empty() => {}
        }
        let mut keys = due.take();
        if Instant::now() >= again_at {
            keys.append(&mut failed);
        }
        let (began, logs) = (Instant::now(), keys.len());
        let mut round = Round::default();
        while let Some(key) = keys.pop_first() {
            let left = keys.len() + failed.len() + 1;
            broker.metrics.unchecked_logs.set(left as i64);
            match round.check(&broker, key, &stop).await {
                Outcome::Over => {}
                Outcome::Failed => {
                    failed.insert(key);
                    again_at = Instant::now() + PAUSE_AFTER_FAILURE;
                }
                Outcome::Stopped => return,
            }
        }
        broker.metrics.unchecked_logs.set(failed.len() as i64);
        info!(
            logs,
            bytes = round.checked_bytes,
            took_ms = began.elapsed().as_millis() as u64,
            "checked what the start had put off"
        );
    }
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
            let outcome = match tokio::task::spawn_blocking(check).await {
                Ok((_, Ok(checked))) => {
                    self.checked_bytes += checked.bytes;
                    checked.is_done.then_some(Outcome::Over)
                }
                Ok((_, Err(ReadError::Corrupt { .. } | ReadError::Unusable(..)))) => {
                    Some(Outcome::Over)
                }
                Ok((partition, Err(error))) => {
                    let partition = partition.name();
                    warn!(partition, %error, "a log cannot be checked; it is tried again");
                    Some(Outcome::Failed)
                }
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
