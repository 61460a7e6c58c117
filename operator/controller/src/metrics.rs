//! What the operator counts, for Prometheus.

use std::time::Duration;

use crate::names::ClusterName;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
    TextEncoder,
};

/// The operator's metrics. Every name begins with `foz_operator_`.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    reconcile_duration: HistogramVec,
    reconcile_errors: IntCounterVec,
    actions: IntCounterVec,
    roll_grants: IntCounter,
    roll_denials: IntCounterVec,
    pods_to_restart: IntGaugeVec,
    pods_held: IntGaugeVec,
    suspended: IntGaugeVec,
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
            roll_grants: IntCounter::new(
                "foz_operator_roll_grants_total",
                "Restarts that the metadata quorum granted.",
            )?,
            pods_to_restart: of_clusters(
                "foz_operator_pods_to_restart",
                "Pods that are to be restarted still, those that are held included; above 0 a roll is under way.",
            )?,
            pods_held: of_clusters("foz_operator_pods_held", "Pods under spec.hold.")?,
            suspended: of_clusters("foz_operator_suspended", "1 where spec.suspend is true.")?,
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
            .register(Box::new(metrics.roll_grants.clone()))?;
        for gauge in metrics.gauges() {
            metrics.registry.register(Box::new(gauge.clone()))?;
        }
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

    /// The quorum has granted a restart.
    pub fn restart_granted(&self) {
        self.roll_grants.inc();
    }

    /// What a pass over a Cluster saw.
    pub fn saw(&self, cluster: &ClusterName, to_restart: usize, held: usize, suspended: bool) {
        let labels = [cluster.namespace.as_str(), cluster.name.as_str()];
        let values = [to_restart, held, usize::from(suspended)];
        for (gauge, value) in self.gauges().into_iter().zip(values) {
            let value = i64::try_from(value).unwrap_or(i64::MAX);
            gauge.with_label_values(&labels).set(value);
        }
    }

    /// The Cluster is gone.
    pub fn forget(&self, cluster: &ClusterName) {
        for gauge in self.gauges() {
            // One that was never seen has none.
            drop(gauge.remove_label_values(&[&cluster.namespace, &cluster.name]));
        }
    }

    fn gauges(&self) -> [&IntGaugeVec; 3] {
        [&self.pods_to_restart, &self.pods_held, &self.suspended]
    }

    /// The quorum has denied a restart.
    pub fn restart_denied(&self, reason: &str) {
        self.roll_denials.with_label_values(&[reason]).inc();
    }

    /// This replica acts, or stands by.
    pub fn set_leader(&self, leader: bool) {
        self.leader.set(i64::from(leader));
        if !leader {
            // Another replica tells of them now.
            for gauge in self.gauges() {
                gauge.reset();
            }
        }
    }

    /// In Prometheus' text format.
    ///
    /// # Errors
    /// When the library cannot encode what it collected.
    pub fn render(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

fn of_clusters(name: &str, help: &str) -> prometheus::Result<IntGaugeVec> {
    IntGaugeVec::new(Opts::new(name, help), &["namespace", "cluster"])
}

#[cfg(test)]
mod tests {
    use super::Metrics;
    use crate::names::ClusterName;
    use std::time::Duration;

    #[test]
    fn everything_that_happens_is_in_the_text() {
        let metrics = Metrics::new().expect("metrics");
        metrics.reconciled("Cluster", Duration::from_millis(3));
        metrics.failed("Topic", "kubernetes");
        metrics.acted("Cluster", "create");
        metrics.restart_denied("min_insync");
        metrics.restart_granted();
        let cluster = ClusterName {
            namespace: "kafka".into(),
            name: "demo".into(),
        };
        metrics.saw(&cluster, 4, 1, true);
        metrics.set_leader(true);
        let text = metrics.render().expect("text");
        for line in [
            "foz_operator_reconcile_duration_seconds_count{kind=\"Cluster\"} 1",
            "foz_operator_reconcile_errors_total{kind=\"Topic\",reason=\"kubernetes\"} 1",
            "foz_operator_actions_total{action=\"create\",kind=\"Cluster\"} 1",
            "foz_operator_roll_denials_total{reason=\"min_insync\"} 1",
            "foz_operator_roll_grants_total 1",
            "foz_operator_pods_to_restart{cluster=\"demo\",namespace=\"kafka\"} 4",
            "foz_operator_pods_held{cluster=\"demo\",namespace=\"kafka\"} 1",
            "foz_operator_suspended{cluster=\"demo\",namespace=\"kafka\"} 1",
            "foz_operator_leader 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        let tells = |metrics: &Metrics| metrics.render().expect("text").contains("demo");
        metrics.forget(&cluster);
        assert!(!tells(&metrics));
        metrics.saw(&cluster, 4, 1, true);
        metrics.set_leader(false);
        assert!(!tells(&metrics));
    }
}
