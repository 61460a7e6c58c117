//! How much this broker may copy of replicas that an administrator throttles (KIP-73):
//! `follower.replication.throttled.rate`, and the topics' `follower.replication.throttled.replicas`.

use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::image::{Resource, Topic};
use parking_lot::Mutex;

use crate::broker::Broker;
use crate::debt::Debt;
use crate::partition::{Key, monotonic};

const RATE: &str = "follower.replication.throttled.rate";
const REPLICAS: &str = "follower.replication.throttled.replicas";
/// The default of the rate.
const UNLIMITED: i64 = i64::MAX;
/// A rate that changes is seen after this time.
const PAUSE_MAX: Duration = Duration::from_millis(500);

/// In bytes for each second. `None`: nothing is throttled.
pub(super) type Rate = Option<u64>;

/// Of all fetchers of this broker together.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<Debt>);

impl Throttle {
    /// How long this replica has to wait before it is fetched again. In sync it never does, as in Kafka:
    /// producers would wait with it.
    pub(super) fn pause(&self, broker: &Broker, rate: Rate, key: Key) -> Option<Duration> {
        let rate = rate?;
        let image = broker.image();
        let topic = image.topic_by_id(key.0)?;
        let is_in_sync = topic.partition(key.1)?.isr.contains(&broker.node_id);
        if is_in_sync || !is_throttled(&image, topic, key.1, broker.node_id) {
            return None;
        }
        let wait = self.0.lock().wait(monotonic(), rate);
        (!wait.is_zero()).then(|| wait.min(PAUSE_MAX))
    }

    /// So much was fetched.
    pub(super) fn fetched(&self, broker: &Broker, rate: Rate, key: Key, bytes: usize) {
        let Some(rate) = rate else { return };
        let image = broker.image();
        if let Some(topic) = image.topic_by_id(key.0)
            && is_throttled(&image, topic, key.1, broker.node_id)
        {
            self.0.lock().add(monotonic(), rate, bytes as u64);
        }
    }
}

/// As it is now; to be asked for once for many replicas.
pub(super) fn rate(broker: &Broker) -> Rate {
    let rate = broker.config_number(RATE);
    (rate != UNLIMITED).then_some(rate.unsigned_abs())
}

fn is_throttled(image: &Image, topic: &Topic, index: i32, node_id: i32) -> bool {
    let resource = Resource::Topic(topic.name.clone());
    image
        .config(&resource, REPLICAS)
        .is_some_and(|replicas| names(replicas, index, node_id))
}

/// The list was checked when it was set: `*`, or `partition:broker` pairs.
fn names(replicas: &str, index: i32, node_id: i32) -> bool {
    let is_this = |pair: &str| {
        let (partition, broker) = pair.split_once(':')?;
        Some((partition.trim().parse() == Ok(index)) && (broker.trim().parse() == Ok(node_id)))
    };
    replicas.trim() == "*"
        || replicas
            .split(',')
            .any(|pair| is_this(pair).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replicas_are_named_in_pairs_or_all_at_once() {
        for (replicas, expected) in [
            ("*", true),
            (" * ", true),
            ("3:1", true),
            ("0:1, 3:1", true),
            ("1:3", false),
            ("3:11,33:1", false),
            ("", false),
        ] {
            assert_eq!(names(replicas, 3, 1), expected, "{replicas:?}");
        }
    }
}
