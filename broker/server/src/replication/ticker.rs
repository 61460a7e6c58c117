//! Lets time pass for the partitions that this broker leads: who lags leaves the ISR.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::broker::Broker;
use crate::partition::monotonic_ms;

/// Often enough that a change that failed is tried again while a client waits for it.
const INTERVAL: Duration = Duration::from_millis(500);

/// Runs until `stop`.
pub(crate) async fn tick(broker: Arc<Broker>, stop: CancellationToken) {
    let mut interval = tokio::time::interval(INTERVAL);
    interval.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = interval.tick() => {}
        }
        look(&broker, monotonic_ms());
    }
}

/// At every partition that is led here, once, but for those that rest: nobody lags there. Some have just been given up.
pub(crate) fn look(broker: &Broker, now_ms: i64) {
    let image = broker.image();
    let (mut under_replicated, mut under_min_isr) = (0, 0);
    for partition in broker.partitions.take_awake() {
        partition.tick(&image, now_ms);
        if let Some((lacks_replicas, lacks_min_isr)) = partition.lacks() {
            under_replicated += i64::from(lacks_replicas);
            under_min_isr += i64::from(lacks_min_isr);
        }
    }
    broker.metrics.under_replicated.set(under_replicated);
    broker.metrics.under_min_isr.set(under_min_isr);
}
