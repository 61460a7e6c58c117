//! Drops what retention no longer keeps, every `log.retention.check.interval.ms`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;
use crate::partition::DataDirectory;

/// An interval that is made shorter counts after this time.
const CONFIG_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// In one data directory, until `stop`, which also ends a pass that is under way. It is a task of its own: with thousands of logs a pass takes
/// long, and on a full disk it is what makes room.
pub(super) async fn keep_retention(
    broker: Arc<Broker>,
    directory: Arc<DataDirectory>,
    stop: CancellationToken,
) {
    // Before, the broker does not know all that it holds.
    let mut alive = broker.alive.subscribe();
    tokio::select! {
        () = stop.cancelled() => return,
        alive = alive.wait_for(|alive| *alive) => if alive.is_err() { return },
    }
    loop {
        let began = Instant::now();
        let (passing, stopping) = (Arc::clone(&broker), stop.clone());
        let here = Arc::clone(&directory);
        let pass = tokio::task::spawn_blocking(move || {
            let proceed = || !stopping.is_cancelled();
            passing.partitions.apply_retention(&here, &proceed);
        });
        if let Err(error) = pass.await {
            warn!(%error, "retention failed");
        }
        while let Some(wait) = wait_for_next(check_interval(&broker), began.elapsed()) {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => {}
            }
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

fn check_interval(broker: &Broker) -> Duration {
    let interval_ms = broker.config_number("log.retention.check.interval.ms");
    Duration::from_millis(interval_ms.unsigned_abs())
}

/// How long to sleep before looking again, when a pass began that long ago; `None`: the next one is due. There is a
/// pause between any two.
fn wait_for_next(interval: Duration, since_begin: Duration) -> Option<Duration> {
    let left = interval.saturating_sub(since_begin);
    (!left.is_zero()).then(|| left.min(CONFIG_LOOK_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_is_due_after_its_interval_and_a_shorter_one_counts_soon() {
        let ms = Duration::from_millis;
        for (interval_ms, since_begin_ms, wait_ms) in [
            (300_000, 0, Some(1_000)),
            (300_000, 299_400, Some(600)),
            (300_000, 300_000, None),
            (300_000, u64::MAX, None),
            (1, 0, Some(1)),
            (u64::MAX, 1 << 40, Some(1_000)),
        ] {
            assert_eq!(
                wait_for_next(ms(interval_ms), ms(since_begin_ms)),
                wait_ms.map(ms),
                "{interval_ms} {since_begin_ms}"
            );
        }
    }
}
