//! What a controller tells Prometheus.
//!
//! Names are those under which Kafka's JMX exporter is known, where the meaning is the same. Gauges are
//! computed from the image when they are scraped, so they cannot drift from it.

use std::sync::Arc;

use foz_metadata::Image;
use foz_metadata::image::NO_LEADER;
use foz_quorum::Quorum;
use prometheus::{Histogram, HistogramOpts, PullingGauge, Registry};

use crate::metadata::Metadata;

/// What is observed rather than computed.
#[derive(Debug, Clone)]
pub(crate) struct Metrics {
    /// From the proposal of a batch until it is committed and applied.
    pub(crate) commit_seconds: Histogram,
}

type ImageGauge = (&'static str, &'static str, fn(&Image) -> usize);

const IMAGE_GAUGES: [ImageGauge; 6] = [
    (
        "kafka_controller_kafkacontroller_globaltopiccount",
        "Topics in the metadata.",
        Image::topic_count,
    ),
    (
        "kafka_controller_kafkacontroller_globalpartitioncount",
        "Partitions in the metadata.",
        Image::partition_count,
    ),
    (
        "kafka_controller_kafkacontroller_offlinepartitionscount",
        "Partitions without a leader.",
        |image| image.partitions_led_by(NO_LEADER).count(),
    ),
    (
        "kafka_controller_kafkacontroller_activebrokercount",
        "Brokers that are registered and not fenced.",
        |image| image.alive_brokers().count(),
    ),
    (
        "kafka_controller_kafkacontroller_fencedbrokercount",
        "Brokers that are registered and fenced.",
        |image| image.brokers().filter(|broker| broker.fenced).count(),
    ),
    (
        "foz_metadata_offset",
        "Batches of records that were committed and applied here.",
        |image| usize::try_from(image.offset()).unwrap_or_default(),
    ),
];

impl Metrics {
    pub(crate) fn register(
        registry: &Registry,
        metadata: &Arc<Metadata>,
        quorum: &Quorum,
    ) -> Result<Self, prometheus::Error> {
        for (name, help, read) in IMAGE_GAUGES {
            let metadata = metadata.clone();
            gauge(registry, name, help, move || read(&metadata.image()) as f64)?;
        }
        let leadership = quorum.leadership();
        gauge(
            registry,
            "kafka_controller_kafkacontroller_activecontrollercount",
            "1 while this controller is the active one.",
            move || f64::from(u8::from(leadership.borrow().is_self)),
        )?;
        let leadership = quorum.leadership();
        gauge(
            registry,
            "foz_quorum_term",
            "The quorum's term.",
            move || leadership.borrow().term as f64,
        )?;
        let buckets = prometheus::exponential_buckets(0.000_5, 2.0, 14)?;
        let options = HistogramOpts::new(
            "foz_metadata_commit_seconds",
            "Time from the proposal of a batch until it was committed and applied.",
        );
        let commit_seconds = Histogram::with_opts(options.buckets(buckets))?;
        registry.register(Box::new(commit_seconds.clone()))?;
        Ok(Self { commit_seconds })
    }
}

fn gauge(
    registry: &Registry,
    name: &str,
    help: &str,
    read: impl Fn() -> f64 + Send + Sync + 'static,
) -> Result<(), prometheus::Error> {
    registry.register(Box::new(PullingGauge::new(name, help, Box::new(read))?))
}
