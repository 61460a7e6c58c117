//! What keeps the logs in order from time to time: repair, idle files, checkpoints.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;
use crate::partition::DataDirectory;

const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(5);
/// `replica.high.watermark.checkpoint.interval.ms` may be 0; each checkpoint that says something new is a
/// flush.
const CHECKPOINT_INTERVAL_LEAST: Duration = Duration::from_millis(100);
const WRITEBACK_INTERVAL: Duration = Duration::from_secs(1);
/// The broker is alive: by then what it leads was elected, and who waited for it was served.
const FLUSH_BACKLOG_AFTER: Duration = Duration::from_secs(1);
/// A quorum may be away for hours. What nobody has flushed does not wait for it, nor what is copied from leaders meanwhile.
const FLUSH_BACKLOG_LATEST: Duration = Duration::from_secs(30);
/// A config that changes is seen after this time, however long a checkpoint was to wait before.
const CONFIG_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Until `stop`.
pub(super) async fn keep_house(broker: Arc<Broker>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(HOUSEKEEPING_INTERVAL);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let broker = Arc::clone(&broker);
        let kept = tokio::task::spawn_blocking(move || {
            broker.partitions.close_idle_files();
            if broker.partitions.repair(&broker).is_some() {
                broker.partitions.damage_found().notify_one();
            }
        });
        if let Err(error) = kept.await {
            warn!(%error, "housekeeping failed");
        }
    }
}

/// Has the kernel write early what was appended, until `stop`: what is left to write when the broker stops is what it is
/// away for, and a disk that is given half a minute's writes at once answers nobody else. One task for all data directories: while one disk hangs, what
/// is on the others is written when it is flushed.
pub(super) async fn begin_writebacks(broker: Arc<Broker>, stop: CancellationToken) {
    let mut tick = tokio::time::interval(WRITEBACK_INTERVAL);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        let broker = Arc::clone(&broker);
        let begun = tokio::task::spawn_blocking(move || broker.partitions.begin_writebacks());
        if let Err(error) = begun.await {
            warn!(%error, "writing early failed");
        }
    }
}

/// Has closed segments flushed, and what the start after a kill has found in logs. What clients wait for first comes first: the
/// quorum may write to the same disk whom it elects.
pub(super) async fn begin_flushing_backlog(broker: Arc<Broker>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => return,
        () = until_served(broker.alive.subscribe()) => {}
    }
    broker.partitions.release_flush_backlogs();
}

/// Or until it takes too long.
async fn until_served(mut alive: watch::Receiver<bool>) {
    let served = async {
        // Otherwise nobody is ever to tell.
        if alive.wait_for(|alive| *alive).await.is_ok() {
            tokio::time::sleep(FLUSH_BACKLOG_AFTER).await;
        }
    };
    // Too late is no other than in time.
    let _ = tokio::time::timeout(FLUSH_BACKLOG_LATEST, served).await;
}

/// Writes checkpoints of one data directory every `replica.high.watermark.checkpoint.interval.ms`, until `stop`.
pub(super) async fn keep_checkpoints(
    broker: Arc<Broker>,
    directory: Arc<DataDirectory>,
    stop: CancellationToken,
) {
    let mut written = Instant::now();
    loop {
        let wait = wait_for_checkpoint(checkpoint_interval(&broker), written.elapsed());
        if let Some(wait) = wait {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(wait) => continue,
            }
        }
        written = Instant::now();
        let (broker, directory) = (Arc::clone(&broker), Arc::clone(&directory));
        let checkpoint = move || broker.partitions.checkpoint(&directory);
        let writing = tokio::task::spawn_blocking(checkpoint);
        if let Err(error) = writing.await {
            warn!(%error, "checkpoints not written");
        }
    }
}

fn checkpoint_interval(broker: &Broker) -> Duration {
    let interval_ms = broker.config_number("replica.high.watermark.checkpoint.interval.ms");
    Duration::from_millis(u64::try_from(interval_ms).unwrap_or(0))
}

/// How long to sleep before looking again; `None`: one is due.
fn wait_for_checkpoint(interval: Duration, since_last: Duration) -> Option<Duration> {
    let left = interval
        .max(CHECKPOINT_INTERVAL_LEAST)
        .saturating_sub(since_last);
    (!left.is_zero()).then(|| left.min(CONFIG_LOOK_INTERVAL))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_after_its_interval_and_a_shorter_one_counts_soon() {
        let ms = Duration::from_millis;
        for (interval_ms, since_last_ms, wait_ms) in [
            (5_000, 0, Some(1_000)),
            (5_000, 4_300, Some(700)),
            (5_000, 5_000, None),
            (5_000, 9_000, None),
            (200, 50, Some(150)),
            (0, 0, Some(100)),
            (0, 100, None),
            (u64::MAX, 1 << 40, Some(1_000)),
        ] {
            assert_eq!(
                wait_for_checkpoint(ms(interval_ms), ms(since_last_ms)),
                wait_ms.map(ms),
                "{interval_ms} {since_last_ms}"
            );
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_to_flush_waits_for_the_first_clients_and_no_longer_than_that() {
        let seconds = Duration::from_secs;
        for (alive_after, begun_after) in [
            (Some(seconds(5)), seconds(6)),
            (Some(seconds(40)), seconds(30)),
            (None, seconds(30)),
        ] {
            let (alive, is_alive) = watch::channel(false);
            let begun = tokio::time::Instant::now();
            let told = async {
                match alive_after {
                    Some(after) => tokio::time::sleep(after).await,
                    None => std::future::pending().await,
                }
                alive.send_replace(true);
                std::future::pending::<()>().await;
            };
            tokio::select! {
                () = until_served(is_alive) => {}
                () = told => {}
            }
            // Timers are as fine as a millisecond.
            let waited = begun.elapsed().as_secs();
            assert_eq!(waited, begun_after.as_secs(), "{alive_after:?}");
        }
    }
}
