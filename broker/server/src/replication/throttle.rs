//! How much this broker may copy of replicas that an administrator throttles (KIP-73):
//! `follower.replication.throttled.rate`, and the topics' `follower.replication.throttled.replicas`.

use std::time::Duration;

use foz_metadata::Image;
use foz_metadata::image::{Resource, Topic};
use parking_lot::Mutex;

use crate::broker::Broker;
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

/// Bytes that were fetched ahead of the rate.
#[derive(Debug, Default, Clone, Copy)]
struct Debt {
    bytes: u64,
    /// When it was so much.
    at: Duration,
}

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

impl Debt {
    fn add(&mut self, now: Duration, rate: u64, bytes: u64) {
        self.bytes = self.left(now, rate).saturating_add(bytes);
        self.at = now;
    }

    fn wait(&self, now: Duration, rate: u64) -> Duration {
        if rate == 0 {
            return Duration::MAX;
        }
        let left = self.left(now, rate);
        let nanos = u128::from(left % rate) * 1_000_000_000 / u128::from(rate);
        Duration::new(left / rate, nanos as u32)
    }

    /// As if the rate had been the same since; one that was raised counts at once.
    fn left(&self, now: Duration, rate: u64) -> u64 {
        let nanos = now.saturating_sub(self.at).as_nanos();
        let paid = nanos.saturating_mul(u128::from(rate)) / 1_000_000_000;
        self.bytes
            .saturating_sub(u64::try_from(paid).unwrap_or(u64::MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn over_time_no_more_comes_than_the_rate_allows() {
        let (rate, answer) = (1_000_000, 300_000);
        let mut debt = Debt::default();
        let (mut now, mut got) = (Duration::ZERO, 0);
        let end = Duration::from_secs(60);
        while now < end {
            let wait = debt.wait(now, rate);
            now += wait.max(Duration::from_millis(1));
            if debt.wait(now, rate).is_zero() {
                debt.add(now, rate, answer);
                got += answer;
            }
        }
        let allowed = rate * end.as_secs();
        assert!(
            (allowed * 9 / 10..=allowed + answer).contains(&got),
            "{got}"
        );
    }

    #[test]
    fn time_without_a_fetch_is_not_saved_up() {
        let mut debt = Debt::default();
        let now = Duration::from_secs(1_000);
        debt.add(now, 100, 150);
        assert_eq!(debt.wait(now, 100), Duration::from_millis(1_500));
        let later = now + Duration::from_secs(1);
        assert_eq!(debt.wait(later, 100), Duration::from_millis(500));
    }

    #[test]
    fn a_rate_that_is_raised_counts_at_once_and_none_is_for_ever() {
        let mut debt = Debt::default();
        assert_eq!(debt.wait(Duration::ZERO, 0), Duration::MAX);
        assert_eq!(debt.wait(Duration::ZERO, 1), Duration::ZERO);
        debt.add(Duration::ZERO, 1, 1 << 20);
        let now = Duration::from_secs(1);
        assert!(debt.wait(now, 1) > Duration::from_secs(1_000_000));
        assert_eq!(debt.wait(now, 1 << 20), Duration::ZERO);
        debt.add(now, u64::MAX, u64::MAX);
        assert!(debt.wait(now, u64::MAX) <= Duration::from_secs(1));
        assert_eq!(debt.wait(Duration::ZERO, 1), Duration::from_secs(u64::MAX));
    }

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
