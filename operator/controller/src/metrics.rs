//! What the operator counts, for Prometheus.

use std::time::Duration;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounterVec, IntGauge, Opts, Registry, TextEncoder,
};

/// The operator's metrics. Every name begins with `foz_operator_`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_duration: HistogramVec,
    reconcile_errors: IntCounterVec,
    actions: IntCounterVec,
    roll_denials: IntCounterVec,
    leader: IntGauge,
}

impl Metrics {
    /// # Errors
    /// Never with these names; the library checks them when it runs.
    pub fn new() -> prometheus::Result<Self> {
        let registry = Registry::new();
        let histogram = HistogramOpts::new(
            "foz_operator_reconcile_duration_seconds",
            "How long a pass over an object took.",
        );
        let buckets = vec![0.0001, 0.0005, 0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0];
        let metrics = Self {
            reconcile_duration: HistogramVec::new(histogram.buckets(buckets), &["kind"])?,
            reconcile_errors: IntCounterVec::new(
                Opts::new(
                    "foz_operator_reconcile_errors_total",
                    "Passes that failed and are tried again, by reason.",
                ),
                &["kind", "reason"],
            )?,
            actions: IntCounterVec::new(
                Opts::new("foz_operator_actions_total", "What was done."),
                &["kind", "action"],
            )?,
            roll_denials: IntCounterVec::new(
                Opts::new(
                    "foz_operator_roll_denials_total",
                    "Restarts that the metadata quorum denied, by reason; each is asked for again.",
                ),
                &["reason"],
            )?,
            leader: IntGauge::new("foz_operator_leader", "1 on the replica that acts.")?,
            registry,
        };
        metrics
            .registry
            .register(Box::new(metrics.reconcile_duration.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.reconcile_errors.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.actions.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.roll_denials.clone()))?;
        metrics
            .registry
            .register(Box::new(metrics.leader.clone()))?;
        Ok(metrics)
    }

    /// A pass over an object ended.
    pub fn reconciled(&self, kind: &str, took: Duration) {
        self.reconcile_duration
            .with_label_values(&[kind])
            .observe(took.as_secs_f64());
    }

    /// A pass over an object failed.
    pub fn failed(&self, kind: &str, reason: &str) {
        self.reconcile_errors
            .with_label_values(&[kind, reason])
            .inc();
    }

    /// Something was done.
    pub fn acted(&self, kind: &str, action: &str) {
        self.actions.with_label_values(&[kind, action]).inc();
    }

    /// The quorum has denied a restart.
    pub fn restart_denied(&self, reason: &str) {
        self.roll_denials.with_label_values(&[reason]).inc();
    }

    /// This replica acts, or stands by.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
    }

    /// In Prometheus' text format.
    ///
    /// # Errors
    /// When the library cannot encode what it collected.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

#[cfg(test)]
mod tests {
    use super::Metrics;
    use std::time::Duration;

    #[test]
    fn everything_that_happens_is_in_the_text() {
        let metrics = Metrics::new().expect("metrics");
        metrics.reconciled("Cluster", Duration::from_millis(3));
        metrics.failed("Topic", "kubernetes");
        metrics.acted("Cluster", "create");
        metrics.restart_denied("min_insync");
        metrics.set_leader(true);
        let text = metrics.render().expect("text");
        for line in [
            "foz_operator_reconcile_duration_seconds_count{kind=\"Cluster\"} 1",
            "foz_operator_reconcile_errors_total{kind=\"Topic\",reason=\"kubernetes\"} 1",
            "foz_operator_actions_total{action=\"create\",kind=\"Cluster\"} 1",
            "foz_operator_roll_denials_total{reason=\"min_insync\"} 1",
            "foz_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }
}
