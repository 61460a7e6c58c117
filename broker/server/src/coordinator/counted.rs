use prometheus::{IntGauge, IntGaugeVec, Opts, Registry};

/// How many partitions of `__consumer_offsets` this broker leads, by the state of their coordinator.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) loading: IntGauge,
    pub(crate) active: IntGauge,
    pub(crate) failed: IntGauge,
}

impl Counts {
    /// Registers them under the name that Kafka's have.
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let options = Opts::new(
            "kafka_server_group_coordinator_metrics_num_partitions",
            "Partitions of __consumer_offsets that this broker leads, by the state of their coordinator.",
        );
        let gauges = IntGaugeVec::new(options, &["state"])?;
        registry.register(Box::new(gauges.clone()))?;
        let of = |state| gauges.with_label_values(&[state]);
        Ok(Self {
            loading: of("loading"),
            active: of("active"),
            failed: of("failed"),
        })
    }
}

/// One of them, for as long as it lives.
#[derive(Debug)]
pub(super) struct Counted(IntGauge);

impl Counted {
    pub(super) fn new(count: &IntGauge) -> Self {
        count.inc();
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}
