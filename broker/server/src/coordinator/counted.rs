use foz_groups::{ConsumerGroupState, GroupCounts, GroupState};
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts, Registry};

use crate::coordinator_log::LoadTimes;
use crate::internal_topics::CONSUMER_OFFSETS;

/// Of the partitions of `__consumer_offsets` that this broker leads, and of the groups in them. The names are those
/// that Kafka's have.
#[derive(Debug, Clone)]
pub(crate) struct Counts {
    pub(crate) loading: IntGauge,
    pub(crate) active: IntGauge,
    pub(crate) failed: IntGauge,
    pub(crate) load_times: LoadTimes,
    groups: IntGaugeVec,
    consumer_groups: IntGaugeVec,
    classic_groups: [IntGauge; GroupState::ALL.len()],
    classic_rebalances: IntCounter,
    consumer_rebalances: IntCounter,
}

impl Counts {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauges = |name: &str, help: &str, label: &str| {
            let name = format!("kafka_server_group_coordinator_metrics_{name}");
            let gauges = IntGaugeVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let counter = |name: &str, help: &str| {
            let name = format!("kafka_server_group_coordinator_metrics_{name}");
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let partitions = gauges(
            "num_partitions",
            "Partitions of __consumer_offsets that this broker leads, by the state of their coordinator.",
            "state",
        )?;
        let classic = |state: GroupState| {
            let name = state.name().to_lowercase();
            let name = format!("kafka_coordinator_group_groupmetadatamanager_numgroups{name}");
            let help = format!("Groups of the classic protocol that are {}.", state.name());
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let [empty, preparing, completing, stable, dead] = GroupState::ALL;
        let partitions_of = |state| partitions.with_label_values(&[state]);
        Ok(Self {
            loading: partitions_of("loading"),
            active: partitions_of("active"),
            failed: partitions_of("failed"),
            load_times: LoadTimes::register(registry, "group", CONSUMER_OFFSETS)?,
            groups: gauges(
                "group_count",
                "Groups that this broker coordinates, by protocol.",
                "protocol",
            )?,
            consumer_groups: gauges(
                "consumer_group_count",
                "Consumer groups of KIP-848 that this broker coordinates, by state.",
                "state",
            )?,
            classic_groups: [
                classic(empty)?,
                classic(preparing)?,
                classic(completing)?,
                classic(stable)?,
                classic(dead)?,
            ],
            classic_rebalances: counter(
                "group_completed_rebalance_count",
                "Generations of classic groups that came to be stable.",
            )?,
            consumer_rebalances: counter(
                "consumer_group_rebalance_count",
                "New epochs of consumer groups of KIP-848.",
            )?,
        })
    }

    fn add(&self, counts: &GroupCounts, sign: i64) {
        for (protocol, count) in counts.by_protocol() {
            let gauge = self.groups.with_label_values(&[protocol]);
            gauge.add(sign * count as i64);
        }
        for (gauge, state) in self.classic_groups.iter().zip(GroupState::ALL) {
            gauge.add(sign * counts.classic(state) as i64);
        }
        for state in ConsumerGroupState::ALL {
            let name = state.name().to_lowercase();
            let gauge = self.consumer_groups.with_label_values(&[&name]);
            gauge.add(sign * counts.consumer(state) as i64);
        }
    }
}

/// One of them, for as long as it lives.
#[derive(Debug)]
pub(crate) struct Counted(IntGauge);

impl Counted {
    pub(crate) fn new(count: &IntGauge) -> Self {
        count.inc();
        Self(count.clone())
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.dec();
    }
}

/// The groups of one coordinator, for as long as it lives.
#[derive(Debug)]
pub(super) struct CountedGroups {
    counts: Counts,
    told: GroupCounts,
}

impl CountedGroups {
    pub(super) fn new(counts: &Counts) -> Self {
        Self {
            counts: counts.clone(),
            told: GroupCounts::default(),
        }
    }

    /// What it has now, in place of what it had.
    pub(super) fn tell(&mut self, now: GroupCounts) {
        self.counts.add(&self.told, -1);
        self.counts.add(&now, 1);
        let of = |counts: &GroupCounts| (counts.classic_rebalances, counts.consumer_rebalances);
        let (classic, consumer) = of(&now);
        let (classic_told, consumer_told) = of(&self.told);
        self.counts
            .classic_rebalances
            .inc_by(classic - classic_told);
        self.counts
            .consumer_rebalances
            .inc_by(consumer - consumer_told);
        self.told = now;
    }
}

impl Drop for CountedGroups {
    fn drop(&mut self) {
        self.counts.add(&self.told, -1);
    }
}
