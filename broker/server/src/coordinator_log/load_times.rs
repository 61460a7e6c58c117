//! How long coordinators take to read their state again, and what they read.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, IntCounter, Registry};

use crate::partition::{ReplayedLog, monotonic_ms};

/// Kafka's `metrics.sample.window.ms`. A load is told of until the window after its own is over, so for 30 to 60 s.
const WINDOW_MS: i64 = 30_000;

/// Of one kind of coordinator.
#[derive(Debug, Clone)]
pub(crate) struct LoadTimes {
    recent: Arc<Mutex<Recent>>,
    /// In milliseconds, and not a number as long as nothing was loaded, as Kafka has them.
    max_ms: Gauge,
    avg_ms: Gauge,
    records: IntCounter,
    bytes: IntCounter,
}

impl LoadTimes {
    /// `kind` is `group` or `transaction`.
    pub(crate) fn register(
        registry: &Registry,
        kind: &str,
        topic: &str,
    ) -> prometheus::Result<Self> {
        let gauge = |which: &str, help: &str| {
            let name =
                format!("kafka_server_{kind}_coordinator_metrics_partition_load_time_{which}");
            let help = format!(
                "{help} milliseconds that a coordinator took to load a partition of {topic}, lately."
            );
            Gauge::new(name, help)
        };
        let counter = |what: &str, help: &str| {
            let name = format!("foz_{kind}_coordinator_loaded_{what}_total");
            let help = format!("{help} that coordinators read to load partitions of {topic}.");
            IntCounter::new(name, help)
        };
        let load_times = Self {
            recent: Arc::default(),
            max_ms: gauge("max", "The most")?,
            avg_ms: gauge("avg", "The average of")?,
            records: counter("records", "Records")?,
            bytes: counter("bytes", "Bytes of record batches")?,
        };
        registry.register(Box::new(load_times.clone()))?;
        Ok(load_times)
    }

    /// A coordinator knows its state now.
    pub(crate) fn loaded(&self, log: ReplayedLog, took: Duration) {
        self.records.inc_by(log.records as u64);
        self.bytes.inc_by(log.bytes);
        self.recent.lock().add(monotonic_ms(), took);
    }
}

impl Collector for LoadTimes {
    fn desc(&self) -> Vec<&Desc> {
        let gauges = [&self.max_ms, &self.avg_ms];
        let gauges = gauges.into_iter().flat_map(Collector::desc);
        let counters = [&self.records, &self.bytes];
        gauges
            .chain(counters.into_iter().flat_map(Collector::desc))
            .collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let told = self.recent.lock().told(monotonic_ms());
        self.max_ms.set(told.max_ms());
        self.avg_ms.set(told.avg_ms());
        let gauges = [&self.max_ms, &self.avg_ms];
        let gauges = gauges.into_iter().flat_map(Collector::collect);
        let counters = [&self.records, &self.bytes];
        gauges
            .chain(counters.into_iter().flat_map(Collector::collect))
            .collect()
    }
}

/// The loads of the newest window that has any, and of the one before it.
#[derive(Debug, Default)]
struct Recent {
    window: i64,
    newest: Loads,
    before: Loads,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Loads {
    count: u32,
    total: Duration,
    max: Duration,
}

impl Recent {
    fn add(&mut self, now_ms: i64, took: Duration) {
        self.advance(now_ms);
        self.newest = self.newest.and(Loads {
            count: 1,
            total: took,
            max: took,
        });
    }

    fn told(&mut self, now_ms: i64) -> Loads {
        self.advance(now_ms);
        self.newest.and(self.before)
    }

    fn advance(&mut self, now_ms: i64) {
        let window = now_ms.div_euclid(WINDOW_MS);
        let before = match window - self.window {
            ..=0 => return,
            1 => self.newest,
            2.. => Loads::default(),
        };
        *self = Self {
            window,
            newest: Loads::default(),
            before,
        };
    }
}

impl Loads {
    fn and(self, other: Self) -> Self {
        Self {
            count: self.count + other.count,
            total: self.total + other.total,
            max: self.max.max(other.max),
        }
    }

    fn max_ms(self) -> f64 {
        match self.count {
            0 => f64::NAN,
            _ => milliseconds(self.max),
        }
    }

    fn avg_ms(self) -> f64 {
        milliseconds(self.total) / f64::from(self.count)
    }
}

#[cfg(test)]
impl LoadTimes {
    /// What `/metrics` has of it: most and average milliseconds, records and bytes.
    pub(crate) fn scraped(&self) -> [f64; 4] {
        let text = prometheus::TextEncoder::new().encode_to_string(&self.collect());
        let text = text.expect("it can be encoded");
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        let values = samples.map(|line| line.rsplit_once(' ').expect("a name and a value").1);
        let values: Vec<f64> = values.map(|it| it.parse().expect("a number")).collect();
        values.try_into().expect("four metrics")
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(recent: &mut Recent, now_ms: i64) -> (f64, f64) {
        let told = recent.told(now_ms);
        (told.max_ms(), told.avg_ms())
    }

    #[test]
    fn loads_are_told_of_until_the_next_window_is_over() {
        let mut recent = Recent::default();
        let is_silent = |(max, avg): (f64, f64)| max.is_nan() && avg.is_nan();
        assert!(is_silent(told(&mut recent, 1_000)));
        recent.add(29_000, Duration::from_millis(300));
        recent.add(29_001, Duration::from_millis(100));
        assert_eq!(told(&mut recent, 29_999), (300.0, 200.0));
        recent.add(31_000, Duration::from_micros(1_500));
        assert_eq!(told(&mut recent, 59_999), (300.0, 401.5 / 3.0));
        assert_eq!(told(&mut recent, 60_000), (1.5, 1.5));
        assert_eq!(told(&mut recent, 89_999), (1.5, 1.5));
        assert!(is_silent(told(&mut recent, 90_000)));
        // Nobody looked for long.
        recent.add(90_000, Duration::from_millis(7));
        assert!(is_silent(told(&mut recent, 10_000_000)));
    }

    /// Two threads may come with the times that they looked at in either order.
    #[test]
    fn a_load_of_the_window_before_counts_in_this_one() {
        let mut recent = Recent::default();
        recent.add(30_000, Duration::from_millis(1));
        recent.add(29_999, Duration::from_millis(3));
        assert_eq!(told(&mut recent, 30_000), (3.0, 2.0));
    }
}
