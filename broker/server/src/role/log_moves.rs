//! Moves logs to other data directories: one at a time for each directory that they are to come to, in the order in which
//! that was asked for.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;
use crate::partition::{DataDirectory, Next};

/// Copied in one go.
const STEP_BYTES: usize = 8 << 20;
/// Where what is copied is limited, in this time: it comes evenly.
const THROTTLED_STEPS_PER_SECOND: u64 = 4;
const THROTTLED_STEP_BYTES_LEAST: u64 = 64 << 10;
/// A limit that changes is seen after this time.
const CONFIG_LOOK_INTERVAL: Duration = Duration::from_millis(500);
const PAUSE_AFTER_PANIC: Duration = Duration::from_secs(30);

const RATE: &str = "replica.alter.log.dirs.io.max.bytes.per.second";
/// The default of the rate.
const UNLIMITED: i64 = i64::MAX;

/// To `target`, until `stop`: a step that is under way comes to its end before that. What is not moved by then the next
/// start goes on with.
pub(super) async fn keep_moving(
    broker: Arc<Broker>,
    target: Arc<DataDirectory>,
    stop: CancellationToken,
) {
    // What clients wait for comes first.
    let mut alive = broker.alive.subscribe();
    tokio::select! {
        () = stop.cancelled() => return,
        alive = alive.wait_for(|alive| *alive) => if alive.is_err() { return },
    }
    let mut resting = BTreeMap::new();
    while !stop.is_cancelled() {
        let now = Instant::now();
        resting.retain(|_, until| *until > now);
        let rests = resting.keys().copied().collect();
        let moves = broker.partitions.moves();
        let Some(wanted) = moves.first_to(&target, &rests) else {
            let until = resting.values().min().copied();
            tokio::select! {
                () = stop.cancelled() => return,
                () = target.moves().notified() => {}
                () = sleep_until(until) => {}
            }
            continue;
        };
        let rate = rate(&broker);
        let wait = rate.map_or(Duration::ZERO, |rate| moves.wait(rate));
        if !wait.is_zero() {
            pause(wait.min(CONFIG_LOOK_INTERVAL), &stop).await;
            continue;
        }
        let order = wanted.order();
        let moving = Arc::clone(&broker);
        let step = move || moving.partitions.move_on(&wanted, step_bytes(rate));
        let next = match tokio::task::spawn_blocking(step).await {
            Ok(moved) => {
                if let Some(rate) = rate {
                    moves.copied(rate, moved.copied_bytes);
                }
                moved.next
            }
            Err(error) => {
                warn!(%error, "a step of a log that moves failed");
                Next::Others(PAUSE_AFTER_PANIC)
            }
        };
        match next {
            Next::Same(wait) if wait.is_zero() => {}
            Next::Same(wait) => pause(wait, &stop).await,
            Next::Others(wait) | Next::Anew(wait) => {
                resting.insert(order, Instant::now() + wait);
            }
            Next::Over => {}
        }
    }
}

/// In bytes for each second, of all directories together; to be asked for again and again.
fn rate(broker: &Broker) -> Option<u64> {
    let rate = broker.config_number(RATE);
    (rate != UNLIMITED).then_some(rate.unsigned_abs())
}

fn step_bytes(rate: Option<u64>) -> usize {
    let most = STEP_BYTES as u64;
    let bytes = rate.map_or(most, |rate| rate / THROTTLED_STEPS_PER_SECOND);
    usize::try_from(bytes.clamp(THROTTLED_STEP_BYTES_LEAST, most)).unwrap_or(STEP_BYTES)
}

async fn pause(wait: Duration, stop: &CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(wait) => {}
    }
}

async fn sleep_until(until: Option<Instant>) {
    match until {
        Some(until) => tokio::time::sleep_until(until).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_limited_comes_in_small_steps() {
        for (rate, bytes) in [
            (None, 8 << 20),
            (Some(u64::MAX), 8 << 20),
            (Some(4 << 20), 1 << 20),
            (Some(1), 64 << 10),
            (Some(0), 64 << 10),
        ] {
            assert_eq!(step_bytes(rate), bytes, "{rate:?}");
        }
    }
}
