//! Compacts logs, one after the other, at the pace that is allowed.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use foz_log::{CompactionIo, CompactionLimits};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use crate::broker::Broker;
use crate::partition::Resting;

/// A shorter pause is not worth the switch.
const PAUSE_LEAST: Duration = Duration::from_millis(2);
/// A pace that was not used up is not saved for later beyond this.
const SAVED_MOST: Duration = Duration::from_secs(1);
/// Looking at all logs again sooner finds nothing new: Kafka takes 0, too.
const BACKOFF_LEAST: Duration = Duration::from_millis(10);
/// A config that changes is seen after this time.
const CONFIG_LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Until `stop`, which also ends a pass that is under way.
pub(super) async fn keep_compacted(broker: Arc<Broker>, stop: CancellationToken) {
    let mut resting = Resting::default();
    loop {
        let mut did_something = false;
        if is_enabled(&broker) && *broker.alive.borrow() {
            let (broker, stop, runtime) = (Arc::clone(&broker), stop.clone(), Handle::current());
            let mut rests = std::mem::take(&mut resting);
            let pass = tokio::task::spawn_blocking(move || {
                let did = compact_next(&broker, &stop, &runtime, &mut rests);
                (did, rests)
            });
            match pass.await {
                Ok((did, rests)) => (did_something, resting) = (did, rests),
                Err(error) => warn!(%error, "compaction failed"),
            }
        }
        let pause_ms = broker.config_number("log.cleaner.backoff.ms");
        let pause = Duration::from_millis(pause_ms.unsigned_abs()).max(BACKOFF_LEAST);
        let paused_from = Instant::now();
        while !did_something && paused_from.elapsed() < pause {
            let left = pause.saturating_sub(paused_from.elapsed());
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(left.min(CONFIG_LOOK_INTERVAL)) => {}
            }
        }
        if stop.is_cancelled() {
            return;
        }
    }
}

fn is_enabled(broker: &Broker) -> bool {
    broker.config_bool("log.cleaner.enable") && broker.config_number("log.cleaner.threads") > 0
}

fn compact_next(
    broker: &Broker,
    stop: &CancellationToken,
    runtime: &Handle,
    resting: &mut Resting,
) -> bool {
    let map_bytes = broker.config_number("log.cleaner.dedupe.buffer.size");
    let limits = CompactionLimits {
        map_bytes: usize::try_from(map_bytes).unwrap_or(0),
    };
    let mut pace = Pace::default();
    let begin = Instant::now();
    let mut proceed = |io: CompactionIo| {
        let mut bytes = io.read_bytes + io.written_bytes;
        loop {
            if stop.is_cancelled() || !is_enabled(broker) {
                return ControlFlow::Break(());
            }
            let rate = broker
                .config("log.cleaner.io.max.bytes.per.second")
                .and_then(|effective| effective.as_f64())
                .unwrap_or(f64::MAX);
            let pause = pace.pause_after(std::mem::take(&mut bytes), rate, begin.elapsed());
            if pause < PAUSE_LEAST {
                return ControlFlow::Continue(());
            }
            runtime.block_on(async {
                tokio::select! {
                    () = stop.cancelled() => {}
                    () = tokio::time::sleep(pause.min(CONFIG_LOOK_INTERVAL)) => {}
                }
            });
        }
    };
    broker
        .partitions
        .compact_next(limits, resting, &mut proceed)
}

/// Bytes in a second, over a pass. Times count from its begin.
#[derive(Debug, Default)]
struct Pace {
    /// That are not paid for yet.
    bytes: f64,
    /// Up to when time has paid.
    paid_to: Duration,
}

impl Pace {
    /// How long to pause from `now` on, after `bytes` more, at the rate as it is now.
    fn pause_after(&mut self, bytes: u64, bytes_per_second: f64, now: Duration) -> Duration {
        let rate = bytes_per_second.max(1.0);
        let since = now.saturating_sub(self.paid_to);
        self.paid_to = now;
        self.bytes -= since.as_secs_f64() * rate;
        // A pace that was not used up is not saved for later beyond this.
        self.bytes = self.bytes.max(-SAVED_MOST.as_secs_f64() * rate) + bytes as f64;
        let takes = (self.bytes / rate).max(0.0);
        Duration::try_from_secs_f64(takes).unwrap_or(Duration::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pass_keeps_its_pace_and_saves_little_of_it() {
        let ms = Duration::from_millis;
        let mut pace = Pace::default();
        let mut after = |bytes, rate, now| {
            let pause = pace.pause_after(bytes, rate, now);
            ms(u64::try_from((pause + Duration::from_micros(500)).as_millis()).unwrap_or(u64::MAX))
        };
        assert_eq!(after(1_000, 1_000.0, ms(0)), ms(1_000));
        assert_eq!(after(500, 1_000.0, ms(1_000)), ms(500));
        assert_eq!(after(500, 1_000.0, ms(2_500)), ms(0));
        // 90 seconds of nothing: one of them counts.
        assert_eq!(after(2_000, 1_000.0, ms(92_500)), ms(1_000));
        // The rate is raised in the middle of a pause, and lowered.
        assert_eq!(after(0, 10_000.0, ms(92_500)), ms(100));
        assert_eq!(after(0, 10.0, ms(92_500)), ms(100_000));
        assert_eq!(after(0, f64::MAX, ms(92_501)), ms(0));
        let mut slow = Pace::default();
        assert!(slow.pause_after(u64::MAX, 0.0, ms(0)) > Duration::from_secs(1 << 40));
    }
}
